/* An image's comparison: what the models said side by side, who was fastest and most confident, and
 * whether everyone has answered. Private to record. */
#ifndef FLOW_COMPARISON_H
#define FLOW_COMPARISON_H

#include "data/bus.h"
#include "data/sql.h"

/* Computes the comparison of one image from its predictions and failures, writes its row and the
 * image's status, and, when that finishes the image, publishes it. */
int comparison_update(struct sql_tx *tx, struct bus *bus, const char *image_id, struct error *err);

#endif
