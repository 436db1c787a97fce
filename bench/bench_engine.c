/* How fast the engine is: milliseconds an image of the three architectures with random weights,
 * over batch sizes, threads and precisions. Times are medians of whole calls to engine_run, warm.
 *
 * With --serve it does what it reads, a line each ("ARCH INPUT BATCH THREADS PRECISION RUNS"), and
 * answers each with one line of JSON holding every run's time, so that another program can measure
 * in turns with it; engine_vs_onnxruntime.mjs does. With --save it writes the networks as ONNX. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/options.h"
#include "base/rng.h"
#include "nn/arch/arch.h"
#include "nn/exec/engine.h"
#include "nn/onnx/onnx.h"

enum { CLASSES = 1000, RUNS_MAX = 1000, BATCH_MAX = 64, WARM_RUNS = 2, LINE_MAX_LENGTH = 256 };

struct settings {
    const char *arch;      /* NULL for all */
    const char *precision; /* NULL for fp32 and bf16 */
    int64_t input;         /* 0 for 224 and 32 */
    int64_t batch;         /* 0 for 1 and 8 */
    int64_t threads;       /* 0 for 1 and 2 */
    int64_t runs;
    bool json, serve;
    const char *save;
};

static const struct option options[] = {
    {"arch", 'a', OPTION_TEXT, offsetof(struct settings, arch), "NAME", "only this architecture", 0,
     0},
    {"input", 'i', OPTION_INTEGER, offsetof(struct settings, input), "N",
     "only this input size (224 and 32 otherwise)", 0, 1024},
    {"batch", 'b', OPTION_INTEGER, offsetof(struct settings, batch), "N",
     "only this batch size (1 and 8 otherwise)", 0, BATCH_MAX},
    {"threads", 't', OPTION_INTEGER, offsetof(struct settings, threads), "N",
     "only this many threads (1 and 2 otherwise)", 0, 64},
    {"precision", 'p', OPTION_TEXT, offsetof(struct settings, precision), "P", "only fp32 or bf16",
     0, 0},
    {"runs", 'r', OPTION_INTEGER, offsetof(struct settings, runs), "N",
     "runs of which the median is taken", 1, RUNS_MAX},
    {"json", 'j', OPTION_FLAG, offsetof(struct settings, json), NULL, "one JSON object a line", 0,
     0},
    {"serve", 's', OPTION_FLAG, offsetof(struct settings, serve), NULL,
     "measure what standard input asks for", 0, 0},
    {"save", 0, OPTION_TEXT, offsetof(struct settings, save), "DIR",
     "write the networks as ONNX into DIR and stop", 0, 0},
    {NULL, 0, 0, 0, NULL, NULL, 0, 0},
};

static const struct usage usage = {
    "bench_engine", "", "measure the inference engine", NULL, options,
};

/* The engine and session of the last measurement, kept while the next asks for the same. */
struct bench {
    char arch[64];
    int input, threads;
    enum precision precision;
    struct engine *engine;
    struct engine_session *session;
};

struct request {
    char arch[64];
    int input, batch, threads, runs;
    enum precision precision;
};

static void bench_drop(struct bench *bench)
{
    engine_session_free(bench->session);
    engine_free(bench->engine);
    memset(bench, 0, sizeof *bench);
}

static int bench_prepare(struct bench *bench, const struct request *request, struct error *err)
{
    struct arch_options arch = {CLASSES, request->input, 1};
    struct engine_options engine = {request->precision, BATCH_MAX};
    struct graph *graph;
    int status;

    if (bench->engine != NULL && strcmp(bench->arch, request->arch) == 0 &&
        bench->input == request->input && bench->threads == request->threads &&
        bench->precision == request->precision)
        return STATUS_OK;
    bench_drop(bench);
    status = arch_build(request->arch, &arch, &graph, err);
    if (status != STATUS_OK)
        return status;
    status = engine_create(graph, &engine, &bench->engine, err);
    graph_free(graph);
    if (status == STATUS_OK)
        status = engine_session_create(bench->engine, request->threads, &bench->session, err);
    if (status != STATUS_OK) {
        bench_drop(bench);
        return status;
    }
    snprintf(bench->arch, sizeof bench->arch, "%s", request->arch);
    bench->input = request->input;
    bench->threads = request->threads;
    bench->precision = request->precision;
    return STATUS_OK;
}

