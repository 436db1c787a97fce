/* Where the demo runs: a data folder of its own, and a port that is free. */
#ifndef CMD_DEMO_PLACE_H
#define CMD_DEMO_PLACE_H

#include <limits.h>
#include <stdbool.h>

#include "base/config.h"

struct demo_place {
    char folder[PATH_MAX];
    bool temporary; /* made for this run: goes with it */
};

/* Changes the settings that the user left alone. The data folder becomes
 * $XDG_CACHE_HOME/ocelli/demo
 * (~/.cache/ocelli/demo), emptied, or a temporary one when that cannot be written or another demo
 * is using it; a folder given by the user is used as it is. When the port is taken, any free one.
 */
int demo_place_choose(struct config *config, struct demo_place *place, struct error *err);
/* Removes what is temporary; the platform must have stopped. */
void demo_place_leave(const struct demo_place *place);

#endif
