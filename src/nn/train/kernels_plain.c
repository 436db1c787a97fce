/* The kernels for any CPU: what the compiler makes of the body for the base instruction set. */
#include <string.h>

#include "nn/train/kernels.h"

#pragma GCC diagnostic ignored "-Wpsabi"

#define KERNELS_AVX512 0

#define KERNELS_BF16 0
#define NAME(name)   plain_f32_##name
#include "nn/train/kernels_body.h"
#undef NAME
#undef KERNELS_BF16

#define KERNELS_BF16 1
#define NAME(name)   plain_bf16_##name
#include "nn/train/kernels_body.h"

const struct kernels *kernels_plain(bool bf16)
{
    return bf16 ? &plain_bf16_table : &plain_f32_table;
}

const struct kernels *kernels_for(bool bf16)
{
    const struct kernels *fast = kernels_avx512(bf16);
    return fast != NULL ? fast : kernels_plain(bf16);
}
