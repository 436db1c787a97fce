/* What the faces show, as JSON made from the database: REST now, other faces the same. Each returns
 * a new reference the caller json_decref()s. */
#ifndef API_VIEWS_H
#define API_VIEWS_H

#include "base/json.h"
#include "data/sql.h"

/* One image's row with its `predictions`, `failures` and `comparison`. STATUS_NOT_FOUND. */
int view_image(struct sql *sql, const char *image_id, json_t **out, struct error *err);
/* {"predictions": [...], "count": n}, newest first. */
int view_recent_predictions(struct sql *sql, int64_t limit, json_t **out, struct error *err);
/* STATUS_NOT_FOUND also while no model has answered yet. */
int view_comparison(struct sql *sql, const char *image_id, json_t **out, struct error *err);
/* {"models": [...], "pairs": [...]}: counts, confidence, time percentiles and accuracy with
 * intervals; agreement, kappa and McNemar. */
int view_model_stats(struct sql *sql, json_t **out, struct error *err);
/* {"hours": n, "rows": [...]} from model_performance_comparison. */
int view_performance(struct sql *sql, int64_t hours, json_t **out, struct error *err);

#endif
