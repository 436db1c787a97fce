/* Pseudo-random numbers that are the same on every machine for the same seed: xoshiro256**
 * (Blackman and Vigna, 2018) seeded through splitmix64. Not for secrets; see id.h for those. Not
 * thread-safe: one a thread. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

struct rng {
    uint64_t state[4];
    double spare_normal;
    int has_spare;
};

void rng_seed(struct rng *rng, uint64_t seed);
uint64_t rng_next(struct rng *rng);
uint32_t rng_below(struct rng *rng,
                   uint32_t bound);  /* uniform in 0 .. bound-1, unbiased; bound > 0 */
double rng_uniform(struct rng *rng); /* [0, 1) with 53 bits */
double rng_normal(struct rng *rng);  /* mean 0, variance 1 */
void rng_shuffle(struct rng *rng, uint32_t *items, uint32_t count); /* Fisher-Yates */

#endif
