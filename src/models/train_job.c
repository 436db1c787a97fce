/* See train_job.h. */
#include "models/train_job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "models/train_loader.h"
#include "models/train_log.h"
#include "nn/arch/arch.h"
#include "nn/onnx/onnx.h"
#include "nn/train/trainer.h"

enum { CHECKPOINT_SECONDS = 300, PATH_SIZE = 4096 };

const struct train_job train_job_default = {
    .preset = "cifar10",
    .input = 32,
    .small_share = 0.5,
    .epochs = 12,
    .batch = 64,
    .learning_rate = 0.08,
    .warmup = 0.2,
    .momentum = 0.9,
    .weight_decay = 5e-4,
    .label_smoothing = 0.1,
    .average_decay = 0.998,
    .cutout = 8,
    .pad = 4,
    .validation = 5000,
    .seed = 1,
    .threads = 1,
    .precision = PRECISION_AUTO,
};

struct run {
    const struct train_job *job;
    struct preprocess preprocess;
    struct augment augment;
    struct dataset *dataset;
    struct dataset_split split;
    struct trainer *trainer;
    struct train_loader *loader;
    struct train_log log;
    int64_t steps_epoch, steps;
    bool small; /* the loader may still make small batches */
    int64_t began_ns, saved_ns, shown_ns;
    int64_t shown_steps;
    double loss;     /* sum over this epoch's steps */
    int64_t correct; /* likewise */
    int64_t counted; /* steps in both */
    double learning_rate, images_per_second;
    float *input, *logits; /* of one batch of held-out pictures */
};

/* ---- opening ---- */

static int join(char *path, const char *folder, const char *name, struct error *err)
{
    int length = snprintf(path, PATH_SIZE, "%s/%s", folder, name);
    return length > 0 && length < PATH_SIZE
               ? STATUS_OK
               : error_set(err, STATUS_TOO_LARGE, "the path of folder '%s' is too long", folder);
}

static int check_job(const struct train_job *job, struct error *err)
{
    if (job->data == NULL || job->out == NULL || (job->architecture == NULL && job->init == NULL))
        return error_set(err, STATUS_INVALID,
                         "a training needs an architecture, a data folder and an output folder");
    if (job->epochs < 1 || job->batch < 2 || job->input < 8 || job->pad < 0 ||
        job->pad >= job->input || job->small_input < 0 || job->small_input > job->input ||
        !(job->learning_rate > 0) || !(job->warmup >= 0 && job->warmup < 1) || !(job->minutes >= 0))
        return error_set(err, STATUS_INVALID,
                         "a training takes at least 1 epoch, batches of at least 2, an input of at "
                         "least 8, and a learning rate above 0");
    return STATUS_OK;
}

static int open_data(struct run *run, struct error *err)
{
    const struct train_job *job = run->job;
    char folder[PATH_SIZE];
    int status = preprocess_preset(job->preset, &run->preprocess, err);

    if (status == STATUS_OK)
        status = join(folder, job->data, "train", err);
    if (status != STATUS_OK)
        return status;
    run->preprocess.width = run->preprocess.height = job->input;
    if (run->preprocess.shorter_side < job->input || job->input < 64)
        run->preprocess.shorter_side = job->input;
    status = dataset_open_folder(file_exists(folder) ? folder : job->data, NULL, 0,
                                 &run->preprocess, &run->dataset, err);
    if (status == STATUS_OK)
        status = dataset_split_make(run->dataset, job->validation, job->seed, &run->split, err);
    run->augment = (struct augment){
        .pad = job->pad,
        .flip = true,
        .cutout = job->cutout,
        .scale = run->preprocess.scale,
    };
    for (int c = 0; c < 3; c++) {
        run->augment.mean[c] = run->preprocess.mean[c];
        run->augment.std[c] = run->preprocess.std[c];
    }
    return status;
}

