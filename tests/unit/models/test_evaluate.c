/* Tests of models/evaluate: pictures of one colour, whose answers are known, through networks that
 * see colours rightly, swapped, and through other preprocessing; every count and figure of the
 * report against what that must give. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "fixture.h"
#include "models/evaluate.h"
#include "stats/compare.h"

static const struct tiny swapped = {
    .name = "swapped", /* takes red for green and green for red */
    .classes = 4,
    .weights = {{0, 9, 0}, {9, 0, 0}, {0, 0, 9}, {0, 0, 0}},
    .bias = {0, 0, 0, 2},
};

static struct {
    char *top;
    struct model_set *set;
    struct model *models[3]; /* backwards, colours, swapped */
} place;

/* `data` is a folder below place.top. */
static void add_pictures(const char *data, const char *class, int first, int count, int r, int g,
                         int b)
{
    char name[128];
    snprintf(name, sizeof name, "%s/%s", data, class);
    folder_make(fixture_path(place.top, name), false, NULL);
    for (int i = first; i < first + count; i++) {
        snprintf(name, sizeof name, "%s/%s/%03d.png", data, class, i);
        fixture_png(fixture_path(place.top, name), r, g, b);
    }
}

/* 20 of red, of which 3 look blue; 10 of green; 5 of blue, of which 1 looks like none. */
static void make_data(const char *data)
{
    add_pictures(data, "red", 0, 17, 255, 10, 0);
    add_pictures(data, "red", 17, 3, 0, 0, 255);
    add_pictures(data, "green", 0, 10, 0, 200, 0);
    add_pictures(data, "blue", 0, 4, 0, 0, 250);
    add_pictures(data, "blue", 4, 1, 0, 0, 10);
}

static int open_models(void **state)
{
    struct config *config = NULL;
    struct error err = {0};
    (void)state;

    place.top = fixture_folder();
    make_data("data");
    fixture_package(fixture_path(place.top, "models/colours"), &tiny_colours);
    fixture_package(fixture_path(place.top, "models/swapped"), &swapped);
    /* The same network behind a preprocessing that turns the channels round. */
    fixture_package(fixture_path(place.top, "models/backwards"), &tiny_colours);
    fixture_write(fixture_path(place.top, "models/backwards/model.yaml"),
                  "name: backwards\nlabels: [red, green, blue, none]\n"
                  "preprocess: {preset: raw01, width: 8, height: 8, order: bgr}\n");
    config_create(&config, NULL);
    config_set(config, "models_dir", fixture_path(place.top, "models"), CONFIG_FLAG, NULL);
    config_set(config, "precision", "fp32", CONFIG_FLAG, NULL);
    const int status = model_set_open(config, NULL, &place.set, &err);
    config_free(config);
    if (status != STATUS_OK)
        return -1;
    place.models[0] = model_set_find(place.set, "backwards");
    place.models[1] = model_set_find(place.set, "colours");
    place.models[2] = model_set_find(place.set, "swapped");
    return 0;
}

static int close_models(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        model_release(place.models[i]);
    model_set_close(place.set);
    folder_remove(place.top, NULL);
    free(place.top);
    return 0;
}

