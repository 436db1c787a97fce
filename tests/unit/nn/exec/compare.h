/* Runs a network through an engine and through the reference, and says how far they are apart. */
#ifndef TEST_EXEC_COMPARE_H
#define TEST_EXEC_COMPARE_H

#include "base/rng.h"
#include "nn/exec/engine.h"

/* As largest difference relative to the largest magnitude. fp32 differs by the order of sums and by
 * Winograd's rounding; bf16 keeps 8 bits, and small networks amplify what rounding does. */
#define TOLERANCE_FP32 2e-5
#define TOLERANCE_BF16 3e-2

struct engine *make_engine(const struct graph *graph, enum precision precision, int batch_max);
struct engine_session *make_session(struct engine *engine, int threads);
/* Runs the engine's session on `input` ([n, ...]) and compares with `expected`. */
double session_difference(struct engine_session *session, const struct tensor *input,
                          const struct tensor *expected);
/* One run of `graph` (its batch open, shapes not needed) against the reference, on random input. */
double engine_difference(struct graph *graph, struct rng *rng, enum precision precision, int batch,
                         int threads);
/* Fails the running test, with the plan shown, unless both precisions stay within tolerance. */
void check_engine(struct graph *graph, struct rng *rng, int batch, const char *what);

#endif
