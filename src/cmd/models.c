/* `ocelli models`: what models there are, what they are made of, and adding, making and removing
 * them. Works on the folders of models; a server that watches them follows by itself. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cmd/command.h"
#include "cmd/models_actions.h"
#include "cmd/table.h"
#include "nn/onnx/onnx.h"

enum { LABELS_SHOWN = 12 };

static const struct option options[] = {
    {.name = "json",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct models_values, json),
     .help = "print JSON"},
    {.name = "batch",
     .letter = 'b',
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct models_values, batch),
     .value = "N",
     .help = "plan: for this many images at once",
     .low = 1,
     .high = 256},
    {.name = "threads",
     .letter = 't',
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct models_values, threads),
     .value = "N",
     .help = "plan: threads that share one batch",
     .low = 1,
     .high = 1024},
    {.name = "classes",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct models_values, classes),
     .value = "N",
     .help = "new: number of outputs, when there are no --labels",
     .low = 1,
     .high = 100000},
    {.name = "input",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct models_values, input),
     .value = "N",
     .help = "new: height and width of the input",
     .low = 8,
     .high = 1024},
    {.name = "seed",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct models_values, seed),
     .value = "N",
     .help = "new: of the random weights"},
    {.name = "out",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .offset = offsetof(struct models_values, out),
     .value = "DIR",
     .help = "new: the package's folder; must not be there yet"},
    {.name = "name",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct models_values, name),
     .value = "NAME",
     .help = "add, new: the model's name, of a-z, 0-9, _ and -"},
    {.name = "version",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct models_values, version),
     .value = "TEXT",
     .help = "add, new: the model's version"},
    {.name = "labels",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct models_values, labels),
     .value = "FILE|A,B,C",
     .help = "add, new: the classes, one per output: a file with one a line, or a list"},
    {.name = "preprocess",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct models_values, preprocess),
     .value = "PRESET",
     .help = "add, new: imagenet, imagenet-224-bilinear, cifar10 or raw01"},
    {.name = "probabilities",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct models_values, probabilities),
     .help = "add: the network ends in a softmax of its own"},
    {.name = "replace",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct models_values, replace),
     .help = "add: put it in the place of the model of that name"},
    {.name = NULL},
};

static const struct usage usage = {
    .name = "models",
    .arguments = "list | show NAME | plan NAME | new ARCH | add FILE|URL | remove NAME",
    .summary = "list, show, make, add and remove models",
    .details =
        "list            all models in --models-dir, and what is wrong with those that fail\n"
        "show NAME       a model's description, size and cost\n"
        "plan NAME       how its network is run, step by step\n"
        "new ARCH        an untrained network (resnet50, mobilenetv2, efficientnet_b0) in --out, "
        "for training and benchmarks\n"
        "add FILE|URL    an ONNX network as a model, with --name and --labels\n"
        "remove NAME     a model's folder\n\n"
        "A running server takes added models up, and lets removed ones finish, within "
        "models_scan_seconds.",
    .options = options,
};

/* --- list */

static json_t *model_as_json(const struct model *model)
{
    const struct model_package *package = model_package(model);
    const struct engine *engine = model_engine(model);
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:i, s:[i, i, i], s:s}", "name", package->name, "version",
        package->version, "state", model_state_name(model_state(model)), "folder", package->folder,
        "architecture", package->architecture, "labels", package->label_count, "input", 3,
        package->preprocess.height, package->preprocess.width, "failure", model_failure(model));

    if (object != NULL && engine != NULL) {
        json_object_set_new(object, "precision",
                            json_string(precision_name(engine_precision(engine))));
        json_object_set_new(object, "precision_note", json_string(model_precision_note(model)));
        json_object_set_new(object, "memory_bytes",
                            json_integer((json_int_t)engine_memory(engine)));
    }
    return object;
}

