/* See dataset.h. */
#include "models/dataset.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "image/image.h"
#include "models/image_files.h"

static const int64_t bytes_max = (int64_t)8 << 30;

/* ---- labels ---- */

static int copy_labels(struct dataset *dataset, const char *const *labels, int count,
                       struct error *err)
{
    dataset->labels = calloc((size_t)count + 1, sizeof *dataset->labels);
    for (int i = 0; dataset->labels != NULL && i < count; i++) {
        dataset->labels[i] = strdup(labels[i]);
        if (dataset->labels[i] == NULL)
            break;
        dataset->label_count++;
    }
    return dataset->label_count == count
               ? STATUS_OK
               : error_set(err, STATUS_NO_MEMORY, "no memory for %d labels", count);
}

static int find_label(const struct dataset *dataset, const char *name)
{
    for (int i = 0; i < dataset->label_count; i++)
        if (strcmp(dataset->labels[i], name) == 0)
            return i;
    return -1;
}

/* The label's number of each folder; *out is malloc'd. */
static int number_classes(const struct dataset *dataset, const struct image_files *files,
                          const char *folder, int32_t **out, struct error *err)
{
    int32_t *numbers = calloc((size_t)files->class_count + 1, sizeof *numbers);
    if (numbers == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %d classes", files->class_count);
    for (int i = 0; i < files->class_count; i++) {
        numbers[i] = find_label(dataset, files->classes[i]);
        if (numbers[i] < 0) {
            free(numbers);
            return error_set(err, STATUS_INVALID,
                             "the folder '%s' in '%s' is not one of the %d classes of the model",
                             files->classes[i], folder, dataset->label_count);
        }
    }
    *out = numbers;
    return STATUS_OK;
}

/* ---- pictures ---- */

static int read_image(const char *path, const struct preprocess *preprocess, struct image **out,
                      struct error *err)
{
    struct image_target target = {1, 1};
    uint8_t *bytes;
    size_t size;
    int status = file_read(path, image_limits_default.bytes_max, &bytes, &size, err);
    if (status != STATUS_OK)
        return status;
    preprocess_widen_target(preprocess, &target);
    status = image_decode(bytes, size, NULL, &target, out, err);
    free(bytes);
    return status;
}

/* As preprocess_run fits, but staying in 8 bits. */
static int fit(const struct preprocess *preprocess, struct image *image, uint8_t *pixels,
               struct error *err)
{
    struct preprocess plain = *preprocess;
    size_t plane = (size_t)preprocess->height * (size_t)preprocess->width;
    float *planes = malloc(3 * plane * sizeof *planes);

    if (planes == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a picture");
    plain.order = PREPROCESS_ORDER_RGB;
    plain.scale = 1;
    for (int c = 0; c < 3; c++) {
        plain.mean[c] = 0;
        plain.std[c] = 1;
    }
    int status = preprocess_run(&plain, image, planes, err);
    for (size_t i = 0; status == STATUS_OK && i < 3 * plane; i++)
        pixels[i % plane * 3 + i / plane] = (uint8_t)(planes[i] + 0.5f);
    free(planes);
    return status;
}

static int add_picture(struct dataset *dataset, const struct preprocess *preprocess,
                       const char *path, int32_t truth, struct error *err)
{
    size_t size = (size_t)dataset->height * (size_t)dataset->width * 3;
    struct image *image;
    int status = read_image(path, preprocess, &image, err);

    if (status == STATUS_OK) {
        status = fit(preprocess, image, dataset->pixels + (size_t)dataset->count * size, err);
        image_release(image);
    }
    if (status == STATUS_NO_MEMORY)
        return status;
    if (status != STATUS_OK) {
        dataset->unreadable++;
        return STATUS_OK;
    }
    dataset->truth[dataset->count++] = truth;
    return STATUS_OK;
}

static int read_pictures(struct dataset *dataset, const struct image_files *files,
                         const int32_t *numbers, const struct preprocess *preprocess,
                         struct error *err)
{
    struct error last = {0};
    int64_t size = (int64_t)dataset->height * dataset->width * 3;
    int status = STATUS_OK;

    if (files->count > bytes_max / size)
        return error_set(err, STATUS_TOO_LARGE, "%lld pictures of %d x %d do not fit into memory",
                         (long long)files->count, dataset->width, dataset->height);
    dataset->pixels = malloc((size_t)(files->count * size + 1));
    dataset->truth = malloc((size_t)(files->count + 1) * sizeof *dataset->truth);
    if (dataset->pixels == NULL || dataset->truth == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %lld pictures",
                         (long long)files->count);
    for (int64_t i = 0; i < files->count && status == STATUS_OK; i++)
        if (files->files[i].class_index >= 0)
            status = add_picture(dataset, preprocess, files->files[i].path,
                                 numbers[files->files[i].class_index], &last);
    if (status != STATUS_OK && err != NULL)
        *err = last;
    if (status == STATUS_OK && dataset->count == 0)
        status = error_set(err, STATUS_INVALID, "no picture could be read%s%s",
                           last.message[0] != '\0' ? "; the last one: " : "", last.message);
    return status;
}

int dataset_open_folder(const char *folder, const char *const *labels, int label_count,
                        const struct preprocess *preprocess, struct dataset **out,
                        struct error *err)
{
    struct image_files files = {0};
    int32_t *numbers = NULL;
    struct dataset *dataset = calloc(1, sizeof *dataset);
    int status;

    if (dataset == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a data set");
    dataset->height = preprocess->height;
    dataset->width = preprocess->width;
    status = image_files_list(folder, &files, err);
    if (status == STATUS_OK && files.class_count == 0)
        status = error_set(err, STATUS_INVALID, "'%s' has no folder, so no class", folder);
    if (status == STATUS_OK && labels == NULL)
        status = copy_labels(dataset, (const char *const *)files.classes, files.class_count, err);
    else if (status == STATUS_OK)
        status = copy_labels(dataset, labels, label_count, err);
    if (status == STATUS_OK)
        status = number_classes(dataset, &files, folder, &numbers, err);
    if (status == STATUS_OK)
        status = read_pictures(dataset, &files, numbers, preprocess, err);
    image_files_free(&files);
    free(numbers);
    if (status != STATUS_OK) {
        dataset_free(dataset);
        return status;
    }
    *out = dataset;
    return STATUS_OK;
}

void dataset_free(struct dataset *dataset)
{
    if (dataset == NULL)
        return;
    for (int i = 0; i < dataset->label_count; i++)
        free(dataset->labels[i]);
    free(dataset->labels);
    free(dataset->pixels);
    free(dataset->truth);
    free(dataset);
}

const uint8_t *dataset_pixels(const struct dataset *dataset, int64_t index)
{
    return dataset->pixels + (size_t)index * (size_t)dataset->height * (size_t)dataset->width * 3;
}

/* ---- the split ---- */

/* Appends the pictures of one class: the first ones, in an order the seed chose, are held out. */
static void split_class(const struct dataset *dataset, int32_t label, double share, uint64_t seed,
                        uint32_t *members, struct dataset_split *out)
{
    struct rng rng;
    uint32_t count = 0;

    for (int64_t i = 0; i < dataset->count; i++)
        if (dataset->truth[i] == label)
            members[count++] = (uint32_t)i;
    rng_seed(&rng, seed * 1000003u + (uint64_t)label);
    rng_shuffle(&rng, members, count);
    uint32_t held = (uint32_t)(share * count + 0.5);
    for (uint32_t i = 0; i < count; i++)
        if (i < held)
            out->validation[out->validation_count++] = members[i];
        else
            out->train[out->train_count++] = members[i];
}

int dataset_split_make(const struct dataset *dataset, int64_t validation, uint64_t seed,
                       struct dataset_split *out, struct error *err)
{
    uint32_t *members = malloc((size_t)(dataset->count + 1) * sizeof *members);

    out->train = malloc((size_t)(dataset->count + 1) * sizeof *out->train);
    out->validation = malloc((size_t)(dataset->count + 1) * sizeof *out->validation);
    if (members == NULL || out->train == NULL || out->validation == NULL) {
        free(members);
        return error_set(err, STATUS_NO_MEMORY, "no memory to split %lld pictures",
                         (long long)dataset->count);
    }
    double share = (double)validation / (double)dataset->count;
    for (int32_t label = 0; label < dataset->label_count; label++)
        split_class(dataset, label, share, seed, members, out);
    free(members);
    if (out->train_count == 0 || out->validation_count == 0)
        return error_set(err, STATUS_INVALID,
                         "%lld of %lld pictures held out leave none for training or none to "
                         "choose by",
                         (long long)validation, (long long)dataset->count);
    return STATUS_OK;
}

void dataset_split_free(struct dataset_split *split)
{
    free(split->train);
    free(split->validation);
    *split = (struct dataset_split){0};
}
