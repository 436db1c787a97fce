/* The inference engine: a graph compiled for this machine's cores with oneDNN.
 *
 * An engine is immutable and may be run by many threads at once; each calling thread works in a
 * session, which owns the activations' memory. Layout, fusion and precision are chosen per layer
 * when the engine is made; per batch size, the primitives are made on first use and kept. */
#ifndef NN_ENGINE_H
#define NN_ENGINE_H

#include <stdint.h>

#include "nn/graph/graph.h"

enum precision {
    PRECISION_AUTO, /* bf16 where the CPU has it, else fp32; the caller checks answers, see models/
                     */
    PRECISION_FP32,
    PRECISION_BF16,
};

const char *precision_name(enum precision precision);
int precision_parse(const char *text, enum precision *out, struct error *err);
/* Whether this CPU runs bf16 convolutions natively (AVX512_BF16 or AMX). */
bool precision_bf16_native(void);

struct engine_options {
    enum precision precision;
    int batch_max; /* 1 .. 256 */
};

struct engine;
struct engine_session;

/* Optimises a copy of `graph` (one input [n,c,h,w], one output) and compiles it. The graph is not
 * kept. The caller owns *out; sessions must be freed first. */
int engine_create(const struct graph *graph, const struct engine_options *options,
                  struct engine **out, struct error *err);
void engine_free(struct engine *engine);

/* Shape of one image ([c, h, w]) and number of output elements an image (classes). */
void engine_input_shape(const struct engine *engine, struct shape *out);
int engine_outputs(const struct engine *engine);
enum precision engine_precision(const struct engine *engine); /* what AUTO became */
/* Bytes held: weights as laid out for running. */
size_t engine_memory(const struct engine *engine);

/* A session for one thread at a time. `threads`: 1 (the rule: parallel over images and models
 * outside; then no thread is ever started), or more: each runs an equal part of the batch alone,
 * and the images left over are split inside (OpenMP in oneDNN), which only pays on idle cores. */
int engine_session_create(struct engine *engine, int threads, struct engine_session **out,
                          struct error *err);
void engine_session_free(struct engine_session *session);

/* Makes ready what engine_run needs for n images, so that the first run is as fast as the others:
 * plans are compiled when first used. Cheap when all is ready. */
int engine_session_prepare(struct engine_session *session, int n, struct error *err);

/* Runs n images, input [n, c, h, w] f32 row-major, output [n, outputs] f32 (the graph's own output:
 * logits or probabilities). n in 1 .. batch_max. Not thread-safe per session. */
int engine_run(struct engine_session *session, int n, const float *input, float *output,
               struct error *err);

/* The plan for a batch of n as text, one line a step: operator, name, shape, layout,
 * implementation, fused parts, buffer. malloc'd, the caller frees; NULL on failure with err. */
char *engine_plan_text(struct engine_session *session, int n, struct error *err);

/* In place: x[n][classes] -> probabilities; numerically safe. */
void softmax_rows(float *x, int n, int classes);

#endif
