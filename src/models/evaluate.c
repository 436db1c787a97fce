/* Measuring models on labelled images: threads take batches of images, decode each once, preprocess
 * it once per distinct description, and run every model on it, a different one first each time.
 * An image that fails for one model counts for none, so that comparisons stay paired. */
#include "models/evaluate.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "image/image.h"
#include "models/evaluate_private.h"
#include "models/model.h"

enum { BATCH_MAX = 16, THREADS_MAX = 1024, SAMPLE_SEED = 1, PROGRESS_EVERY_MS = 100 };

/* All threads share one of these. */
struct evaluation {
    struct measurement measurement;
    int *group_of; /* a model: the preprocess description it shares with others */
    int *first_of; /* a group: the first model of it */
    int group_count;
    int **class_of; /* a model, a label: the data's class of that name, or class_count */
    struct image_target target;

    atomic_llong next;    /* image to be taken */
    atomic_bool failed;   /* a thread failed; the others stop */
    pthread_mutex_t lock; /* guards everything below, and what the threads sum up at their end */
    struct error error;
    int64_t done, began_ns, told_ns;
};

/* One thread's own things. */
struct worker {
    struct evaluation *evaluation;
    pthread_t thread;
    struct engine_session **sessions; /* a model */
    float **tensors;                  /* a group: a batch of tensors */
    float *probabilities;             /* a batch of the largest model */
    int64_t indices[BATCH_MAX];       /* of the images in the batch */
    int64_t turns;                    /* batches run: which model begins */
    struct histogram *times;          /* a model */
    double *busy_seconds;             /* a model */
};

static int no_memory(struct error *err)
{
    return error_set(err, STATUS_NO_MEMORY, "no memory to evaluate models");
}

/* --- Images */

/* Decodes an image and makes all groups' tensors of it at place `at` of the batch. */
static int load_image(struct worker *worker, const char *path, int at, struct error *err)
{
    const struct evaluation *evaluation = worker->evaluation;
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct image *image = NULL;

    int status = file_read(path, image_limits_default.bytes_max, &bytes, &size, err);
    if (status == STATUS_OK)
        status = image_decode(bytes, size, NULL, &evaluation->target, &image, err);
    free(bytes);
    for (int group = 0; group < evaluation->group_count && status == STATUS_OK; group++) {
        const struct model *model = evaluation->measurement.models[evaluation->first_of[group]];
        const struct preprocess *preprocess = &model_package(model)->preprocess;
        float *tensor = worker->tensors[group] + (size_t)at * preprocess_count(preprocess);
        status = preprocess_run(preprocess, image, tensor, err);
    }
    image_release(image);
    return status;
}

static void note_unreadable(struct evaluation *evaluation, int64_t index, const struct error *why)
{
    struct measurement *measurement = &evaluation->measurement;

    for (int m = 0; m < measurement->model_count; m++)
        measurement->tallies[m].answers[index] = ANSWER_NONE;
    pthread_mutex_lock(&evaluation->lock);
    if (measurement->unreadable_count++ < UNREADABLE_NAMED_MAX)
        json_array_append_new(measurement->unreadable,
                              json_pack("{s:s, s:s}", "file", measurement->images.files[index].path,
                                        "error", why->message));
    pthread_mutex_unlock(&evaluation->lock);
}

/* Fills the batch with the images from `first` on that can be read; returns how many. */
static int load_batch(struct worker *worker, int64_t first, int64_t end)
{
    const struct image_files *images = &worker->evaluation->measurement.images;
    int n = 0;

    for (int64_t index = first; index < end; index++) {
        struct error why = {0};
        if (load_image(worker, images->files[index].path, n, &why) == STATUS_OK)
            worker->indices[n++] = index;
        else
            note_unreadable(worker->evaluation, index, &why);
    }
    return n;
}

/* --- Answers */

static void note_answers(struct worker *worker, int m, int n)
{
    const struct evaluation *evaluation = worker->evaluation;
    struct tally *tally = &evaluation->measurement.tallies[m];
    const int labels = model_package(evaluation->measurement.models[m])->label_count;

    for (int i = 0; i < n; i++) {
        const float *row = worker->probabilities + (size_t)i * (size_t)labels;
        int best = 0;
        for (int label = 1; label < labels; label++)
            if (row[label] > row[best])
                best = label;
        tally->answers[worker->indices[i]] = evaluation->class_of[m][best];
        tally->confidences[worker->indices[i]] = row[best];
    }
}

