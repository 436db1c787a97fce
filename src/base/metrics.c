/* Metrics: see metrics.h. The registry is a list of families (one a name) sorted by name, each with
 * its metrics sorted by labels, so that rendering is one walk; a hash table finds a metric by name
 * and labels. One mutex guards both; the numbers are atomics outside of it. */
#include "base/metrics.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/process.h"

enum { BUCKET_COUNT = 16, CHAIN_COUNT = 1024, SERIES_MAX = 4096 };

static const double bucket_bounds[BUCKET_COUNT] = {
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};

struct metric {
    struct metric *next;          /* in its family, by labels */
    struct metric *next_in_chain; /* in the hash table */
    struct family *family;        /* NULL for the sink */
    char *labels;
    bool computed; /* by `read`, which is NULL once withdrawn */
    double (*read)(void *context);
    void *context;
    atomic_uint_fast64_t value; /* the bits of a double; a histogram's sum */
    atomic_uint_fast64_t
        buckets[BUCKET_COUNT + 1]; /* histogram: not cumulative; the last is +Inf */
};

struct family {
    struct family *next; /* by name */
    struct metric *metrics;
    enum metric_kind kind;
    int metric_count;
    char *name, *help;
};

struct metrics {
    pthread_mutex_t mutex;
    struct family *families;
    struct metric *chains[CHAIN_COUNT];
    struct metric sink;
};

static double bits_to_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t double_to_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* --- Finding and making */

static struct family *find_or_make_family(struct metrics *metrics, enum metric_kind kind,
                                          const char *name, const char *help)
{
    struct family **at = &metrics->families;
    while (*at != NULL && strcmp((*at)->name, name) < 0)
        at = &(*at)->next;
    if (*at != NULL && strcmp((*at)->name, name) == 0)
        return *at;

    struct family *family = calloc(1, sizeof *family);
    if (family == NULL)
        return NULL;
    family->kind = kind;
    family->name = strdup(name);
    family->help = strdup(help);
    if (family->name == NULL || family->help == NULL) {
        free(family->name);
        free(family->help);
        free(family);
        return NULL;
    }
    family->next = *at;
    *at = family;
    return family;
}

static struct metric *make_metric(struct family *family, const char *labels)
{
    struct metric *metric = calloc(1, sizeof *metric);
    if (metric == NULL)
        return NULL;
    metric->labels = strdup(labels);
    if (metric->labels == NULL) {
        free(metric);
        return NULL;
    }
    metric->family = family;

    struct metric **at = &family->metrics;
    while (*at != NULL && strcmp((*at)->labels, labels) < 0)
        at = &(*at)->next;
    metric->next = *at;
    *at = metric;
    family->metric_count++;
    return metric;
}

static struct metric *find_or_make(struct metrics *metrics, enum metric_kind kind, const char *name,
                                   const char *help, const char *labels)
{
    const uint64_t hash = fnv1a(name, strlen(name)) * 31 + fnv1a(labels, strlen(labels));
    struct metric **chain = &metrics->chains[hash % CHAIN_COUNT];

    for (struct metric *metric = *chain; metric != NULL; metric = metric->next_in_chain)
        if (strcmp(metric->family->name, name) == 0 && strcmp(metric->labels, labels) == 0)
            return metric->family->kind == kind ? metric : &metrics->sink;

    struct family *family = find_or_make_family(metrics, kind, name, help);
    if (family == NULL || family->kind != kind || family->metric_count >= SERIES_MAX)
        return &metrics->sink;
    struct metric *metric = make_metric(family, labels);
    if (metric == NULL)
        return &metrics->sink;
    metric->next_in_chain = *chain;
    *chain = metric;
    return metric;
}

struct metric *metrics_get(struct metrics *metrics, enum metric_kind kind, const char *name,
                           const char *help, const char *labels)
{
    pthread_mutex_lock(&metrics->mutex);
    struct metric *metric = find_or_make(metrics, kind, name, help, labels);
    pthread_mutex_unlock(&metrics->mutex);
    return metric;
}

void metrics_escape(struct buffer *out, const char *value)
{
    for (const char *at = value; *at != '\0'; at++) {
        if (*at == '\\' || *at == '"')
            buffer_append(out, "\\", 1);
        if (*at == '\n')
            buffer_text(out, "\\n");
        else
            buffer_append(out, at, 1);
    }
}

