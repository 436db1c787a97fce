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

/* Changes the data folder when the user left it alone: it becomes $XDG_CACHE_HOME/ocelli/demo
 * (~/.cache/ocelli/demo), emptied, or a temporary one when that cannot be written or another demo
 * is using it. A folder given by the user is used as it is. */
int demo_place_choose(struct config *config, struct demo_place *place, struct error *err);
/* For when the port is taken: any free one instead, unless the user chose it. */
bool demo_place_take_any_port(struct config *config);
/* Removes what is temporary; the platform must have stopped. */
void demo_place_leave(const struct demo_place *place);

#endif
