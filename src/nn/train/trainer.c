/* The step: forward, loss, backward, update. See trainer.h; the layers are planned in tape.c. */
#include "nn/train/trainer.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/train/loss.h"
#include "nn/train/trainer_private.h"

static int check_options(const struct trainer_options *options, struct error *err)
{
    if (options->batch < 1 || options->threads < 1 || options->threads > 1024)
        return error_set(err, STATUS_INVALID, "a batch of %d images on %d threads cannot train",
                         options->batch, options->threads);
    if (!(options->momentum >= 0 && options->momentum < 1) || !(options->weight_decay >= 0) ||
        !(options->label_smoothing >= 0 && options->label_smoothing < 1) ||
        !(options->ema_decay >= 0 && options->ema_decay < 1))
        return error_set(err, STATUS_INVALID,
                         "momentum, label smoothing and averaging must be in [0, 1), weight decay "
                         "not negative");
    return STATUS_OK;
}

static int check_graph(const struct graph *graph, struct error *err)
{
    if (graph->input_count != 1 || graph->output_count != 1 ||
        graph->values[graph->inputs[0]].shape.rank != 4)
        return error_set(err, STATUS_UNSUPPORTED,
                         "only a graph of one image input and one output can be trained");
    return STATUS_OK;
}

/* The graph with this input size and the batch in its shapes, and its tape. */
static int add_tape(struct trainer *trainer, int height, int width, struct error *err)
{
    struct sized_tape *sized = &trainer->tapes[trainer->tape_count];
    int status;

    if (trainer->tape_count == TAPES_MAX)
        return error_set(err, STATUS_TOO_LARGE, "a trainer holds tapes for %d input sizes at most",
                         TAPES_MAX);
    *sized = (struct sized_tape){.height = height, .width = width};
    status = graph_clone(trainer->graph, &sized->graph, err);
    if (status != STATUS_OK)
        return status;
    struct shape *shape = &sized->graph->values[sized->graph->inputs[0]].shape;
    shape->dims[2] = height;
    shape->dims[3] = width;
    status = graph_infer_shapes(sized->graph, trainer->options.batch, err);
    if (status == STATUS_OK)
        status = tape_create(sized->graph, trainer->store, &trainer->options, trainer->bf16,
                             &sized->tape, err);
    if (status != STATUS_OK) {
        graph_free(sized->graph);
        return status;
    }
    trainer->tape = trainer->tapes[trainer->tape_count++].tape;
    trainer->fresh = false;
    trainer->averaged_fresh = false;
    return STATUS_OK;
}

