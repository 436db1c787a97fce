/* The kernels of pointwise.h for AVX-512.
 *
 * Each function carries its own target attribute, so that the file compiles for any x86-64 and the
 * program chooses when it runs. exp(-x) is taken as 2^n * 2^f with n whole and |f| <= 1/2, 2^f by
 * the polynomial through the Chebyshev nodes of that interval: degree 5, relative error 1e-7, where
 * f32 is stored; degree 3, error 1e-4 (bf16 rounds at 2e-3), where bf16 is. The quotient is taken
 * by the approximate reciprocal, for f32 with one Newton step. */
#include "nn/exec/pointwise.h"

#include <stddef.h>

#if defined(__x86_64__)

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#define F32_TARGET  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define BF16_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))
#define INLINE      __attribute__((always_inline)) inline

enum { LANES = 16 };

static INLINE F32_TARGET __mmask16 tail_mask(int64_t left)
{
    return left >= LANES ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1u);
}

/* 1 + exp(-x); the exponent is held where neither it nor the reciprocal leaves the normal range. */
static INLINE F32_TARGET __m512 one_plus_exp_minus(__m512 x, bool exact)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 t = _mm512_mul_ps(x, _mm512_set1_ps(-1.44269504089f));
    t = _mm512_min_ps(_mm512_set1_ps(125.0f), t);
    __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 f = _mm512_sub_ps(t, n);
    __m512 p;
    if (exact) {
        p = _mm512_set1_ps(1.339086336e-3f);
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.676031918e-3f));
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.550357114e-2f));
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.402210749e-1f));
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.931471880e-1f));
        p = _mm512_fmadd_ps(p, f, one);
    } else {
        p = _mm512_set1_ps(5.583828295e-2f);
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.426394785e-1f));
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.931367339e-1f));
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.999245570e-1f));
    }
    return _mm512_add_ps(one, _mm512_scalef_ps(p, n));
}

static INLINE F32_TARGET __m512 reciprocal(__m512 x, bool exact)
{
    __m512 r = _mm512_rcp14_ps(x);
    if (!exact)
        return r;
    return _mm512_mul_ps(r, _mm512_fnmadd_ps(x, r, _mm512_set1_ps(2.0f)));
}

static INLINE F32_TARGET __m512 swish_of(__m512 x, bool exact)
{
    return _mm512_mul_ps(x, reciprocal(one_plus_exp_minus(x, exact), exact));
}

static INLINE F32_TARGET void add_to(float *sums, __mmask16 mask, __m512 value)
{
    _mm512_mask_storeu_ps(sums, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, sums), value));
}

/* One column vector down all rows: sums stay in registers, four rows in flight. */
static INLINE F32_TARGET void swish_column_f32(float *x, int64_t rows, int64_t stride,
                                               __mmask16 mask, float *sums)
{
    __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                     _mm512_setzero_ps()};
    int64_t r = 0;

    for (; r + 4 <= rows; r += 4) {
        for (int k = 0; k < 4; k++) {
            float *at = x + (r + k) * stride;
            __m512 value = swish_of(_mm512_maskz_loadu_ps(mask, at), true);
            _mm512_mask_storeu_ps(at, mask, value);
            sum[k] = _mm512_add_ps(sum[k], value);
        }
    }
    for (; r < rows; r++) {
        __m512 value = swish_of(_mm512_maskz_loadu_ps(mask, x + r * stride), true);
        _mm512_mask_storeu_ps(x + r * stride, mask, value);
        sum[0] = _mm512_add_ps(sum[0], value);
    }
    add_to(sums, mask, _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
}

static F32_TARGET void swish_f32_avx512(float *x, int64_t rows, int64_t columns, int64_t stride,
                                        float *sums)
{
    if (sums != NULL) {
        for (int64_t c = 0; c < columns; c += LANES)
            swish_column_f32(x + c, rows, stride, tail_mask(columns - c), sums + c);
        return;
    }
    for (int64_t r = 0; r < rows; r++) {
        float *row = x + r * stride;
        int64_t c = 0;
        for (; c + 4 * LANES <= columns; c += 4 * LANES) {
            for (int k = 0; k < 4; k++) {
                float *at = row + c + k * LANES;
                _mm512_storeu_ps(at, swish_of(_mm512_loadu_ps(at), true));
            }
        }
        for (; c < columns; c += LANES) {
            __mmask16 mask = tail_mask(columns - c);
            __m512 value = swish_of(_mm512_maskz_loadu_ps(mask, row + c), true);
            _mm512_mask_storeu_ps(row + c, mask, value);
        }
    }
}

