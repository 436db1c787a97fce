/* Tests of models/package: what model.yaml may say, what is refused and with which sentence, and
 * that whatever is written reads back the same. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "models/package.h"
#include "models/yaml_json.h"

static char folder[] = "/tmp/ocelli-test-package-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return folder_remove(folder, NULL);
}

static void write_text(const char *name, const char *text)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(file_write_atomic(path, text, strlen(text), false, NULL), STATUS_OK);
}

static struct model_package *load(const char *yaml)
{
    struct model_package *package = NULL;
    struct error err = {0};

    write_text("model.yaml", yaml);
    if (package_load(folder, &package, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return package;
}

/* Expects a refusal whose sentence names the file and holds `words`. */
static void refuse(const char *yaml, const char *words)
{
    struct model_package *package = NULL;
    struct error err = {0};

    write_text("model.yaml", yaml);
    assert_int_not_equal(package_load(folder, &package, &err), STATUS_OK);
    assert_null(package);
    if (strstr(err.message, "model.yaml") == NULL || strstr(err.message, words) == NULL)
        fail_msg("'%s' does not hold '%s'", err.message, words);
}

#define HEAD "name: m\nlabels: [a, b]\n"
#define BODY HEAD "preprocess: cifar10\n"

static void test_everything_said(void **state)
{
    (void)state;
    struct model_package *package = load("# a comment\n"
                                         "name: my-net_2\n"
                                         "version: 1.10\n"
                                         "architecture: resnet50\n"
                                         "labels: [no, 7, true, 'a: b', éclair]\n"
                                         "preprocess: imagenet\n"
                                         "output: probabilities\n"
                                         "precision: fp32\n"
                                         "licence: Apache-2.0\n"
                                         "metrics:\n"
                                         "  accuracy: 0.91\n"
                                         "  images: 10000\n"
                                         "  final: true\n"
                                         "  note: ~\n");
    assert_string_equal(package->folder, folder);
    assert_string_equal(package->name, "my-net_2");
    assert_string_equal(package->version, "1.10"); /* not the number 1.1 */
    assert_string_equal(package->architecture, "resnet50");
    static const char *const labels[] = {"no", "7", "true", "a: b", "éclair"};
    assert_int_equal(package->label_count, 5);
    for (int i = 0; i < 5; i++)
        assert_string_equal(package->labels[i], labels[i]);
    struct preprocess imagenet;
    preprocess_preset("imagenet", &imagenet, NULL);
    assert_true(preprocess_equal(&package->preprocess, &imagenet));
    assert_true(package->output_is_probabilities);
    assert_int_equal(package->precision, PRECISION_FP32);

    const json_t *metrics = json_object_get(package->description, "metrics");
    assert_true(json_real_value(json_object_get(metrics, "accuracy")) == 0.91);
    assert_int_equal(json_integer_value(json_object_get(metrics, "images")), 10000);
    assert_true(json_is_true(json_object_get(metrics, "final")));
    assert_true(json_is_null(json_object_get(metrics, "note")));
    assert_string_equal(json_string_value(json_object_get(package->description, "licence")),
                        "Apache-2.0");
    assert_string_equal(json_string_value(json_object_get(package->description, "version")),
                        "1.10");
    package_free(package);
}

static void test_defaults(void **state)
{
    (void)state;
    struct model_package *package = load(BODY);
    assert_string_equal(package->version, "1");
    assert_string_equal(package->architecture, "");
    assert_false(package->output_is_probabilities);
    assert_int_equal(package->precision, PRECISION_AUTO);
    package_free(package);
}

static void test_labels_file(void **state)
{
    (void)state;
    write_text("labels.txt", "airplane\r\nsea lion\n7");
    struct model_package *package = load("name: m\nlabels_file: labels.txt\npreprocess: raw01\n");
    assert_int_equal(package->label_count, 3);
    assert_string_equal(package->labels[0], "airplane");
    assert_string_equal(package->labels[1], "sea lion");
    assert_string_equal(package->labels[2], "7");
    package_free(package);

    refuse(BODY "labels_file: labels.txt\n", "either 'labels' or 'labels_file'");
    refuse("name: m\nlabels_file: ../labels.txt\npreprocess: raw01\n", "'labels_file'");
    refuse("name: m\nlabels_file: absent.txt\npreprocess: raw01\n", "absent.txt");
    write_text("labels.txt", "a\n\nb\n");
    refuse("name: m\nlabels_file: labels.txt\npreprocess: raw01\n", "label 2");
    write_text("labels.txt", "");
    refuse("name: m\nlabels_file: labels.txt\npreprocess: raw01\n", "1 to 100000 labels");
}