static void print_list(struct model *const *models, int count)
{
    static const struct table_column columns[] = {
        {"name", false},   {"version", false}, {"state", false}, {"architecture", false},
        {"classes", true}, {"input", true},    {"MB", true},     {"precision", false},
    };
    struct terminal terminal;
    struct table table;
    struct buffer out = {0};

    terminal_open(&terminal, stdout);
    table_open(&table, columns, sizeof columns / sizeof *columns);
    for (int i = 0; i < count; i++) {
        const struct model_package *package = model_package(models[i]);
        const bool failed = model_state(models[i]) == MODEL_FAILED;
        const struct engine *engine = model_engine(models[i]);
        table_cell(&table, STYLE_BOLD, "%s", package->name);
        table_cell(&table, STYLE_PLAIN, "%s", package->version);
        table_cell(&table, failed ? STYLE_RED : STYLE_GREEN, "%s",
                   model_state_name(model_state(models[i])));
        table_cell(&table, STYLE_PLAIN, "%s", package->architecture);
        table_cell(&table, STYLE_PLAIN, "%d", package->label_count);
        table_cell(&table, STYLE_PLAIN, "%d x %d", package->preprocess.height,
                   package->preprocess.width);
        table_cell(&table, STYLE_PLAIN, "%.1f",
                   engine != NULL ? (double)engine_memory(engine) / 1e6 : 0.0);
        table_cell(&table, STYLE_PLAIN, "%s", model_precision_note(models[i]));
    }
    table_print(&table, &terminal, 0, &out);
    table_free(&table);
    for (int i = 0; i < count; i++)
        if (model_state(models[i]) == MODEL_FAILED)
            buffer_print(&out, "%s: %s\n", model_package(models[i])->name,
                         model_failure(models[i]));
    if (buffer_ok(&out))
        fputs(out.data, stdout);
    buffer_free(&out);
}

static int list_models(const struct config *config, const char *argument,
                       const struct models_values *values, struct error *err)
{
    struct model_set *set = NULL;
    struct model **models = NULL;
    int count = 0;
    (void)argument;

    int status = model_set_open(config, NULL, &set, err);
    if (status == STATUS_OK)
        status = model_set_list(set, &models, &count, err);
    if (status == STATUS_OK && values->json) {
        json_t *list = json_array();
        for (int i = 0; i < count; i++)
            json_array_append_new(list, model_as_json(models[i]));
        status = models_print_json(list, err);
    } else if (status == STATUS_OK) {
        print_list(models, count);
    }
    for (int i = 0; i < count; i++)
        model_release(models[i]);
    free(models);
    model_set_close(set);
    return status;
}

/* --- show, plan */

/* Opens the model of that name, or in that folder, into *model; the set goes after the model. */
static int open_model(const struct config *config, const char *name, struct model_set **set,
                      struct model **model, struct error *err)
{
    struct model **models = NULL;
    int count = 0;

    int status = model_set_open(config, NULL, set, err);
    if (status == STATUS_OK)
        status = model_set_list(*set, &models, &count, err);
    for (int i = 0; i < count; i++) {
        if (*model == NULL && strcmp(model_package(models[i])->name, name) == 0)
            *model = models[i];
        else
            model_release(models[i]);
    }
    free(models);
    if (status == STATUS_OK && *model == NULL)
        return error_set(err, STATUS_NOT_FOUND, "there is no model '%s' in '%s'", name,
                         config->models_dir);
    if (status == STATUS_OK && model_state(*model) == MODEL_FAILED)
        return error_set(err, STATUS_CORRUPT, "%s", model_failure(*model));
    return status;
}

/* What the network costs, as members of `object`. */
static int add_cost(const struct model_package *package, json_t *object, struct error *err)
{
    char path[PATH_MAX];
    struct graph *graph = NULL;

    snprintf(path, sizeof path, "%.4000s/" PACKAGE_NETWORK_FILE, package->folder);
    const int status = onnx_load(path, &graph, err);
    if (status != STATUS_OK)
        return status;
    json_object_set_new(object, "parameters", json_integer((json_int_t)graph_parameters(graph)));
    json_object_set_new(object, "multiply_adds", json_integer((json_int_t)graph_macs(graph)));
    json_object_set_new(object, "nodes", json_integer((json_int_t)graph->node_count));
    graph_free(graph);
    return STATUS_OK;
}

static void print_member(const char *name, const json_t *value)
{
    if (json_is_string(value)) {
        printf("%-16s %s\n", name, json_string_value(value));
    } else {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        printf("%-16s %s\n", name, text != NULL ? text : "");
        free(text);
    }
}

static void print_labels(const struct model_package *package)
{
    const int shown = package->label_count < LABELS_SHOWN ? package->label_count : LABELS_SHOWN;

    printf("%-16s", "labels");
    for (int i = 0; i < shown; i++)
        printf("%s %s", i > 0 ? "," : "", package->labels[i]);
    if (shown < package->label_count)
        printf(", and %d more", package->label_count - shown);
    puts("");
}

