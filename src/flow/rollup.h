/* Roll-ups: counts and sums that the record stage keeps beside the predictions, in the same
 * transactions, so that a dashboard never scans. Private to record.
 *
 * What one transaction counts is added up in memory first and then written, a statement for each
 * row that changes: many predictions share a row. A prediction is counted once; a label's change
 * takes away what the old one counted and adds the new. */
#ifndef FLOW_ROLLUP_H
#define FLOW_ROLLUP_H

#include "data/sql.h"
#include "flow/message.h"

/* One prediction as the roll-ups see it. Texts are borrowed until the call returns. */
struct rollup_prediction {
    const char *model_name, *model_version;
    const char *prediction_class;
    double confidence;
    double time_ms;
    int64_t timestamp_us;
};

/* What a transaction counts; in its memory, so there is nothing to free. NULL when memory is out.
 */
struct rollups;
struct rollups *rollups_begin(struct sql_tx *tx);

/* Counts a prediction that was just inserted: totals, classes, hours, times. */
void rollups_prediction(struct rollups *rollups, const struct rollup_prediction *prediction);
/* What a label says of a prediction; `sign` is +1 to count it, -1 to take it back; a NULL label
 * says nothing. */
void rollups_label(struct rollups *rollups, const struct rollup_prediction *prediction,
                   const char *label, int sign);
/* Two models' predictions of one image, and what a label says of both; in either order. */
void rollups_pair(struct rollups *rollups, const struct rollup_prediction *one,
                  const struct rollup_prediction *other);
void rollups_pair_label(struct rollups *rollups, const struct rollup_prediction *one,
                        const struct rollup_prediction *other, const char *label, int sign);

/* Writes all of it, once, at the end. */
int rollups_write(struct rollups *rollups, struct error *err);

/* Brings the roll-ups from one label of an image to another; either may be NULL for none. */
int rollup_relabel(struct sql_tx *tx, const char *image_id, const char *label_before,
                   const char *label_after, struct error *err);

/* Empties all of them. */
int rollup_clear(struct sql_tx *tx, struct error *err);

#endif
