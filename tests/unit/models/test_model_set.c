/* Tests of models/model_set on real, tiny networks: what comes, changes, breaks and goes in the
 * folder of models comes, changes, is reported and drains in the set; names, versions, unloading;
 * precision; and many threads at once (run it under the thread sanitizer). */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "fixture.h"
#include "models/model_set.h"

/* What the callback was told, as "name@version:state ". */
struct told {
    char text[4096];
    struct model_set *set;
    bool drains; /* calls model_drained at once */
    int count;
};

static void note_change(void *context, struct model *model)
{
    struct told *told = context;
    const size_t used = strlen(told->text);
    snprintf(told->text + used, sizeof told->text - used, "%s@%s:%s ", model_package(model)->name,
             model_package(model)->version, model_state_name(model_state(model)));
    told->count++;
    if (told->drains && model_state(model) == MODEL_DRAINING)
        model_drained(told->set, model);
}

static void forget(struct told *told)
{
    told->text[0] = '\0';
}

/* A folder of models in a folder of its own, and the settings to open it with. */
struct place {
    char *top;
    char models[256];
    struct config *config;
};

static int open_place(void **state)
{
    static struct place place;
    char data[256];

    place.top = fixture_folder();
    snprintf(place.models, sizeof place.models, "%s/models", place.top);
    snprintf(data, sizeof data, "%s/data", place.top);
    assert_int_equal(folder_make(place.models, false, NULL), STATUS_OK);
    assert_int_equal(folder_make(data, false, NULL), STATUS_OK);
    assert_int_equal(config_create(&place.config, NULL), STATUS_OK);
    config_set(place.config, "models_dir", place.models, CONFIG_FLAG, NULL);
    config_set(place.config, "data_dir", data, CONFIG_FLAG, NULL);
    config_set(place.config, "models_scan_seconds", "1", CONFIG_FLAG, NULL);
    *state = &place;
    return 0;
}

static int close_place(void **state)
{
    struct place *place = *state;
    folder_remove(place->top, NULL);
    free(place->top);
    config_free(place->config);
    return 0;
}

static void put(const struct place *place, const char *folder, const char *name,
                const char *version)
{
    struct tiny tiny = tiny_colours;
    tiny.name = name;
    tiny.version = version;
    fixture_package(fixture_path(place->models, folder), &tiny);
}