static int open_graph(const struct run *run, struct graph **out, struct error *err)
{
    const struct train_job *job = run->job;
    const struct arch_options options = {run->dataset->label_count, job->input, job->seed};
    return job->init != NULL ? onnx_load(job->init, out, err)
                             : arch_build(job->architecture, &options, out, err);
}

static int open_trainer(struct run *run, struct error *err)
{
    const struct train_job *job = run->job;
    const struct trainer_options options = {
        .batch = job->batch,
        .threads = job->threads,
        .precision = job->precision,
        .momentum = (float)job->momentum,
        .weight_decay = (float)job->weight_decay,
        .label_smoothing = (float)job->label_smoothing,
        .ema_decay = (float)job->average_decay,
        .seed = job->seed,
    };
    struct graph *graph;
    int status = open_graph(run, &graph, err);

    if (status != STATUS_OK)
        return status;
    status = trainer_create(graph, &options, &run->trainer, err);
    graph_free(graph);
    if (status == STATUS_OK && trainer_classes(run->trainer) != run->dataset->label_count)
        status = error_set(err, STATUS_INVALID, "the model has %d classes, the data %d",
                           trainer_classes(run->trainer), run->dataset->label_count);
    return status;
}

static int open_log(struct run *run, struct error *err)
{
    const struct train_job *job = run->job;
    char path[PATH_SIZE], checkpoint[PATH_SIZE];
    int status = folder_make(job->out, true, err);

    if (status == STATUS_OK)
        status = join(path, job->out, "training.json", err);
    if (status == STATUS_OK)
        status = join(checkpoint, job->out, "checkpoint.bin", err);
    if (status == STATUS_OK)
        status = train_log_start(&run->log, path, job, trainer_bf16(run->trainer), err);
    if (status != STATUS_OK || !job->resume || !file_exists(checkpoint))
        return status;
    status = trainer_load(run->trainer, checkpoint, err);
    if (status == STATUS_OK)
        status = train_log_resume(&run->log, path, err);
    return status;
}

