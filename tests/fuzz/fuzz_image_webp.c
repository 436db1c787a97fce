/* The WebP path, on any bytes; the pictures in tests/unit/image/goldens are the corpus to start
 * from. */
#include "fuzz_image_common.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    fuzz_image(bytes, size);
    return 0;
}
