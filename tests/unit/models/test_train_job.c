/* Data sets, the loader's batches, and whole trainings of a tiny network on coloured pictures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "fixture.h"
#include "models/train_job.h"
#include "models/train_loader.h"
#include "nn/onnx/onnx.h"

enum { PER_CLASS = 12 };

static void succeed(int status, const struct error *err)
{
    if (status != STATUS_OK)
        fail_msg("%s", err->message);
}

/* FOLDER/train/{blue,green,none,red}/NN.png, each class of many shades. */
static char *make_data(void)
{
    static const char *const names[] = {"blue", "green", "none", "red"};
    static const int colours[][3] = {{0, 0, 1}, {0, 1, 0}, {0, 0, 0}, {1, 0, 0}};
    char *folder = fixture_folder();
    struct error err = {0};

    for (int c = 0; c < 4; c++) {
        char path[256];
        snprintf(path, sizeof path, "%s/train/%s", folder, names[c]);
        succeed(folder_make(path, false, &err), &err);
        for (int i = 0; i < PER_CLASS; i++) {
            int bright = 150 + 8 * i, dark = 3 * i;
            snprintf(path, sizeof path, "%s/train/%s/%02d.png", folder, names[c], i);
            fixture_png(path, colours[c][0] ? bright : dark, colours[c][1] ? bright : dark,
                        colours[c][2] ? bright : dark);
        }
    }
    return folder;
}

static void drop(char *folder)
{
    folder_remove(folder, NULL);
    free(folder);
}

static struct preprocess small(void)
{
    struct preprocess preprocess;
    struct error err = {0};
    succeed(preprocess_preset("cifar10", &preprocess, &err), &err);
    preprocess.width = preprocess.height = preprocess.shorter_side = 8;
    return preprocess;
}

/* ---- data sets ---- */

static void test_reads_a_folder(void **state)
{
    const struct preprocess preprocess = small();
    char *folder = make_data();
    const char *train = fixture_path(folder, "train");
    struct dataset *dataset;
    struct error err = {0};
    (void)state;

    fixture_write(fixture_path(folder, "train/red/99.png"), "not a picture");
    succeed(dataset_open_folder(train, NULL, 0, &preprocess, &dataset, &err), &err);
    assert_int_equal(dataset->count, 4 * PER_CLASS);
    assert_int_equal(dataset->unreadable, 1);
    assert_int_equal(dataset->label_count, 4);
    assert_string_equal(dataset->labels[0], "blue");
    assert_string_equal(dataset->labels[3], "red");
    for (int64_t i = 0; i < dataset->count; i++) {
        const uint8_t *pixels = dataset_pixels(dataset, i);
        int32_t truth = dataset->truth[i];
        assert_int_equal(truth, i / PER_CLASS);
        assert_int_equal(pixels[0] > 100, truth == 3);
        assert_int_equal(pixels[8 * 8 * 3 - 1] > 100, truth == 0);
    }
    dataset_free(dataset);
    drop(folder);
}

static void test_takes_the_labels_order(void **state)
{
    static const char *const labels[] = {"red", "green", "blue", "none"};
    const struct preprocess preprocess = small();
    char *folder = make_data();
    const char *train = fixture_path(folder, "train");
    struct dataset *dataset;
    struct error err = {0};
    (void)state;

    succeed(dataset_open_folder(train, labels, 4, &preprocess, &dataset, &err), &err);
    assert_int_equal(dataset->truth[0], 2); /* the first by path is blue */
    dataset_free(dataset);
    assert_int_equal(dataset_open_folder(train, labels, 3, &preprocess, &dataset, &err),
                     STATUS_INVALID);
    assert_non_null(strstr(err.message, "none"));
    drop(folder);
}

