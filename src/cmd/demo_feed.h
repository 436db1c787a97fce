/* The demo's photographs on their way into the platform: a thread that submits a source, at a pace
 * that can be watched or as fast as it goes. */
#ifndef CMD_DEMO_FEED_H
#define CMD_DEMO_FEED_H

#include <stdbool.h>
#include <stdint.h>

#include "api/api.h"
#include "sources/source.h"

/* What the images' messages name as their source. */
#define DEMO_SOURCE "demo"

enum { FEED_NAME_SIZE = 64 };

struct feed_counts {
    int64_t total;     /* images there will be */
    int64_t submitted; /* accepted by the platform */
    int64_t refused;   /* by the platform or because they could not be read */
    bool over;         /* nothing more will come */
    /* The first that was refused, and why. */
    char refused_name[FEED_NAME_SIZE];
    struct error refusal;
    struct error fatal; /* why it ended early; the code is STATUS_OK otherwise */
};

struct feed;

/* Takes `source`, also on failure; `api` is borrowed. At most `limit` images (negative: all),
 * `rate` a second (0: as fast as they are taken). A label that no active model knows is not sent.
 */
int feed_start(const struct api *api, struct source *source, int64_t limit, double rate,
               struct feed **out, struct error *err);
struct feed_counts feed_look(struct feed *feed);
void feed_stop(struct feed *feed); /* ends early, joins and frees; NULL is fine */

#endif