static int open_run(struct run *run, struct error *err)
{
    const struct train_job *job = run->job;
    size_t image = 3 * (size_t)job->input * (size_t)job->input;
    int status = check_job(job, err);

    if (status == STATUS_OK)
        status = open_data(run, err);
    if (status == STATUS_OK)
        status = open_trainer(run, err);
    if (status == STATUS_OK)
        status = open_log(run, err);
    if (status != STATUS_OK)
        return status;
    run->input = malloc((size_t)job->batch * image * sizeof *run->input);
    run->logits =
        malloc((size_t)job->batch * (size_t)run->dataset->label_count * sizeof *run->logits);
    if (run->input == NULL || run->logits == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a batch of pictures");
    run->steps_epoch = run->split.train_count / job->batch;
    run->steps = run->steps_epoch * job->epochs;
    /* By the clock, nobody knows yet when; by steps, it is at the end of an epoch. */
    uint64_t small_until =
        job->minutes > 0 ? UINT64_MAX
                         : (uint64_t)(run->steps_epoch * lround(job->small_share * job->epochs));
    run->small = job->small_input > 0;
    return train_loader_create(run->dataset, run->split.train, run->split.train_count,
                               &run->augment, job->batch, job->seed, trainer_steps(run->trainer),
                               job->small_input, run->small ? small_until : 0, &run->loader, err);
}

static void close_run(struct run *run)
{
    train_loader_free(run->loader);
    trainer_free(run->trainer);
    dataset_split_free(&run->split);
    dataset_free(run->dataset);
    train_log_free(&run->log);
    free(run->input);
    free(run->logits);
}

/* ---- the schedule ---- */

static double seconds_spent(const struct run *run)
{
    return run->log.seconds_before + (double)(clock_monotonic_ns() - run->began_ns) * 1e-9;
}

/* How much of the training is done, 0 .. 1. */
static double share_done(const struct run *run)
{
    double by_steps = (double)trainer_steps(run->trainer) / (double)run->steps;
    double by_time = run->job->minutes > 0 ? seconds_spent(run) / (60 * run->job->minutes) : 0;
    double share = by_time > by_steps ? by_time : by_steps;
    return share < 1 ? share : 1;
}

static double learning_rate_at(const struct train_job *job, double share)
{
    if (share < job->warmup)
        return job->learning_rate * (0.05 + 0.95 * share / job->warmup);
    double falling = (share - job->warmup) / (1 - job->warmup);
    return job->learning_rate * (0.001 + 0.999 * 0.5 * (1 + cos(M_PI * falling)));
}

/* ---- telling ---- */

static bool tell(struct run *run, double validation)
{
    const struct train_job *job = run->job;
    int64_t now = clock_monotonic_ns(), step = (int64_t)trainer_steps(run->trainer);
    double elapsed = (double)(now - run->shown_ns) * 1e-9, share = share_done(run);
    double spent = seconds_spent(run);

    if (job->progress == NULL || (validation < 0 && elapsed < 1))
        return true;
    if (elapsed > 0.5 && step > run->shown_steps) {
        run->images_per_second = (double)((step - run->shown_steps) * job->batch) / elapsed;
        run->shown_ns = now;
        run->shown_steps = step;
    }
    int64_t counted = run->counted > 0 ? run->counted : 1;
    struct train_progress progress = {
        .epoch = (int)((step > 0 ? step - 1 : 0) / run->steps_epoch) + 1,
        .epochs = job->epochs,
        .step = step,
        .steps = run->steps,
        .learning_rate = run->learning_rate,
        .loss = run->loss / (double)counted,
        .accuracy = (double)run->correct / (double)(counted * job->batch),
        .validation = validation,
        .best = run->log.best,
        .images_per_second = run->images_per_second,
        .seconds = spent,
        .seconds_left = job->minutes > 0 ? (1 - share) * 60 * job->minutes
                        : run->images_per_second > 0
                            ? (double)((run->steps - step) * job->batch) / run->images_per_second
                            : 0,
    };
    return job->progress(job->context, &progress);
}

/* ---- keeping ---- */

static int save(struct run *run, struct error *err)
{
    char path[PATH_SIZE];
    int status = join(path, run->job->out, "checkpoint.bin", err);
    if (status == STATUS_OK)
        status = trainer_save(run->trainer, path, err);
    if (status == STATUS_OK)
        status = train_log_save(&run->log, seconds_spent(run), trainer_steps(run->trainer), err);
    run->saved_ns = clock_monotonic_ns();
    return status;
}

static int export_model(struct run *run, struct error *err)
{
    const struct onnx_write_options options = {.weights = DTYPE_F16,
                                               .name = run->job->architecture};
    char path[PATH_SIZE];
    struct graph *graph;
    int status = join(path, run->job->out, "model.onnx", err);
    if (status == STATUS_OK)
        status = trainer_graph(run->trainer, true, &graph, err);
    if (status != STATUS_OK)
        return status;
    status = onnx_save(graph, path, &options, err);
    graph_free(graph);
    return status;
}

/* ---- scoring ---- */

static int score_batch(struct run *run, int64_t first, int count, int64_t *correct,
                       struct error *err)
{
    const struct dataset *dataset = run->dataset;
    size_t image = 3 * (size_t)dataset->height * (size_t)dataset->width;
    int classes = dataset->label_count;
    for (int i = 0; i < count; i++)
        augment_run(&run->augment, dataset_pixels(dataset, run->split.validation[first + i]),
                    dataset->height, dataset->width, NULL, run->input + (size_t)i * image);
    int status = trainer_resize(run->trainer, dataset->height, dataset->width, err);
    if (status == STATUS_OK)
        status = trainer_evaluate(run->trainer, true, run->input, count, run->logits, err);
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        const float *logits = run->logits + (size_t)i * (size_t)classes;
        int best = 0;
        for (int c = 1; c < classes; c++)
            if (logits[c] > logits[best])
                best = c;
        *correct += best == dataset->truth[run->split.validation[first + i]];
    }
    return status;
}

