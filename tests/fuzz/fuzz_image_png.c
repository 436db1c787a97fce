/* The PNG path. Nearly all mutations would end at a wrong checksum, so most get every chunk's made
 * right. The pictures in tests/unit/image/goldens are the corpus to start from. */
#include "fuzz_image_common.h"

#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t size_max);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t size_max, unsigned seed);

static uint32_t read_be32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static uint32_t crc32_of(const uint8_t *bytes, size_t size)
{
    uint32_t crc = 0xFFFFFFFF;

    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
    }
    return ~crc;
}

static void repair_checksums(uint8_t *bytes, size_t size)
{
    for (size_t offset = 8; offset < size && size - offset >= 12;) {
        const size_t length = read_be32(bytes + offset);
        if (length > size - offset - 12)
            return;
        const uint32_t crc = crc32_of(bytes + offset + 4, 4 + length);
        for (int i = 0; i < 4; i++)
            bytes[offset + 8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        offset += 12 + length;
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t size_max, unsigned seed)
{
    const size_t mutated = LLVMFuzzerMutate(bytes, size, size_max);

    if (seed % 8 != 0)
        repair_checksums(bytes, mutated);
    return mutated;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    fuzz_image(bytes, size);
    return 0;
}
