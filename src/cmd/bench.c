/* `ocelli bench`: how fast models are on this machine, through the engine alone. */
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/rng.h"
#include "cmd/command.h"
#include "cmd/settings.h"
#include "cmd/table.h"
#include "models/model_set.h"
#include "nn/arch/arch.h"
#include "stats/histogram.h"

enum { PARALLEL_MAX = 256, WARM_UP_RUNS = 3 };

/* Before this much of it, warming up is not over: caches fill, clocks settle. */
#define WARM_UP_SECONDS 0.5

struct values {
    struct option_list models, archs;
    int64_t input, classes, batch, threads, parallel;
    double seconds;
    bool json;
};

static const struct option options[] = {
    {.name = "model",
     .letter = 'm',
     .kind = OPTION_LIST,
     .offset = offsetof(struct values, models),
     .value = "NAME",
     .help = "this model; may be given several times; all when neither this nor --arch is given"},
    {.name = "arch",
     .letter = 'a',
     .kind = OPTION_LIST,
     .offset = offsetof(struct values, archs),
     .value = "NAME",
     .help = "this built-in architecture with random weights; may be given several times"},
    {.name = "input",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct values, input),
     .value = "N",
     .help = "side of an architecture's input; 224 when not given",
     .low = 8,
     .high = 1024},
    {.name = "classes",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct values, classes),
     .value = "N",
     .help = "classes of an architecture; 1000 when not given",
     .low = 1,
     .high = 100000},
    {.name = "batch",
     .letter = 'b',
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct values, batch),
     .value = "N",
     .help = "images a run; 1 when not given",
     .low = 1,
     .high = 256},
    {.name = "threads",
     .letter = 't',
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct values, threads),
     .value = "N",
     .help = "threads that share one run; 1 when not given",
     .low = 1,
     .high = 256},
    {.name = "parallel",
     .letter = 'p',
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct values, parallel),
     .value = "N",
     .help = "runs side by side, as the platform does it; 1 when not given",
     .low = 1,
     .high = PARALLEL_MAX},
    {.name = "seconds",
     .letter = 's',
     .kind = OPTION_REAL,
     .offset = offsetof(struct values, seconds),
     .value = "S",
     .help = "how long to measure each; 3 when not given",
     .low = 0.01,
     .high = 3600},
    {.name = "json",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct values, json),
     .help = "print JSON"},
    {.name = NULL},
};

static const struct usage usage = {
    .name = "bench",
    .arguments = "",
    .summary = "measure how fast models are on this machine",
    .details = "Runs the engine alone, without decoding, database or network, on random input. "
               "Warming up is not\ncounted. The times are of one run, that is, of --batch images.",
    .options = options,
};

/* What is measured, and what came out. */
struct subject {
    char name[65];
    struct engine *engine;
    const struct values *values;
    struct histogram times; /* of the runs */
    double seconds;
    int64_t runs;
};

/* --- Measuring -------------------------------------------------------------------------------- */

/* One thread that runs a session of its own. */
struct runner {
    struct subject *subject;
    pthread_t thread;
    sem_t *warm; /* posted by each runner that is warm */
    sem_t *go;   /* and by the subject once all are: measuring begins together */
    struct histogram times;
    int64_t ended_ns;
    int status;
    struct error err;
};

static float *random_input(const struct engine *engine, int batch, struct error *err)
{
    struct shape shape;
    struct rng rng;

    engine_input_shape(engine, &shape);
    size_t count = (size_t)batch;
    for (int i = 0; i < shape.rank; i++)
        count *= (size_t)shape.dims[i];
    float *input = aligned_alloc(64, (count * sizeof *input + 63) / 64 * 64);
    if (input == NULL) {
        error_set(err, STATUS_NO_MEMORY, "no memory for %d images", batch);
        return NULL;
    }
    rng_seed(&rng, 1);
    for (size_t i = 0; i < count; i++)
        input[i] = (float)rng_normal(&rng);
    return input;
}

struct work {
    struct engine_session *session;
    float *input, *output;
    int batch;
};

