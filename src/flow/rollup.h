/* Roll-ups: counts and sums that the record stage keeps beside the predictions, in the same
 * transactions, so that a dashboard never scans. Private to record. A prediction is added once; a
 * label's change takes away what the old one counted and adds the new. */
#ifndef FLOW_ROLLUP_H
#define FLOW_ROLLUP_H

#include "data/sql.h"
#include "flow/message.h"

/* One prediction as the roll-ups see it. Texts are borrowed. */
struct rollup_prediction {
    const char *image_id;
    const char *model_name, *model_version;
    const char *prediction_class;
    double confidence;
    double time_ms;
    int64_t timestamp_us;
};

/* Counts a prediction that was just inserted: totals, classes, hours, times, pairs with the image's
 * other predictions and, when `label` is not NULL, what it says about who was right. */
int rollup_add(struct sql_tx *tx, const struct rollup_prediction *prediction, const char *label,
               struct error *err);

/* Brings the roll-ups from one label of an image to another; either may be NULL for none. */
int rollup_relabel(struct sql_tx *tx, const char *image_id, const char *label_before,
                   const char *label_after, struct error *err);

/* Empties all of them. */
int rollup_clear(struct sql_tx *tx, struct error *err);

#endif