struct metric *metrics_labelled(struct metrics *metrics, enum metric_kind kind, const char *name,
                                const char *help, const char *label, const char *value,
                                const char *label2, const char *value2)
{
    struct buffer labels = {0};
    struct metric *metric = &metrics->sink;

    buffer_text(&labels, "");
    if (label != NULL) {
        buffer_print(&labels, "%s=\"", label);
        metrics_escape(&labels, value);
        buffer_text(&labels, "\"");
    }
    if (label2 != NULL) {
        buffer_print(&labels, "%s%s=\"", label != NULL ? "," : "", label2);
        metrics_escape(&labels, value2);
        buffer_text(&labels, "\"");
    }
    if (buffer_ok(&labels))
        metric = metrics_get(metrics, kind, name, help, labels.data);
    buffer_free(&labels);
    return metric;
}

static void add_function(struct metrics *metrics, enum metric_kind kind, const char *name,
                         const char *help, const char *labels, double (*read)(void *context),
                         void *context)
{
    pthread_mutex_lock(&metrics->mutex);
    struct metric *metric = find_or_make(metrics, kind, name, help, labels);
    if (metric != &metrics->sink) {
        metric->computed = true;
        metric->read = read;
        metric->context = context;
    }
    pthread_mutex_unlock(&metrics->mutex);
}

void metrics_gauge_function(struct metrics *metrics, const char *name, const char *help,
                            const char *labels, double (*read)(void *context), void *context)
{
    add_function(metrics, METRIC_GAUGE, name, help, labels, read, context);
}

/* --- Updating */

static void add_to_double(atomic_uint_fast64_t *bits, double amount)
{
    uint64_t before = atomic_load_explicit(bits, memory_order_relaxed), after;
    do
        after = double_to_bits(bits_to_double(before) + amount);
    while (!atomic_compare_exchange_weak_explicit(bits, &before, after, memory_order_relaxed,
                                                  memory_order_relaxed));
}

void metric_add(struct metric *metric, double amount)
{
    assert(metric->family == NULL || metric->family->kind != METRIC_HISTOGRAM);
    assert(metric->family == NULL || metric->family->kind == METRIC_GAUGE || amount >= 0);
    add_to_double(&metric->value, amount);
}

void metric_set(struct metric *metric, double value)
{
    assert(metric->family == NULL || metric->family->kind == METRIC_GAUGE);
    atomic_store_explicit(&metric->value, double_to_bits(value), memory_order_relaxed);
}

void metric_observe(struct metric *metric, double value)
{
    int bucket = 0;

    assert(metric->family == NULL || metric->family->kind == METRIC_HISTOGRAM);
    while (bucket < BUCKET_COUNT && !(value <= bucket_bounds[bucket]))
        bucket++;
    atomic_fetch_add_explicit(&metric->buckets[bucket], 1, memory_order_relaxed);
    add_to_double(&metric->value, value);
}

double metric_value(const struct metric *metric)
{
    if (metric->family == NULL || metric->family->kind != METRIC_HISTOGRAM)
        return bits_to_double(atomic_load_explicit(&metric->value, memory_order_relaxed));
    uint64_t count = 0;
    for (int i = 0; i <= BUCKET_COUNT; i++)
        count += atomic_load_explicit(&metric->buckets[i], memory_order_relaxed);
    return (double)count;
}

/* --- Rendering */

static void render_number(struct buffer *out, double value)
{
    if (isnan(value))
        buffer_text(out, "NaN\n");
    else if (isinf(value))
        buffer_text(out, value > 0 ? "+Inf\n" : "-Inf\n");
    else
        buffer_print(out, "%.15g\n", value);
}