static int work_open(struct engine *engine, const struct values *values, struct work *work,
                     struct error *err)
{
    const size_t outputs = (size_t)values->batch * (size_t)engine_outputs(engine);

    *work = (struct work){.batch = (int)values->batch};
    work->input = random_input(engine, work->batch, err);
    if (work->input == NULL)
        return STATUS_NO_MEMORY;
    work->output = aligned_alloc(64, (outputs * sizeof(float) + 63) / 64 * 64);
    if (work->output == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %zu results", outputs);
    return engine_session_create(engine, (int)values->threads, &work->session, err);
}

static void work_close(struct work *work)
{
    engine_session_free(work->session);
    free(work->input);
    free(work->output);
}

/* Runs until a moment, but at least `runs_min` times; `times` may be NULL. */
static int run_until(struct work *work, int64_t until_ns, int runs_min, struct histogram *times,
                     struct error *err)
{
    int status = STATUS_OK;

    for (int64_t runs = 0;
         status == STATUS_OK && (runs < runs_min || clock_monotonic_ns() < until_ns); runs++) {
        const int64_t began_ns = clock_monotonic_ns();
        status = engine_run(work->session, work->batch, work->input, work->output, err);
        if (times != NULL)
            histogram_add(times, (clock_monotonic_ns() - began_ns + 500) / 1000);
    }
    return status;
}

static int64_t seconds_from_now(double seconds)
{
    return clock_monotonic_ns() + (int64_t)(seconds * 1e9);
}

static void *run_runner(void *context)
{
    struct runner *runner = context;
    const struct values *values = runner->subject->values;
    struct work work;

    histogram_init(&runner->times);
    runner->status = work_open(runner->subject->engine, values, &work, &runner->err);
    if (runner->status == STATUS_OK)
        runner->status =
            run_until(&work, seconds_from_now(WARM_UP_SECONDS), WARM_UP_RUNS, NULL, &runner->err);
    sem_post(runner->warm);
    while (sem_wait(runner->go) != 0)
        ;
    if (runner->status == STATUS_OK)
        runner->status =
            run_until(&work, seconds_from_now(values->seconds), 1, &runner->times, &runner->err);
    runner->ended_ns = clock_monotonic_ns();
    work_close(&work);
    return NULL;
}

/* Joins them all; the first failure is the subject's. */
static int gather(struct subject *subject, struct runner *runners, int count, int64_t began_ns,
                  struct error *err)
{
    int status = STATUS_OK;
    int64_t ended_ns = began_ns;

