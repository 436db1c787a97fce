/* Whether a network gives the same answers in bf16 as in fp32: see precision_check.h.
 *
 * The images are samples that lie beside the models and, as far as there are too few, ones painted
 * here: gradients with blobs, which are no photographs but are the same everywhere. On such images
 * a network often hesitates between two classes, and then any rounding decides; so an answer counts
 * as changed only where fp32 preferred its own class to the other by more than TIE. */
#include "models/precision_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "image/image.h"
#include "models/image_files.h"

enum { IMAGES = 64, BATCH_MAX = 8, SIDE_MIN = 128, BLOBS = 6, SEED = 2024 };
static const float TIE = 0.05f;

bool precision_verdict_same(const struct precision_verdict *verdict)
{
    return verdict->changed * 200 <= verdict->images;
}

/* --- Images */

/* Where the next image comes from. */
struct easel {
    struct rng rng;
    int side; /* of painted images */
    struct image_files samples;
    int64_t next_sample;
};

static uint8_t to_byte(double value)
{
    return (uint8_t)fmin(fmax(value, 0), 255);
}

static void paint_gradient(struct rng *rng, double *canvas, int side)
{
    for (int c = 0; c < 3; c++) {
        const double corner = 255 * rng_uniform(rng);
        const double across = 255 * (rng_uniform(rng) - 0.5) / side;
        const double down = 255 * (rng_uniform(rng) - 0.5) / side;
        for (int y = 0; y < side; y++)
            for (int x = 0; x < side; x++)
                canvas[(y * side + x) * 3 + c] = corner + across * x + down * y;
    }
}

/* A soft disc: full colour in its middle, none at its edge. */
static void paint_blob(struct rng *rng, double *canvas, int side)
{
    const double centre_x = side * rng_uniform(rng), centre_y = side * rng_uniform(rng);
    const double radius = side * (0.05 + 0.25 * rng_uniform(rng));
    double colour[3];

    for (int c = 0; c < 3; c++)
        colour[c] = 510 * (rng_uniform(rng) - 0.5);
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            const double dx = (x - centre_x) / radius, dy = (y - centre_y) / radius;
            const double cover = fmax(1 - dx * dx - dy * dy, 0);
            for (int c = 0; c < 3; c++)
                canvas[(y * side + x) * 3 + c] += cover * colour[c];
        }
}

/* Large enough for a centre to be cropped from without resizing. */
static int side_of(const struct preprocess *preprocess)
{
    const int side =
        preprocess->width > preprocess->height ? preprocess->width : preprocess->height;
    return side > SIDE_MIN ? side : SIDE_MIN;
}

