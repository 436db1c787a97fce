/* A lane: one model's way through images-input-stream. Private to classify.
 *
 * A lane keeps the messages it has read in offset order until their answers are durable. Its
 * committed offset is that of the oldest message that is not done, so a crash repeats work but
 * never skips any. All functions want classify's lock held, except where they say otherwise. */
#ifndef FLOW_LANE_H
#define FLOW_LANE_H

#include <pthread.h>
#include <stdbool.h>

#include "data/bus.h"
#include "flow/message.h"
#include "models/model_set.h"

/* A lane's consumer group is this and NAME@VERSION. */
#define LANE_GROUP_PREFIX "classify-"

enum item_state { ITEM_WAITING, ITEM_RUNNING, ITEM_DONE };

struct item {
    struct item *next; /* towards newer */
    struct image_message image;
    int64_t offset;
    int partition;
    char *value; /* the message as it came, for the dead letters; owned */
    int attempts;
    int64_t not_before_ns; /* a failed item rests until then; 0 for at once */
    enum item_state state;
};

struct lane {
    struct lane *next;
    struct model *model; /* retained; NULL once the lane has left */
    char group[2 * NAME_SIZE + 16];
    struct bus_consumer *consumer;
    pthread_t fetcher;
    struct item *oldest, *newest;
    int count;           /* items in the list */
    int running;         /* of them, in compute threads or on their way to the database */
    int64_t next_offset; /* one past the newest message read */
    bool draining;       /* finish what was announced before drain_us, then leave */
    int64_t drain_us;
    int64_t done, failed; /* since start, for people */
};

struct lane *lane_create(struct model *model, struct error *err); /* retains the model */
void lane_free(struct lane *lane); /* and its items; the consumer must be closed */

/* Appends a message that was read; takes nothing. On a message that is no image message, the item
 * is made all the same and STATUS_INVALID returned: it goes to the dead letters. */
int lane_append(struct lane *lane, const struct bus_message *message, struct item **out,
                struct error *err);
/* The oldest item that may run now; NULL when none. *soonest_ns becomes the time the next resting
 * one may, when that is sooner. */
struct item *lane_ready(const struct lane *lane, int64_t now_ns, int64_t *soonest_ns);
/* Marks up to `max` ready items as running and lists them. */
int lane_take(struct lane *lane, int64_t now_ns, int max, struct item **items);
/* The offset to commit when the running items in `finished` are done as well. */
int64_t lane_commit_offset(const struct lane *lane, struct item *const *finished, int count);
/* Marks one item done, and frees those at the old end that are. */
void lane_finish(struct lane *lane, struct item *item);

#endif