    histogram_init(&subject->times);
    for (int i = 0; i < count; i++) {
        pthread_join(runners[i].thread, NULL);
        histogram_merge(&subject->times, &runners[i].times);
        if (runners[i].ended_ns > ended_ns)
            ended_ns = runners[i].ended_ns;
        if (runners[i].status != STATUS_OK && status == STATUS_OK) {
            status = runners[i].status;
            *err = runners[i].err;
        }
    }
    subject->runs = subject->times.total;
    subject->seconds = (double)(ended_ns - began_ns) / 1e9;
    return status;
}

static int start_runners(struct subject *subject, struct runner *runners, int count, sem_t *warm,
                         sem_t *go, int *started, struct error *err)
{
    for (*started = 0; *started < count; ++*started) {
        struct runner *runner = &runners[*started];
        *runner = (struct runner){.subject = subject, .warm = warm, .go = go};
        const int failure = pthread_create(&runner->thread, NULL, run_runner, runner);
        if (failure != 0)
            return error_set_errno(err, failure, "cannot start %d threads", count);
    }
    return STATUS_OK;
}

static int measure(struct subject *subject, struct error *err)
{
    const int count = (int)subject->values->parallel;
    struct runner *runners = calloc((size_t)count, sizeof *runners);
    sem_t warm, go;
    int started;

    if (runners == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %d threads", count);
    sem_init(&warm, 0, 0);
    sem_init(&go, 0, 0);
    const int status = start_runners(subject, runners, count, &warm, &go, &started, err);
    for (int i = 0; i < started; i++)
        while (sem_wait(&warm) != 0)
            ;
    const int64_t began_ns = clock_monotonic_ns();
    for (int i = 0; i < started; i++)
        sem_post(&go);
    const int measured = gather(subject, runners, started, began_ns, err);
    sem_destroy(&go);
    sem_destroy(&warm);
    free(runners);
    return status != STATUS_OK ? status : measured;
}

/* --- Telling ---------------------------------------------------------------------------------- */

static double images_per_second(const struct subject *subject)
{
    return (double)(subject->runs * subject->values->batch) / subject->seconds;
}

static double time_ms(const struct subject *subject, double q)
{
    return histogram_quantile(&subject->times, q) / 1000.0;
}

static void input_text(const struct subject *subject, char *text, size_t size)
{
    struct shape shape;
    engine_input_shape(subject->engine, &shape);
    snprintf(text, size, "%lldx%lldx%lld", (long long)shape.dims[0], (long long)shape.dims[1],
             (long long)shape.dims[2]);
}

static void add_row(struct table *table, const struct subject *subject)
{
    char input[48];

    input_text(subject, input, sizeof input);
    table_cell(table, STYLE_CYAN, "%s", subject->name);
    table_cell(table, STYLE_PLAIN, "%s", precision_name(engine_precision(subject->engine)));
    table_cell(table, STYLE_PLAIN, "%s", input);
    table_cell(table, STYLE_PLAIN, "%" PRId64, subject->values->batch);
    table_cell(table, STYLE_PLAIN, "%" PRId64 "x%" PRId64, subject->values->parallel,
               subject->values->threads);
    table_cell(table, STYLE_BOLD, "%.1f", images_per_second(subject));
    table_cell(table, STYLE_PLAIN, "%.2f", time_ms(subject, 0.50));
    table_cell(table, STYLE_PLAIN, "%.2f", time_ms(subject, 0.95));
    table_cell(table, STYLE_PLAIN, "%" PRId64, subject->runs);
    table_cell(table, STYLE_PLAIN, "%.1f", (double)engine_memory(subject->engine) / 1e6);
}

static json_t *as_json(const struct subject *subject)
{
    char input[48];

    input_text(subject, input, sizeof input);
    return json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:I}", "name", subject->name,
        "precision", precision_name(engine_precision(subject->engine)), "input", input, "batch",
        (json_int_t)subject->values->batch, "threads", (json_int_t)subject->values->threads,
        "parallel", (json_int_t)subject->values->parallel, "runs", (json_int_t)subject->runs,
        "seconds", subject->seconds, "images_per_second", images_per_second(subject), "p50_ms",
        time_ms(subject, 0.50), "p95_ms", time_ms(subject, 0.95), "p99_ms", time_ms(subject, 0.99),
        "weights_bytes", (json_int_t)engine_memory(subject->engine));
}

/* What is told at the end: rows and objects of all subjects. */
struct report {
    struct table table;
    json_t *list;
};

static int measure_engine(const char *name, struct engine *engine, const struct values *values,
                          struct report *report, struct error *err)
{
    struct subject subject = {.engine = engine, .values = values};

    snprintf(subject.name, sizeof subject.name, "%s", name);
    const int status = measure(&subject, err);
    if (status != STATUS_OK)
        return error_wrap(err, "measuring %s", name);
    add_row(&report->table, &subject);
    json_array_append_new(report->list, as_json(&subject));
    return STATUS_OK;
}

/* --- What to measure -------------------------------------------------------------------------- */

static int measure_arch(const struct config *config, const char *name, const struct values *values,
                        struct report *report, struct error *err)
{
    const struct arch_options arch = {
        .classes = (int)values->classes, .input = (int)values->input, .seed = 1};
    struct engine_options engine_options = {.batch_max = (int)values->batch};
    struct graph *graph = NULL;
    struct engine *engine = NULL;

    int status = precision_parse(config->precision, &engine_options.precision, err);
    if (status == STATUS_OK)
        status = arch_build(name, &arch, &graph, err);
    if (status == STATUS_OK)
        status = engine_create(graph, &engine_options, &engine, err);
    graph_free(graph);
    if (status == STATUS_OK)
        status = measure_engine(name, engine, values, report, err);
    engine_free(engine);
    return status;
}

