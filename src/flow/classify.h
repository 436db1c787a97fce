/* Classify: the second stage. Every active model reads images-input-stream as a consumer group of
 * its own ("classify-NAME@VERSION") in a lane; a few compute threads serve all lanes; answers go to
 * predictions-output-stream together with the lanes' new offsets. */
#ifndef FLOW_CLASSIFY_H
#define FLOW_CLASSIFY_H

#include "base/config.h"
#include "base/json.h"
#include "base/metrics.h"
#include "data/bus.h"
#include "data/objects.h"
#include "data/sql.h"
#include "models/model_set.h"

struct classify;

/* Starts the threads and a lane for each model that is active in `models`, and follows the set's
 * changes from then on (it takes the set's model_set_on_change). All arguments are borrowed and
 * must outlive it. */
int classify_start(const struct config *config, struct sql *sql, struct bus *bus,
                   struct objects *objects, struct model_set *models, struct metrics *metrics,
                   struct classify **out, struct error *err);
/* Finishes and publishes the batches in hand, then joins and frees. The set must no longer be
 * watched. */
void classify_stop(struct classify *classify);

/* [{"model","version","waiting","running","done","failed"}], for /health. The caller
 * json_decref()s; NULL when memory is out. */
json_t *classify_describe(struct classify *classify);

#endif
