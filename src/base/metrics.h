/* Metrics: counters, gauges and histograms by name and labels, in one registry that /metrics
 * renders.
 *
 * A handle is looked up once (that takes a lock) and then updated with atomics from any thread.
 * Handles live as long as the registry. Names follow Prometheus: base units, `ocelli_` prefix,
 * `_total` for counters. */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

struct metrics;
struct metric;

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/* The registry begins with the process_* metrics and ocelli_build_info. */
int metrics_create(struct metrics **out, struct error *err);
void metrics_free(struct metrics *metrics);

/* The metric of that name and those labels, made on first use. `labels` is what stands between the
 * braces, `model="resnet50",reason="full"`, with values escaped by metrics_escape; "" for none.
 * Never NULL: when memory runs out, a name is used with two kinds, or a name has 4096 sets of
 * labels already, a shared sink is returned that is rendered nowhere. */
struct metric *metrics_get(struct metrics *metrics, enum metric_kind kind, const char *name,
                           const char *help, const char *labels);
/* Two-label convenience: label values are escaped here. Pass NULL for an unused label. */
struct metric *metrics_labelled(struct metrics *metrics, enum metric_kind kind, const char *name,
                                const char *help, const char *label, const char *value,
                                const char *label2, const char *value2);
/* Appends a label's value as it must stand between its quotes. */
void metrics_escape(struct buffer *out, const char *value);

void metric_add(struct metric *metric, double amount); /* counter (amount >= 0) or gauge */
void metric_set(struct metric *metric, double value);  /* gauge */
void metric_observe(struct metric *metric,
                    double value); /* histogram, in seconds: buckets 0.5 ms .. 60 s */
double metric_value(const struct metric *metric); /* histogram: the count */

/* A gauge computed when rendered (queue depths, sizes). `read` must be quick and thread-safe, and
 * must not call the registry. A second call for the same name and labels replaces the first; with a
 * NULL `read` the gauge is no longer rendered, and once that call returned its context may go. */
void metrics_gauge_function(struct metrics *metrics, const char *name, const char *help,
                            const char *labels, double (*read)(void *context), void *context);

/* Appends the text exposition format 0.0.4, families sorted by name, with process_* metrics and
 * build info. */
void metrics_render(struct metrics *metrics, struct buffer *out);

#endif
