/* From a picture to one model's input tensor, as the model's package declares it.
 *
 * A tensor value is (channel * scale - mean) / std. Models whose descriptions are equal
 * (preprocess_equal) can share one tensor. All functions are thread-safe. */
#ifndef IMAGE_PREPROCESS_H
#define IMAGE_PREPROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "image/image.h"
#include "image/resize.h"

enum preprocess_fit {
    PREPROCESS_FIT_STRETCH, /* exactly width x height, whatever the proportions */
    PREPROCESS_FIT_SHORTER, /* the shorter side to `shorter_side`, then the centre is cropped */
    PREPROCESS_FIT_NONE,    /* not resized; the centre is cropped, a smaller picture is an error */
};

enum preprocess_order {
    PREPROCESS_ORDER_RGB,
    PREPROCESS_ORDER_BGR,
};

/* Sides of a tensor, and of the picture it is cropped from, are at most this. */
enum { PREPROCESS_SIDE_MAX = 4096 };

struct preprocess {
    enum preprocess_fit fit;
    enum resize_kernel kernel;
    bool antialias;
    int shorter_side;  /* only for PREPROCESS_FIT_SHORTER; at least width and height */
    int width, height; /* of the tensor */
    enum preprocess_order order;
    float scale;   /* applied to 0..255; 1/255 makes 0..1 */
    float mean[3]; /* in the tensor's channel order, after scaling */
    float std[3];  /* likewise; never 0 */
};

/* The presets, all RGB, antialiased, scale 1/255:
 *   "imagenet"               shorter side to 256, bicubic; centre 224 x 224;
 *                            mean .485 .456 .406, std .229 .224 .225
 *   "imagenet-224-bilinear"  the same with the bilinear kernel (torchvision's first weights)
 *   "cifar10"                shorter side to 32, bicubic; centre 32 x 32;
 *                            mean .4914 .4822 .4465, std .2470 .2435 .2616 (its training split's)
 *   "raw01"                  stretched to 224 x 224, bilinear; mean 0, std 1
 * STATUS_NOT_FOUND, naming the presets, for another name. */
int preprocess_preset(const char *name, struct preprocess *out, struct error *err);
/* The name of the index-th preset, counted from 0; NULL after the last. */
const char *preprocess_preset_name(size_t index);

/* Whether the description makes sense; STATUS_INVALID with the field that does not. For whoever
 * reads one from a file; the other functions expect a description that passes. */
int preprocess_check(const struct preprocess *preprocess, struct error *err);
/* Same tensor from the same picture. Fields that play no part are ignored. */
bool preprocess_equal(const struct preprocess *a, const struct preprocess *b);
/* Equal descriptions have equal hashes, in one process and across. */
uint64_t preprocess_hash(const struct preprocess *preprocess);

/* The floats of the tensor: 3 * height * width. */
size_t preprocess_count(const struct preprocess *preprocess);

/* Widens `target` so that a picture decoded for it serves this description too; start from
 * {1, 1} and call once for each description that will share the picture. */
void preprocess_widen_target(const struct preprocess *preprocess, struct image_target *target);

/* Writes out[3, height, width]. STATUS_INVALID when the picture is too small to crop from
 * (PREPROCESS_FIT_NONE), STATUS_NO_MEMORY; `out` is then undefined. */
int preprocess_run(const struct preprocess *preprocess, const struct image *image, float *out,
                   struct error *err);

#endif
