/* From a picture to a tensor: fit, crop, and conversion to planes of floats. */
#include "image/preprocess.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "image/planes.h"

static const struct preset {
    const char *name;
    struct preprocess preprocess;
} presets[] = {
    {"imagenet",
     {.fit = PREPROCESS_FIT_SHORTER,
      .kernel = RESIZE_KERNEL_BICUBIC,
      .antialias = true,
      .shorter_side = 256,
      .width = 224,
      .height = 224,
      .scale = 1.0f / 255.0f,
      .mean = {0.485f, 0.456f, 0.406f},
      .std = {0.229f, 0.224f, 0.225f}}},
    {"imagenet-224-bilinear",
     {.fit = PREPROCESS_FIT_SHORTER,
      .kernel = RESIZE_KERNEL_BILINEAR,
      .antialias = true,
      .shorter_side = 256,
      .width = 224,
      .height = 224,
      .scale = 1.0f / 255.0f,
      .mean = {0.485f, 0.456f, 0.406f},
      .std = {0.229f, 0.224f, 0.225f}}},
    {"cifar10",
     {.fit = PREPROCESS_FIT_SHORTER,
      .kernel = RESIZE_KERNEL_BICUBIC,
      .antialias = true,
      .shorter_side = 32,
      .width = 32,
      .height = 32,
      .scale = 1.0f / 255.0f,
      .mean = {0.4914f, 0.4822f, 0.4465f},
      .std = {0.2470f, 0.2435f, 0.2616f}}},
    {"raw01",
     {.fit = PREPROCESS_FIT_STRETCH,
      .kernel = RESIZE_KERNEL_BILINEAR,
      .antialias = true,
      .width = 224,
      .height = 224,
      .scale = 1.0f / 255.0f,
      .std = {1.0f, 1.0f, 1.0f}}},
};

enum { PRESET_COUNT = sizeof presets / sizeof presets[0] };

const char *preprocess_preset_name(size_t index)
{
    return index < PRESET_COUNT ? presets[index].name : NULL;
}

