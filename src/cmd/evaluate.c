/* `ocelli evaluate`: models measured on a folder of labelled images. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cmd/command.h"
#include "cmd/evaluate_print.h"
#include "cmd/settings.h"
#include "models/evaluate.h"

enum { BAR_WIDTH = 24 };

struct values {
    const char *data;
    struct option_list models;
    int64_t threads, limit;
    bool json;
};

static const struct option options[] = {
    {.name = "data",
     .letter = 'd',
     .kind = OPTION_TEXT,
     .offset = offsetof(struct values, data),
     .value = "DIR",
     .help = "a folder with one folder a class, named as the models' labels are"},
    {.name = "model",
     .letter = 'm',
     .kind = OPTION_LIST,
     .offset = offsetof(struct values, models),
     .value = "NAME|DIR",
     .help = "only this model, by name or as a package's folder; may be given several times"},
    {.name = "threads",
     .letter = 't',
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct values, threads),
     .value = "N",
     .help = "threads, each running one image batch after another; 0 is one a core",
     .low = 0,
     .high = 1024},
    {.name = "limit",
     .letter = 'n',
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct values, limit),
     .value = "N",
     .help = "only N images, drawn by a fixed seed; 0 is all",
     .low = 0,
     .high = 1e9},
    {.name = "json",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct values, json),
     .help = "print the report as JSON"},
    {.name = NULL},
};

static const struct usage usage = {
    .name = "evaluate",
    .arguments = "",
    .summary = "measure models on labelled images, and compare them",
    .details =
        "Every image is decoded once and given to all models. The report has each model's accuracy "
        "with its Wilson interval, its calibration error, speed, classes and confusion matrix; "
        "for each pair of models McNemar's test, also adjusted for the number of pairs (Holm), and "
        "the bootstrap interval of the difference.\n\n"
        "Precision auto is settled first: where the CPU has bf16 and the answers stay the same, "
        "bf16 is what is measured. --precision fp32 asks for fp32.",
    .options = options,
};

/* --- Which models */

/* Models from several sets: those of --models-dir share one, every folder named has its own, so
 * that two versions of one name can be compared. */
struct choice {
    struct model_set **sets;
    int set_count;
    struct model **models;
    int model_count;
};

static void choice_free(struct choice *choice)
{
    for (int i = 0; i < choice->model_count; i++)
        model_release(choice->models[i]);
    for (int i = 0; i < choice->set_count; i++)
        model_set_close(choice->sets[i]);
    free(choice->models);
    free(choice->sets);
}

/* Takes over the model's reference. */
static int choose(struct choice *choice, struct model *model, struct error *err)
{
    struct model **larger =
        realloc(choice->models, ((size_t)choice->model_count + 1) * sizeof(struct model *));
    if (larger == NULL) {
        model_release(model);
        return error_set(err, STATUS_NO_MEMORY, "no memory for the models");
    }
    choice->models = larger;
    choice->models[choice->model_count++] = model;
    return STATUS_OK;
}

static int open_set(struct choice *choice, const struct config *config, struct model_set **out,
                    struct error *err)
{
    struct model_set **larger =
        realloc(choice->sets, ((size_t)choice->set_count + 1) * sizeof(struct model_set *));
    if (larger == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the models");
    choice->sets = larger;
    int status = model_set_open(config, NULL, out, err);
    if (status != STATUS_OK)
        return status;
    choice->sets[choice->set_count++] = *out;
    return model_set_check_precision(*out, err);
}

/* All active models of a set; those that failed are told of, and are an error when `strict`. */
static int choose_all(struct choice *choice, struct model_set *set, bool strict, struct error *err)
{
    struct model **list = NULL;
    int count = 0;

    int status = model_set_list(set, &list, &count, err);
    for (int i = 0; i < count; i++) {
        if (status == STATUS_OK && model_state(list[i]) == MODEL_ACTIVE) {
            status = choose(choice, list[i], err);
            continue;
        }
        if (status == STATUS_OK && strict)
            status = error_set(err, STATUS_INVALID, "%s", model_failure(list[i]));
        else if (status == STATUS_OK)
            fprintf(stderr, "ocelli evaluate: left out: %s\n", model_failure(list[i]));
        model_release(list[i]);
    }
    free(list);
    return status;
}

static bool is_package_folder(const char *text)
{
    char path[4096];
    const int length = snprintf(path, sizeof path, "%s/" PACKAGE_DESCRIPTION_FILE, text);
    return length > 0 && (size_t)length < sizeof path && file_exists(path);
}

static int choose_folder(struct choice *choice, struct config *config, const char *folder,
                         struct error *err)
{
    struct model_set *set = NULL;