static struct model_set *open_set(const struct place *place)
{
    struct model_set *set = NULL;
    struct error err = {0};
    if (model_set_open(place->config, NULL, &set, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return set;
}

static void scan(struct model_set *set)
{
    struct error err = {0};
    if (model_set_scan(set, &err) != STATUS_OK)
        fail_msg("%s", err.message);
}

/* The set as "name@version:state ". */
static const char *describe(struct model_set *set)
{
    static char text[1024];
    struct model **list = NULL;
    int count = 0;

    text[0] = '\0';
    assert_int_equal(model_set_list(set, &list, &count, NULL), STATUS_OK);
    for (int i = 0; i < count; i++) {
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s@%s:%s ", model_package(list[i])->name,
                 model_package(list[i])->version, model_state_name(model_state(list[i])));
        model_release(list[i]);
    }
    free(list);
    return text;
}

/* What the model answers to a picture of one colour. */
static const char *ask(const struct model *model, float r, float g, float b)
{
    float input[3 * 8 * 8], probabilities[4], sum = 0;
    struct engine_session *session = NULL;
    struct error err = {0};
    int best = 0;

    for (int i = 0; i < 64; i++) {
        input[i] = r;
        input[64 + i] = g;
        input[128 + i] = b;
    }
    if (engine_session_create(model_engine(model), 1, &session, &err) != STATUS_OK ||
        model_run(model, session, 1, input, probabilities, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    engine_session_free(session);
    const int count = model_package(model)->label_count;
    for (int i = 0; i < count; i++) {
        sum += probabilities[i];
        best = probabilities[i] > probabilities[best] ? i : best;
    }
    assert_true(sum > 0.999f && sum < 1.001f);
    return model_package(model)->labels[best];
}

static void test_opens_all_packages(void **state)
{
    const struct place *place = *state;
    put(place, "one", "one", "1");
    put(place, "two", "two", "2024-05");
    put(place, "three", "three", "1");
    put(place, ".hidden", "hidden", "1");
    fixture_write(fixture_path(place->models, "README"), "no package");
    assert_int_equal(folder_make(fixture_path(place->models, "empty"), false, NULL), STATUS_OK);
    struct model_set *set = open_set(place);
    assert_string_equal(describe(set), "one@1:active three@1:active two@2024-05:active ");

    struct model *model = model_set_find(set, "two");
    assert_non_null(model);
    assert_string_equal(ask(model, 1, 0, 0), "red");
    assert_string_equal(ask(model, 0, 0.5f, 0), "green");
    assert_string_equal(ask(model, 0, 0, 0.9f), "blue");
    assert_string_equal(ask(model, 0.1f, 0.1f, 0.1f), "none");
    assert_null(model_set_find(set, "nonesuch"));
    model_set_close(set);
    /* Retained models outlive the set. */
    assert_string_equal(ask(model, 0, 1, 0), "green");
    model_release(model);
}

static void test_models_dir_may_be_packages_and_several(void **state)
{
    const struct place *place = *state;
    char folders[1024];
    put(place, "one", "one", "1");
    put(place, "more/two", "two", "1");
    put(place, "more/three", "three", "1");
    snprintf(folders, sizeof folders, "%s/one/:%s/more//:%s/absent:", place->models, place->models,
             place->top);
    config_set(place->config, "models_dir", folders, CONFIG_FLAG, NULL);
    struct model_set *set = open_set(place);
    assert_string_equal(describe(set), "one@1:active three@1:active two@1:active ");
    model_set_close(set);
}

/* Expects one failed model whose sentence holds `words`. */
static void assert_failure(struct model_set *set, const char *words)
{
    struct model **list = NULL;
    int count = 0, matching = 0;
    assert_int_equal(model_set_list(set, &list, &count, NULL), STATUS_OK);
    for (int i = 0; i < count; i++) {
        const bool failed = model_state(list[i]) == MODEL_FAILED;
        assert_true(failed == (model_failure(list[i])[0] != '\0'));
        assert_true(failed == (model_engine(list[i]) == NULL));
        matching += strstr(model_failure(list[i]), words) != NULL;
    }
    for (int i = 0; i < count; i++) {
        if (matching != 1)
            print_error("%s\n", model_failure(list[i]));
        model_release(list[i]);
    }
    free(list);
    assert_int_equal(matching, 1);
}

static void test_broken_packages_are_reported_and_skipped(void **state)
{
    const struct place *place = *state;
    struct tiny three_classes = tiny_colours;
    three_classes.name = "labels";
    three_classes.classes = 3;
    put(place, "good", "good", "1");
    put(place, "yaml", "yaml", "1");
    put(place, "cut", "cut", "1");
    put(place, "absent", "absent", "1");
    put(place, "shape", "shape", "1");
    put(place, "labels", "labels", "1");
    fixture_write(fixture_path(place->models, "yaml/model.yaml"), "name: [\n");
    truncate(fixture_path(place->models, "cut/model.onnx"), 100);
    unlink(fixture_path(place->models, "absent/model.onnx"));
    fixture_write(fixture_path(place->models, "shape/model.yaml"),
                  "name: shape\nlabels: [a, b, c, d]\npreprocess: cifar10\n");
    fixture_network(fixture_path(place->models, "labels/model.onnx"), &three_classes);
    struct model_set *set = open_set(place);
    assert_string_equal(describe(set), "absent@1:failed cut@1:failed good@1:active "
                                       "labels@1:failed shape@1:failed yaml@:failed ");
    assert_failure(set, "yaml/model.yaml: line");
    assert_failure(set, "cut/model.onnx");
    assert_failure(set, "absent/model.onnx");
    assert_failure(set, "the network takes [3, 8, 8], but 'preprocess' makes [3, 32, 32]");
    assert_failure(set, "the network has 3 outputs, but there are 4 labels");
    model_set_close(set);
}

static void test_comes_and_goes(void **state)
{
    const struct place *place = *state;
    struct told told = {.drains = true};
    struct model_set *set = open_set(place);
    told.set = set;
    model_set_on_change(set, note_change, &told);
    assert_string_equal(describe(set), "");

    put(place, "new", "new", "1");
    scan(set);
    assert_string_equal(describe(set), ""); /* seen once: perhaps half copied */
    scan(set);
    assert_string_equal(describe(set), "new@1:active ");
    assert_string_equal(told.text, "new@1:active ");
    scan(set);
    scan(set);
    assert_int_equal(told.count, 1);

    forget(&told);
    folder_remove(fixture_path(place->models, "new"), NULL);
    scan(set);
    assert_string_equal(told.text, "new@1:draining ");
    assert_string_equal(describe(set), "");
    model_set_close(set);
}

static void test_half_copied_package_waits(void **state)
{
    const struct place *place = *state;
    struct model_set *set = open_set(place);
    put(place, "slow", "slow", "1");
    for (int size = 1; size < 4; size++) {
        /* Every look finds it longer than before. */
        truncate(fixture_path(place->models, "slow/model.onnx"), 50 * size);
        scan(set);
        assert_string_equal(describe(set), "");
    }
    fixture_network(fixture_path(place->models, "slow/model.onnx"), &tiny_colours);
    scan(set);
    scan(set);
    assert_string_equal(describe(set), "slow@1:active ");
    model_set_close(set);
}

static void test_failed_is_tried_again_only_when_changed(void **state)
{
    const struct place *place = *state;
    struct told told = {0};
    struct model_set *set = open_set(place);
    model_set_on_change(set, note_change, &told);
    put(place, "m", "m", "1");
    truncate(fixture_path(place->models, "m/model.onnx"), 20);
    for (int i = 0; i < 5; i++)
        scan(set);
    assert_string_equal(told.text, "m@1:failed ");
    put(place, "m", "m", "1");
    scan(set);
    scan(set);
    assert_string_equal(told.text, "m@1:failed m@1:active ");
    assert_string_equal(describe(set), "m@1:active ");
    model_set_close(set);
}

static void test_new_version_takes_over(void **state)
{
    const struct place *place = *state;
    struct told told = {0};
    put(place, "m", "m", "1");
    struct model_set *set = open_set(place);
    told.set = set;
    model_set_on_change(set, note_change, &told);
    struct model *first = model_set_find(set, "m");

    put(place, "m", "m", "2");
    scan(set);
    scan(set);
    assert_string_equal(told.text, "m@2:active m@1:draining ");
    assert_string_equal(describe(set), "m@1:draining m@2:active ");
    struct model *second = model_set_find(set, "m");
    assert_ptr_not_equal(first, second);
    assert_string_equal(model_package(second)->version, "2");
    assert_string_equal(ask(first, 1, 0, 0), "red"); /* it still finishes what it owes */
    model_drained(set, first);
    assert_string_equal(describe(set), "m@2:active ");
    model_drained(set, first); /* once more does nothing */
    model_release(first);
    model_release(second);
    model_set_close(set);
}

static void test_same_version_waits_for_its_predecessor(void **state)
{
    const struct place *place = *state;
    struct told told = {0};
    put(place, "m", "m", "1");
    struct model_set *set = open_set(place);
    told.set = set;
    model_set_on_change(set, note_change, &told);
    struct model *first = model_set_find(set, "m");

    put(place, "m", "m", "1");
    scan(set);
    scan(set);
    assert_string_equal(told.text, "m@1:draining ");
    scan(set);
    assert_string_equal(describe(set), "m@1:loading m@1:draining ");
    model_drained(set, first);
    scan(set);
    assert_string_equal(told.text, "m@1:draining m@1:active ");
    assert_string_equal(describe(set), "m@1:active ");
    model_release(first);
    model_set_close(set);
}

/* Whoever consumed is gone, so nobody will drain. */
static void test_without_a_callback_nothing_drains(void **state)
{
    const struct place *place = *state;
    struct told told = {0};
    put(place, "m", "m", "1");
    put(place, "n", "n", "1");
    struct model_set *set = open_set(place);
    told.set = set;
    model_set_on_change(set, note_change, &told);
    assert_int_equal(model_set_unload(set, "m", NULL), STATUS_OK);
    assert_string_equal(describe(set), "m@1:draining n@1:active ");
    model_set_on_change(set, NULL, NULL);
    assert_string_equal(describe(set), "n@1:active ");
    assert_int_equal(model_set_unload(set, "n", NULL), STATUS_OK);
    assert_string_equal(describe(set), "");
    model_set_close(set);
}

static void test_broken_change_leaves_the_old_in_service(void **state)
{
    const struct place *place = *state;
    put(place, "m", "m", "1");
    struct model_set *set = open_set(place);
    fixture_write(fixture_path(place->models, "m/model.onnx"), "rubbish");
    scan(set);
    scan(set);
    assert_string_equal(describe(set), "m@1:active m@1:failed ");
    struct model *model = model_set_find(set, "m");
    assert_string_equal(ask(model, 0, 1, 0), "green");
    model_release(model);
    put(place, "m", "m", "2");
    scan(set);
    scan(set);
    assert_string_equal(describe(set), "m@2:active ");
    model_set_close(set);
}

static void test_two_packages_of_one_name(void **state)
{
    const struct place *place = *state;
    put(place, "a", "m", "1");
    put(place, "b", "m", "2");
    struct model_set *set = open_set(place);
    assert_string_equal(describe(set), "m@1:active m@2:failed ");
    assert_failure(set, "the name 'm' is taken by ");
    /* With the first gone the second gets its name. */
    folder_remove(fixture_path(place->models, "a"), NULL);
    scan(set);
    scan(set);
    assert_string_equal(describe(set), "m@2:active ");
    model_set_close(set);
}

static void test_unload_and_load(void **state)
{
    const struct place *place = *state;
    struct told told = {.drains = true};
    struct error err = {0};
    put(place, "folder", "m", "1");
    struct model_set *set = open_set(place);
    told.set = set;
    model_set_on_change(set, note_change, &told);

    assert_int_equal(model_set_unload(set, "nonesuch", &err), STATUS_NOT_FOUND);
    assert_int_equal(model_set_unload(set, "m", NULL), STATUS_OK);
    assert_int_equal(model_set_unload(set, "m", NULL), STATUS_NOT_FOUND);
    scan(set);
    put(place, "folder", "m", "2"); /* also changed files do not bring it back */
    scan(set);
    scan(set);
    assert_string_equal(describe(set), "");
    assert_int_equal(model_set_load(set, "m", &err), STATUS_OK);
    assert_string_equal(describe(set), "m@2:active ");
    assert_int_equal(model_set_load(set, "m", &err), STATUS_OK); /* nothing to do */
    assert_string_equal(told.text, "m@1:draining m@2:active ");
    assert_int_equal(model_set_load(set, "nonesuch", &err), STATUS_NOT_FOUND);

    /* A new package is taken at once, a broken one told. */
    put(place, "other", "other", "1");
    assert_int_equal(model_set_load(set, "other", &err), STATUS_OK);
    truncate(fixture_path(place->models, "other/model.onnx"), 30);
    assert_int_equal(model_set_load(set, "other", &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "other/model.onnx"));
    assert_string_equal(describe(set), "m@2:active other@1:active other@1:failed ");
    model_set_close(set);
}

static void test_folder_that_cannot_be_listed_changes_nothing(void **state)
{
    const struct place *place = *state;
    if (geteuid() == 0)
        skip(); /* permissions do not stop root */
    put(place, "m", "m", "1");
    struct model_set *set = open_set(place);
    chmod(place->models, 0);
    struct error err = {0};
    assert_int_not_equal(model_set_scan(set, &err), STATUS_OK);
    chmod(place->models, 0755);
    assert_string_equal(describe(set), "m@1:active ");
    model_set_close(set);
}

/* --- Precision */

static void put_precise(const struct place *place, const char *extra)
{
    struct tiny tiny = tiny_colours;
    tiny.extra = extra;
    fixture_package(fixture_path(place->models, "colours"), &tiny);
}

/* In bf16 1001 is 1000, and so the second answer's lead is lost. */
static const struct tiny fragile = {
    .name = "fragile",
    .classes = 2,
    .weights = {{1000, 1000, 1000}, {1001, 1001, 1001}},
};

static void assert_note(struct model_set *set, const char *name, enum precision precision,
                        const char *words)
{
    struct model *model = model_set_find(set, name);
    assert_non_null(model);
    if (strstr(model_precision_note(model), words) == NULL)
        fail_msg("'%s' does not hold '%s'", model_precision_note(model), words);
    assert_int_equal(engine_precision(model_engine(model)), precision);
    model_release(model);
}

static void test_precision_as_asked(void **state)
{
    const struct place *place = *state;
    const enum precision bf16 = precision_bf16_native() ? PRECISION_BF16 : PRECISION_FP32;
    put_precise(place, "precision: fp32\n");
    struct model_set *set = open_set(place);
    assert_note(set, "colours", PRECISION_FP32, "fp32, as asked");
    model_set_close(set);

    put_precise(place, "precision: bf16\n");
    set = open_set(place);
    assert_note(set, "colours", bf16, "bf16");
    model_set_close(set);

    /* The setting goes before the package's. */
    config_set(place->config, "precision", "fp32", CONFIG_FLAG, NULL);
    set = open_set(place);
    assert_note(set, "colours", PRECISION_FP32, "fp32, as asked");
    model_set_close(set);
}

static void test_precision_is_checked_once(void **state)
{
    const struct place *place = *state;
    struct told told = {0};
    if (!precision_bf16_native())
        skip();
    put_precise(place, "");
    fixture_package(fixture_path(place->models, "fragile"), &fragile);
    struct model_set *set = open_set(place);
    model_set_on_change(set, note_change, &told);
    assert_note(set, "colours", PRECISION_FP32, "until bf16 is checked");
    struct model *model = model_set_find(set, "colours");
    struct engine *before = model_engine(model);

    assert_int_equal(model_set_check_precision(set, NULL), STATUS_OK);
    assert_note(set, "colours", PRECISION_BF16, "bf16, checked on 64 images: same answers");
    assert_note(set, "fragile", PRECISION_FP32, "of 64 images got another answer");
    assert_string_equal(told.text, "colours@1:active fragile@1:active ");
    assert_ptr_not_equal(model_engine(model), before);
    /* Sessions of the earlier engine stay good. */
    struct engine_session *session = NULL;
    assert_int_equal(engine_session_create(before, 1, &session, NULL), STATUS_OK);
    float input[192] = {0}, output[4];
    assert_int_equal(model_run(model, session, 1, input, output, NULL), STATUS_OK);
    engine_session_free(session);
    model_release(model);
    model_set_close(set);

    /* The verdicts are remembered. */
    set = open_set(place);
    assert_note(set, "colours", PRECISION_BF16, "bf16, checked on 64 images: same answers");
    assert_note(set, "fragile", PRECISION_FP32, "of 64 images got another answer");
    model_set_close(set);

    /* Of another network, or in a file that is rubbish, nothing is known. */
    struct tiny other = tiny_colours;
    other.bias[3] = 2.5f;
    fixture_package(fixture_path(place->models, "colours"), &other);
    fixture_write(fixture_path(place->top, "data/precision.json"), "[1, 2");
    set = open_set(place);
    assert_note(set, "colours", PRECISION_FP32, "until bf16 is checked");
    assert_note(set, "fragile", PRECISION_FP32, "until bf16 is checked");
    model_set_close(set);
}

/* --- Watching */

/* Waits until the set is as described; a minute is only for machines that hardly run. */
static void wait_for(struct model_set *set, const char *wanted)
{
    for (int i = 0; i < 6000 && strcmp(describe(set), wanted) != 0; i++)
        clock_sleep_ms(10);
    assert_string_equal(describe(set), wanted);
}

static void test_watching(void **state)
{
    const struct place *place = *state;
    struct told told = {.drains = true};
    config_set(place->config, "precision", "fp32", CONFIG_FLAG, NULL); /* no check to be told of */
    struct model_set *set = open_set(place);
    told.set = set;
    model_set_on_change(set, note_change, &told);
    assert_int_equal(model_set_watch(set, NULL), STATUS_OK);
    put(place, "m", "m", "1");
    wait_for(set, "m@1:active ");
    folder_remove(fixture_path(place->models, "m"), NULL);
    wait_for(set, "");
    model_set_unwatch(set);
    model_set_unwatch(set);
    put(place, "m", "m", "2");
    assert_int_equal(model_set_watch(set, NULL), STATUS_OK);
    wait_for(set, "m@2:active ");
    model_set_close(set); /* while it watches */
    assert_string_equal(told.text, "m@1:active m@1:draining m@2:active ");
}

/* --- Many threads */

struct crowd {
    const struct place *place;
    struct model_set *set;
    atomic_bool over;
    atomic_int answers;
};

static void *run_models(void *context)
{
    struct crowd *crowd = context;
    while (!atomic_load(&crowd->over)) {
        struct model *model = model_set_find(crowd->set, "m");
        if (model == NULL)
            continue;
        if (strcmp(ask(model, 0, 0, 1), "blue") == 0)
            atomic_fetch_add(&crowd->answers, 1);
        model_release(model);
    }
    return NULL;
}

static void *look_around(void *context)
{
    struct crowd *crowd = context;
    while (!atomic_load(&crowd->over)) {
        struct model **list = NULL;
        int count = 0;
        if (model_set_list(crowd->set, &list, &count, NULL) != STATUS_OK)
            break;
        for (int i = 0; i < count; i++) {
            (void)model_failure(list[i]);
            (void)model_precision_note(list[i]);
            (void)model_state(list[i]);
            model_release(list[i]);
        }
        free(list);
        model_set_scan(crowd->set, NULL);
    }
    return NULL;
}

static void *load_and_unload(void *context)
{
    struct crowd *crowd = context;
    for (int i = 0; i < 30; i++) {
        model_set_unload(crowd->set, "m", NULL);
        model_set_load(crowd->set, "m", NULL);
        model_set_check_precision(crowd->set, NULL);
    }
    return NULL;
}

static void *drain_later(void *context)
{
    struct crowd *crowd = context;
    while (!atomic_load(&crowd->over)) {
        struct model **list = NULL;
        int count = 0;
        if (model_set_list(crowd->set, &list, &count, NULL) != STATUS_OK)
            break;
        for (int i = 0; i < count; i++) {
            if (model_state(list[i]) == MODEL_DRAINING)
                model_drained(crowd->set, list[i]);
            model_release(list[i]);
        }
        free(list);
    }
    return NULL;
}

static void test_crowd(void **state)
{
    const struct place *place = *state;
    struct crowd crowd = {.place = place};
    struct told told = {0};
    pthread_t threads[4];
    put(place, "m", "m", "1");
    put(place, "n", "n", "1");
    crowd.set = open_set(place);
    told.set = crowd.set;
    model_set_on_change(crowd.set, note_change, &told);
    assert_int_equal(model_set_watch(crowd.set, NULL), STATUS_OK);
    pthread_create(&threads[0], NULL, run_models, &crowd);
    pthread_create(&threads[1], NULL, look_around, &crowd);
    pthread_create(&threads[2], NULL, load_and_unload, &crowd);
    pthread_create(&threads[3], NULL, drain_later, &crowd);
    for (int version = 2; version < 12; version++) {
        char text[16];
        snprintf(text, sizeof text, "%d", version);
        put(place, "m", "m", text);
    }
    pthread_join(threads[2], NULL);
    while (atomic_load(&crowd.answers) == 0)
        clock_sleep_ms(1);
    model_set_on_change(crowd.set, NULL, NULL);
    const int count = told.count; /* no more calls from here on */
    atomic_store(&crowd.over, true);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    pthread_join(threads[3], NULL);
    wait_for(crowd.set, "m@11:active n@1:active ");
    assert_int_equal(told.count, count);
    assert_true(count > 2);
    model_set_close(crowd.set);
}

#define AT_A_PLACE(test) cmocka_unit_test_setup_teardown(test, open_place, close_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        AT_A_PLACE(test_opens_all_packages),
        AT_A_PLACE(test_models_dir_may_be_packages_and_several),
        AT_A_PLACE(test_broken_packages_are_reported_and_skipped),
        AT_A_PLACE(test_comes_and_goes),
        AT_A_PLACE(test_half_copied_package_waits),
        AT_A_PLACE(test_failed_is_tried_again_only_when_changed),
        AT_A_PLACE(test_new_version_takes_over),
        AT_A_PLACE(test_same_version_waits_for_its_predecessor),
        AT_A_PLACE(test_without_a_callback_nothing_drains),
        AT_A_PLACE(test_broken_change_leaves_the_old_in_service),
        AT_A_PLACE(test_two_packages_of_one_name),
        AT_A_PLACE(test_unload_and_load),
        AT_A_PLACE(test_folder_that_cannot_be_listed_changes_nothing),
        AT_A_PLACE(test_precision_as_asked),
        AT_A_PLACE(test_precision_is_checked_once),
        AT_A_PLACE(test_watching),
        AT_A_PLACE(test_crowd),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