static void test_preprocess_mapping(void **state)
{
    (void)state;
    struct model_package *package = load(HEAD "preprocess:\n"
                                              "  fit: shorter\n"
                                              "  kernel: bicubic\n"
                                              "  antialias: false\n"
                                              "  shorter_side: 110\n"
                                              "  width: 96\n"
                                              "  height: 100\n"
                                              "  order: bgr\n"
                                              "  scale: 1\n"
                                              "  mean: [103.94, 116.78, 123.68]\n"
                                              "  std: [58.4, 57.1, 57.4]\n");
    const struct preprocess *preprocess = &package->preprocess;
    assert_int_equal(preprocess->fit, PREPROCESS_FIT_SHORTER);
    assert_int_equal(preprocess->kernel, RESIZE_KERNEL_BICUBIC);
    assert_false(preprocess->antialias);
    assert_int_equal(preprocess->shorter_side, 110);
    assert_int_equal(preprocess->width, 96);
    assert_int_equal(preprocess->height, 100);
    assert_int_equal(preprocess->order, PREPROCESS_ORDER_BGR);
    assert_true(preprocess->scale == 1);
    assert_true(preprocess->mean[2] == 123.68f && preprocess->std[0] == 58.4f);
    package_free(package);

    /* From a preset, one thing changed. */
    package = load(HEAD "preprocess: {kernel: bilinear, preset: imagenet}\n");
    struct preprocess expected;
    preprocess_preset("imagenet-224-bilinear", &expected, NULL);
    assert_true(preprocess_equal(&package->preprocess, &expected));
    package_free(package);
}

static void test_refused(void **state)
{
    (void)state;
    refuse("", "nothing in it");
    refuse("- a\n- b\n", "mapping of fields");
    refuse("name: [\n", "line 2");
    refuse("labels: [a]\npreprocess: raw01\n", "'name' is missing");
    refuse("name: Big Name\nlabels: [a]\npreprocess: raw01\n", "Big Name");
    refuse("name: [m]\nlabels: [a]\npreprocess: raw01\n", "'name' must be a string");
    refuse("name: m\npreprocess: raw01\n", "'labels'");
    refuse("name: m\nlabels: a\npreprocess: raw01\n", "'labels' must be a list");
    refuse("name: m\nlabels: []\npreprocess: raw01\n", "1 to 100000 labels");
    refuse("name: m\nlabels: [a, [b]]\npreprocess: raw01\n", "label 2");
    refuse("name: m\nlabels: [a, ~, '']\npreprocess: raw01\n", "label 3");
    refuse("name: m\nlabels: [\"a\\nb\"]\npreprocess: raw01\n", "label 1");
    refuse("name: m\nlabels: [\"a\\0b\"]\npreprocess: raw01\n", "line 2, column 10");
    refuse(HEAD, "'preprocess'");
    refuse(HEAD "preprocess: imagenot\n", "imagenot");
    refuse(HEAD "preprocess: {widht: 3}\n", "widht");
    refuse(HEAD "preprocess: {fit: squeeze}\n", "stretch, shorter or none");
    refuse(HEAD "preprocess: {width: 1.5}\n", "'preprocess.width'");
    refuse(HEAD "preprocess: {width: 100000}\n", "'preprocess.width'");
    refuse(HEAD "preprocess: {mean: [1, 2]}\n", "'preprocess.mean'");
    refuse(HEAD "preprocess: {antialias: 1}\n", "'preprocess.antialias'");
    refuse(HEAD "preprocess: {std: [0, 1, 1]}\n", "std");
    refuse(BODY "output: scores\n", "scores");
    refuse(BODY "precision: fp8\n", "fp8");
    refuse(BODY "version: ''\n", "'version'");
    refuse(BODY "name: n\n", "line 4, column 1: this member is there already");
    refuse(BODY "? [a]\n: b\n", "line 4");
    refuse(BODY "note: \xff\n", "byte");
    refuse(BODY "loop: &loop [*loop]\n", "nested too deeply");
}

static void test_missing_folder(void **state)
{
    (void)state;
    struct model_package *package = NULL;
    struct error err = {0};
    assert_int_equal(package_load("/tmp/ocelli-no-such-folder", &package, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "/tmp/ocelli-no-such-folder/model.yaml"));
}