static json_t *evaluate(int first_model, int count, const char *data, int threads, int64_t limit)
{
    const struct evaluate_options options = {
        .data = fixture_path(place.top, data), .threads = threads, .limit = limit};
    struct error err = {0};
    json_t *report = NULL;
    if (evaluate_models(place.models + first_model, count, &options, &report, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return report;
}

static int64_t whole(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static double real(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void assert_near(double value, double expected)
{
    if (!(fabs(value - expected) < 1e-9))
        fail_msg("%.17g is not %.17g", value, expected);
}

static const json_t *at(const json_t *object, const char *name, size_t index)
{
    return json_array_get(json_object_get(object, name), index);
}

static void test_counts_of_one_model(void **state)
{
    (void)state;
    json_t *report = evaluate(1, 1, "data", 2, 0);
    assert_int_equal(whole(report, "images"), 35);
    assert_int_equal(whole(json_object_get(report, "unreadable"), "count"), 0);
    assert_true(real(report, "images_per_second") > 0);
    static const char *const classes[] = {"blue", "green", "red"};
    assert_int_equal(json_array_size(json_object_get(report, "classes")), 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(json_string_value(at(report, "classes", i)), classes[i]);

    const json_t *model = at(report, "models", 0);
    assert_string_equal(json_string_value(json_object_get(model, "name")), "colours");
    assert_string_equal(json_string_value(json_object_get(model, "precision")), "fp32");
    assert_int_equal(whole(model, "n"), 35);
    assert_int_equal(whole(model, "correct"), 31);
    assert_near(real(model, "accuracy"), 31.0 / 35);
    const struct interval interval = wilson_interval(31, 35, 0.95);
    assert_near(real(model, "accuracy_low"), interval.low);
    assert_near(real(model, "accuracy_high"), interval.high);
    assert_true(real(model, "ece") > 0 && real(model, "ece") < 0.2);
    assert_true(real(model, "images_per_second") > 0);
    const json_t *times = json_object_get(model, "time_ms");
    assert_int_equal(whole(times, "n"), 35);
    assert_true(real(times, "p50") > 0 && real(times, "p50") <= real(times, "p99"));

    static const int confusion[3][3] = {{4, 0, 0}, {0, 10, 0}, {3, 0, 17}};
    static const int counts[] = {5, 10, 20}, others[] = {1, 0, 0};
    static const double precisions[] = {4.0 / 7, 1, 1}, recalls[] = {0.8, 1, 0.85};
    for (size_t c = 0; c < 3; c++) {
        const json_t *row = at(model, "classes", c);
        assert_string_equal(json_string_value(json_object_get(row, "label")), classes[c]);
        assert_int_equal(whole(row, "count"), counts[c]);
        assert_int_equal(whole(row, "correct"), confusion[c][c]);
        assert_int_equal(whole(row, "other"), others[c]);
        assert_near(real(row, "precision"), precisions[c]);
        assert_near(real(row, "recall"), recalls[c]);
        for (size_t other = 0; other < 3; other++)
            assert_int_equal(json_integer_value(json_array_get(at(model, "confusion", c), other)),
                             confusion[c][other]);
    }
    assert_int_equal(json_array_size(json_object_get(report, "pairs")), 0);
    assert_true(json_is_null(json_object_get(report, "cochran")));
    json_decref(report);
}

/* Each model sees the pictures through its own preprocessing and answers by its own labels. */
static void test_three_models_are_compared(void **state)
{
    (void)state;
    json_t *report = evaluate(0, 3, "data", 3, 0);
    /* backwards: green alone is right, 10, and the 3 red ones that look blue: it says red. */
    static const int correct[] = {13, 31, 4};
    for (size_t m = 0; m < 3; m++)
        assert_int_equal(whole(at(report, "models", m), "correct"), correct[m]);

    assert_int_equal(json_array_size(json_object_get(report, "pairs")), 3);
    const json_t *pair = at(report, "pairs", 2); /* colours, swapped */
    assert_string_equal(json_string_value(json_object_get(pair, "first")), "colours");
    assert_string_equal(json_string_value(json_object_get(pair, "second")), "swapped");
    assert_int_equal(whole(pair, "both"), 4);
    assert_int_equal(whole(pair, "only_first"), 27);
    assert_int_equal(whole(pair, "only_second"), 0);
    assert_int_equal(whole(pair, "neither"), 4);
    assert_near(real(pair, "agreement"), 8.0 / 35);
    const json_t *test = json_object_get(pair, "mcnemar");
    assert_true(json_is_false(json_object_get(test, "exact")));
    assert_near(real(test, "statistic"), 26.0 * 26 / 27);
    assert_near(real(test, "p"), chi_square_tail(26.0 * 26 / 27, 1));
    assert_true(real(test, "p_holm") >= real(test, "p"));
    const json_t *difference = json_object_get(pair, "difference");
    assert_near(real(difference, "accuracy"), 27.0 / 35);
    assert_true(real(difference, "low") > 0.5 && real(difference, "low") < 27.0 / 35);
    assert_true(real(difference, "high") < 1 && real(difference, "high") > 27.0 / 35);
    /* Answers of colours: red 17, blue 7, green 10, other 1; swapped has red and green exchanged.
     */
    const double chance = (17.0 * 10 + 10 * 17 + 7 * 7 + 1) / (35 * 35);
    assert_near(real(pair, "kappa"), (8.0 / 35 - chance) / (1 - chance));
    const json_t *cochran = json_object_get(report, "cochran");
    assert_int_equal(whole(cochran, "degrees"), 2);
    assert_true(real(cochran, "p") < 1e-6);
    json_decref(report);
}

/* What does not depend on time is the same for any number of threads. */
static void test_threads_change_nothing(void **state)
{
    (void)state;
    json_t *one = evaluate(0, 3, "data", 1, 0), *many = evaluate(0, 3, "data", 8, 0);
    assert_true(json_equal(json_object_get(one, "pairs"), json_object_get(many, "pairs")));
    for (size_t m = 0; m < 3; m++)
        assert_true(json_equal(json_object_get(at(one, "models", m), "confusion"),
                               json_object_get(at(many, "models", m), "confusion")));
    json_decref(one);
    json_decref(many);
}

static void test_limit_draws_from_all_classes(void **state)
{
    (void)state;
    json_t *report = evaluate(1, 1, "data", 1, 15), *again = evaluate(1, 1, "data", 2, 15);
    assert_int_equal(whole(report, "images"), 15);
    int seen = 0;
    for (size_t c = 0; c < 3; c++)
        seen += whole(at(at(report, "models", 0), "classes", c), "count") > 0;
    assert_true(seen >= 2);
    assert_true(json_equal(json_object_get(at(report, "models", 0), "confusion"),
                           json_object_get(at(again, "models", 0), "confusion")));
    json_decref(report);
    json_decref(again);
}

static void test_unreadable_images_are_counted_and_named(void **state)
{
    (void)state;
    make_data("damaged");
    fixture_write(fixture_path(place.top, "damaged/red/broken.png"), "\x89PNG\r\n\x1a\n rubbish");
    fixture_write(fixture_path(place.top, "damaged/blue/notes.txt"), "no picture at all");
    fixture_write(fixture_path(place.top, "damaged/stray.png"), "belongs to no class");
    json_t *report = evaluate(0, 2, "damaged", 2, 0);
    assert_int_equal(whole(report, "images"), 35);
    const json_t *unreadable = json_object_get(report, "unreadable");
    assert_int_equal(whole(unreadable, "count"), 2);
    assert_int_equal(json_array_size(json_object_get(unreadable, "files")), 2);
    int named = 0;
    for (size_t i = 0; i < 2; i++) {
        const char *file = json_string_value(json_object_get(at(unreadable, "files", i), "file"));
        named += strstr(file, "broken.png") != NULL || strstr(file, "notes.txt") != NULL;
    }
    assert_int_equal(named, 2);
    assert_int_equal(whole(at(report, "models", 1), "n"), 35);
    assert_int_equal(whole(at(report, "models", 1), "correct"), 31);
    json_decref(report);
}

static void test_all_unreadable(void **state)
{
    (void)state;
    folder_make(fixture_path(place.top, "hopeless/red"), false, NULL);
    fixture_write(fixture_path(place.top, "hopeless/red/a.png"), "nothing");
    json_t *report = evaluate(0, 3, "hopeless", 1, 0);
    assert_int_equal(whole(report, "images"), 0);
    assert_true(json_is_null(json_object_get(at(report, "models", 0), "accuracy")));
    assert_true(json_is_null(json_object_get(at(report, "models", 0), "ece")));
    json_decref(report);
}

static void refuse(const char *data, enum status status, const char *words)
{
    const struct evaluate_options options = {.data = data, .threads = 1};
    struct error err = {0};
    json_t *report = NULL;
    assert_int_equal(evaluate_models(place.models, 3, &options, &report, &err), status);
    assert_null(report);
    if (strstr(err.message, words) == NULL)
        fail_msg("'%s' does not hold '%s'", err.message, words);
}

static void test_refused(void **state)
{
    (void)state;
    const struct evaluate_options options = {.data = "x", .threads = 1};
    refuse(fixture_path(place.top, "absent"), STATUS_NOT_FOUND, "absent");
    folder_make(fixture_path(place.top, "bare/red"), false, NULL);
    refuse(fixture_path(place.top, "bare"), STATUS_INVALID, "has no images");
    add_pictures("strange", "purple", 0, 1, 255, 0, 255);
    refuse(fixture_path(place.top, "strange"), STATUS_INVALID, "strange/purple");
    json_t *report = NULL;
    assert_int_equal(evaluate_models(place.models, 0, &options, &report, NULL), STATUS_INVALID);
}

struct seen {
    int64_t last, total;
    int calls;
};

static void note_progress(void *context, int64_t done, int64_t total, double images_per_second)
{
    struct seen *seen = context;
    assert_true(done >= seen->last && done <= total && images_per_second >= 0);
    *seen = (struct seen){done, total, seen->calls + 1};
}

static void test_progress_ends_at_all(void **state)
{
    (void)state;
    struct seen seen = {0};
    const struct evaluate_options options = {.data = fixture_path(place.top, "data"),
                                             .threads = 2,
                                             .progress = note_progress,
                                             .context = &seen};
    json_t *report = NULL;
    assert_int_equal(evaluate_models(place.models, 1, &options, &report, NULL), STATUS_OK);
    assert_int_equal(seen.last, 35);
    assert_int_equal(seen.total, 35);
    assert_true(seen.calls >= 1);
    json_decref(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_of_one_model),
        cmocka_unit_test(test_three_models_are_compared),
        cmocka_unit_test(test_threads_change_nothing),
        cmocka_unit_test(test_limit_draws_from_all_classes),
        cmocka_unit_test(test_unreadable_images_are_counted_and_named),
        cmocka_unit_test(test_all_unreadable),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_progress_ends_at_all),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, open_models, close_models);
}