/* Random images; zeros would flatter what skips or caches. */
static float *make_images(const struct request *request)
{
    size_t count = (size_t)request->batch * 3 * (size_t)request->input * (size_t)request->input;
    float *images = malloc(count * sizeof *images);
    struct rng rng;

    rng_seed(&rng, 1);
    for (size_t i = 0; images != NULL && i < count; i++)
        images[i] = (float)(rng_uniform(&rng) * 2.0 - 1.0);
    return images;
}

/* Fills times[0..runs-1] with milliseconds an image. */
static int measure(struct bench *bench, const struct request *request, double *times,
                   struct error *err)
{
    float *images = make_images(request);
    float *outputs = malloc((size_t)request->batch * CLASSES * sizeof *outputs);
    int status = bench_prepare(bench, request, err);

    if (images == NULL || outputs == NULL)
        status = error_set(err, STATUS_NO_MEMORY, "no memory for images");
    for (int run = -WARM_RUNS; run < request->runs && status == STATUS_OK; run++) {
        int64_t start = clock_monotonic_ns();
        status = engine_run(bench->session, request->batch, images, outputs, err);
        if (run >= 0)
            times[run] = (double)(clock_monotonic_ns() - start) / 1e6 / request->batch;
    }
    free(images);
    free(outputs);
    return status;
}

