/* Sessions: the memory that running takes, and how a batch is cut and shared out.
 *
 * Plans are made for batches of powers of two only, and a run of n images is a few of them: the
 * number of compiled plans stays small whatever sizes come, and what a session's arena needs is
 * bounded. A batch whose widest step would not leave its activations in the last-level cache is cut
 * as well: beyond that a larger batch is slower per image, not faster (docs/performance.md).
 *
 * A session of several threads gives each an equal part of the images, to run alone: they meet once
 * a run. Only the images left over (all, when there are fewer than threads) are split inside, where
 * the threads meet after every step. */
#include <omp.h>
#include <stdlib.h>

#include "nn/exec/engine_plans.h"

enum { THREADS_LIMIT = 64 };

/* One that runs plans, on as many threads as the plans are for. */
struct worker {
    struct engine *engine;
    int threads;
    dnnl_stream_t stream;
    uint8_t *arena;
    size_t arena_size;
    struct exec_binding *bindings[CHUNK_LOG2_MAX + 1];
    int status; /* of its part of a shared run */
    struct error error;
};

struct engine_session {
    struct engine *engine;
    int threads;
    struct worker whole;  /* all threads on one image */
    struct worker *parts; /* one a thread; NULL when there is one thread */
};

static int worker_prepare(struct worker *worker, struct engine *engine, int threads,
                          struct error *err)
{
    worker->engine = engine;
    worker->threads = threads;
    return onednn_check(
        dnnl_stream_create(&worker->stream, engine->source.engine, dnnl_stream_default_flags),
        "a stream", err);
}

static void drop_bindings(struct worker *worker)
{
    for (int i = 0; i <= CHUNK_LOG2_MAX; i++) {
        exec_binding_free(worker->bindings[i]);
        worker->bindings[i] = NULL;
    }
}

static void worker_release(struct worker *worker)
{
    drop_bindings(worker);
    if (worker->stream != NULL)
        dnnl_stream_destroy(worker->stream);
    free(worker->arena);
}

int engine_session_create(struct engine *engine, int threads, struct engine_session **out,
                          struct error *err)
{
    struct engine_session *session;
    int status;