static void render_histogram(const struct metric *metric, struct buffer *out)
{
    const char *name = metric->family->name, *labels = metric->labels;
    const char *comma = *labels != '\0' ? "," : "";
    const char *open = *labels != '\0' ? "{" : "", *close = *labels != '\0' ? "}" : "";
    uint64_t count = 0;

    for (int i = 0; i <= BUCKET_COUNT; i++) {
        count += atomic_load_explicit(&metric->buckets[i], memory_order_relaxed);
        buffer_print(out, "%s_bucket{%s%sle=\"", name, labels, comma);
        if (i < BUCKET_COUNT)
            buffer_print(out, "%.15g", bucket_bounds[i]);
        else
            buffer_text(out, "+Inf");
        buffer_print(out, "\"} %llu\n", (unsigned long long)count);
    }
    buffer_print(out, "%s_sum%s%s%s ", name, open, labels, close);
    render_number(out, bits_to_double(atomic_load(&metric->value)));
    buffer_print(out, "%s_count%s%s%s %llu\n", name, open, labels, close,
                 (unsigned long long)count);
}

static void render_family(const struct family *family, struct buffer *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};

    buffer_print(out, "# HELP %s ", family->name);
    for (const char *at = family->help; *at != '\0'; at++) {
        if (*at == '\\' || *at == '\n')
            buffer_text(out, *at == '\n' ? "\\n" : "\\\\");
        else
            buffer_append(out, at, 1);
    }
    buffer_print(out, "\n# TYPE %s %s\n", family->name, kinds[family->kind]);
    for (const struct metric *metric = family->metrics; metric != NULL; metric = metric->next) {
        if (family->kind == METRIC_HISTOGRAM) {
            render_histogram(metric, out);
        } else if (!metric->computed || metric->read != NULL) {
            const char *labels = metric->labels;
            buffer_print(out, *labels != '\0' ? "%s{%s} " : "%s%s ", family->name, labels);
            render_number(out,
                          metric->computed ? metric->read(metric->context) : metric_value(metric));
        }
    }
}

void metrics_render(struct metrics *metrics, struct buffer *out)
{
    pthread_mutex_lock(&metrics->mutex);
    for (const struct family *family = metrics->families; family != NULL; family = family->next)
        render_family(family, out);
    pthread_mutex_unlock(&metrics->mutex);
}

/* --- The registry */

static double read_cpu_seconds(void *context)
{
    (void)context;
    return process_cpu_seconds();
}

static double read_resident_bytes(void *context)
{
    (void)context;
    return process_resident_bytes();
}

static double read_open_files(void *context)
{
    (void)context;
    return process_open_files();
}

static double read_start_time(void *context)
{
    (void)context;
    return process_start_time_seconds();
}

static void add_process_metrics(struct metrics *metrics)
{
    add_function(metrics, METRIC_COUNTER, "process_cpu_seconds_total",
                 "User and system CPU time spent in seconds.", "", read_cpu_seconds, NULL);
    add_function(metrics, METRIC_GAUGE, "process_resident_memory_bytes",
                 "Resident memory size in bytes.", "", read_resident_bytes, NULL);
    add_function(metrics, METRIC_GAUGE, "process_open_fds", "Number of open file descriptors.", "",
                 read_open_files, NULL);
    add_function(metrics, METRIC_GAUGE, "process_start_time_seconds",
                 "Start of the process in seconds since the epoch.", "", read_start_time, NULL);
    metric_set(metrics_labelled(metrics, METRIC_GAUGE, "ocelli_build_info",
                                "Always 1; the version is in the label.", "version", OCELLI_VERSION,
                                NULL, NULL),
               1);
}

int metrics_create(struct metrics **out, struct error *err)
{
    struct metrics *metrics = calloc(1, sizeof *metrics);

    if (metrics == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the metrics");
    if (pthread_mutex_init(&metrics->mutex, NULL) != 0) {
        free(metrics);
        return error_set(err, STATUS_NO_MEMORY, "no resources for the metrics' lock");
    }
    add_process_metrics(metrics);
    *out = metrics;
    return STATUS_OK;
}

void metrics_free(struct metrics *metrics)
{
    if (metrics == NULL)
        return;
    for (struct family *family = metrics->families, *next; family != NULL; family = next) {
        next = family->next;
        for (struct metric *metric = family->metrics, *following; metric != NULL;
             metric = following) {
            following = metric->next;
            free(metric->labels);
            free(metric);
        }
        free(family->name);
        free(family->help);
        free(family);
    }
    pthread_mutex_destroy(&metrics->mutex);
    free(metrics);
}
