/* `ocelli predict`: some images through the models, side by side, without a server. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "cmd/command.h"
#include "cmd/settings.h"
#include "image/image.h"
#include "image/preprocess.h"
#include "models/model_set.h"

enum { TOP_MAX = 20 };

struct values {
    struct option_list models;
    int64_t top;
    bool json;
};

static const struct option options[] = {
    {.name = "model",
     .letter = 'm',
     .kind = OPTION_LIST,
     .offset = offsetof(struct values, models),
     .value = "NAME",
     .help = "only this model; may be given several times"},
    {.name = "top",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct values, top),
     .value = "N",
     .help = "classes to show for each answer",
     .low = 1,
     .high = TOP_MAX},
    {.name = "json",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct values, json),
     .help = "print JSON, an object a line and image"},
    {.name = NULL},
};

static const struct usage usage = {
    .name = "predict",
    .arguments = "IMAGE...",
    .summary = "classify image files with every model and show the answers side by side",
    .details =
        "Reads JPEG, PNG and WebP. No server is needed. The exit status is 1 when an image could "
        "not be read.",
    .options = options,
};

/* The models to ask, each with a session. */
struct panel {
    struct model **models;
    struct engine_session **sessions;
    int count;
};

/* --- The panel
 * -----------------------------------------------------------------------------------------------
 */

static bool is_wanted(const struct option_list *names, const struct model *model)
{
    for (int i = 0; i < names->count; i++)
        if (strcmp(names->items[i], model_package(model)->name) == 0)
            return true;
    return names->count == 0;
}

static void panel_close(struct panel *panel)
{
    for (int i = 0; i < panel->count; i++) {
        if (panel->sessions != NULL)
            engine_session_free(panel->sessions[i]);
        model_release(panel->models[i]);
    }
    free(panel->sessions);
    free(panel->models);
}

static int panel_open(struct model_set *set, const struct option_list *names, struct panel *panel,
                      struct error *err)
{
    int count;
    int status = model_set_list(set, &panel->models, &count, err);
    if (status != STATUS_OK)
        return status;
    for (int i = 0; i < count; i++) {
        struct model *model = panel->models[i];
        if (model_state(model) == MODEL_FAILED)
            fprintf(stderr, "ocelli predict: left out: %s\n", model_failure(model));
        if (model_state(model) == MODEL_ACTIVE && is_wanted(names, model))
            panel->models[panel->count++] = model;
        else
            model_release(model);
    }
    if (panel->count == 0)
        return error_set(err, STATUS_NOT_FOUND,
                         "there is no such model to ask; `ocelli models list` shows what there is, "
                         "--models-dir says where to look");
    panel->sessions = calloc((size_t)panel->count, sizeof *panel->sessions);
    if (panel->sessions == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %d sessions", panel->count);
    for (int i = 0; status == STATUS_OK && i < panel->count; i++)
        status = engine_session_create(model_engine(panel->models[i]), 1, &panel->sessions[i], err);
    return status;
}

/* --- One answer
 * ---------------------------------------------------------------------------------------------- */

struct answer {
    float *probabilities;
    int order[TOP_MAX]; /* most likely first */
    int count;
    double time_ms;
};

static void rank(const struct model *model, int top, struct answer *answer)
{
    const int classes = model_package(model)->label_count;
    answer->count = classes < top ? classes : top;
    for (int place = 0; place < answer->count; place++) {
        int best = -1;
        for (int i = 0; i < classes; i++) {
            bool taken = false;
            for (int earlier = 0; earlier < place; earlier++)
                taken |= answer->order[earlier] == i;
            if (!taken && (best < 0 || answer->probabilities[i] > answer->probabilities[best]))
                best = i;
        }
        answer->order[place] = best;
    }
}

static int ask(const struct panel *panel, int i, const struct image *image, int top,
               struct answer *answer, struct error *err)
{
    const struct model *model = panel->models[i];
    const struct preprocess *preprocess = &model_package(model)->preprocess;
    float *input = aligned_alloc(64, (preprocess_count(preprocess) * sizeof *input + 63) / 64 * 64);

