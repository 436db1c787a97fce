/* The schema of SYSTEM.md as numbered migrations: tables images, predictions, model_comparisons,
 * model_metrics, system_events, and the bus's own; views model_stats, recent_predictions,
 * model_performance_comparison. */
#ifndef DATA_SCHEMA_H
#define DATA_SCHEMA_H

#include "data/sql.h"

/* Brings the database to the newest version, each migration in a transaction of its own, under a
 * lock where several processes start at once. STATUS_UNSUPPORTED when the database is newer than
 * this program. */
int schema_migrate(struct sql *sql, struct error *err);
/* The version in the database, 0 for an empty one; and the newest this program knows. */
int schema_version(struct sql *sql, int *version, struct error *err);
int schema_version_newest(void);

/* Writes one row into system_events. `data` is a JSON object's text or NULL; severity: debug, info,
 * warning, error. */
int schema_event(struct sql *sql, const char *event_type, const char *severity,
                 const char *service_name, const char *data, struct error *err);

#endif