static int run_model(struct worker *worker, int m, int n, struct error *err)
{
    const struct evaluation *evaluation = worker->evaluation;

    const int64_t began_ns = clock_monotonic_ns();
    const int status =
        model_run(evaluation->measurement.models[m], worker->sessions[m], n,
                  worker->tensors[evaluation->group_of[m]], worker->probabilities, err);
    const int64_t took_ns = clock_monotonic_ns() - began_ns;
    if (status != STATUS_OK)
        return status;
    worker->busy_seconds[m] += (double)took_ns * 1e-9;
    for (int i = 0; i < n; i++)
        histogram_add(&worker->times[m], took_ns / 1000 / n);
    note_answers(worker, m, n);
    return STATUS_OK;
}

static void tell_progress(struct evaluation *evaluation, int64_t images)
{
    const struct evaluate_options *options = evaluation->measurement.options;

    pthread_mutex_lock(&evaluation->lock);
    const int64_t now_ns = clock_monotonic_ns(), total = evaluation->measurement.images.count;
    evaluation->done += images;
    if (options->progress != NULL &&
        (evaluation->done == total || now_ns - evaluation->told_ns > PROGRESS_EVERY_MS * 1000000)) {
        const double seconds = (double)(now_ns - evaluation->began_ns) * 1e-9;
        evaluation->told_ns = now_ns;
        options->progress(options->context, evaluation->done, total,
                          seconds > 0 ? (double)evaluation->done / seconds : 0);
    }
    pthread_mutex_unlock(&evaluation->lock);
}

/* Takes batches until there are no more images. */
static int work(struct worker *worker, struct error *err)
{
    struct evaluation *evaluation = worker->evaluation;
    const int batch = evaluation->measurement.batch;
    const int models = evaluation->measurement.model_count;
    const int64_t total = evaluation->measurement.images.count;
    int status = STATUS_OK;

    while (status == STATUS_OK && !atomic_load(&evaluation->failed)) {
        const int64_t first = atomic_fetch_add(&evaluation->next, batch);
        if (first >= total)
            break;
        const int64_t end = first + batch < total ? first + batch : total;
        const int n = load_batch(worker, first, end);
        for (int turn = 0; turn < models && n > 0 && status == STATUS_OK; turn++)
            status = run_model(worker, (int)((worker->turns + turn) % models), n, err);
        worker->turns++;
        tell_progress(evaluation, end - first);
    }
    return status;
}

/* --- Threads */

/* Runs every session once on nothing: the first run compiles its plan, which is not to be timed. */
static int warm_up(struct worker *worker, struct error *err)
{
    const struct evaluation *evaluation = worker->evaluation;
    int status = STATUS_OK;

    for (int m = 0; m < evaluation->measurement.model_count && status == STATUS_OK; m++)
        status = engine_run(worker->sessions[m], evaluation->measurement.batch,
                            worker->tensors[evaluation->group_of[m]], worker->probabilities, err);
    return status;
}

static int worker_open(struct worker *worker, struct evaluation *evaluation, struct error *err)
{
    const struct measurement *measurement = &evaluation->measurement;
    const size_t models = (size_t)measurement->model_count, batch = (size_t)measurement->batch;
    size_t labels = 0;

    worker->evaluation = evaluation;
    worker->sessions = calloc(models, sizeof(struct engine_session *));
    worker->tensors = calloc(models, sizeof(float *));
    worker->times = calloc(models, sizeof *worker->times);
    worker->busy_seconds = calloc(models, sizeof *worker->busy_seconds);
    if (worker->sessions == NULL || worker->tensors == NULL || worker->times == NULL ||
        worker->busy_seconds == NULL)
        return no_memory(err);
    for (int group = 0; group < evaluation->group_count; group++) {
        const struct model *model = measurement->models[evaluation->first_of[group]];
        worker->tensors[group] =
            calloc(batch * preprocess_count(&model_package(model)->preprocess), sizeof(float));
        if (worker->tensors[group] == NULL)
            return no_memory(err);
    }
    int status = STATUS_OK;
    for (size_t m = 0; m < models && status == STATUS_OK; m++) {
        const size_t own = (size_t)model_package(measurement->models[m])->label_count;
        labels = own > labels ? own : labels;
        status = engine_session_create(model_engine(measurement->models[m]), 1,
                                       &worker->sessions[m], err);
    }
    if (status != STATUS_OK)
        return status;
    worker->probabilities = calloc(batch * labels, sizeof(float));
    return worker->probabilities != NULL ? warm_up(worker, err) : no_memory(err);
}