static int show_model(const struct config *config, const char *argument,
                      const struct models_values *values, struct error *err)
{
    struct model_set *set = NULL;
    struct model *model = NULL;
    json_t *object = NULL;
    const char *name;
    json_t *value;

    int status = open_model(config, argument, &set, &model, err);
    if (status != STATUS_OK)
        goto done;
    object = model_as_json(model);
    status = object != NULL ? add_cost(model_package(model), object, err)
                            : error_set(err, STATUS_NO_MEMORY, "no memory to show a model");
    if (status == STATUS_OK &&
        json_object_set(object, "package", model_package(model)->description) != 0)
        status = error_set(err, STATUS_NO_MEMORY, "no memory to show a model");
    if (status != STATUS_OK)
        goto done;
    if (values->json) {
        status = models_print_json(object, err);
        object = NULL;
        goto done;
    }
    json_object_del(object, "failure");
    json_object_foreach (object, name, value) {
        if (strcmp(name, "package") != 0)
            print_member(name, value);
    }
    puts("");
    json_object_foreach (model_package(model)->description, name, value) {
        if (strcmp(name, "labels") == 0)
            print_labels(model_package(model));
        else if (json_object_get(object, name) == NULL)
            print_member(name, value);
    }
done:
    json_decref(object);
    model_release(model);
    model_set_close(set);
    return status;
}

static int plan_model(const struct config *config, const char *argument,
                      const struct models_values *values, struct error *err)
{
    struct model_set *set = NULL;
    struct model *model = NULL;
    struct engine_session *session = NULL;
    char *text = NULL;

    int status = open_model(config, argument, &set, &model, err);
    if (status == STATUS_OK)
        status = model_set_check_precision(set, err);
    if (status == STATUS_OK && values->batch > config->batch_max)
        status = error_set(err, STATUS_INVALID, "--batch is above batch_max (%" PRId64 ")",
                           config->batch_max);
    if (status == STATUS_OK)
        status = engine_session_create(model_engine(model), (int)values->threads, &session, err);
    if (status == STATUS_OK) {
        text = engine_plan_text(session, (int)values->batch, err);
        status = text != NULL ? STATUS_OK : err->code;
    }
    if (status == STATUS_OK && values->json)
        status = models_print_json(
            json_pack("{s:s, s:s, s:i, s:s, s:s}", "name", argument, "precision",
                      precision_name(engine_precision(model_engine(model))), "batch",
                      (int)values->batch, "note", model_precision_note(model), "plan", text),
            err);
    else if (status == STATUS_OK)
        printf("%s, %s\n%s", argument, model_precision_note(model), text);
    free(text);
    engine_session_free(session);
    model_release(model);
    model_set_close(set);
    return status;
}

/* --- The command */

int models_print_json(json_t *json, struct error *err)
{
    struct buffer out = {0};

    int status = json != NULL ? json_write(json, &out, err)
                              : error_set(err, STATUS_NO_MEMORY, "no memory for JSON");
    if (status == STATUS_OK) {
        fwrite(out.data, 1, out.size, stdout);
        putchar('\n');
    }
    buffer_free(&out);
    json_decref(json);
    return status;
}

static const struct action {
    const char *name;
    bool wants_argument;
    int (*run)(const struct config *config, const char *argument,
               const struct models_values *values, struct error *err);
} actions[] = {
    {"list", false, list_models}, {"show", true, show_model}, {"plan", true, plan_model},
    {"new", true, models_new},    {"add", true, models_add},  {"remove", true, models_remove},
};

static int run_action(const struct command_line *line, const struct models_values *values,
                      struct error *err)
{
    const char *name = line->argument_count > 0 ? line->arguments[0] : "list";

    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        const struct action *action = &actions[i];
        if (strcmp(action->name, name) != 0)
            continue;
        const int arguments = line->argument_count > 0 ? line->argument_count - 1 : 0;
        if (arguments != action->wants_argument)
            return error_set(err, STATUS_INVALID, "'%s' takes %s argument; see --help", name,
                             action->wants_argument ? "one" : "no");
        return action->run(line->config, arguments == 1 ? line->arguments[1] : NULL, values, err);
    }
    return error_set(err, STATUS_INVALID,
                     "'%s' is none of list, show, plan, new, add and remove; see --help", name);
}

static int run(int argc, char **argv)
{
    struct models_values values = {
        .batch = 1, .threads = 1, .classes = 0, .input = 224, .seed = 1, .version = "1"};
    struct command_line line;
    struct error err = {0};

    int status = settings_parse(&usage, argc, argv, &values, sizeof values, &line, &err);
    if (status == STATUS_OK && !line.help)
        status = run_action(&line, &values, &err);
    command_line_free(&line);
    return status == STATUS_OK ? 0 : command_fail("models", &err);
}

const struct command command_models = {&usage, run};
