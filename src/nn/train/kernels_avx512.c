/* The kernels for CPUs with AVX-512 and its bf16 conversions. */
#include "nn/train/kernels.h"

#if defined(__x86_64__)

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,prefer-vector-width=512")
#pragma GCC diagnostic ignored "-Wpsabi"

#include <immintrin.h>
#include <string.h>

#define KERNELS_AVX512 1

#define KERNELS_BF16 0
#define NAME(name)   avx512_f32_##name
#include "nn/train/kernels_body.h"
#undef NAME
#undef KERNELS_BF16

#define KERNELS_BF16 1
#define NAME(name)   avx512_bf16_##name
#include "nn/train/kernels_body.h"

const struct kernels *kernels_avx512(bool bf16)
{
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512bf16"))
        return NULL;
    return bf16 ? &avx512_bf16_table : &avx512_f32_table;
}

#else

const struct kernels *kernels_avx512(bool bf16)
{
    (void)bf16;
    return NULL;
}

#endif