/* Nine aliases of nine of each other's: 9^9 values from a few bytes. */
static void test_alias_bomb(void **state)
{
    (void)state;
    char yaml[2048] = BODY "x0: &x0 [1]\n";
    for (int level = 1; level <= 9; level++) {
        size_t used = strlen(yaml);
        snprintf(yaml + used, sizeof yaml - used, "x%d: &x%d [", level, level);
        for (int i = 0; i < 9; i++) {
            used = strlen(yaml);
            snprintf(yaml + used, sizeof yaml - used, "%s*x%d", i > 0 ? ", " : "", level - 1);
        }
        used = strlen(yaml);
        snprintf(yaml + used, sizeof yaml - used, "]\n");
    }
    refuse(yaml, "too many values");
}

static void test_written_reads_back(void **state)
{
    (void)state;
    static const char *const labels[] = {
        "airplane",       "no", "1",  "a, b: [c]", "# not a comment", "'quoted'", " padded ",
        "日本語 🙂", "~",  "1e5"};
    json_t *extra = json_pack("{s:s, s:f, s:f, s:f, s:I, s:b, s:n, s:[f, f], s:[{s:s}, [i]], s:{}, "
                              "s:s, s:s, s:s}",
                              "licence", "Apache-2.0", "accuracy", 0.1 + 0.2, "whole", 3.0, "tiny",
                              1e-300, "big", (json_int_t)INT64_MAX, "flag", 1, "nothing", "list",
                              0.5, -1.0, "nested", "deep: key", "- dash", 7, "empty", "looks_int",
                              "0123", "lines", "one\ntwo\n\n  three \ttab\x01", "word",
                              "a text long enough that an emitter might think of folding it over "
                              "several lines, which must not change it, ever, at all, not once");
    assert_non_null(extra);
    struct package_text text = {
        .name = "round-trip",
        .version = "2024.10",
        .architecture = "null",
        .labels = labels,
        .label_count = 10,
        .preprocess = "cifar10",
        .extra = extra,
    };
    struct error err = {0};
    char below[PATH_MAX];
    snprintf(below, sizeof below, "%s/made/of/folders", folder);
    if (package_write(below, &text, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    struct model_package *package = NULL;
    if (package_load(below, &package, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    assert_string_equal(package->name, text.name);
    assert_string_equal(package->version, text.version);
    assert_string_equal(package->architecture, text.architecture);
    assert_int_equal(package->label_count, 10);
    for (int i = 0; i < 10; i++)
        assert_string_equal(package->labels[i], labels[i]);
    const char *name;
    json_t *value;
    json_object_foreach (extra, name, value) {
        if (!json_equal(value, json_object_get(package->description, name)))
            fail_msg("'%s' came back different", name);
    }
    package_free(package);
    json_decref(extra);
}

static void test_own_preprocess_reads_back(void **state)
{
    (void)state;
    static const char *const labels[] = {"a"};
    struct preprocess preprocess;
    for (size_t i = 0; preprocess_preset_name(i) != NULL; i++) {
        preprocess_preset(preprocess_preset_name(i), &preprocess, NULL);
        preprocess.width = preprocess.height = 20;
        preprocess.order = PREPROCESS_ORDER_BGR;
        struct package_text text = {.name = "m",
                                    .version = "1",
                                    .labels = labels,
                                    .label_count = 1,
                                    .own_preprocess = &preprocess,
                                    .output_is_probabilities = true};
        struct model_package *package = NULL;
        assert_int_equal(package_write(folder, &text, NULL), STATUS_OK);
        assert_int_equal(package_load(folder, &package, NULL), STATUS_OK);
        assert_true(preprocess_equal(&package->preprocess, &preprocess));
        assert_true(package->output_is_probabilities);
        package_free(package);
    }
}

static void test_writing_refuses_what_reading_would(void **state)
{
    (void)state;
    static const char *const labels[] = {"a", "b"};
    struct error err = {0};
    struct package_text text = {.name = "Upper",
                                .version = "1",
                                .labels = labels,
                                .label_count = 2,
                                .preprocess = "cifar10"};
    char below[PATH_MAX];
    snprintf(below, sizeof below, "%s/refused", folder);
    assert_int_equal(package_write(below, &text, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "Upper"));
    text.name = "m";
    text.preprocess = "nonesuch";
    assert_int_equal(package_write(below, &text, &err), STATUS_NOT_FOUND);
    text.preprocess = "cifar10";
    text.extra = json_pack("{s:s}", "labels", "mine");
    assert_int_equal(package_write(below, &text, &err), STATUS_INVALID);
    json_decref((json_t *)text.extra);
    assert_false(file_exists(below));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_said),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_labels_file),
        cmocka_unit_test(test_preprocess_mapping),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_missing_folder),
        cmocka_unit_test(test_alias_bomb),
        cmocka_unit_test(test_written_reads_back),
        cmocka_unit_test(test_own_preprocess_reads_back),
        cmocka_unit_test(test_writing_refuses_what_reading_would),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
