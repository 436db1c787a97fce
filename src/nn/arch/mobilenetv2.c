/* MobileNetV2, width 1.0: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
 * 2018, table 2, with the authors' dropout of 0.2 before the classifier.
 *
 * At 224: 3,504,872 trained parameters with 1000 classes, 0.301 G multiply-accumulates.
 *
 * The small-image variant (input below 64) has an output stride of 8 instead of 32: the stem and
 * the first down-sampling stage (24 channels) keep the resolution, all else is as published. At
 * 32x32 the last stages see 4x4, and it costs 0.088 G multiply-accumulates. */
#include "nn/arch/builder.h"

enum { STAGE_COUNT = 7 };

static const struct {
    int expansion, channels, blocks, stride;
    int small_stride;
} stages[STAGE_COUNT] = {
    {1, 16, 1, 1, 1}, {6, 24, 2, 2, 1},  {6, 32, 3, 2, 2},  {6, 64, 4, 2, 2},
    {6, 96, 3, 1, 1}, {6, 160, 3, 2, 2}, {6, 320, 1, 1, 1},
};

static struct feature inverted_residual(struct builder *builder, struct feature x, int expansion,
                                        int channels, int stride)
{
    const int wide = x.channels * expansion;
    const struct conv_unit expand = {"expand", wide, 1, 1, .activation = OP_CLIP};
    const struct conv_unit depthwise = {"depthwise", wide,           3,
                                        stride,      .groups = wide, .activation = OP_CLIP};
    const struct conv_unit project = {"project", channels, 1, 1, .activation = OP_IDENTITY};
    struct feature branch = x;

    if (expansion != 1)
        branch = builder_conv(builder, branch, &expand);
    branch = builder_conv(builder, branch, &depthwise);
    branch = builder_conv(builder, branch, &project);
    return stride == 1 && x.channels == channels ? builder_add(builder, branch, x) : branch;
}

int arch_mobilenetv2(const struct arch_options *options, struct graph **out, struct error *err)
{
    struct builder builder;
    struct feature x = builder_start(&builder, options, err);
    const struct conv_unit stem = {"stem", 32, 3, builder.small ? 1 : 2, .activation = OP_CLIP};
    const struct conv_unit head = {"head", 1280, 1, 1, .activation = OP_CLIP};

    x = builder_conv(&builder, x, &stem);
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        const int stride = builder.small ? stages[stage].small_stride : stages[stage].stride;
        for (int block = 0; block < stages[stage].blocks; block++) {
            builder_scope(&builder, "stage%d.block%d", stage + 1, block);
            x = inverted_residual(&builder, x, stages[stage].expansion, stages[stage].channels,
                                  block == 0 ? stride : 1);
        }
    }
    builder_scope(&builder, "%s", "");
    x = builder_conv(&builder, x, &head);
    return builder_finish(&builder, x, 0.2f, out);
}