    int status = config_set(config, "models_dir", folder, CONFIG_FLAG, err);
    if (status == STATUS_OK)
        status = open_set(choice, config, &set, err);
    return status != STATUS_OK ? status : choose_all(choice, set, true, err);
}

static int choose_name(struct choice *choice, struct model_set *set, const char *models_dir,
                       const char *name, struct error *err)
{
    struct model *model = model_set_find(set, name);
    if (model != NULL)
        return choose(choice, model, err);
    return error_set(err, STATUS_NOT_FOUND,
                     "no model '%s' can be loaded from '%s'; `ocelli models list` tells why", name,
                     models_dir);
}

/* Folders first, since they change config's models_dir on the way. */
static int choose_models(struct choice *choice, struct config *config, const char *models_dir,
                         const struct option_list *wanted, struct error *err)
{
    struct model_set *set = NULL;
    int names = 0, status = STATUS_OK;

    for (int i = 0; i < wanted->count && status == STATUS_OK; i++)
        if (is_package_folder(wanted->items[i]))
            status = choose_folder(choice, config, wanted->items[i], err);
        else
            names++;
    if (status != STATUS_OK || (names == 0 && wanted->count > 0))
        return status;
    status = config_set(config, "models_dir", models_dir, CONFIG_FLAG, err);
    if (status == STATUS_OK)
        status = open_set(choice, config, &set, err);
    if (status == STATUS_OK && wanted->count == 0)
        status = choose_all(choice, set, false, err);
    for (int i = 0; i < wanted->count && status == STATUS_OK; i++)
        if (!is_package_folder(wanted->items[i]))
            status = choose_name(choice, set, models_dir, wanted->items[i], err);
    if (status == STATUS_OK && choice->model_count == 0)
        status = error_set(err, STATUS_NOT_FOUND, "there are no models in '%s'", models_dir);
    return status;
}

/* --- Running */

static void show_progress(void *context, int64_t done, int64_t total, double images_per_second)
{
    struct terminal *terminal = context;
    struct buffer text = {0};

    terminal_bar(terminal, total > 0 ? (double)done / (double)total : 1, BAR_WIDTH, &text);
    buffer_print(&text, " %" PRId64 " of %" PRId64 " images, %.0f images/s, ", done, total,
                 images_per_second);
    terminal_time((double)(total - done) / images_per_second, &text);
    buffer_text(&text, " left\n");
    if (buffer_ok(&text))
        terminal_draw(terminal, &text);
    buffer_free(&text);
}

static int measure(const struct choice *choice, const struct values *values, json_t **report,
                   struct error *err)
{
    struct terminal terminal;
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);

    terminal_open(&terminal, stderr);
    const struct evaluate_options evaluate_options = {
        .data = values->data,
        .threads = values->threads > 0 ? (int)values->threads : (int)(cores > 0 ? cores : 1),
        .limit = values->limit,
        .progress = terminal.live ? show_progress : NULL,
        .context = &terminal,
    };
    const int status =
        evaluate_models(choice->models, choice->model_count, &evaluate_options, report, err);
    terminal_erase(&terminal);
    terminal_close(&terminal);
    return status;
}

static int print_report(const json_t *report, bool as_json, struct error *err)
{
    struct buffer out = {0};
    struct terminal terminal;
    int status = STATUS_OK;

    terminal_open(&terminal, stdout);
    if (as_json)
        status = json_write(report, &out, err);
    else
        evaluate_print(report, &terminal, &out);
    if (as_json)
        buffer_text(&out, "\n");
    if (status == STATUS_OK && !buffer_ok(&out))
        status = error_set(err, STATUS_NO_MEMORY, "no memory for the report");
    if (status == STATUS_OK &&
        (fwrite(out.data, 1, out.size, stdout) != out.size || fflush(stdout) != 0))
        status = error_set(err, STATUS_IO, "cannot write the report");
    buffer_free(&out);
    return status;
}

static int evaluate(struct config *config, const struct values *values, struct error *err)
{
    struct choice choice = {0};
    json_t *report = NULL;

    if (values->data == NULL)
        return error_set(err, STATUS_INVALID, "--data says which folder of images to measure on");
    char *models_dir = strdup(config->models_dir);
    if (models_dir == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the models");
    int status = choose_models(&choice, config, models_dir, &values->models, err);
    if (status == STATUS_OK)
        status = measure(&choice, values, &report, err);
    if (status == STATUS_OK)
        status = print_report(report, values->json, err);
    json_decref(report);
    choice_free(&choice);
    free(models_dir);
    return status;
}

static int run(int argc, char **argv)
{
    struct values values = {0};
    struct command_line line;
    struct error err = {0};

    int status = settings_parse(&usage, argc, argv, &values, sizeof values, &line, &err);
    if (status == STATUS_OK && !line.help && line.argument_count > 0)
        status = error_set(&err, STATUS_INVALID, "'%s' is not understood; --data names the folder",
                           line.arguments[0]);
    else if (status == STATUS_OK && !line.help)
        status = evaluate(line.config, &values, &err);
    command_line_free(&line);
    free(values.models.items);
    return status == STATUS_OK ? 0 : command_fail("evaluate", &err);
}

const struct command command_evaluate = {&usage, run};
