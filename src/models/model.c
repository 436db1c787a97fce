/* One model: its package, its engine, its state, and its references. */
#include "models/model.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "nn/onnx/onnx.h"

const char *model_state_name(enum model_state state)
{
    static const char *const names[] = {
        [MODEL_LOADING] = "loading",
        [MODEL_ACTIVE] = "active",
        [MODEL_DRAINING] = "draining",
        [MODEL_FAILED] = "failed",
    };
    return names[state];
}

/* --- What anyone may ask */

const struct model_package *model_package(const struct model *model)
{
    return model->package;
}

enum model_state model_state(const struct model *model)
{
    return (enum model_state)atomic_load_explicit(&model->state, memory_order_acquire);
}

struct engine *model_engine(const struct model *model)
{
    const enum model_state state = model_state(model);
    if (state != MODEL_ACTIVE && state != MODEL_DRAINING)
        return NULL;
    return model->compiled[atomic_load_explicit(&model->current, memory_order_acquire)].engine;
}

const char *model_precision_note(const struct model *model)
{
    const int current = atomic_load_explicit(&model->current, memory_order_acquire);
    return current >= 0 ? model->compiled[current].note : "";
}

const char *model_failure(const struct model *model)
{
    return model_state(model) == MODEL_FAILED ? model->failure : "";
}

struct model *model_retain(struct model *model)
{
    atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
    return model;
}

static void model_free(struct model *model)
{
    if (model->compiled[1].engine != model->compiled[0].engine)
        engine_free(model->compiled[1].engine);
    engine_free(model->compiled[0].engine);
    package_free(model->package);
    free(model);
}

void model_release(struct model *model)
{
    if (model != NULL &&
        atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) == 1)
        model_free(model);
}

int model_run(const struct model *model, struct engine_session *session, int n, const float *input,
              float *probabilities, struct error *err)
{
    const int status = engine_run(session, n, input, probabilities, err);
    if (status == STATUS_OK && !model->package->output_is_probabilities)
        softmax_rows(probabilities, n, model->package->label_count);
    return status;
}

/* --- Making one */

void model_set_state(struct model *model, enum model_state state)
{
    atomic_store_explicit(&model->state, (int)state, memory_order_release);
}

void model_fail(struct model *model, const struct error *err)
{
    memcpy(model->failure, err->message, sizeof model->failure);
    model_set_state(model, MODEL_FAILED);
}

/* What stands for the package of a folder whose model.yaml cannot be read. */
static struct model_package *package_of_folder(const char *folder)
{
    struct model_package *package = calloc(1, sizeof *package);
    if (package == NULL)
        return NULL;
    const char *slash = strrchr(folder, '/');
    package->folder = strdup(folder);
    package->name = strdup(slash != NULL && slash[1] != '\0' ? slash + 1 : folder);
    package->version = strdup("");
    package->architecture = strdup("");
    package->description = json_object();
    if (package->folder == NULL || package->name == NULL || package->version == NULL ||
        package->architecture == NULL || package->description == NULL) {
        package_free(package);
        return NULL;
    }
    return package;
}

struct model *model_read(const char *folder)
{
    struct error err = {0};
    struct model *model = calloc(1, sizeof *model);
    if (model == NULL)
        return NULL;
    atomic_init(&model->references, 1);
    atomic_init(&model->state, MODEL_LOADING);
    atomic_init(&model->current, -1);
    if (package_load(folder, &model->package, &err) != STATUS_OK) {
        model->package = package_of_folder(folder);
        if (model->package == NULL) {
            free(model);
            return NULL;
        }
        model_fail(model, &err);
    }
    return model;
}

/* Reads the network; its hash too when `hash` is not NULL. */
static int load_network(const struct model_package *package, struct graph **out, char *hash,
                        struct error *err)
{
    char path[PATH_MAX];
    uint8_t *bytes = NULL;
    size_t size = 0;

    const int length = snprintf(path, sizeof path, "%s/" PACKAGE_NETWORK_FILE, package->folder);
    if (length < 0 || (size_t)length >= sizeof path)
        return error_set(err, STATUS_INVALID, "the path '%.64s...' is too long", package->folder);
    int status = file_read(path, PACKAGE_NETWORK_BYTES_MAX, &bytes, &size, err);
    if (status != STATUS_OK)
        return status;
    if (hash != NULL)
        sha256_text(bytes, size, hash);
    status = onnx_read(bytes, size, out, err);
    free(bytes);
    return status != STATUS_OK ? error_wrap(err, "%s", path) : STATUS_OK;
}

/* Whether the network takes what preprocessing makes and gives a number for every label. */
static int check_fit(const struct model_package *package, const struct engine *engine,
                     struct error *err)
{
    const struct preprocess *preprocess = &package->preprocess;
    char text[96];
    struct shape shape;

    engine_input_shape(engine, &shape);
    if (shape.rank != 3 || shape.dims[0] != 3 || shape.dims[1] != preprocess->height ||
        shape.dims[2] != preprocess->width)
        return error_set(err, STATUS_INVALID,
                         "%s: the network takes %s, but 'preprocess' makes [3, %d, %d]",
                         package->folder, shape_text(&shape, text, sizeof text), preprocess->height,
                         preprocess->width);
    if (engine_outputs(engine) != package->label_count)
        return error_set(err, STATUS_INVALID,
                         "%s: the network has %d outputs, but there are %d labels", package->folder,
                         engine_outputs(engine), package->label_count);
    return STATUS_OK;
}