static void test_splits_every_class_alike(void **state)
{
    const struct preprocess preprocess = small();
    char *folder = make_data();
    struct dataset *dataset;
    struct dataset_split a = {0}, b = {0}, other = {0};
    struct error err = {0};
    int seen[4 * PER_CLASS] = {0}, held[4] = {0};
    (void)state;

    succeed(
        dataset_open_folder(fixture_path(folder, "train"), NULL, 0, &preprocess, &dataset, &err),
        &err);
    succeed(dataset_split_make(dataset, 12, 1, &a, &err), &err);
    succeed(dataset_split_make(dataset, 12, 1, &b, &err), &err);
    succeed(dataset_split_make(dataset, 12, 2, &other, &err), &err);
    assert_int_equal(a.validation_count, 12);
    assert_int_equal(a.train_count, 4 * PER_CLASS - 12);
    for (int64_t i = 0; i < a.train_count; i++)
        seen[a.train[i]]++;
    for (int64_t i = 0; i < a.validation_count; i++) {
        seen[a.validation[i]]++;
        held[dataset->truth[a.validation[i]]]++;
    }
    for (int i = 0; i < 4 * PER_CLASS; i++)
        assert_int_equal(seen[i], 1);
    for (int c = 0; c < 4; c++)
        assert_int_equal(held[c], 3);
    assert_memory_equal(a.validation, b.validation, 12 * sizeof *a.validation);
    assert_memory_not_equal(a.validation, other.validation, 12 * sizeof *a.validation);
    dataset_split_free(&b);
    assert_int_equal(dataset_split_make(dataset, 4 * PER_CLASS, 1, &b, &err), STATUS_INVALID);
    dataset_split_free(&a);
    dataset_split_free(&b);
    dataset_split_free(&other);
    dataset_free(dataset);
    drop(folder);
}

/* ---- the loader ---- */

struct taken {
    float first[3]; /* the first pixel of the first picture */
    int32_t labels[8];
    int size;
};

static void take(struct train_loader *loader, struct taken *taken)
{
    const struct train_batch *batch;
    struct error err = {0};
    succeed(train_loader_next(loader, &batch, &err), &err);
    for (int c = 0; c < 3; c++)
        taken->first[c] = batch->input[c * batch->size * batch->size];
    memcpy(taken->labels, batch->labels, sizeof taken->labels);
    taken->size = batch->size;
}

static void test_batches_follow_from_seed_and_number(void **state)
{
    const struct preprocess preprocess = small();
    const struct augment augment = {
        .pad = 2, .flip = true, .cutout = 2, .scale = 1, .std = {1, 1, 1}};
    char *folder = make_data();
    struct dataset *dataset;
    struct dataset_split split = {0};
    struct train_loader *loader;
    struct error err = {0};
    struct taken straight[20], again;
    (void)state;

    succeed(
        dataset_open_folder(fixture_path(folder, "train"), NULL, 0, &preprocess, &dataset, &err),
        &err);
    succeed(dataset_split_make(dataset, 8, 1, &split, &err), &err);
    /* 40 pictures, batches of 8: 5 an epoch; the first 6 are small. */
    succeed(train_loader_create(dataset, split.train, split.train_count, &augment, 8, 3, 0, 6, 6,
                                &loader, &err),
            &err);
    for (int i = 0; i < 20; i++)
        take(loader, &straight[i]);
    train_loader_free(loader);
    for (int first = 0; first < 20; first += 3) {
        succeed(train_loader_create(dataset, split.train, split.train_count, &augment, 8, 3,
                                    (uint64_t)first, 6, 6, &loader, &err),
                &err);
        for (int i = first; i < 20; i++) {
            take(loader, &again);
            assert_memory_equal(&again, &straight[i], sizeof again);
        }
        train_loader_free(loader);
    }
    for (int i = 0; i < 20; i++)
        assert_int_equal(straight[i].size, i < 6 ? 6 : 8);
    assert_memory_not_equal(straight[0].labels, straight[5].labels, sizeof straight[0].labels);
    assert_int_not_equal(
        train_loader_create(dataset, split.train, 7, &augment, 8, 3, 0, 0, 0, &loader, &err),
        STATUS_OK);
    dataset_split_free(&split);
    dataset_free(dataset);
    drop(folder);
}

/* ---- trainings ---- */

struct watch {
    int epochs;     /* seen to end */
    int stop_after; /* so many of them; 0 for never */
};

static bool watch(void *context, const struct train_progress *progress)
{
    struct watch *seen = context;
    if (progress->validation < 0)
        return true;
    seen->epochs++;
    assert_true(progress->step <= progress->steps);
    assert_true(progress->best >= progress->validation);
    return seen->epochs != seen->stop_after;
}

static struct train_job make_job(const char *data, const char *out, struct watch *seen)
{
    struct train_job job = train_job_default;
    job.architecture = NULL;
    job.init = fixture_path(data, "start.onnx");
    job.data = data;
    job.out = out;
    job.input = 8;
    job.epochs = 6;
    job.batch = 8;
    job.learning_rate = 0.5;
    job.average_decay = 0.5;
    job.cutout = 2;
    job.pad = 2;
    job.small_input = 6;
    job.validation = 8;
    job.precision = PRECISION_FP32;
    job.command = "ocelli train --test";
    job.progress = watch;
    job.context = seen;
    return job;
}

