/* EfficientNet-B0: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
 * Networks", 2019, table 1: MobileNetV2's blocks with squeeze-and-excite and swish, batch norm with
 * epsilon 1e-3 and momentum 0.99, dropout of 0.2 before the classifier. Padding is the same on both
 * sides; stochastic depth belongs to training and is not in the graph.
 *
 * At 224: 5,288,548 trained parameters with 1000 classes, 0.386 G multiply-accumulates.
 *
 * The small-image variant (input below 64) has an output stride of 8 instead of 32: the stem and
 * the first down-sampling stage (24 channels) keep the resolution; kernels and all else are as
 * published, but for a batch-norm momentum of 0.9, since short trainings end before averages of
 * 0.99 have settled. At 32x32 the last stages see 4x4, and it costs 0.116 G multiply-accumulates.
 */
#include "nn/arch/builder.h"

enum { STAGE_COUNT = 7, SQUEEZE_RATIO = 4 };

static const struct {
    int expansion, kernel, channels, blocks, stride;
    int small_stride;
} stages[STAGE_COUNT] = {
    {1, 3, 16, 1, 1, 1},  {6, 3, 24, 2, 2, 1},  {6, 5, 40, 2, 2, 2},  {6, 3, 80, 3, 2, 2},
    {6, 5, 112, 3, 1, 1}, {6, 5, 192, 4, 2, 2}, {6, 3, 320, 1, 1, 1},
};

static struct feature mobile_block(struct builder *builder, struct feature x, int stage, int stride)
{
    const int wide = x.channels * stages[stage].expansion;
    const struct conv_unit expand = {"expand", wide, 1, 1, .activation = OP_SWISH};
    const struct conv_unit depthwise = {"depthwise", wide,           stages[stage].kernel,
                                        stride,      .groups = wide, .activation = OP_SWISH};
    const struct conv_unit project = {"project", stages[stage].channels, 1, 1,
                                      .activation = OP_IDENTITY};
    struct feature branch = x;

    if (stages[stage].expansion != 1)
        branch = builder_conv(builder, branch, &expand);
    branch = builder_conv(builder, branch, &depthwise);
    branch = builder_squeeze_excite(builder, branch, x.channels / SQUEEZE_RATIO);
    branch = builder_conv(builder, branch, &project);
    const bool residual = stride == 1 && x.channels == branch.channels;
    return residual ? builder_add(builder, branch, x) : branch;
}

int arch_efficientnet_b0(const struct arch_options *options, struct graph **out, struct error *err)
{
    struct builder builder;
    struct feature x = builder_start(&builder, options, err);
    const struct conv_unit stem = {"stem", 32, 3, builder.small ? 1 : 2, .activation = OP_SWISH};
    const struct conv_unit head = {"head", 1280, 1, 1, .activation = OP_SWISH};

    builder.bn_epsilon = 1e-3f;
    builder.bn_momentum = builder.small ? 0.9f : 0.99f;
    x = builder_conv(&builder, x, &stem);
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        const int stride = builder.small ? stages[stage].small_stride : stages[stage].stride;
        for (int block = 0; block < stages[stage].blocks; block++) {
            builder_scope(&builder, "stage%d.block%d", stage + 1, block);
            x = mobile_block(&builder, x, stage, block == 0 ? stride : 1);
        }
    }
    builder_scope(&builder, "%s", "");
    x = builder_conv(&builder, x, &head);
    return builder_finish(&builder, x, 0.2f, out);
}
