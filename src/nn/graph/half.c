/* The 16-bit floats: f16 (IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits) and bf16 (the
 * upper half of an f32). The plain one-element forms define the result; where the CPU has F16C the
 * arrays of f16 go through it, eight at a time, and agree to the bit. */
#include "nn/graph/half.h"

#include <string.h>

#include "nn/graph/tensor.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float f16_to_f32(uint16_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    const uint32_t magnitude = bits & 0x7fffu;

    if (magnitude >= 0x7c00u) { /* infinity, or a NaN, which becomes quiet */
        const uint32_t quiet = magnitude > 0x7c00u ? 0x00400000u : 0;
        return float_of(sign | 0x7f800000u | quiet | (magnitude & 0x03ffu) << 13);
    }
    if (magnitude < 0x0400u) { /* zero or subnormal: units of 2^-24, exact in f32 */
        const float value = (float)magnitude * 0x1p-24f;
        return float_of(sign | bits_of(value));
    }
    return float_of(sign | ((magnitude << 13) + ((127u - 15u) << 23)));
}

uint16_t f32_to_f16(float value)
{
    const uint32_t bits = bits_of(value);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    const uint32_t magnitude = bits & 0x7fffffffu;

    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x03ffu));
    if (magnitude >= 0x47800000u) /* 65536 and up; rounding below carries 65520 and up as well */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) {
        /* Below 2^-14 the result is a multiple of 2^-24: adding 0.5, whose last place that is, lets
         * the addition itself round to nearest even. */
        const float shifted = float_of(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of(shifted) - bits_of(0.5f)));
    }
    const uint32_t odd = magnitude >> 13 & 1u;
    return (uint16_t)(sign | ((magnitude - ((127u - 15u) << 23) + 0x0fffu + odd) >> 13));
}

float bf16_to_f32(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}

uint16_t f32_to_bf16(float value)
{
    const uint32_t bits = bits_of(value);

    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x0040u); /* a quiet NaN, whatever its fraction */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

#if defined(__x86_64__)
__attribute__((target("avx,f16c"))) static size_t f16_to_f32_wide(const uint16_t *source,
                                                                  float *target, size_t count)
{
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m128i half = _mm_loadu_si128((const __m128i *)(source + i));
        _mm256_storeu_ps(target + i, _mm256_cvtph_ps(half));
    }
    return i;
}

__attribute__((target("avx,f16c"))) static size_t f32_to_f16_wide(const float *source,
                                                                  uint16_t *target, size_t count)
{
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m256 full = _mm256_loadu_ps(source + i);
        _mm_storeu_si128((__m128i *)(target + i), _mm256_cvtps_ph(full, _MM_FROUND_TO_NEAREST_INT));
    }
    return i;
}

/* Asked of the processor itself: not every compiler's __builtin_cpu_supports knows f16c. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}
#else
static size_t f16_to_f32_wide(const uint16_t *source, float *target, size_t count)
{
    (void)source, (void)target, (void)count;
    return 0;
}

static size_t f32_to_f16_wide(const float *source, uint16_t *target, size_t count)
{
    (void)source, (void)target, (void)count;
    return 0;
}

static bool has_f16c(void)
{
    return false;
}
#endif

void f16_to_f32_array(const uint16_t *source, float *target, size_t count)
{
    size_t i = has_f16c() ? f16_to_f32_wide(source, target, count) : 0;
    for (; i < count; i++)
        target[i] = f16_to_f32(source[i]);
}

void f32_to_f16_array(const float *source, uint16_t *target, size_t count)
{
    size_t i = has_f16c() ? f32_to_f16_wide(source, target, count) : 0;
    for (; i < count; i++)
        target[i] = f32_to_f16(source[i]);
}

void bf16_to_f32_array(const uint16_t *source, float *target, size_t count)
{
    for (size_t i = 0; i < count; i++)
        target[i] = bf16_to_f32(source[i]);
}

void f32_to_bf16_array(const float *source, uint16_t *target, size_t count)
{
    for (size_t i = 0; i < count; i++)
        target[i] = f32_to_bf16(source[i]);
}
