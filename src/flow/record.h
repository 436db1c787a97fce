/* Record: the last stage. Reads predictions-output-stream as group "record" and keeps what it says:
 * predictions, comparisons, the state of images, and the roll-ups that dashboards read. A batch of
 * messages and the new offset are one transaction, and a prediction that is there already changes
 * nothing, so everything is counted exactly once. */
#ifndef FLOW_RECORD_H
#define FLOW_RECORD_H

#include "base/config.h"
#include "base/metrics.h"
#include "data/bus.h"
#include "data/sql.h"

struct record;

/* Starts its thread. All arguments are borrowed and must outlive it. */
int record_start(const struct config *config, struct sql *sql, struct bus *bus,
                 struct metrics *metrics, struct record **out, struct error *err);
/* Finishes the batch in hand, joins and frees. */
void record_stop(struct record *record);

/* Sets (or, with label NULL, removes) the true class of an image and brings every roll-up along, in
 * one transaction. STATUS_NOT_FOUND for an unknown image; STATUS_INVALID for a label no active
 * model knows. */
int record_label(struct sql *sql, const char *image_id, const char *label, struct error *err);

/* Deletes all predictions, comparisons and roll-ups (POST /admin/clear-predictions); images stay,
 * marked pending nowhere: their status is kept. *count is the number of predictions that were
 * there. */
int record_clear(struct sql *sql, int64_t *count, struct error *err);

#endif
