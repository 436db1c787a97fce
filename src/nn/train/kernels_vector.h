/* Sixteen floats at a time (four where there is no AVX-512), in the compiler's vector extension,
 * with loads and stores of whichever element type the including file is being built for. Included
 * by kernels_body.h only. */

#ifndef NN_TRAIN_KERNELS_VECTOR_TYPES
#define NN_TRAIN_KERNELS_VECTOR_TYPES
/* The address sanitizer watches the kernels; the undefined-behaviour one would only watch vector
 * arithmetic, and takes a minute to compile for it. */
#define KERNEL static __attribute__((no_sanitize("undefined")))
#define INLINE static inline __attribute__((always_inline, no_sanitize("undefined")))

enum { LANES = KERNELS_AVX512 ? 16 : 4 };

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));
typedef uint16_t half_vec __attribute__((vector_size(2 * LANES)));
typedef uint8_t byte_vec __attribute__((vector_size(LANES)));

INLINE vec vec_of(float value)
{
    return (vec){0} + value;
}

INLINE vec vec_load_f32(const float *from)
{
    vec value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE void vec_store_f32(float *to, vec value)
{
    memcpy(to, &value, sizeof value);
}

INLINE vec vec_select(ivec condition, vec yes, vec no)
{
    return (vec)(((ivec)yes & condition) | ((ivec)no & ~condition));
}

#if KERNELS_AVX512
INLINE vec vec_max(vec a, vec b)
{
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
}

INLINE vec vec_min(vec a, vec b)
{
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
}

/* 1/(1 + e^-x), to about 3e-6 of its value: e^-x = 2^n * 2^f with f in [-1/2, 1/2], the latter by
 * the first terms of its series, and one Newton step on the approximate reciprocal. */
INLINE vec vec_sigmoid(vec x)
{
    vec t = vec_min(x * -1.44269504f, vec_of(120.0f));
    vec n = (vec)_mm512_roundscale_ps((__m512)t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    vec f = t - n;
    vec p = vec_of(1.3333558e-3f);
    p = p * f + 9.6181291e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.0f;
    vec d = (vec)_mm512_scalef_ps((__m512)p, (__m512)n) + 1.0f;
    vec y = (vec)_mm512_rcp14_ps((__m512)d);
    return y * (2.0f - d * y);
}
#else
INLINE vec vec_max(vec a, vec b)
{
    return vec_select(a > b, a, b);
}

INLINE vec vec_min(vec a, vec b)
{
    return vec_select(a < b, a, b);
}

/* e^x to about 2 units in the last place: x = k*ln2 + r, a polynomial for e^r (its Taylor series to
 * the sixth power), and k added to the exponent. */
INLINE vec vec_exp(vec x)
{
    x = vec_max(vec_min(x, vec_of(88.0f)), vec_of(-87.0f));
    const vec magic = vec_of(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    vec shifted = x * 1.44269504f + magic;
    vec k = shifted - magic;
    vec r = x - k * 0.693359375f;
    r = r - k * -2.12194440e-4f;
    vec p = vec_of(1.0f / 720);
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    ivec exponent = ((ivec)shifted - (ivec)magic) << 23;
    return (vec)((ivec)p + exponent);
}

INLINE vec vec_sigmoid(vec x)
{
    return 1.0f / (1.0f + vec_exp(-x));
}
#endif
#endif

#if KERNELS_BF16
typedef uint16_t NAME(element);
INLINE vec NAME(load)(const NAME(element) * from)
{
    half_vec bits;
    memcpy(&bits, from, sizeof bits);
    return (vec)(__builtin_convertvector(bits, uvec) << 16);
}
INLINE void NAME(store)(NAME(element) * to, vec value)
{
#if KERNELS_AVX512
    __m256bh bits = _mm512_cvtneps_pbh((__m512)value);
#else
    uvec wide = (uvec)value;
    wide = (wide + 0x7fff + ((wide >> 16) & 1)) >> 16;
    half_vec bits = __builtin_convertvector(wide, half_vec);
#endif
    memcpy(to, &bits, sizeof bits);
}
#else
typedef float NAME(element);
INLINE vec NAME(load)(const NAME(element) * from)
{
    return vec_load_f32(from);
}
INLINE void NAME(store)(NAME(element) * to, vec value)
{
    vec_store_f32(to, value);
}
#endif

/* The first `lanes` (1 .. LANES) of a vector; the rest of a load is zero. */
#if KERNELS_AVX512
INLINE vec NAME(load_part)(const NAME(element) * from, int lanes)
{
    __mmask16 mask = (__mmask16)((1u << lanes) - 1);
#if KERNELS_BF16
    half_vec bits = (half_vec)_mm256_maskz_loadu_epi16(mask, from);
    return (vec)(__builtin_convertvector(bits, uvec) << 16);
#else
    return (vec)_mm512_maskz_loadu_ps(mask, from);
#endif
}
INLINE void NAME(store_part)(NAME(element) * to, vec value, int lanes)
{
    __mmask16 mask = (__mmask16)((1u << lanes) - 1);
#if KERNELS_BF16
    _mm256_mask_storeu_epi16(to, mask, (__m256i)_mm512_cvtneps_pbh((__m512)value));
#else
    _mm512_mask_storeu_ps(to, mask, (__m512)value);
#endif
}
#else
INLINE vec NAME(load_part)(const NAME(element) * from, int lanes)
{
    NAME(element) whole[LANES] = {0};
    memcpy(whole, from, (size_t)lanes * sizeof *from);
    return NAME(load)(whole);
}
INLINE void NAME(store_part)(NAME(element) * to, vec value, int lanes)
{
    NAME(element) whole[LANES];
    NAME(store)(whole, value);
    memcpy(to, whole, (size_t)lanes * sizeof *to);
}
#endif
