/* Classify's compute threads: take the batch whose images are oldest, make its tensors, run its
 * model, tell the answers.
 *
 * Serving the lane with the oldest waiting image keeps the lanes abreast, so that an image's tensor
 * is still in the store when the next model wants it. A batch is what waits, shared among the
 * threads: nothing is held back to fill one. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "flow/classify_private.h"

enum { RETRY_FIRST_MS = 200, RETRY_DOUBLINGS_MAX = 8, SESSIONS_MAX = 64 };

/* A compute thread's own state: its sessions, one a model, and room for a batch. */
struct compute {
    struct classify *classify;
    uint64_t lanes_generation; /* when the sessions were last checked */
    struct {
        struct model *model; /* retained */
        struct engine *engine;
        struct engine_session *session;
    } sessions[SESSIONS_MAX];
    int session_count;
    float *input, *probabilities; /* grown as needed */
    size_t input_size, probabilities_size;
};

/* --- Sessions
 * ------------------------------------------------------------------------------------------------
 */

static void session_drop(struct compute *compute, int i)
{
    engine_session_free(compute->sessions[i].session);
    model_release(compute->sessions[i].model);
    compute->sessions[i] = compute->sessions[--compute->session_count];
}

/* Frees the sessions of models that no lane serves any more. Wants the lock. */
static void sweep_sessions(struct compute *compute)
{
    if (compute->lanes_generation == compute->classify->lanes_generation)
        return;
    compute->lanes_generation = compute->classify->lanes_generation;
    for (int i = compute->session_count; i-- > 0;) {
        const struct lane *lane = compute->classify->lanes;
        while (lane != NULL && lane->model != compute->sessions[i].model)
            lane = lane->next;
        if (lane == NULL)
            session_drop(compute, i);
    }
}

static int session_of(struct compute *compute, struct model *model, struct engine_session **out,
                      struct error *err)
{
    struct engine *engine = model_engine(model);

    for (int i = compute->session_count; i-- > 0;) {
        if (compute->sessions[i].model != model)
            continue;
        if (compute->sessions[i].engine == engine) {
            *out = compute->sessions[i].session;
            return STATUS_OK;
        }
        session_drop(compute, i); /* the model was compiled anew in another precision */
    }
    if (compute->session_count == SESSIONS_MAX)
        session_drop(compute, 0);
    const int status = engine_session_create(engine, 1, out, err);
    if (status != STATUS_OK)
        return status;
    const int i = compute->session_count++;
    compute->sessions[i].model = model_retain(model);
    compute->sessions[i].engine = engine;
    compute->sessions[i].session = *out;
    return STATUS_OK;
}

/* --- Answers
 * -------------------------------------------------------------------------------------------------
 */

static void fill_message(const struct model *model, const struct image_message *image,
                         struct prediction_message *message)
{
    const struct model_package *package = model_package(model);

    memset(message, 0, sizeof *message);
    memcpy(message->image_id, image->image_id, sizeof message->image_id);
    strncpy(message->model_name, package->name, sizeof message->model_name - 1);
    strncpy(message->model_version, package->version, sizeof message->model_version - 1);
    message->timestamp_us = clock_utc_us();
    message->image = *image;
}

static char *message_text(const struct prediction_message *message)
{
    struct buffer text = {0};
    prediction_message_write(message, &text);
    return buffer_take(&text, NULL);
}

char *classify_error_text(const struct model *model, const struct image_message *image,
                          const struct error *why, bool image_unreadable)
{
    struct prediction_message message;

    fill_message(model, image, &message);
    memcpy(message.error, why->message, sizeof message.error);
    message.image_unreadable = image_unreadable;
    return message_text(&message);
}

static char *answer_text(const struct model *model, const struct image_message *image,
                         const float *probabilities, double time_ms, int batch_size)
{
    const struct model_package *package = model_package(model);
    struct prediction_message message;
    int best[TOP_K_MAX];

    fill_message(model, image, &message);
    for (int i = 0; i < package->label_count; i++) {
        int place = message.top_count < TOP_K_MAX ? message.top_count++ : TOP_K_MAX;
        if (place == TOP_K_MAX && probabilities[i] <= probabilities[best[TOP_K_MAX - 1]])
            continue;
        for (place = place == TOP_K_MAX ? TOP_K_MAX - 1 : place;
             place > 0 && probabilities[best[place - 1]] < probabilities[i]; place--)
            best[place] = best[place - 1];
        best[place] = i;
    }
    for (int i = 0; i < message.top_count; i++) {
        const float p = probabilities[best[i]];
        strncpy(message.top[i].label, package->labels[best[i]], sizeof message.top[i].label - 1);
        message.top[i].confidence = p < 0.0f ? 0.0 : p > 1.0f ? 1.0 : (double)p;
    }
    memcpy(message.prediction_class, message.top[0].label, sizeof message.prediction_class);
    message.confidence = message.top[0].confidence;
    message.inference_time_ms = time_ms;
    message.batch_size = batch_size;
    return message_text(&message);
}