int preprocess_preset(const char *name, struct preprocess *out, struct error *err)
{
    for (size_t i = 0; i < PRESET_COUNT; i++) {
        if (strcmp(presets[i].name, name) == 0) {
            *out = presets[i].preprocess;
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_NOT_FOUND,
                     "no preprocess preset is named '%.64s'; there are imagenet, "
                     "imagenet-224-bilinear, cifar10 and raw01",
                     name);
}

static bool is_side(int side)
{
    return side >= 1 && side <= PREPROCESS_SIDE_MAX;
}

static int check_numbers(const struct preprocess *preprocess, struct error *err)
{
    if (!isfinite(preprocess->scale) || preprocess->scale == 0.0f)
        return error_set(err, STATUS_INVALID, "preprocess: scale must be a number other than 0");
    for (int c = 0; c < 3; c++) {
        if (!isfinite(preprocess->mean[c]))
            return error_set(err, STATUS_INVALID, "preprocess: mean[%d] must be a number", c);
        if (!isfinite(preprocess->std[c]) || preprocess->std[c] == 0.0f)
            return error_set(err, STATUS_INVALID,
                             "preprocess: std[%d] must be a number other than 0", c);
    }
    return STATUS_OK;
}

int preprocess_check(const struct preprocess *preprocess, struct error *err)
{
    const int width = preprocess->width, height = preprocess->height;

    if ((unsigned)preprocess->fit > PREPROCESS_FIT_NONE ||
        (unsigned)preprocess->kernel > RESIZE_KERNEL_BICUBIC ||
        (unsigned)preprocess->order > PREPROCESS_ORDER_BGR)
        return error_set(err, STATUS_INVALID,
                         "preprocess: fit, kernel or channel order is not one of those known");
    if (!is_side(width) || !is_side(height))
        return error_set(err, STATUS_INVALID, "preprocess: width and height must be 1 to %d",
                         PREPROCESS_SIDE_MAX);
    if (preprocess->fit == PREPROCESS_FIT_SHORTER &&
        (!is_side(preprocess->shorter_side) || preprocess->shorter_side < width ||
         preprocess->shorter_side < height))
        return error_set(err, STATUS_INVALID,
                         "preprocess: the shorter side, %d, must be at most %d and at least the "
                         "crop's %d x %d",
                         preprocess->shorter_side, PREPROCESS_SIDE_MAX, width, height);
    return check_numbers(preprocess, err);
}

/* The description with everything that plays no part set to zero, as words to compare and hash. */
struct canonical {
    int32_t choices[7];
    float numbers[7];
};

static struct canonical canonical_of(const struct preprocess *preprocess)
{
    const bool resizes = preprocess->fit != PREPROCESS_FIT_NONE;
    const bool crops = preprocess->fit == PREPROCESS_FIT_SHORTER;
    struct canonical canonical = {
        .choices = {(int32_t)preprocess->fit, resizes ? (int32_t)preprocess->kernel : 0,
                    resizes && preprocess->antialias, crops ? preprocess->shorter_side : 0,
                    preprocess->width, preprocess->height, (int32_t)preprocess->order},
    };

    canonical.numbers[0] = preprocess->scale;
    for (int c = 0; c < 3; c++) {
        canonical.numbers[1 + c] = preprocess->mean[c] + 0.0f; /* -0 becomes 0 */
        canonical.numbers[4 + c] = preprocess->std[c];
    }
    return canonical;
}

bool preprocess_equal(const struct preprocess *a, const struct preprocess *b)
{
    const struct canonical left = canonical_of(a), right = canonical_of(b);
    return memcmp(&left, &right, sizeof left) == 0;
}

uint64_t preprocess_hash(const struct preprocess *preprocess)
{
    const struct canonical canonical = canonical_of(preprocess);
    return fnv1a(&canonical, sizeof canonical);
}

size_t preprocess_count(const struct preprocess *preprocess)
{
    return (size_t)3 * (size_t)preprocess->height * (size_t)preprocess->width;
}

void preprocess_widen_target(const struct preprocess *preprocess, struct image_target *target)
{
    int width = preprocess->width, height = preprocess->height;

    if (preprocess->fit == PREPROCESS_FIT_SHORTER)
        width = height = preprocess->shorter_side;
    /* A crop counts in pixels of the file, and without antialiasing the pixels skipped matter: both
     * need the full size. */
    if (preprocess->fit == PREPROCESS_FIT_NONE || !preprocess->antialias)
        width = height = INT_MAX;
    if (target->width < width)
        target->width = width;
    if (target->height < height)
        target->height = height;
}

/* The size of the whole picture after fitting, before the crop. */
static int fitted_size(const struct preprocess *preprocess, const struct image *image, int *width,
                       int *height, struct error *err)
{
    const struct image_box *content = &image->content;
    const int side = preprocess->shorter_side;

    *width = image->width;
    *height = image->height;
    if (preprocess->fit == PREPROCESS_FIT_STRETCH) {
        *width = preprocess->width;
        *height = preprocess->height;
    } else if (preprocess->fit == PREPROCESS_FIT_SHORTER) {
        const bool upright = content->width <= content->height;
        *width = upright ? side : (int)(side * content->width / content->height);
        *height = upright ? (int)(side * content->height / content->width) : side;
    }
    if (*width < preprocess->width || *height < preprocess->height)
        return error_set(err, STATUS_INVALID,
                         "the picture has %d x %d pixels; the model takes %d x %d", image->width,
                         image->height, preprocess->width, preprocess->height);
    return STATUS_OK;
}

/* Where a centred crop begins: half of what is left, a half pixel going to the even side, as
 * torchvision's CenterCrop rounds. */
static int crop_start(int size, int crop)
{
    const int left = size - crop, start = left / 2;
    return start + (left & start & 1);
}

static void convert(const struct preprocess *preprocess, const struct image *image, int x, int y,
                    float *out)
{
    const uint8_t *first = image->pixels + (size_t)y * image->stride + 3 * (size_t)x;
    planes_function *planes = planes_plain;
    struct planes_map map;

    for (int plane = 0; plane < 3; plane++) {
        map.channel[plane] = preprocess->order == PREPROCESS_ORDER_BGR ? 2 - plane : plane;
        map.factor[plane] = preprocess->scale / preprocess->std[plane];
        map.offset[plane] = -preprocess->mean[plane] / preprocess->std[plane];
    }
#if IMAGE_HAS_AVX2
    if (cpu_runs_avx2())
        planes = planes_avx2;
#endif
    planes(&map, first, image->stride, preprocess->width, preprocess->height, out);
}

int preprocess_run(const struct preprocess *preprocess, const struct image *image, float *out,
                   struct error *err)
{
    struct resize_window window = {.width = preprocess->width, .height = preprocess->height};
    struct image *fitted;
    int width, height;

    int status = fitted_size(preprocess, image, &width, &height, err);
    if (status != STATUS_OK)
        return status;
    window.x = crop_start(width, window.width);
    window.y = crop_start(height, window.height);
    if (width == image->content.width && height == image->content.height) {
        convert(preprocess, image, window.x, window.y, out);
        return STATUS_OK;
    }
    status = image_resize(image, width, height, preprocess->kernel, preprocess->antialias, &window,
                          &fitted, err);
    if (status != STATUS_OK)
        return status;
    convert(preprocess, fitted, 0, 0, out);
    image_release(fitted);
    return STATUS_OK;
}