int trainer_create(const struct graph *graph, const struct trainer_options *options,
                   struct trainer **out, struct error *err)
{
    struct trainer *trainer;
    int status = check_options(options, err);
    if (status == STATUS_OK)
        status = check_graph(graph, err);
    if (status != STATUS_OK)
        return status;
    trainer = calloc(1, sizeof *trainer);
    if (trainer == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a trainer");
    trainer->options = *options;
    trainer->bf16 = options->precision == PRECISION_BF16 ||
                    (options->precision == PRECISION_AUTO && precision_bf16_native());
    omp_set_num_threads(options->threads);
    const int64_t *dims = graph->values[graph->inputs[0]].shape.dims;
    status = graph_clone(graph, &trainer->graph, err);
    if (status == STATUS_OK)
        status = store_create(trainer->graph, &trainer->store, err);
    if (status == STATUS_OK)
        status = add_tape(trainer, (int)dims[2], (int)dims[3], err);
    if (status != STATUS_OK)
        goto fail;
    size_t logits = (size_t)options->batch * (size_t)trainer_classes(trainer);
    trainer->logits = calloc(logits, sizeof(float));
    trainer->logits_gradient = calloc(logits, sizeof(float));
    if (trainer->logits == NULL || trainer->logits_gradient == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory for %zu logits", logits);
        goto fail;
    }
    *out = trainer;
    return STATUS_OK;
fail:
    trainer_free(trainer);
    return status;
}

void trainer_free(struct trainer *trainer)
{
    if (trainer == NULL)
        return;
    for (int i = 0; i < trainer->tape_count; i++) {
        tape_free(trainer->tapes[i].tape);
        graph_free(trainer->tapes[i].graph);
    }
    store_free(trainer->store);
    graph_free(trainer->graph);
    free(trainer->logits);
    free(trainer->logits_gradient);
    free(trainer->padded);
    free(trainer);
}

int trainer_resize(struct trainer *trainer, int height, int width, struct error *err)
{
    omp_set_num_threads(trainer->options.threads);
    for (int i = 0; i < trainer->tape_count; i++) {
        struct sized_tape *sized = &trainer->tapes[i];
        if (sized->height != height || sized->width != width)
            continue;
        if (sized->tape != trainer->tape)
            trainer->fresh = trainer->averaged_fresh = false;
        trainer->tape = sized->tape;
        return STATUS_OK;
    }
    return add_tape(trainer, height, width, err);
}

int trainer_classes(const struct trainer *trainer)
{
    return trainer->tape->logits->c;
}

uint64_t trainer_steps(const struct trainer *trainer)
{
    return trainer->store->steps;
}

bool trainer_bf16(const struct trainer *trainer)
{
    return trainer->bf16;
}

/* ---- the step ---- */

static int refresh(struct trainer *trainer, struct error *err)
{
    int status = trainer->fresh ? STATUS_OK : tape_refresh(trainer->tape, false, err);
    trainer->fresh = status == STATUS_OK;
    trainer->averaged_fresh = false;
    return status;
}

static struct loss take_loss(struct trainer *trainer, const int32_t *labels)
{
    const struct tape *tape = trainer->tape;
    int64_t count = tape->logits->n * tape->logits->c;
    tape->kernels->to_planes(tape->logits->data, trainer->logits, 1, (int)count);
    struct loss loss = loss_softmax(trainer->logits, labels, (int)tape->logits->n, tape->logits->c,
                                    trainer->options.label_smoothing, trainer->logits_gradient);
    tape->kernels->from_planes(trainer->logits_gradient, tape->logits->gradient, 1, (int)count);
    return loss;
}

/* Averages start slowly, or the first random weights would stay in them for long. */
static float average_keep(const struct trainer *trainer)
{
    float ramp = (1.0f + (float)trainer->store->steps) / (10.0f + (float)trainer->store->steps);
    return ramp < trainer->options.ema_decay ? ramp : trainer->options.ema_decay;
}

static void update_statistics(struct store *store, float keep)
{
    for (int64_t i = store->end[PARAMETER_PLAIN]; i < store->end[PARAMETER_STATISTIC]; i++)
        store->average[i] += (1 - keep) * (store->weight[i] - store->average[i]);
}

static void update(struct trainer *trainer, float learning_rate)
{
    struct store *store = trainer->store;
    const struct trainer_options *options = &trainer->options;
    const struct kernels *kernels = trainer->tape->kernels;
    bool averaging = options->ema_decay > 0;
    struct sgd_pass pass = {learning_rate, options->momentum, options->weight_decay,
                            average_keep(trainer)};
    int64_t begin = 0;

    for (int kind = PARAMETER_DECAYED; kind <= PARAMETER_PLAIN; kind++) {
        int64_t length = store->end[kind] - begin;
        pass.weight_decay = kind == PARAMETER_DECAYED ? options->weight_decay : 0;
#pragma omp parallel for num_threads(options->threads) if (options->threads > 1) schedule(static)
        for (int t = 0; t < options->threads; t++) {
            struct span span = span_of(length, t, options->threads);
            int64_t at = begin + span.begin;
            kernels->sgd(&pass, store->weight + at, store->gradient + at, store->velocity + at,
                         averaging ? store->average + at : NULL, span.end - span.begin);
        }
        begin = store->end[kind];
    }
    tape_commit(trainer->tape);
    if (averaging)
        update_statistics(store, pass.average_keep);
    store->steps++;
    trainer->fresh = false;
    trainer->averaged_fresh = false;
}

static int check_labels(const struct trainer *trainer, const int32_t *labels, struct error *err)
{
    int classes = trainer_classes(trainer);
    for (int i = 0; i < trainer->options.batch; i++)
        if (labels[i] < 0 || labels[i] >= classes)
            return error_set(err, STATUS_INVALID, "label %d of image %d is not in 0 .. %d",
                             (int)labels[i], i, classes - 1);
    return STATUS_OK;
}

int trainer_step(struct trainer *trainer, const float *input, const int32_t *labels,
                 float learning_rate, struct trainer_step_result *result, struct error *err)
{
    struct tape *tape = trainer->tape;
    int status = check_labels(trainer, labels, err);

    omp_set_num_threads(trainer->options.threads);
    tape->seed = trainer->options.seed ^ (trainer->store->steps * 0x9e3779b97f4a7c15u);
    if (status == STATUS_OK)
        status = refresh(trainer, err);
    if (status == STATUS_OK)
        status = tape_forward(tape, input, true, err);
    if (status != STATUS_OK)
        return status;
    struct loss loss = take_loss(trainer, labels);
    if (!isfinite(loss.mean))
        return error_set(err, STATUS_CORRUPT,
                         "the loss is not finite at step %llu: the learning rate is too high",
                         (unsigned long long)trainer->store->steps);
    status = tape_backward(tape, err);
    if (status != STATUS_OK)
        return status;
    update(trainer, learning_rate);
    *result = (struct trainer_step_result){loss.mean, loss.correct};
    return STATUS_OK;
}

/* ---- looking at the weights ---- */

static int pad_input(struct trainer *trainer, const float *input, int n, const float **out,
                     struct error *err)
{
    const struct flow *x = trainer->tape->input;
    size_t image = (size_t)x->c * (size_t)x->h * (size_t)x->w, count = image * (size_t)x->n;