static bool is_wanted(const struct option_list *names, const struct model *model)
{
    for (int i = 0; i < names->count; i++)
        if (strcmp(names->items[i], model_package(model)->name) == 0)
            return true;
    return names->count == 0;
}

static int measure_set(struct model_set *set, const struct values *values, struct report *report,
                       struct error *err)
{
    struct model **models;
    int count, measured = 0;

    int status = model_set_list(set, &models, &count, err);
    if (status != STATUS_OK)
        return status;
    for (int i = 0; i < count; i++) {
        struct model *model = models[i];
        if (status == STATUS_OK && model_state(model) == MODEL_ACTIVE &&
            is_wanted(&values->models, model)) {
            status = measure_engine(model_package(model)->name, model_engine(model), values, report,
                                    err);
            measured++;
        }
        model_release(model);
    }
    free(models);
    if (status == STATUS_OK && measured == 0)
        return error_set(err, STATUS_NOT_FOUND,
                         "there is no such model to measure; `ocelli models list` shows what there "
                         "is, --models-dir says where to look, --arch measures an architecture");
    return status;
}

/* The batch asked for must fit the engines, which the set compiles. */
static int measure_models(struct config *config, const struct values *values, struct report *report,
                          struct error *err)
{
    struct model_set *set = NULL;
    char batch[24];

    snprintf(batch, sizeof batch, "%" PRId64, values->batch);
    int status = config->batch_max < values->batch
                     ? config_set(config, "batch_max", batch, CONFIG_FLAG, err)
                     : STATUS_OK;
    if (status == STATUS_OK)
        status = model_set_open(config, NULL, &set, err);
    if (status == STATUS_OK)
        status = model_set_check_precision(set, err);
    if (status == STATUS_OK)
        status = measure_set(set, values, report, err);
    if (set != NULL)
        model_set_close(set);
    return status;
}

static int print_report(const struct report *report, bool json, struct error *err)
{
    struct terminal terminal;
    struct buffer out = {0};

    if (json) {
        json_dumpf(report->list, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
        return STATUS_OK;
    }
    terminal_open(&terminal, stdout);
    table_print(&report->table, &terminal, 0, &out);
    const bool ok = buffer_ok(&out) && !report->table.failed;
    if (ok && out.size > 0)
        fwrite(out.data, 1, out.size, stdout);
    buffer_free(&out);
    return ok ? STATUS_OK : error_set(err, STATUS_NO_MEMORY, "no memory for a table");
}

static int bench(struct config *config, const struct values *values, struct error *err)
{
    static const struct table_column columns[] = {
        {"model", false},  {"precision", false}, {"input", false}, {"batch", true},
        {"threads", true}, {"images/s", true},   {"p50 ms", true}, {"p95 ms", true},
        {"runs", true},    {"MB", true}};
    struct report report = {.list = json_array()};
    int status = STATUS_OK;

    table_open(&report.table, columns, 10);
    for (int i = 0; status == STATUS_OK && i < values->archs.count; i++)
        status = measure_arch(config, values->archs.items[i], values, &report, err);
    if (status == STATUS_OK && (values->models.count > 0 || values->archs.count == 0))
        status = measure_models(config, values, &report, err);
    if (status == STATUS_OK)
        status = print_report(&report, values->json, err);
    table_free(&report.table);
    json_decref(report.list);
    return status;
}

static int run(int argc, char **argv)
{
    struct values values = {
        .input = 224, .classes = 1000, .batch = 1, .threads = 1, .parallel = 1, .seconds = 3.0};
    struct command_line line;
    struct error err = {0};

    int status = settings_parse(&usage, argc, argv, &values, sizeof values, &line, &err);
    if (status == STATUS_OK && !line.help && line.argument_count > 0)
        status = error_set(&err, STATUS_INVALID, "takes no arguments, but got '%.64s'",
                           line.arguments[0]);
    else if (status == STATUS_OK && !line.help)
        status = bench(line.config, &values, &err);
    free(values.models.items);
    free(values.archs.items);
    command_line_free(&line);
    return status == STATUS_OK ? 0 : command_fail("bench", &err);
}

const struct command command_bench = {&usage, run};