/* An image that could not be read or run: again later, or, when that is hopeless, an answer that
 * says so. A picture that this model alone cannot take (STATUS_INVALID) is hopeless too, but other
 * models may answer. */
static void settle_failure(struct compute *compute, struct work *work, int i, bool image_unreadable,
                           const struct error *why)
{
    struct item *item = work->items[i];
    struct outcome *outcome = &work->outcomes[i];
    const bool hopeless = image_unreadable || why->code == STATUS_INVALID;

    item->attempts++;
    if (!hopeless && item->attempts < compute->classify->config->attempts_max) {
        const int doublings =
            item->attempts < RETRY_DOUBLINGS_MAX ? item->attempts : RETRY_DOUBLINGS_MAX;
        outcome->again = true;
        outcome->retry_at_ns =
            clock_monotonic_ns() + ((int64_t)RETRY_FIRST_MS << doublings) * 1000000;
        return;
    }
    outcome->failed = true;
    outcome->text = classify_error_text(work->lane->model, &item->image, why, image_unreadable);
    if (!hopeless)
        outcome->dead_reason = classify_dead_reason(why);
}

/* Whether no attempt and no model can read this image. */
static bool is_image_fault(int status)
{
    return status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED || status == STATUS_TOO_LARGE ||
           status == STATUS_NOT_FOUND;
}

/* --- Running
 * -------------------------------------------------------------------------------------------------
 */