static int score(struct run *run, double *accuracy, struct error *err)
{
    int64_t correct = 0, total = run->split.validation_count;
    int status = STATUS_OK;
    for (int64_t first = 0; first < total && status == STATUS_OK; first += run->job->batch) {
        int64_t left = total - first;
        status = score_batch(run, first, left < run->job->batch ? (int)left : run->job->batch,
                             &correct, err);
    }
    *accuracy = (double)correct / (double)total;
    return status;
}

static int end_epoch(struct run *run, bool *go_on, struct error *err)
{
    double validation;
    int64_t counted = run->counted > 0 ? run->counted : 1;
    int status = score(run, &validation, err);
    if (status != STATUS_OK)
        return status;
    struct train_log_epoch epoch = {
        .steps = (int64_t)trainer_steps(run->trainer),
        .loss = run->loss / (double)counted,
        .accuracy = (double)run->correct / (double)(counted * run->job->batch),
        .validation = validation,
        .learning_rate = run->learning_rate,
        .seconds = seconds_spent(run),
    };
    bool better = validation > run->log.best;
    status = train_log_epoch(&run->log, &epoch, err);
    if (status == STATUS_OK && better)
        status = export_model(run, err);
    if (status == STATUS_OK)
        status = save(run, err);
    *go_on = tell(run, validation);
    run->loss = 0;
    run->correct = run->counted = 0;
    return status;
}

/* ---- the loop ---- */

static int take_step(struct run *run, struct error *err)
{
    const struct train_batch *batch;
    struct trainer_step_result result;
    int status = train_loader_next(run->loader, &batch, err);
    run->learning_rate = learning_rate_at(run->job, share_done(run));
    if (run->small && run->job->minutes > 0 && share_done(run) >= run->job->small_share) {
        train_loader_end_small(run->loader);
        run->small = false;
    }
    if (status == STATUS_OK)
        status = trainer_resize(run->trainer, batch->size, batch->size, err);
    if (status == STATUS_OK)
        status = trainer_step(run->trainer, batch->input, batch->labels, (float)run->learning_rate,
                              &result, err);
    if (status != STATUS_OK)
        return status;
    run->loss += result.loss;
    run->correct += result.correct;
    run->counted++;
    return STATUS_OK;
}

static int train(struct run *run, struct error *err)
{
    bool go_on = true;
    int status = STATUS_OK;

    run->began_ns = run->saved_ns = run->shown_ns = clock_monotonic_ns();
    run->shown_steps = (int64_t)trainer_steps(run->trainer);
    while (status == STATUS_OK && go_on && share_done(run) < 1) {
        status = take_step(run, err);
        if (status != STATUS_OK)
            break;
        bool ended = (int64_t)trainer_steps(run->trainer) % run->steps_epoch == 0;
        if (ended || share_done(run) >= 1)
            status = end_epoch(run, &go_on, err);
        else if (clock_monotonic_ns() - run->saved_ns > CHECKPOINT_SECONDS * INT64_C(1000000000))
            status = save(run, err);
        if (go_on && !ended)
            go_on = tell(run, -1);
    }
    if (status != STATUS_OK || go_on)
        return status;
    status = save(run, err);
    return status != STATUS_OK
               ? status
               : error_set(err, STATUS_CLOSED, "training stopped at step %lld; it can be resumed",
                           (long long)trainer_steps(run->trainer));
}

int train_job_run(const struct train_job *job, double *best, struct error *err)
{
    struct run run = {.job = job, .log.best = -1};
    int status = open_run(&run, err);
    if (status == STATUS_OK)
        status = train(&run, err);
    if (best != NULL)
        *best = run.log.best;
    close_run(&run);
    return status;
}
