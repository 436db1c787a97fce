/* The EXIF reader alone, which sees strangers' bytes in all three formats. */
#include "fuzz_image_common.h"

#include "image/exif.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const int orientation = exif_orientation(bytes, size);

    must(orientation >= 1 && orientation <= 8);
    return 0;
}
