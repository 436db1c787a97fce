/* The blocks that architectures are made of, over a graph under construction. Private to nn/arch.
 *
 * A failure sticks: after the first, every call returns at once, and builder_finish reports it. So
 * an architecture reads as its paper's table does, without a check a line. */
#ifndef NN_ARCH_BUILDER_H
#define NN_ARCH_BUILDER_H

#include "base/rng.h"
#include "nn/arch/arch.h"

enum { BUILDER_SCOPE_MAX = 64, BUILDER_SMALL_INPUT = 64 };

struct builder {
    struct graph *graph;
    struct rng rng;
    const struct arch_options *options;
    bool small;                    /* input below BUILDER_SMALL_INPUT: the small-image variant */
    float bn_epsilon, bn_momentum; /* the architecture may change them before its first unit */
    char scope[BUILDER_SCOPE_MAX]; /* put before names: "stage1.block0" */
    int status;
    struct error *err;
};

/* A value of the graph, [n, channels, h, w], as units pass it on. */
struct feature {
    int value;
    int channels;
};

/* Convolution (no bias, padding (kernel-1)/2 on every side) and batch norm, then an activation. */
struct conv_unit {
    const char *name;
    int filters, kernel, stride;
    int groups;         /* 0 for 1 */
    enum op activation; /* OP_IDENTITY for none; OP_CLIP is ReLU6 */
    bool zero_scale;    /* batch-norm scale starts at 0 instead of 1 */
};

/* Starts a graph with its input [?, 3, size, size]. */
struct feature builder_start(struct builder *builder, const struct arch_options *options,
                             struct error *err);
void builder_scope(struct builder *builder, const char *format, ...) PRINTF_LIKE(2, 3);

struct feature builder_conv(struct builder *builder, struct feature x,
                            const struct conv_unit *unit);
struct feature builder_activation(struct builder *builder, struct feature x, const char *name,
                                  enum op activation);
struct feature builder_max_pool(struct builder *builder, struct feature x, const char *name,
                                int kernel, int stride);
struct feature builder_add(struct builder *builder, struct feature a, struct feature b);
/* Scales each channel by what a two-layer network makes of all channels' means (Hu et al.,
 * "Squeeze-and-Excitation Networks", 2018); swish inside, `squeezed` channels. */
struct feature builder_squeeze_excite(struct builder *builder, struct feature x, int squeezed);

/* Mean over the image, dropout (when the ratio is above 0), and the classifier; then checks all
 * shapes. On success the caller owns *out, on failure nothing is left. */
int builder_finish(struct builder *builder, struct feature x, float dropout, struct graph **out);

/* One architecture each: resnet50.c, mobilenetv2.c, efficientnet_b0.c. Options are checked. */
int arch_resnet50(const struct arch_options *options, struct graph **out, struct error *err);
int arch_mobilenetv2(const struct arch_options *options, struct graph **out, struct error *err);
int arch_efficientnet_b0(const struct arch_options *options, struct graph **out, struct error *err);

#endif
