/* A lane: see lane.h. */
#include "flow/lane.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lane *lane_create(struct model *model, struct error *err)
{
    struct lane *lane = calloc(1, sizeof *lane);
    if (lane == NULL) {
        error_set(err, STATUS_NO_MEMORY, "no memory for a model's lane");
        return NULL;
    }
    const struct model_package *package = model_package(model);
    lane->model = model_retain(model);
    snprintf(lane->group, sizeof lane->group, LANE_GROUP_PREFIX "%s@%s", package->name,
             package->version);
    return lane;
}

static void item_free(struct item *item)
{
    free(item->value);
    free(item);
}

void lane_free(struct lane *lane)
{
    if (lane == NULL)
        return;
    for (struct item *item = lane->oldest, *next; item != NULL; item = next) {
        next = item->next;
        item_free(item);
    }
    if (lane->model != NULL)
        model_release(lane->model);
    free(lane);
}

int lane_append(struct lane *lane, const struct bus_message *message, struct item **out,
                struct error *err)
{
    struct item *item = calloc(1, sizeof *item);
    char *value = strndup(message->value, message->value_size);

    if (item == NULL || value == NULL) {
        free(item);
        free(value);
        return error_set(err, STATUS_NO_MEMORY, "no memory for a message");
    }
    item->offset = message->offset;
    item->partition = message->partition;
    item->value = value;
    const int status = image_message_read(message->value, message->value_size, &item->image, err);
    *(lane->newest != NULL ? &lane->newest->next : &lane->oldest) = item;
    lane->newest = item;
    lane->count++;
    lane->next_offset = message->offset + 1;
    *out = item;
    return status;
}

struct item *lane_ready(const struct lane *lane, int64_t now_ns, int64_t *soonest_ns)
{
    for (struct item *item = lane->oldest; item != NULL; item = item->next) {
        if (item->state != ITEM_WAITING)
            continue;
        if (item->not_before_ns <= now_ns)
            return item;
        if (item->not_before_ns < *soonest_ns)
            *soonest_ns = item->not_before_ns;
    }
    return NULL;
}

int lane_take(struct lane *lane, int64_t now_ns, int max, struct item **items)
{
    int taken = 0;
    for (struct item *item = lane->oldest; item != NULL && taken < max; item = item->next)
        if (item->state == ITEM_WAITING && item->not_before_ns <= now_ns) {
            item->state = ITEM_RUNNING;
            items[taken++] = item;
        }
    lane->running += taken;
    return taken;
}

static bool is_among(const struct item *item, struct item *const *items, int count)
{
    for (int i = 0; i < count; i++)
        if (items[i] == item)
            return true;
    return false;
}

int64_t lane_commit_offset(const struct lane *lane, struct item *const *finished, int count)
{
    for (const struct item *item = lane->oldest; item != NULL; item = item->next)
        if (item->state != ITEM_DONE && !is_among(item, finished, count))
            return item->offset;
    return lane->next_offset;
}

void lane_finish(struct lane *lane, struct item *item)
{
    item->state = ITEM_DONE;
    lane->running--;
    while (lane->oldest != NULL && lane->oldest->state == ITEM_DONE) {
        struct item *done = lane->oldest;
        lane->oldest = done->next;
        if (lane->oldest == NULL)
            lane->newest = NULL;
        lane->count--;
        item_free(done);
    }
}
