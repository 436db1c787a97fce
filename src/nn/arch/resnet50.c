/* ResNet-50 v1.5: He et al., "Deep Residual Learning for Image Recognition", 2015, table 1, with
 * the stride of a down-sampling bottleneck on its 3x3 convolution. The last batch-norm scale of
 * every residual branch starts at zero, so that each block starts as the identity (Goyal et al.,
 * "Accurate, Large Minibatch SGD", 2017, section 5.1).
 *
 * At 224: 25,557,032 trained parameters with 1000 classes, 4.089 G multiply-accumulates.
 *
 * The small-image variant (input below 64) has a 3x3 stride-1 stem instead of the 7x7 stride-2 one,
 * and keeps the max-pool: the four stages run at 1/2, 1/4, 1/8 and 1/16 of the input, at 32x32 that
 * is 16, 8, 4 and 2, and 0.33 G multiply-accumulates. */
#include "nn/arch/builder.h"

enum { BOTTLENECK_EXPANSION = 4, STAGE_COUNT = 4 };

static const struct {
    int width, blocks, stride;
} stages[STAGE_COUNT] = {{64, 3, 1}, {128, 4, 2}, {256, 6, 2}, {512, 3, 2}};

static struct feature bottleneck(struct builder *builder, struct feature x, int width, int stride)
{
    const int outputs = width * BOTTLENECK_EXPANSION;
    const struct conv_unit reduce = {"reduce", width, 1, 1, .activation = OP_RELU};
    const struct conv_unit middle = {"middle", width, 3, stride, .activation = OP_RELU};
    const struct conv_unit expand = {"expand",          outputs, 1, 1, .activation = OP_IDENTITY,
                                     .zero_scale = true};
    const struct conv_unit shortcut = {"shortcut", outputs, 1, stride, .activation = OP_IDENTITY};
    struct feature branch = builder_conv(builder, x, &reduce);

    branch = builder_conv(builder, branch, &middle);
    branch = builder_conv(builder, branch, &expand);
    if (x.channels != outputs)
        x = builder_conv(builder, x, &shortcut);
    return builder_activation(builder, builder_add(builder, branch, x), "out", OP_RELU);
}

int arch_resnet50(const struct arch_options *options, struct graph **out, struct error *err)
{
    struct builder builder;
    struct feature x = builder_start(&builder, options, err);
    const struct conv_unit stem = {"stem", 64, builder.small ? 3 : 7, builder.small ? 1 : 2,
                                   .activation = OP_RELU};

    x = builder_conv(&builder, x, &stem);
    x = builder_max_pool(&builder, x, "stem.pool", 3, 2);
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        for (int block = 0; block < stages[stage].blocks; block++) {
            builder_scope(&builder, "stage%d.block%d", stage + 1, block);
            x = bottleneck(&builder, x, stages[stage].width, block == 0 ? stages[stage].stride : 1);
        }
    }
    return builder_finish(&builder, x, 0, out);
}