static int compare_times(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static double median(double *times, int count)
{
    qsort(times, (size_t)count, sizeof *times, compare_times);
    return count % 2 == 1 ? times[count / 2] : (times[count / 2 - 1] + times[count / 2]) / 2;
}

static void print_json(const struct request *request, double *times, bool all)
{
    printf("{\"arch\":\"%s\",\"input\":%d,\"batch\":%d,\"threads\":%d,\"precision\":\"%s\"",
           request->arch, request->input, request->batch, request->threads,
           precision_name(request->precision));
    if (all) {
        printf(",\"times_ms\":[");
        for (int i = 0; i < request->runs; i++)
            printf("%s%.4f", i == 0 ? "" : ",", times[i]);
        printf("]");
    }
    printf(",\"median_ms\":%.4f}\n", median(times, request->runs));
}

static int report(struct bench *bench, const struct request *request, bool json, bool all,
                  struct error *err)
{
    double times[RUNS_MAX];
    int status = measure(bench, request, times, err);

    if (status != STATUS_OK)
        return status;
    if (json)
        print_json(request, times, all);
    else
        printf("%-16s %5d %5d %7d  %-4s %9.3f\n", request->arch, request->input, request->batch,
               request->threads, precision_name(request->precision), median(times, request->runs));
    fflush(stdout);
    return STATUS_OK;
}

static int read_request(const char *line, struct request *request, struct error *err)
{
    char precision[16];

    if (sscanf(line, "%63s %d %d %d %15s %d", request->arch, &request->input, &request->batch,
               &request->threads, precision, &request->runs) != 6 ||
        request->input < 1 || request->input > 1024 || request->batch < 1 ||
        request->batch > BATCH_MAX || request->runs < 1 || request->runs > RUNS_MAX)
        return error_set(err, STATUS_INVALID, "a line is ARCH INPUT BATCH THREADS PRECISION RUNS");
    return precision_parse(precision, &request->precision, err);
}

static int serve(struct bench *bench, struct error *err)
{
    char line[LINE_MAX_LENGTH];
    int status = STATUS_OK;

    while (status == STATUS_OK && fgets(line, sizeof line, stdin) != NULL) {
        struct request request;
        status = read_request(line, &request, err);
        if (status == STATUS_OK)
            status = report(bench, &request, true, true, err);
    }
    return status;
}

static int save(const struct settings *settings, struct error *err)
{
    static const int inputs[] = {224, 32};
    int status = STATUS_OK;

    for (int a = 0; arch_name(a) != NULL && status == STATUS_OK; a++) {
        for (size_t i = 0; i < 2 && status == STATUS_OK; i++) {
            struct onnx_write_options write = {DTYPE_F32, arch_name(a), NULL};
            struct arch_options arch = {CLASSES, inputs[i], 1};
            struct graph *graph;
            char path[4096];
            snprintf(path, sizeof path, "%s/%s-%d.onnx", settings->save, arch_name(a), inputs[i]);
            status = arch_build(arch_name(a), &arch, &graph, err);
            if (status != STATUS_OK)
                break;
            status = onnx_save(graph, path, &write, err);
            graph_free(graph);
        }
    }
    return status;
}

/* The values to go through: the one asked for, or the two usual ones. */
static int choose(int64_t asked, int first, int second, int out[2])
{
    out[0] = asked != 0 ? (int)asked : first;
    out[1] = second;
    return asked != 0 ? 1 : 2;
}

/* Every combination that the settings leave open, for one architecture. */
static int run_grid(struct bench *bench, const struct settings *settings, const char *arch,
                    enum precision only, struct error *err)
{
    int inputs[2], threads[2], precisions[2], batches[2];
    int input_count = choose(settings->input, 224, 32, inputs);
    int thread_count = choose(settings->threads, 1, 2, threads);
    int precision_count =
        choose((int64_t)only, (int)PRECISION_FP32, (int)PRECISION_BF16, precisions);
    int batch_count = choose(settings->batch, 1, 8, batches);
    int total = input_count * thread_count * precision_count * batch_count;
    int status = STATUS_OK;

    for (int i = 0; i < total && status == STATUS_OK; i++) {
        int rest = i;
        struct request request = {.runs = (int)settings->runs};
        request.batch = batches[rest % batch_count];
        rest /= batch_count;
        request.precision = (enum precision)precisions[rest % precision_count];
        rest /= precision_count;
        request.threads = threads[rest % thread_count];
        request.input = inputs[rest / thread_count];
        snprintf(request.arch, sizeof request.arch, "%s", arch);
        status = report(bench, &request, settings->json, false, err);
    }
    return status;
}

static int run_grids(struct bench *bench, const struct settings *settings, struct error *err)
{
    enum precision only = PRECISION_AUTO; /* 0: both */
    int status = STATUS_OK;

    if (settings->precision != NULL)
        status = precision_parse(settings->precision, &only, err);
    if (!settings->json && status == STATUS_OK)
        printf("%-16s %5s %5s %7s  %-4s %9s\n", "architecture", "input", "batch", "threads", "prec",
               "ms/image");
    for (int i = 0; arch_name(i) != NULL && status == STATUS_OK; i++) {
        if (settings->arch == NULL || strcmp(settings->arch, arch_name(i)) == 0)
            status = run_grid(bench, settings, arch_name(i), only, err);
    }
    return status;
}

int main(int argc, char **argv)
{
    struct settings settings = {.runs = 21};
    struct bench bench = {0};
    struct error err = {0};
    const char **arguments = calloc((size_t)argc + 1, sizeof *arguments);
    int argument_count = 0;
    bool help = false;
    int status = arguments == NULL ? error_set(&err, STATUS_NO_MEMORY, "no memory")
                                   : options_parse(&usage, argc, argv, &settings, arguments,
                                                   &argument_count, &help, &err);

    if (status == STATUS_OK && help) {
        struct buffer text = {0};
        options_help(&usage, &text);
        fwrite(text.data, 1, text.size, stdout);
        buffer_free(&text);
    } else if (status == STATUS_OK && settings.save != NULL) {
        status = save(&settings, &err);
    } else if (status == STATUS_OK) {
        status = settings.serve ? serve(&bench, &err) : run_grids(&bench, &settings, &err);
    }
    if (status != STATUS_OK)
        fprintf(stderr, "bench_engine: %s\n", err.message);
    bench_drop(&bench);
    free(arguments);
    return status == STATUS_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
