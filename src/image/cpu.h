/* Which of the two versions of a kernel runs: the plain one, written for reading, or the AVX2 one
 * beside it, which gives the same bits. Private to this folder and its tests. */
#ifndef IMAGE_CPU_H
#define IMAGE_CPU_H

#include <stdbool.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define IMAGE_HAS_AVX2 1
/* Without FMA on purpose: a fused multiply-add would round differently from the plain version. */
#define TARGET_AVX2 __attribute__((target("avx2")))

static inline bool cpu_runs_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}
#else
#define IMAGE_HAS_AVX2 0

static inline bool cpu_runs_avx2(void)
{
    return false;
}
#endif

#endif