static void note_verdict(const struct precision_verdict *verdict, char *note, size_t size)
{
    if (precision_verdict_same(verdict))
        snprintf(note, size, "bf16, checked on %d images: same answers", verdict->images);
    else
        snprintf(note, size, "fp32: in bf16 %d of %d images got another answer", verdict->changed,
                 verdict->images);
}

/* What the settings ask for, else the package. */
static enum precision wanted_precision(const struct model *model,
                                       const struct model_options *options)
{
    return options->precision != PRECISION_AUTO ? options->precision : model->package->precision;
}

/* The precision to compile in, why, and whether a check would tell better. */
static enum precision choose_precision(const struct model *model,
                                       const struct model_options *options, char *note, size_t size,
                                       bool *check_owed)
{
    struct precision_verdict verdict;
    const enum precision wanted = wanted_precision(model, options);

    *check_owed = false;
    if (wanted == PRECISION_FP32) {
        snprintf(note, size, "fp32, as asked");
        return PRECISION_FP32;
    }
    if (!precision_bf16_native()) {
        snprintf(note, size, "fp32: this CPU has no bf16");
        return PRECISION_FP32;
    }
    if (wanted == PRECISION_BF16) {
        snprintf(note, size, "bf16, as asked");
        return PRECISION_BF16;
    }
    if (precision_verdicts_find(options->verdicts, model->network_hash, &verdict)) {
        note_verdict(&verdict, note, size);
        return precision_verdict_same(&verdict) ? PRECISION_BF16 : PRECISION_FP32;
    }
    *check_owed = true;
    snprintf(note, size, "fp32 until bf16 is checked");
    return PRECISION_FP32;
}

static int compile(struct model *model, const struct model_options *options, struct error *err)
{
    struct graph *graph = NULL;
    struct compiled *compiled = &model->compiled[0];
    struct engine_options engine_options = {.batch_max = options->batch_max};

    /* Hashing a hundred megabytes takes a while: only where the verdict on them counts. */
    const bool is_checked =
        wanted_precision(model, options) == PRECISION_AUTO && precision_bf16_native();
    int status = load_network(model->package, &graph, is_checked ? model->network_hash : NULL, err);
    if (status != STATUS_OK)
        return status;
    model->batch_max = options->batch_max;
    engine_options.precision =
        choose_precision(model, options, compiled->note, sizeof compiled->note, &model->check_owed);
    status = engine_create(graph, &engine_options, &compiled->engine, err);
    graph_free(graph);
    if (status != STATUS_OK)
        return error_wrap(err, "%s", model->package->folder);
    return check_fit(model->package, compiled->engine, err);
}

void model_compile(struct model *model, const struct model_options *options)
{
    struct error err = {0};

    if (compile(model, options, &err) != STATUS_OK)
        model_fail(model, &err);
    else
        atomic_store_explicit(&model->current, 0, memory_order_release);
}

/* --- Its precision check */

static int compare_precisions(struct model *model, const struct model_options *options,
                              const atomic_bool *stop, struct engine **rounded,
                              struct precision_verdict *verdict, struct error *err)
{
    const struct engine_options engine_options = {PRECISION_BF16, options->batch_max};
    struct graph *graph = NULL;
    char hash[SHA256_TEXT_SIZE];

    int status = load_network(model->package, &graph, hash, err);
    if (status != STATUS_OK)
        return status;
    if (strcmp(hash, model->network_hash) != 0)
        status = error_set(err, STATUS_INVALID, "the file has changed since it was loaded");
    if (status == STATUS_OK)
        status = engine_create(graph, &engine_options, rounded, err);
    graph_free(graph);
    if (status == STATUS_OK)
        status = precision_check(model->package, model->compiled[0].engine, *rounded,
                                 options->batch_max, options->samples, stop, verdict, err);
    return status;
}

int model_check_precision(struct model *model, const struct model_options *options,
                          const atomic_bool *stop, struct error *err)
{
    struct engine *rounded = NULL;
    struct precision_verdict verdict;
    struct error why = {0};
    struct compiled *compiled = &model->compiled[1];

    const int status = compare_precisions(model, options, stop, &rounded, &verdict, &why);
    if (status == STATUS_CLOSED) {
        engine_free(rounded);
        return error_set(err, STATUS_CLOSED, "%s", why.message);
    }
    compiled->engine = model->compiled[0].engine;
    if (status == STATUS_OK) {
        precision_verdicts_put(options->verdicts, model->network_hash, &verdict);
        note_verdict(&verdict, compiled->note, sizeof compiled->note);
    } else {
        snprintf(compiled->note, sizeof compiled->note, "fp32: bf16 could not be checked: %.140s",
                 why.message);
    }
    if (status == STATUS_OK && precision_verdict_same(&verdict))
        compiled->engine = rounded;
    else
        engine_free(rounded);
    atomic_store_explicit(&model->current, 1, memory_order_release);
    return STATUS_OK;
}
