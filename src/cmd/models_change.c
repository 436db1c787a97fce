/* `ocelli models new`, `add` and `remove`: see models.c. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cmd/models_actions.h"
#include "models/install.h"
#include "nn/arch/arch.h"
#include "nn/onnx/onnx.h"

/* Below this the architectures' small-image variants are built, and small pictures are meant. */
enum { SMALL_INPUT_BELOW = 64 };

static int report(const char *what, const char *name, const char *folder, bool as_json,
                  struct error *err)
{
    if (as_json)
        return models_print_json(
            json_pack("{s:s, s:s, s:s*}", what, name, "name", name, "folder", folder), err);
    printf("%s %s%s%s\n", what, name, folder != NULL ? ": " : "", folder != NULL ? folder : "");
    return STATUS_OK;
}

/* --- new */

/* What an untrained network of that input is usually given: a preset where one fits, else the
 * preset for its size with the sides changed in proportion. */
static int choose_preprocess(const struct models_values *values, struct preprocess *out,
                             struct error *err)
{
    const int side = (int)values->input;
    const char *preset = values->preprocess != NULL          ? values->preprocess
                         : values->input < SMALL_INPUT_BELOW ? "cifar10"
                                                             : "imagenet";

    const int status = preprocess_preset(preset, out, err);
    if (status != STATUS_OK)
        return status;
    if (out->fit == PREPROCESS_FIT_SHORTER)
        out->shorter_side = (out->shorter_side * side + out->height / 2) / out->height;
    out->width = out->height = side;
    return preprocess_check(out, err);
}

/* The labels given, or class_0, class_1, ... */
static int make_labels(const struct models_values *values, char ***labels, int *count,
                       struct error *err)
{
    if (values->labels != NULL)
        return install_labels_read(values->labels, labels, count, err);
    if (values->classes < 1)
        return error_set(err, STATUS_INVALID, "--classes or --labels must say what it tells apart");
    char **list = calloc((size_t)values->classes, sizeof *list);
    bool failed = list == NULL;
    for (int64_t i = 0; i < values->classes && !failed; i++)
        failed = asprintf(&list[i], "class_%d", (int)i) < 0;
    if (failed) {
        install_labels_free(list, list != NULL ? (int)values->classes : 0);
        return error_set(err, STATUS_NO_MEMORY, "no memory for the labels");
    }
    *labels = list;
    *count = (int)values->classes;
    return STATUS_OK;
}

/* The network first: a folder is a package from the moment it has a model.yaml. */
static int write_new(const char *arch, const struct models_values *values,
                     const struct package_text *text, struct error *err)
{
    const struct arch_options arch_options = {
        .classes = text->label_count, .input = (int)values->input, .seed = (uint64_t)values->seed};
    const struct onnx_write_options write_options = {.weights = DTYPE_F32, .name = text->name};
    struct graph *graph = NULL;
    char path[PATH_MAX];

    const int length = snprintf(path, sizeof path, "%s/" PACKAGE_NETWORK_FILE, values->out);
    if (length < 0 || (size_t)length >= sizeof path)
        return error_set(err, STATUS_INVALID, "the path '%.64s...' is too long", values->out);
    int status = arch_build(arch, &arch_options, &graph, err);
    if (status != STATUS_OK)
        return status;
    status = folder_make(values->out, false, err);
    if (status == STATUS_OK)
        status = onnx_save(graph, path, &write_options, err);
    if (status == STATUS_OK)
        status = package_write(values->out, text, err);
    if (status != STATUS_OK)
        folder_remove(values->out, NULL);
    graph_free(graph);
    return status;
}

int models_new(const struct config *config, const char *argument,
               const struct models_values *values, struct error *err)
{
    struct preprocess preprocess;
    struct package_text text = {
        .name = values->name != NULL ? values->name : argument,
        .version = values->version,
        .architecture = argument,
        .own_preprocess = &preprocess,
    };
    char **labels = NULL;
    json_t *extra = NULL;
    (void)config;

    if (values->out == NULL)
        return error_set(err, STATUS_INVALID, "--out says which folder to make");
    if (file_exists(values->out))
        return error_set(err, STATUS_EXISTS, "'%s' is there already", values->out);
    int status = package_check_name(text.name, err);
    if (status == STATUS_OK)
        status = choose_preprocess(values, &preprocess, err);
    if (status == STATUS_OK)
        status = make_labels(values, &labels, &text.label_count, err);
    if (status != STATUS_OK)
        return status;
    text.labels = (const char *const *)labels;
    extra = json_pack("{s:s, s:{s:s, s:I}}", "description",
                      "untrained: its answers mean nothing before it is trained", "made_with",
                      "program", "ocelli models new", "seed", (json_int_t)values->seed);
    text.extra = extra;
    status = extra != NULL ? write_new(argument, values, &text, err)
                           : error_set(err, STATUS_NO_MEMORY, "no memory for a package");
    json_decref(extra);
    install_labels_free(labels, text.label_count);
    return status != STATUS_OK ? status : report("made", text.name, values->out, values->json, err);
}

/* --- add, remove */

int models_add(const struct config *config, const char *argument,
               const struct models_values *values, struct error *err)
{
    char first[PATH_MAX], folder[PATH_MAX + 80];
    const struct install_request request = {
        .models_dir = first,
        .source = argument,
        .label_text = values->labels,
        .replace = values->replace,
        .text = {.name = values->name,
                 .version = values->version,
                 .preprocess = values->preprocess != NULL ? values->preprocess : "imagenet",
                 .output_is_probabilities = values->probabilities},
    };

    if (values->name == NULL || values->labels == NULL)
        return error_set(err, STATUS_INVALID, "--name and --labels must say what it is");
    const int length = snprintf(first, sizeof first, "%.*s", (int)strcspn(config->models_dir, ":"),
                                config->models_dir);
    if (length < 1 || (size_t)length >= sizeof first)
        return error_set(err, STATUS_INVALID, "--models-dir must name a folder");
    const int status = model_install(&request, err);
    if (status != STATUS_OK)
        return error_wrap(err, "'%s' is not added", values->name);
    snprintf(folder, sizeof folder, "%s/%s", first, values->name);
    return report("added", values->name, folder, values->json, err);
}

int models_remove(const struct config *config, const char *argument,
                  const struct models_values *values, struct error *err)
{
    const int status = model_uninstall(config->models_dir, argument, err);
    return status != STATUS_OK ? status : report("removed", argument, NULL, values->json, err);
}
