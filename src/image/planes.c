/* Pixels to planes of floats: see planes.h. */
#include "image/planes.h"

/* One row from pixel `first` on; `out` is the row in the first plane. */
static void convert_row(const struct planes_map *map, const uint8_t *pixels, int first, int width,
                        size_t plane_size, float *out)
{
    for (int plane = 0; plane < 3; plane++) {
        const uint8_t *from = pixels + map->channel[plane];
        float *to = out + (size_t)plane * plane_size;
        for (int x = first; x < width; x++)
            to[x] = (float)from[3 * x] * map->factor[plane] + map->offset[plane];
    }
}

void planes_plain(const struct planes_map *map, const uint8_t *pixels, size_t stride, int width,
                  int height, float *out)
{
    const size_t plane_size = (size_t)width * (size_t)height;

    for (int y = 0; y < height; y++, pixels += stride, out += width)
        convert_row(map, pixels, 0, width, plane_size, out);
}

#if IMAGE_HAS_AVX2

#include <immintrin.h>

/* Eight pixels: the bytes of a channel, three apart, are gathered from two overlapping loads. */
TARGET_AVX2 static inline void convert_eight(const struct planes_map *map, const uint8_t *pixels,
                                             size_t plane_size, float *out)
{
    const __m128i low = _mm_loadu_si128((const __m128i *)pixels);
    const __m128i high = _mm_loadu_si128((const __m128i *)(pixels + 12));
    const __m128i pick = _mm_cvtsi32_si128(0x09060300);

    for (int plane = 0; plane < 3; plane++) {
        const __m128i at = _mm_add_epi8(pick, _mm_set1_epi8((char)map->channel[plane]));
        const __m128i bytes =
            _mm_unpacklo_epi32(_mm_shuffle_epi8(low, at), _mm_shuffle_epi8(high, at));
        const __m256 values = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
        const __m256 scaled = _mm256_mul_ps(values, _mm256_set1_ps(map->factor[plane]));
        _mm256_storeu_ps(out + (size_t)plane * plane_size,
                         _mm256_add_ps(scaled, _mm256_set1_ps(map->offset[plane])));
    }
}

TARGET_AVX2 void planes_avx2(const struct planes_map *map, const uint8_t *pixels, size_t stride,
                             int width, int height, float *out)
{
    const size_t plane_size = (size_t)width * (size_t)height;

    for (int y = 0; y < height; y++, pixels += stride, out += width) {
        int x = 0;
        for (; x + 8 <= width; x += 8)
            convert_eight(map, pixels + 3 * (size_t)x, plane_size, out + x);
        convert_row(map, pixels, x, width, plane_size, out);
    }
}

#endif
