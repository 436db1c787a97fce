/* Pruning: role `schedule` deletes messages of the embedded topics that are past their retention
 * and read by every group. */
#ifndef FLOW_PRUNE_H
#define FLOW_PRUNE_H

#include "base/metrics.h"
#include "data/bus.h"

struct prune;

/* Starts a thread that prunes once a minute, a bounded number of messages at a time. `bus` and
 * `metrics` are borrowed. */
int prune_start(struct bus *bus, struct metrics *metrics, struct prune **out, struct error *err);
void prune_stop(struct prune *prune); /* NULL is fine */

#endif