static F32_TARGET void sum_f32_avx512(const float *x, int64_t rows, int64_t columns, int64_t stride,
                                      float *sums)
{
    for (int64_t c = 0; c < columns; c += LANES) {
        __mmask16 mask = tail_mask(columns - c);
        __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
        int64_t r = 0;
        for (; r + 2 <= rows; r += 2) {
            even = _mm512_add_ps(even, _mm512_maskz_loadu_ps(mask, x + r * stride + c));
            odd = _mm512_add_ps(odd, _mm512_maskz_loadu_ps(mask, x + (r + 1) * stride + c));
        }
        if (r < rows)
            even = _mm512_add_ps(even, _mm512_maskz_loadu_ps(mask, x + r * stride + c));
        add_to(sums + c, mask, _mm512_add_ps(even, odd));
    }
}

static F32_TARGET void scale_f32_avx512(const float *x, float *y, int64_t rows, int64_t columns,
                                        int64_t stride, const float *scale, const float *shift)
{
    for (int64_t c = 0; c < columns; c += LANES) {
        __mmask16 mask = tail_mask(columns - c);
        __m512 factor = _mm512_maskz_loadu_ps(mask, scale + c);
        __m512 offset =
            shift != NULL ? _mm512_maskz_loadu_ps(mask, shift + c) : _mm512_setzero_ps();
        for (int64_t r = 0; r < rows; r++) {
            __m512 value = _mm512_maskz_loadu_ps(mask, x + r * stride + c);
            _mm512_mask_storeu_ps(y + r * stride + c, mask, _mm512_fmadd_ps(value, factor, offset));
        }
    }
}

/* Some vectors of outputs at a time: their sums stay in registers over all inputs. Few vectors
 * would wait for each addition, so each has two sums, of the even and the odd inputs. */
static INLINE F32_TARGET void dense_columns(const float *x, int64_t inputs, const float *weights,
                                            const float *bias, float *y, int64_t outputs,
                                            int64_t from, int vectors)
{
    __m512 even[4], odd[4];
    __mmask16 mask[4];
    int64_t i = 0;

    for (int k = 0; k < vectors; k++) {
        mask[k] = tail_mask(outputs - from - k * LANES);
        even[k] = bias != NULL ? _mm512_maskz_loadu_ps(mask[k], bias + from + k * LANES)
                               : _mm512_setzero_ps();
        odd[k] = _mm512_setzero_ps();
    }
    for (; i + 2 <= inputs; i += 2) {
        __m512 first = _mm512_set1_ps(x[i]), second = _mm512_set1_ps(x[i + 1]);
        const float *row = weights + i * outputs + from;
        for (int k = 0; k < vectors; k++) {
            const float *at = row + k * LANES;
            even[k] = _mm512_fmadd_ps(first, _mm512_maskz_loadu_ps(mask[k], at), even[k]);
            odd[k] = _mm512_fmadd_ps(second, _mm512_maskz_loadu_ps(mask[k], at + outputs), odd[k]);
        }
    }
    for (int k = 0; k < vectors; k++) {
        const float *at = weights + i * outputs + from + k * LANES;
        if (i < inputs)
            even[k] =
                _mm512_fmadd_ps(_mm512_set1_ps(x[i]), _mm512_maskz_loadu_ps(mask[k], at), even[k]);
        _mm512_mask_storeu_ps(y + from + k * LANES, mask[k], _mm512_add_ps(even[k], odd[k]));
    }
}

static F32_TARGET void dense_avx512(const float *x, int64_t inputs, const float *weights,
                                    const float *bias, float *y, int64_t outputs)
{
    for (int64_t o = 0; o < outputs; o += 4 * LANES) {
        int64_t left = outputs - o;
        if (left > 3 * LANES)
            dense_columns(x, inputs, weights, bias, y, outputs, o, 4);
        else if (left > 2 * LANES)
            dense_columns(x, inputs, weights, bias, y, outputs, o, 3);
        else if (left > LANES)
            dense_columns(x, inputs, weights, bias, y, outputs, o, 2);
        else
            dense_columns(x, inputs, weights, bias, y, outputs, o, 1);
    }
}

static F32_TARGET void sigmoid_avx512(float *x, int64_t count)
{
    for (int64_t i = 0; i < count; i += LANES) {
        __mmask16 mask = tail_mask(count - i);
        __m512 value = _mm512_maskz_loadu_ps(mask, x + i);
        value = reciprocal(one_plus_exp_minus(value, true), true);
        _mm512_mask_storeu_ps(x + i, mask, value);
    }
}

