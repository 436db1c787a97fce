/* The passes of a resize in AVX2: see resize_pass.h. Sums are exact in 32 bits in any order, so the
 * results equal the plain version's. */
#include "image/resize_pass.h"

#if IMAGE_HAS_AVX2

#include <immintrin.h>
#include <string.h>

/* Two pixels' samples as 32-bit lanes, R G B 0 R G B 0; reads 8 bytes. */
TARGET_AVX2 static inline __m256i load_two_pixels(const uint8_t *pixels)
{
    const __m128i spread = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)pixels);
    return _mm256_cvtepu8_epi32(_mm_shuffle_epi8(bytes, spread));
}

/* Two coefficients, each to the four lanes of its pixel. */
TARGET_AVX2 static inline __m256i load_two_coefficients(const int32_t *coefficients)
{
    const __m256i lanes = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    const __m128i pair = _mm_loadl_epi64((const __m128i *)coefficients);
    return _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(pair), lanes);
}

/* Adds both halves, rounds, and writes one pixel and a fourth byte that the next pixel overwrites.
 */
TARGET_AVX2 static inline void store_pixel(uint8_t *target, __m256i sums)
{
    const __m128i half = _mm_set1_epi32(1 << (RESIZE_FRACTION_BITS - 1));
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    sum = _mm_srai_epi32(_mm_add_epi32(sum, half), RESIZE_FRACTION_BITS);
    sum = _mm_packus_epi16(_mm_packs_epi32(sum, sum), _mm_setzero_si128());
    const int32_t pixel = _mm_cvtsi128_si32(sum);
    memcpy(target, &pixel, sizeof pixel);
}

TARGET_AVX2 void resize_rows_avx2(const struct resize_axis *axis, const uint8_t *source,
                                  size_t source_stride, uint8_t *target, size_t target_stride,
                                  int rows)
{
    for (int y = 0; y < rows; y++, source += source_stride, target += target_stride) {
        for (int x = 0; x < axis->size; x++) {
            const int32_t *coefficients = axis->coefficients + (size_t)x * (size_t)axis->taps;
            const uint8_t *from = source + 3 * (size_t)axis->starts[x];
            __m256i sums = _mm256_setzero_si256();
            /* An odd last tap reads one pixel too many, times a coefficient of 0. */
            for (int k = 0; k < axis->counts[x]; k += 2, from += 6)
                sums = _mm256_add_epi32(
                    sums, _mm256_mullo_epi32(load_two_pixels(from),
                                             load_two_coefficients(coefficients + k)));
            store_pixel(target + 3 * x, sums);
        }
    }
}

/* Thirty-two samples of one output row; `from` is their place in the first input row. */
TARGET_AVX2 static inline void column_block(const int32_t *coefficients, int count,
                                            const uint8_t *from, size_t stride, uint8_t *target)
{
    const __m256i half = _mm256_set1_epi32(1 << (RESIZE_FRACTION_BITS - 1));
    __m256i sums[4] = {half, half, half, half};

    for (int k = 0; k < count; k++, from += stride) {
        const __m256i coefficient = _mm256_set1_epi32(coefficients[k]);
        for (int part = 0; part < 4; part++) {
            const __m128i bytes = _mm_loadl_epi64((const __m128i *)(from + 8 * part));
            sums[part] = _mm256_add_epi32(
                sums[part], _mm256_mullo_epi32(_mm256_cvtepu8_epi32(bytes), coefficient));
        }
    }
    for (int part = 0; part < 4; part++)
        sums[part] = _mm256_srai_epi32(sums[part], RESIZE_FRACTION_BITS);
    /* Packing works within 128-bit halves; the permutation puts the quarters in order again. */
    const __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(sums[0], sums[1]),
                                              _mm256_packs_epi32(sums[2], sums[3]));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256((__m256i *)target, _mm256_permutevar8x32_epi32(bytes, order));
}

TARGET_AVX2 void resize_column_avx2(const struct resize_axis *axis, int row, const uint8_t *source,
                                    size_t source_stride, uint8_t *target, size_t bytes)
{
    const int32_t *coefficients = axis->coefficients + (size_t)row * (size_t)axis->taps;
    const uint8_t *first = source + (size_t)axis->starts[row] * source_stride;
    size_t i = 0;

    for (; i + 32 <= bytes; i += 32)
        column_block(coefficients, axis->counts[row], first + i, source_stride, target + i);
    if (i < bytes)
        resize_column_plain(axis, row, source + i, source_stride, target + i, bytes - i);
}

#endif