static int grow(float **memory, size_t *size, size_t need, struct error *err)
{
    if (need <= *size)
        return STATUS_OK;
    free(*memory);
    *size = 0;
    *memory = aligned_alloc(64, (need * sizeof(float) + 63) / 64 * 64);
    if (*memory == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a batch");
    *size = need;
    return STATUS_OK;
}

/* Copies the tensors that are there side by side; order[] says which items they are. */
static int gather(struct compute *compute, const struct model *model, struct tensor_ref **refs,
                  int count, int *order, int *ready, struct error *err)
{
    const size_t length = preprocess_count(&model_package(model)->preprocess);
    const size_t classes = (size_t)model_package(model)->label_count;

    *ready = 0;
    int status = grow(&compute->input, &compute->input_size, (size_t)count * length, err);
    if (status == STATUS_OK)
        status = grow(&compute->probabilities, &compute->probabilities_size,
                      (size_t)count * classes, err);
    for (int i = 0; status == STATUS_OK && i < count; i++)
        if (refs[i] != NULL) {
            memcpy(compute->input + (size_t)*ready * length, tensor_ref_data(refs[i]),
                   length * sizeof(float));
            order[(*ready)++] = i;
        }
    return status;
}

static int run_gathered(struct compute *compute, struct model *model, int ready, double *time_ms,
                        struct error *err)
{
    struct engine_session *session;
    int status = session_of(compute, model, &session, err);
    if (status == STATUS_OK) /* compiling a plan is not inference */
        status = engine_session_prepare(session, ready, err);
    if (status != STATUS_OK)
        return status;
    const int64_t began_ns = clock_monotonic_ns();
    status = model_run(model, session, ready, compute->input, compute->probabilities, err);
    *time_ms = (double)(clock_monotonic_ns() - began_ns) * 1e-6 / ready;
    return status;
}

static void run_batch(struct compute *compute, struct work *work, struct tensor_ref **refs,
                      int *order)
{
    struct model *model = work->lane->model;
    const int classes = model_package(model)->label_count;
    struct error why = {0};
    double time_ms = 0.0;
    int ready = 0;

    int status = gather(compute, model, refs, work->count, order, &ready, &why);
    if (status == STATUS_OK && ready > 0)
        status = run_gathered(compute, model, ready, &time_ms, &why);
    for (int i = 0; i < ready; i++) {
        const struct image_message *image = &work->items[order[i]]->image;
        if (status == STATUS_OK)
            work->outcomes[order[i]].text = answer_text(
                model, image, compute->probabilities + (size_t)i * (size_t)classes, time_ms, ready);
        else
            settle_failure(compute, work, order[i], false, &why);
    }
}

/* An item without an answer of any kind is one that memory was out for: it must not count as done.
 */
static void retry_unanswered(struct work *work)
{
    for (int i = 0; i < work->count; i++) {
        struct outcome *outcome = &work->outcomes[i];
        if (outcome->again || outcome->text != NULL)
            continue;
        free(outcome->dead_reason);
        *outcome =
            (struct outcome){.again = true, .retry_at_ns = clock_monotonic_ns() + 1000000000};
    }
}

static void process(struct compute *compute, struct work *work)
{
    enum { BATCH_MAX = 256 };
    const struct image_message *images[BATCH_MAX];
    struct tensor_ref *refs[BATCH_MAX];
    int statuses[BATCH_MAX], order[BATCH_MAX];
    struct error *errors = calloc((size_t)work->count, sizeof *errors);

    if (errors == NULL) {
        const struct error why = {STATUS_NO_MEMORY, "no memory for a batch"};
        for (int i = 0; i < work->count; i++)
            settle_failure(compute, work, i, false, &why);
        return;
    }
    for (int i = 0; i < work->count; i++)
        images[i] = &work->items[i]->image;
    tensors_get(compute->classify->tensors, &model_package(work->lane->model)->preprocess, images,
                work->count, refs, statuses, errors);
    for (int i = 0; i < work->count; i++)
        if (statuses[i] != STATUS_OK)
            settle_failure(compute, work, i, is_image_fault(statuses[i]), &errors[i]);
    run_batch(compute, work, refs, order);
    for (int i = 0; i < work->count; i++)
        tensor_release(refs[i]);
    free(errors);
}

/* --- Choosing
 * ------------------------------------------------------------------------------------------------
 */

/* The lane whose oldest ready image is the oldest. Wants the lock. */
static struct lane *choose_lane(const struct classify *classify, int64_t now_ns,
                                int64_t *soonest_ns)
{
    struct lane *best = NULL;
    const struct item *best_item = NULL;

    for (struct lane *lane = classify->lanes; lane != NULL; lane = lane->next) {
        const struct item *item = lane_ready(lane, now_ns, soonest_ns);
        if (item != NULL &&
            (best == NULL || item->offset < best_item->offset ||
             (item->offset == best_item->offset && lane->running < best->running))) {
            best = lane;
            best_item = item;
        }
    }
    return best;
}

/* A share of what waits in the lane, so that every thread gets some. */
static int batch_size(const struct classify *classify, const struct lane *lane)
{
    const int waiting = lane->count - lane->running;
    const int share = (waiting + classify->compute_count - 1) / classify->compute_count;
    const int most = (int)classify->config->batch_max;
    return share < 1 ? 1 : share > most ? most : share;
}

/* Waits for something to run; NULL when stopping. */
static struct work *next_work(struct compute *compute)
{
    enum { BATCH_MAX = 256 };
    struct classify *classify = compute->classify;
    struct item *items[BATCH_MAX];
    struct work *work = NULL;

    pthread_mutex_lock(&classify->lock);
    while (!classify->stopping && work == NULL) {
        int64_t soonest_ns = INT64_MAX;
        sweep_sessions(compute);
        struct lane *lane = choose_lane(classify, clock_monotonic_ns(), &soonest_ns);
        if (lane != NULL) {
            const int count =
                lane_take(lane, clock_monotonic_ns(), batch_size(classify, lane), items);
            work = work_create(lane, items, count);
            if (work != NULL)
                break;
            for (int i = 0; i < count; i++) /* memory is out: rest, then try again */
                items[i]->state = ITEM_WAITING;
            lane->running -= count;
            soonest_ns = clock_monotonic_ns() + 100000000;
        }
        if (soonest_ns == INT64_MAX) {
            pthread_cond_wait(&classify->items_ready, &classify->lock);
        } else {
            const struct timespec until = {.tv_sec = soonest_ns / 1000000000,
                                           .tv_nsec = soonest_ns % 1000000000};
            pthread_cond_timedwait(&classify->items_ready, &classify->lock, &until);
        }
    }
    pthread_mutex_unlock(&classify->lock);
    return work;
}

void *classify_compute_thread(void *argument)
{
    struct compute compute = {.classify = argument};

    for (struct work *work; (work = next_work(&compute)) != NULL;) {
        process(&compute, work);
        retry_unanswered(work);
        classify_publish(compute.classify, work);
    }
    while (compute.session_count > 0)
        session_drop(&compute, 0);
    free(compute.input);
    free(compute.probabilities);
    return NULL;
}