static INLINE BF16_TARGET __m512 load_bf16(const uint16_t *x, __mmask16 mask)
{
    __m256i bits = _mm256_maskz_loadu_epi16(mask, x);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

static INLINE BF16_TARGET void store_bf16(uint16_t *x, __mmask16 mask, __m512 value)
{
    _mm256_mask_storeu_epi16(x, mask, (__m256i)_mm512_cvtneps_pbh(value));
}

static INLINE BF16_TARGET __m512 swish_store_bf16(uint16_t *x, __mmask16 mask)
{
    __m512 value = swish_of(load_bf16(x, mask), false);
    store_bf16(x, mask, value);
    return value;
}

static BF16_TARGET void swish_bf16_avx512(uint16_t *x, int64_t rows, int64_t columns,
                                          int64_t stride, float *sums)
{
    for (int64_t r = 0; r < rows; r++) {
        uint16_t *row = x + r * stride;
        int64_t c = 0;
        if (sums == NULL) {
            for (; c + 4 * LANES <= columns; c += 4 * LANES) {
                for (int k = 0; k < 4; k++)
                    (void)swish_store_bf16(row + c + k * LANES, 0xffff);
            }
        }
        for (; c < columns; c += LANES) {
            __mmask16 mask = tail_mask(columns - c);
            __m512 value = swish_store_bf16(row + c, mask);
            if (sums != NULL)
                add_to(sums + c, mask, value);
        }
    }
}

static BF16_TARGET void sum_bf16_avx512(const uint16_t *x, int64_t rows, int64_t columns,
                                        int64_t stride, float *sums)
{
    for (int64_t c = 0; c < columns; c += LANES) {
        __mmask16 mask = tail_mask(columns - c);
        __m512 sum = _mm512_setzero_ps();
        for (int64_t r = 0; r < rows; r++)
            sum = _mm512_add_ps(sum, load_bf16(x + r * stride + c, mask));
        add_to(sums + c, mask, sum);
    }
}

static BF16_TARGET void scale_bf16_avx512(const uint16_t *x, uint16_t *y, int64_t rows,
                                          int64_t columns, int64_t stride, const float *scale,
                                          const float *shift)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < columns; c += LANES) {
            __mmask16 mask = tail_mask(columns - c);
            __m512 offset =
                shift != NULL ? _mm512_maskz_loadu_ps(mask, shift + c) : _mm512_setzero_ps();
            __m512 value = load_bf16(x + r * stride + c, mask);
            value = _mm512_fmadd_ps(value, _mm512_maskz_loadu_ps(mask, scale + c), offset);
            store_bf16(y + r * stride + c, mask, value);
        }
    }
}

/* Three planes of 16 pixels become 48 interleaved values by two permutations of word pairs. */
static INLINE BF16_TARGET void pack_three(const float *x, int64_t pixels, uint16_t *y)
{
    static const uint16_t low_pick[32] = {0,  16, 32, 1,  17, 33, 2,  18, 34, 3,  19,
                                          35, 4,  20, 36, 5,  21, 37, 6,  22, 38, 7,
                                          23, 39, 8,  24, 40, 9,  25, 41, 10, 26};
    static const uint16_t high_pick[16] = {42, 11, 27, 43, 12, 28, 44, 13,
                                           29, 45, 14, 30, 46, 15, 31, 47};
    __m256i red = (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x));
    __m256i green = (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x + pixels));
    __m256i blue = (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(x + 2 * pixels));
    __m512i first = _mm512_inserti64x4(_mm512_castsi256_si512(red), green, 1);
    __m512i second = _mm512_castsi256_si512(blue);
    __m512i low = _mm512_permutex2var_epi16(first, _mm512_loadu_si512(low_pick), second);
    __m512i high = _mm512_permutex2var_epi16(
        first, _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)high_pick)), second);

    _mm512_storeu_si512(y, low);
    _mm256_storeu_si256((__m256i *)(y + 32), _mm512_castsi512_si256(high));
}

static BF16_TARGET void pack_bf16_avx512(const float *x, int64_t channels, int64_t pixels,
                                         uint16_t *y)
{
    int64_t p = 0;

    if (channels == 3) {
        for (; p + LANES <= pixels; p += LANES)
            pack_three(x + p, pixels, y + 3 * p);
    }
    for (; p < pixels; p++) {
        for (int64_t c = 0; c < channels; c++)
            store_bf16(y + p * channels + c, 1, _mm512_set1_ps(x[c * pixels + p]));
    }
}

void pointwise_take_avx512(struct pointwise *kernels)
{
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return;
    kernels->name = "avx512";
    kernels->fast_f32 = true;
    kernels->swish_f32 = swish_f32_avx512;
    kernels->sum_f32 = sum_f32_avx512;
    kernels->scale_f32 = scale_f32_avx512;
    kernels->dense = dense_avx512;
    kernels->sigmoid = sigmoid_avx512;
    if (!__builtin_cpu_supports("avx512bf16"))
        return;
    kernels->name = "avx512_bf16";
    kernels->fast_bf16 = true;
    kernels->swish_bf16 = swish_bf16_avx512;
    kernels->sum_bf16 = sum_bf16_avx512;
    kernels->scale_bf16 = scale_bf16_avx512;
    kernels->pack_bf16 = pack_bf16_avx512;
}

#else

void pointwise_take_avx512(struct pointwise *kernels)
{
    (void)kernels;
}

#endif