/* Four classes, all weights zero: it knows nothing yet. */
static void make_start(const char *data)
{
    const struct tiny blank = {.classes = 4};
    fixture_network(fixture_path(data, "start.onnx"), &blank);
}

static json_t *read_log(const char *out)
{
    struct error err = {0};
    uint8_t *bytes;
    size_t size;
    json_t *log;
    succeed(file_read(fixture_path(out, "training.json"), 1 << 20, &bytes, &size, &err), &err);
    succeed(json_read((const char *)bytes, size, &log, &err), &err);
    free(bytes);
    return log;
}

static void test_learns_and_exports(void **state)
{
    char *data = make_data(), *out = fixture_folder();
    struct watch seen = {0};
    struct error err = {0};
    struct graph *graph;
    double best;
    (void)state;

    make_start(data);
    const struct train_job job = make_job(data, out, &seen);
    succeed(train_job_run(&job, &best, &err), &err);
    assert_int_equal(seen.epochs, 6);
    assert_float_equal(best, 1.0, 0);
    succeed(onnx_load(fixture_path(out, "model.onnx"), &graph, &err), &err);
    graph_free(graph);
    json_t *log = read_log(out);
    assert_string_equal(json_string_value(json_object_get(log, "command")), "ocelli train --test");
    assert_int_equal(json_array_size(json_object_get(log, "log")), 6);
    assert_float_equal(json_real_value(json_object_get(log, "best_validation")), 1.0, 0);
    assert_true(json_integer_value(json_object_get(log, "steps")) == 30);
    json_decref(log);
    drop(data);
    drop(out);
}

static void same_file(const char *a, const char *b, const char *name)
{
    struct error err = {0};
    uint8_t *bytes[2];
    size_t size[2];
    succeed(file_read(fixture_path(a, name), 1 << 20, &bytes[0], &size[0], &err), &err);
    succeed(file_read(fixture_path(b, name), 1 << 20, &bytes[1], &size[1], &err), &err);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    free(bytes[0]);
    free(bytes[1]);
}

static void test_goes_on_where_it_was_stopped(void **state)
{
    char *data = make_data(), *straight = fixture_folder(), *resumed = fixture_folder();
    struct watch seen = {0}, stopped = {.stop_after = 2}, rest = {0};
    struct error err = {0};
    (void)state;

    make_start(data);
    struct train_job job = make_job(data, straight, &seen);
    succeed(train_job_run(&job, NULL, &err), &err);
    job = make_job(data, resumed, &stopped);
    assert_int_equal(train_job_run(&job, NULL, &err), STATUS_CLOSED);
    job = make_job(data, resumed, &rest);
    job.resume = true;
    succeed(train_job_run(&job, NULL, &err), &err);
    assert_int_equal(rest.epochs, 4);
    same_file(straight, resumed, "checkpoint.bin");
    same_file(straight, resumed, "model.onnx");
    json_t *log = read_log(resumed);
    assert_int_equal(json_array_size(json_object_get(log, "log")), 6);
    json_decref(log);
    drop(data);
    drop(straight);
    drop(resumed);
}

static void test_refuses_what_cannot_be_trained(void **state)
{
    const struct tiny two = {.classes = 2};
    char *data = make_data(), *out = fixture_folder();
    struct watch seen = {0};
    struct error err = {0};
    (void)state;

    fixture_network(fixture_path(data, "start.onnx"), &two);
    struct train_job job = make_job(data, out, &seen);
    assert_int_equal(train_job_run(&job, NULL, &err), STATUS_INVALID); /* 2 classes, data of 4 */
    assert_non_null(strstr(err.message, "classes"));
    job.epochs = 0;
    assert_int_equal(train_job_run(&job, NULL, &err), STATUS_INVALID);
    job = make_job(data, out, &seen);
    job.init = NULL;
    job.architecture = "no-such-network";
    assert_int_equal(train_job_run(&job, NULL, &err), STATUS_NOT_FOUND);
    job = make_job("/nowhere", out, &seen);
    assert_int_not_equal(train_job_run(&job, NULL, &err), STATUS_OK);
    assert_int_equal(seen.epochs, 0);
    drop(data);
    drop(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_a_folder),
        cmocka_unit_test(test_takes_the_labels_order),
        cmocka_unit_test(test_splits_every_class_alike),
        cmocka_unit_test(test_batches_follow_from_seed_and_number),
        cmocka_unit_test(test_learns_and_exports),
        cmocka_unit_test(test_goes_on_where_it_was_stopped),
        cmocka_unit_test(test_refuses_what_cannot_be_trained),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