static void worker_close(struct worker *worker)
{
    if (worker->evaluation == NULL)
        return;
    const int models = worker->evaluation->measurement.model_count;
    for (int m = 0; m < models && worker->sessions != NULL; m++)
        engine_session_free(worker->sessions[m]);
    for (int m = 0; m < models && worker->tensors != NULL; m++)
        free(worker->tensors[m]);
    free(worker->sessions);
    free(worker->tensors);
    free(worker->probabilities);
    free(worker->times);
    free(worker->busy_seconds);
}

static void *worker_thread(void *argument)
{
    struct worker *worker = argument;
    struct evaluation *evaluation = worker->evaluation;
    struct error err = {0};

    const int status = work(worker, &err);
    pthread_mutex_lock(&evaluation->lock);
    if (status != STATUS_OK && !atomic_exchange(&evaluation->failed, true))
        evaluation->error = err;
    for (int m = 0; m < evaluation->measurement.model_count; m++) {
        histogram_merge(evaluation->measurement.tallies[m].times, &worker->times[m]);
        evaluation->measurement.tallies[m].busy_seconds += worker->busy_seconds[m];
    }
    pthread_mutex_unlock(&evaluation->lock);
    return NULL;
}

static int run_workers(struct evaluation *evaluation, struct error *err)
{
    const int threads = evaluation->measurement.threads;
    int started = 0;
    int status = STATUS_OK;
    struct worker *workers = calloc((size_t)threads, sizeof *workers);

    if (workers == NULL)
        return no_memory(err);
    for (int i = 0; i < threads && status == STATUS_OK; i++)
        status = worker_open(&workers[i], evaluation, err);
    evaluation->began_ns = clock_monotonic_ns();
    for (; started < threads && status == STATUS_OK; started++)
        if (pthread_create(&workers[started].thread, NULL, worker_thread, &workers[started]) != 0) {
            atomic_store(&evaluation->failed, true);
            status = error_set(err, STATUS_INTERNAL, "cannot start a thread to evaluate models");
            break;
        }
    for (int i = 0; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    evaluation->measurement.seconds = (double)(clock_monotonic_ns() - evaluation->began_ns) * 1e-9;
    if (status == STATUS_OK && atomic_load(&evaluation->failed))
        status =
            error_set(err, (enum status)evaluation->error.code, "%s", evaluation->error.message);
    for (int i = 0; i < threads; i++)
        worker_close(&workers[i]);
    free(workers);
    return status;
}

/* --- Preparing */

static int check_models(struct model *const *models, int count, struct error *err)
{
    if (count < 1)
        return error_set(err, STATUS_INVALID, "there is no model to evaluate");
    for (int m = 0; m < count; m++)
        if (model_engine(models[m]) == NULL)
            return error_set(err, STATUS_INVALID, "the model %s is not loaded: %s",
                             model_package(models[m])->name, model_failure(models[m]));
    return STATUS_OK;
}

/* Leaves out the files that lie in no class's folder. */
static void keep_classified(struct image_files *images)
{
    int64_t kept = 0;

    for (int64_t i = 0; i < images->count; i++)
        if (images->files[i].class_index >= 0)
            images->files[kept++] = images->files[i];
        else
            free(images->files[i].path);
    images->count = kept;
}

static int list_images(struct measurement *measurement, struct error *err)
{
    const struct evaluate_options *options = measurement->options;
    struct image_files *images = &measurement->images;

    const int status = image_files_list(options->data, images, err);
    if (status != STATUS_OK)
        return status;
    keep_classified(images);
    if (images->count == 0)
        return error_set(err, STATUS_INVALID,
                         "'%s' has no images: it must hold a folder a class, with images in them",
                         options->data);
    if (options->limit > 0 && options->limit < images->count)
        image_files_sample(images, options->limit, SAMPLE_SEED);
    return STATUS_OK;
}

static int find_text(char *const *texts, int count, const char *text)
{
    for (int i = 0; i < count; i++)
        if (strcmp(texts[i], text) == 0)
            return i;
    return -1;
}

/* Relates one model's labels to the data's classes. */
static int map_labels(struct evaluation *evaluation, int m, struct error *err)
{
    const struct image_files *images = &evaluation->measurement.images;
    const struct model_package *package = model_package(evaluation->measurement.models[m]);

    for (int c = 0; c < images->class_count; c++)
        if (find_text(package->labels, package->label_count, images->classes[c]) < 0)
            return error_set(
                err, STATUS_INVALID,
                "the folder '%s/%s' names no label of the model %s (its first is '%s')",
                evaluation->measurement.options->data, images->classes[c], package->name,
                package->labels[0]);
    evaluation->class_of[m] = calloc((size_t)package->label_count, sizeof(int));
    if (evaluation->class_of[m] == NULL)
        return no_memory(err);
    for (int label = 0; label < package->label_count; label++) {
        const int c = find_text(images->classes, images->class_count, package->labels[label]);
        evaluation->class_of[m][label] = c >= 0 ? c : images->class_count;
    }
    return STATUS_OK;
}

/* Gives models with equal preprocessing the same group. */
static void group_models(struct evaluation *evaluation)
{
    for (int m = 0; m < evaluation->measurement.model_count; m++) {
        const struct preprocess *own =
            &model_package(evaluation->measurement.models[m])->preprocess;
        int group = 0;
        while (group < evaluation->group_count) {
            const int first = evaluation->first_of[group];
            if (preprocess_equal(own,
                                 &model_package(evaluation->measurement.models[first])->preprocess))
                break;
            group++;
        }
        if (group == evaluation->group_count)
            evaluation->first_of[evaluation->group_count++] = m;
        evaluation->group_of[m] = group;
        preprocess_widen_target(own, &evaluation->target);
    }
}

static int prepare(struct evaluation *evaluation, struct error *err)
{
    struct measurement *measurement = &evaluation->measurement;
    const size_t models = (size_t)measurement->model_count;
    const size_t images = (size_t)measurement->images.count;

    measurement->unreadable = json_array();
    measurement->tallies = calloc(models, sizeof *measurement->tallies);
    evaluation->group_of = calloc(models, sizeof(int));
    evaluation->first_of = calloc(models, sizeof(int));
    evaluation->class_of = calloc(models, sizeof(int *));
    if (measurement->unreadable == NULL || measurement->tallies == NULL ||
        evaluation->group_of == NULL || evaluation->first_of == NULL ||
        evaluation->class_of == NULL)
        return no_memory(err);
    measurement->batch = BATCH_MAX;
    int status = STATUS_OK;
    for (int m = 0; m < measurement->model_count && status == STATUS_OK; m++) {
        struct tally *tally = &measurement->tallies[m];
        if (measurement->models[m]->batch_max < measurement->batch)
            measurement->batch = measurement->models[m]->batch_max;
        tally->answers = calloc(images, sizeof *tally->answers);
        tally->confidences = calloc(images, sizeof *tally->confidences);
        tally->times = calloc(1, sizeof *tally->times);
        if (tally->answers == NULL || tally->confidences == NULL || tally->times == NULL)
            return no_memory(err);
        status = map_labels(evaluation, m, err);
    }
    if (status == STATUS_OK)
        group_models(evaluation);
    return status;
}

static void clean_up(struct evaluation *evaluation)
{
    struct measurement *measurement = &evaluation->measurement;

    for (int m = 0; m < measurement->model_count; m++) {
        if (measurement->tallies != NULL) {
            free(measurement->tallies[m].answers);
            free(measurement->tallies[m].confidences);
            free(measurement->tallies[m].times);
        }
        if (evaluation->class_of != NULL)
            free(evaluation->class_of[m]);
    }
    free(measurement->tallies);
    free(evaluation->class_of);
    free(evaluation->group_of);
    free(evaluation->first_of);
    json_decref(measurement->unreadable);
    image_files_free(&measurement->images);
    pthread_mutex_destroy(&evaluation->lock);
}

int evaluate_models(struct model *const *models, int model_count,
                    const struct evaluate_options *options, json_t **report, struct error *err)
{
    const int most = options->threads < THREADS_MAX ? options->threads : THREADS_MAX;
    const int threads = most > 1 ? most : 1;
    struct evaluation evaluation = {
        .measurement = {.models = models,
                        .model_count = model_count,
                        .options = options,
                        .threads = threads},
        .target = {1, 1},
    };

    int status = check_models(models, model_count, err);
    if (status != STATUS_OK)
        return status;
    pthread_mutex_init(&evaluation.lock, NULL);
    status = list_images(&evaluation.measurement, err);
    if (status == STATUS_OK)
        status = prepare(&evaluation, err);
    if (status == STATUS_OK)
        status = run_workers(&evaluation, err);
    if (status == STATUS_OK)
        status = evaluate_report(&evaluation.measurement, report, err);
    clean_up(&evaluation);
    return status;
}