    if (threads < 1 || threads > THREADS_LIMIT)
        return error_set(err, STATUS_INVALID, "%d threads are not within 1 .. %d", threads,
                         THREADS_LIMIT);
    session = calloc(1, sizeof *session);
    if (session == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a session");
    session->engine = engine;
    session->threads = threads;
    status = worker_prepare(&session->whole, engine, threads, err);
    if (status == STATUS_OK && threads > 1) {
        session->parts = calloc((size_t)threads, sizeof *session->parts);
        if (session->parts == NULL)
            status = error_set(err, STATUS_NO_MEMORY, "no memory for a session");
        for (int i = 0; i < threads && status == STATUS_OK; i++)
            status = worker_prepare(&session->parts[i], engine, 1, err);
    }
    if (status != STATUS_OK) {
        engine_session_free(session);
        return status;
    }
    *out = session;
    return STATUS_OK;
}

void engine_session_free(struct engine_session *session)
{
    if (session == NULL)
        return;
    worker_release(&session->whole);
    for (int i = 0; session->parts != NULL && i < session->threads; i++)
        worker_release(&session->parts[i]);
    free(session->parts);
    free(session);
}

/* An arena of at least `size` bytes. A new one unties every plan bound to the old. */
static int reserve_arena(struct worker *worker, size_t size, struct error *err)
{
    if (worker->arena != NULL && size <= worker->arena_size)
        return STATUS_OK;
    drop_bindings(worker);
    free(worker->arena);
    size = (size + 63) / 64 * 64 + 64;
    worker->arena = aligned_alloc(64, size);
    worker->arena_size = worker->arena != NULL ? size : 0;
    if (worker->arena == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %zu bytes of activations", size);
    return STATUS_OK;
}

static int worker_binding(struct worker *worker, int log2, struct exec_binding **out,
                          struct error *err)
{
    const struct exec_plan *plan;
    int status;

    if (worker->bindings[log2] == NULL) {
        status = engine_plan(worker->engine, log2, worker->threads, &plan, err);
        if (status == STATUS_OK)
            status = reserve_arena(worker, plan->arena_size, err);
        if (status == STATUS_OK)
            status = exec_bind(plan, worker->arena, &worker->bindings[log2], err);
        if (status != STATUS_OK)
            return status;
    }
    *out = worker->bindings[log2];
    return STATUS_OK;
}

/* The largest plan that fits into the images left. */
static int next_chunk_log2(const struct engine *engine, int left)
{
    int log2 = 0;

    while (log2 < engine->chunk_log2_max && 2 << log2 <= left)
        log2++;
    return log2;
}

static int worker_run(struct worker *worker, int n, const float *input, float *output,
                      struct error *err)
{
    const struct engine *engine = worker->engine;
    const int64_t image = shape_elements(&engine->input);
    int status = STATUS_OK;

    for (int done = 0; done < n && status == STATUS_OK;) {
        int log2 = next_chunk_log2(engine, n - done);
        struct exec_binding *binding;
        status = worker_binding(worker, log2, &binding, err);
        if (status == STATUS_OK)
            status = exec_run(binding, worker->stream, input + done * image,
                              output + (int64_t)done * engine->outputs, err);
        done += 1 << log2;
    }
    return status;
}

/* `each` images for every thread. */
static int run_parts(struct engine_session *session, int each, const float *input, float *output,
                     struct error *err)
{
    const int64_t image = shape_elements(&session->engine->input);
    const int64_t outputs = session->engine->outputs;

#pragma omp parallel for num_threads(session->threads) schedule(static, 1)
    for (int i = 0; i < session->threads; i++) {
        struct worker *worker = &session->parts[i];
        worker->status = worker_run(worker, each, input + i * each * image,
                                    output + i * each * outputs, &worker->error);
    }
    for (int i = 0; i < session->threads; i++) {
        const struct worker *worker = &session->parts[i];
        if (worker->status != STATUS_OK)
            return error_set(err, (enum status)worker->status, "%s", worker->error.message);
    }
    return STATUS_OK;
}

static int check_batch(const struct engine *engine, int n, struct error *err)
{
    if (n < 1 || n > engine->batch_max)
        return error_set(err, STATUS_INVALID, "a batch of %d is not within 1 .. %d", n,
                         engine->batch_max);
    return STATUS_OK;
}

/* Binds what worker_run(n) will need. */
static int worker_bind(struct worker *worker, int n, struct error *err)
{
    int status = STATUS_OK;

    for (int done = 0; done < n && status == STATUS_OK;) {
        int log2 = next_chunk_log2(worker->engine, n - done);
        struct exec_binding *binding;
        status = worker_binding(worker, log2, &binding, err);
        done += 1 << log2;
    }
    return status;
}

int engine_session_prepare(struct engine_session *session, int n, struct error *err)
{
    int each = session->parts != NULL ? n / session->threads : 0;
    int status = check_batch(session->engine, n, err);

    for (int i = 0; each > 0 && i < session->threads && status == STATUS_OK; i++)
        status = worker_bind(&session->parts[i], each, err);
    if (status == STATUS_OK)
        status = worker_bind(&session->whole, n - each * session->threads, err);
    return status;
}

int engine_run(struct engine_session *session, int n, const float *input, float *output,
               struct error *err)
{
    const int64_t image = shape_elements(&session->engine->input);
    int each = session->parts != NULL ? n / session->threads : 0;
    int shared = each * session->threads;
    int status = check_batch(session->engine, n, err);

    if (status == STATUS_OK && shared > 0)
        status = run_parts(session, each, input, output, err);
    if (status == STATUS_OK && shared < n)
        status = worker_run(&session->whole, n - shared, input + shared * image,
                            output + (int64_t)shared * session->engine->outputs, err);
    return status;
}

char *engine_plan_text(struct engine_session *session, int n, struct error *err)
{
    const struct exec_plan *plan;
    bool shared = session->parts != NULL && n >= session->threads;
    int images = shared ? n / session->threads : n;
    int status = check_batch(session->engine, n, err);
    char *text;

    if (status == STATUS_OK)
        status = engine_plan(session->engine, next_chunk_log2(session->engine, images),
                             shared ? 1 : session->threads, &plan, err);
    if (status != STATUS_OK)
        return NULL;
    text = exec_plan_text(plan);
    if (text == NULL)
        (void)error_set(err, STATUS_NO_MEMORY, "no memory for a plan's text");
    return text;
}