static int paint(struct easel *easel, struct image **out, struct error *err)
{
    const int side = easel->side;
    double *canvas = calloc((size_t)side * (size_t)side * 3, sizeof *canvas);
    if (canvas == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to paint an image");
    const int status = image_create(side, side, out, err);
    if (status == STATUS_OK) {
        paint_gradient(&easel->rng, canvas, side);
        for (int b = 0; b < BLOBS; b++)
            paint_blob(&easel->rng, canvas, side);
        for (size_t i = 0; i < (size_t)side * (size_t)side * 3; i++)
            (*out)->pixels[i] = to_byte(canvas[i]);
    }
    free(canvas);
    return status;
}

static int read_sample(const char *path, struct image **out)
{
    uint8_t *bytes = NULL;
    size_t size = 0;

    int status = file_read(path, image_limits_default.bytes_max, &bytes, &size, NULL);
    if (status == STATUS_OK)
        status = image_decode(bytes, size, NULL, NULL, out, NULL);
    free(bytes);
    return status;
}

/* The tensor of the next sample that can be read and used, else of a painted image. */
static int next_tensor(struct easel *easel, const struct preprocess *preprocess, float *tensor,
                       struct error *err)
{
    struct image *image = NULL;

    while (easel->next_sample < easel->samples.count) {
        const char *path = easel->samples.files[easel->next_sample++].path;
        int status = read_sample(path, &image);
        if (status != STATUS_OK)
            continue;
        status = preprocess_run(preprocess, image, tensor, NULL);
        image_release(image);
        if (status == STATUS_OK)
            return STATUS_OK;
    }
    int status = paint(easel, &image, err);
    if (status == STATUS_OK) {
        status = preprocess_run(preprocess, image, tensor, err);
        image_release(image);
    }
    return status;
}

/* --- Answers */

static int highest(const float *values, int count)
{
    int best = 0;
    for (int i = 1; i < count; i++)
        if (values[i] > values[best])
            best = i;
    return best;
}

static bool answer_changed(const float *exact, const float *rounded, int classes)
{
    const int before = highest(exact, classes), after = highest(rounded, classes);
    if (isnan(rounded[after]))
        return true;
    return before != after && exact[before] - exact[after] > TIE;
}

struct comparison {
    const struct model_package *package;
    struct engine_session *exact, *rounded;
    size_t pixels; /* of one image's tensor */
    float *input, *exact_output, *rounded_output;
};

static int run_probabilities(const struct model_package *package, struct engine_session *session,
                             int n, const float *input, float *output, struct error *err)
{
    const int status = engine_run(session, n, input, output, err);
    if (status == STATUS_OK && !package->output_is_probabilities)
        softmax_rows(output, n, package->label_count);
    return status;
}

static int compare_batch(struct comparison *comparison, struct easel *easel, int n,
                         struct precision_verdict *verdict, struct error *err)
{
    const struct model_package *package = comparison->package;
    const int classes = package->label_count;
    int status = STATUS_OK;

    for (int i = 0; i < n && status == STATUS_OK; i++)
        status = next_tensor(easel, &package->preprocess,
                             comparison->input + (size_t)i * comparison->pixels, err);
    if (status == STATUS_OK)
        status = run_probabilities(package, comparison->exact, n, comparison->input,
                                   comparison->exact_output, err);
    if (status == STATUS_OK)
        status = run_probabilities(package, comparison->rounded, n, comparison->input,
                                   comparison->rounded_output, err);
    for (int i = 0; i < n && status == STATUS_OK; i++) {
        const size_t row = (size_t)i * (size_t)classes;
        verdict->images++;
        verdict->changed += answer_changed(comparison->exact_output + row,
                                           comparison->rounded_output + row, classes);
    }
    return status;
}

static int open_comparison(struct comparison *comparison, struct engine *exact,
                           struct engine *rounded, int batch, struct error *err)
{
    const size_t outputs = (size_t)batch * (size_t)comparison->package->label_count;

    comparison->pixels = preprocess_count(&comparison->package->preprocess);
    comparison->input = calloc((size_t)batch * comparison->pixels, sizeof(float));
    comparison->exact_output = calloc(outputs, sizeof(float));
    comparison->rounded_output = calloc(outputs, sizeof(float));
    if (comparison->input == NULL || comparison->exact_output == NULL ||
        comparison->rounded_output == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to compare precisions");
    const int status = engine_session_create(exact, 1, &comparison->exact, err);
    return status != STATUS_OK ? status
                               : engine_session_create(rounded, 1, &comparison->rounded, err);
}

static void close_comparison(struct comparison *comparison)
{
    if (comparison->exact != NULL)
        engine_session_free(comparison->exact);
    if (comparison->rounded != NULL)
        engine_session_free(comparison->rounded);
    free(comparison->input);
    free(comparison->exact_output);
    free(comparison->rounded_output);
}

int precision_check(const struct model_package *package, struct engine *exact,
                    struct engine *rounded, int batch_max, const char *samples,
                    const atomic_bool *stop, struct precision_verdict *out, struct error *err)
{
    struct comparison comparison = {.package = package};
    struct easel easel = {.side = side_of(&package->preprocess)};
    struct precision_verdict verdict = {0};
    const int batch = batch_max < BATCH_MAX ? batch_max : BATCH_MAX;

    rng_seed(&easel.rng, SEED);
    if (image_files_list(samples, &easel.samples, NULL) == STATUS_OK)
        image_files_sample(&easel.samples, IMAGES, SEED);
    else
        image_files_free(&easel.samples); /* no samples: all are painted */
    int status = open_comparison(&comparison, exact, rounded, batch, err);
    while (status == STATUS_OK && verdict.images < IMAGES) {
        const int left = IMAGES - verdict.images;
        if (atomic_load(stop))
            status = error_set(err, STATUS_CLOSED, "the precision check was stopped");
        else
            status = compare_batch(&comparison, &easel, left < batch ? left : batch, &verdict, err);
    }
    if (status == STATUS_OK)
        *out = verdict;
    close_comparison(&comparison);
    image_files_free(&easel.samples);
    return status;
}