    if (n == x->n) {
        *out = input;
        return STATUS_OK;
    }
    if (count > trainer->padded_count) {
        float *padded = realloc(trainer->padded, count * sizeof *padded);
        if (padded == NULL)
            return error_set(err, STATUS_NO_MEMORY, "no memory for a batch of images");
        trainer->padded = padded;
        trainer->padded_count = count;
    }
    memcpy(trainer->padded, input, image * (size_t)n * sizeof(float));
    memset(trainer->padded + image * (size_t)n, 0, (count - image * (size_t)n) * sizeof(float));
    *out = trainer->padded;
    return STATUS_OK;
}

int trainer_evaluate(struct trainer *trainer, bool averaged, const float *input, int n,
                     float *logits, struct error *err)
{
    struct tape *tape = trainer->tape;
    bool average = averaged && trainer->options.ema_decay > 0;
    const float *padded = NULL;
    int status = STATUS_OK;

    if (n < 1 || n > trainer->options.batch)
        return error_set(err, STATUS_INVALID, "%d images to evaluate, not 1 .. %d", n,
                         trainer->options.batch);
    omp_set_num_threads(trainer->options.threads);
    const float *wanted = average ? trainer->store->average : trainer->store->weight;
    if (tape->weights != wanted || !(average ? trainer->averaged_fresh : trainer->fresh))
        status = tape_refresh(tape, average, err);
    trainer->averaged_fresh = average && status == STATUS_OK;
    trainer->fresh = !average && status == STATUS_OK;
    if (status == STATUS_OK)
        status = pad_input(trainer, input, n, &padded, err);
    if (status == STATUS_OK)
        status = tape_forward(tape, padded, false, err);
    if (status == STATUS_OK)
        tape->kernels->to_planes(tape->logits->data, logits, 1, n * tape->logits->c);
    return status;
}

int trainer_graph(const struct trainer *trainer, bool averaged, struct graph **out,
                  struct error *err)
{
    int status = graph_clone(trainer->graph, out, err);
    if (status == STATUS_OK)
        store_export(trainer->store, averaged && trainer->options.ema_decay > 0, *out);
    return status;
}

char *trainer_text(const struct trainer *trainer)
{
    const struct tape *tape = trainer->tape;
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (stream == NULL)
        return NULL;
    for (int i = 0; i < tape->layer_count; i++) {
        const struct layer *layer = &tape->layers[i];
        char what[192] = "own";
        if (layer->kind->describe != NULL)
            layer->kind->describe(layer, what, sizeof what);
        fprintf(stream, "%-10s %-32s %4dx%dx%d  %s\n", layer->kind->name, layer->name,
                layer->output->c, layer->output->h, layer->output->w, what);
    }
    if (fclose(stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