    answer->probabilities =
        calloc((size_t)model_package(model)->label_count, sizeof *answer->probabilities);
    int status = input == NULL || answer->probabilities == NULL
                     ? error_set(err, STATUS_NO_MEMORY, "no memory for an input")
                     : preprocess_run(preprocess, image, input, err);
    if (status == STATUS_OK)
        status = engine_session_prepare(panel->sessions[i], 1, err);
    if (status == STATUS_OK) {
        const int64_t began_ns = clock_monotonic_ns();
        status = model_run(model, panel->sessions[i], 1, input, answer->probabilities, err);
        answer->time_ms = (double)(clock_monotonic_ns() - began_ns) * 1e-6;
        rank(model, top, answer);
    }
    free(input);
    return status;
}

/* --- Showing
 * -------------------------------------------------------------------------------------------------
 */

static void print_answer(const struct model *model, const struct answer *answer)
{
    const struct model_package *package = model_package(model);
    printf("  %-20s", package->name);
    for (int i = 0; i < answer->count; i++)
        printf(" %-12s %5.1f %%", package->labels[answer->order[i]],
               100.0 * (double)answer->probabilities[answer->order[i]]);
    printf("  %7.2f ms\n", answer->time_ms);
}

static json_t *answer_as_json(const struct model *model, const struct answer *answer)
{
    const struct model_package *package = model_package(model);
    json_t *top = json_array();

    for (int i = 0; i < answer->count; i++)
        json_array_append_new(top, json_pack("{s:s, s:f}", "class",
                                             package->labels[answer->order[i]], "confidence",
                                             (double)answer->probabilities[answer->order[i]]));
    return json_pack("{s:s, s:s, s:s, s:f, s:f, s:o}", "model_name", package->name, "model_version",
                     package->version, "prediction_class", package->labels[answer->order[0]],
                     "confidence", (double)answer->probabilities[answer->order[0]],
                     "inference_time_ms", answer->time_ms, "top_k", top);
}

static void print_json_line(const char *path, json_t *predictions)
{
    json_t *line = json_pack("{s:s, s:o}", "image", path, "predictions", predictions);
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(line);
}

static int read_image(const char *path, struct image **image, struct error *err)
{
    uint8_t *bytes = NULL;
    size_t size;

    int status = file_read(path, image_limits_default.bytes_max, &bytes, &size, err);
    if (status != STATUS_OK)
        return status;
    status = image_decode(bytes, size, NULL, NULL, image, err);
    free(bytes);
    return status == STATUS_OK ? status : error_wrap(err, "'%s'", path);
}

static int predict_one(const struct panel *panel, const char *path, const struct values *values,
                       struct error *err)
{
    struct image *image = NULL;
    json_t *predictions = json_array();

    int status = read_image(path, &image, err);
    if (status == STATUS_OK && !values->json)
        printf("%s (%d x %d)\n", path, image->width, image->height);
    for (int i = 0; status == STATUS_OK && i < panel->count; i++) {
        struct answer answer = {0};
        status = ask(panel, i, image, (int)values->top, &answer, err);
        if (status == STATUS_OK && values->json)
            json_array_append_new(predictions, answer_as_json(panel->models[i], &answer));
        else if (status == STATUS_OK)
            print_answer(panel->models[i], &answer);
        free(answer.probabilities);
    }
    image_release(image);
    if (status == STATUS_OK && values->json)
        print_json_line(path, json_incref(predictions));
    json_decref(predictions);
    return status;
}

static int predict_all(const struct command_line *line, const struct values *values,
                       struct error *err)
{
    struct metrics *metrics = NULL;
    struct model_set *set = NULL;
    struct panel panel = {0};
    int failures = 0;

    int status = metrics_create(&metrics, err);
    if (status == STATUS_OK)
        status = model_set_open(line->config, metrics, &set, err);
    if (status == STATUS_OK)
        status = panel_open(set, &values->models, &panel, err);
    for (int i = 0; status == STATUS_OK && i < line->argument_count; i++)
        if (predict_one(&panel, line->arguments[i], values, err) != STATUS_OK) {
            fprintf(stderr, "ocelli predict: %s\n", err->message);
            failures++;
        }
    panel_close(&panel);
    if (set != NULL)
        model_set_close(set);
    metrics_free(metrics);
    if (status != STATUS_OK)
        return command_fail("predict", err);
    return failures > 0;
}

static int run(int argc, char **argv)
{
    struct values values = {.top = 3};
    struct command_line line;
    struct error err = {0};

    int status = settings_parse(&usage, argc, argv, &values, sizeof values, &line, &err);
    if (status != STATUS_OK)
        return command_fail("predict", &err);
    if (line.help) {
        status = 0;
    } else if (line.argument_count == 0) {
        error_set(&err, STATUS_INVALID, "name at least one image file");
        status = command_fail("predict", &err);
    } else {
        status = predict_all(&line, &values, &err);
    }
    free(values.models.items);
    command_line_free(&line);
    return status;
}

const struct command command_predict = {&usage, run};
