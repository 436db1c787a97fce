/* The bus: the calls handed on to the implementation, and what is the same for all of them: names,
 * batches, and the form of a dead letter. See bus.h. */
#include "data/bus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "data/bus_driver.h"

/* --- names and batches --- */

int bus_name_check(const char *what, const char *name, struct error *err)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-@+:";
    const size_t length = strlen(name);

    if (length == 0 || length >= BUS_NAME_SIZE || strspn(name, allowed) != length)
        return error_set(err, STATUS_INVALID,
                         "'%.80s' is no name for a %s: 1 to %d letters, digits and . _ - @ + : are",
                         name, what, BUS_NAME_SIZE - 1);
    return STATUS_OK;
}

int bus_dead_letter_topic(const char *topic, char name[BUS_NAME_SIZE], struct error *err)
{
    const int length = snprintf(name, BUS_NAME_SIZE, "%s.dlq", topic);
    if (length < 0 || length >= BUS_NAME_SIZE)
        return error_set(err, STATUS_INVALID, "the topic '%.80s...' has too long a name", topic);
    return STATUS_OK;
}

int bus_batch_create(struct bus_batch *batch, int capacity, struct error *err)
{
    *batch = (struct bus_batch){.arena = malloc(sizeof *batch->arena)};
    if (batch->arena != NULL) {
        arena_init(batch->arena, 0);
        batch->messages = arena_alloc(batch->arena, (size_t)capacity * sizeof *batch->messages);
    }
    if (batch->messages == NULL) {
        bus_batch_free(batch);
        return error_set(err, STATUS_NO_MEMORY, "no memory for %d messages", capacity);
    }
    return STATUS_OK;
}

void bus_batch_free(struct bus_batch *batch)
{
    if (batch->arena != NULL)
        arena_free(batch->arena);
    free(batch->arena);
    *batch = (struct bus_batch){0};
}

/* --- dead letters --- */

/* A dead letter's headers say where the message comes from and why it is here; those it had are
 * kept below "headers". */
static json_t *dead_letter_headers(const struct bus_message *message, const char *group,
                                   int attempts, const char *reason)
{
    json_t *headers = json_pack("{s:s, s:i, s:I, s:s, s:i, s:s}", "origin_topic", message->topic,
                                "origin_partition", message->partition, "origin_offset",
                                (json_int_t)message->offset, "group", group, "attempts", attempts,
                                "error", reason);
    if (headers == NULL || message->headers == NULL)
        return headers;
    json_t *before = json_loads(message->headers, 0, NULL);
    if (before != NULL && json_object_set_new(headers, "headers", before) != 0) {
        json_decref(headers);
        return NULL;
    }
    return headers;
}

int bus_dead_letter_in(struct bus *bus, struct sql_tx *tx, const struct bus_message *message,
                       const char *group, int attempts, const char *reason, struct error *err)
{
    char topic[BUS_NAME_SIZE];
    struct buffer text = {0};
    int status = bus_dead_letter_topic(message->topic, topic, err);

    if (status != STATUS_OK)
        return status;
    json_t *headers = dead_letter_headers(message, group, attempts, reason);
    if (headers == NULL)
        status = error_set(err, STATUS_INVALID,
                           "cannot write the headers of a dead letter: out of memory, or its "
                           "texts are not UTF-8");
    else
        status = json_write(headers, &text, err);
    if (status == STATUS_OK)
        status = bus_publish_in(bus, tx, topic, message->key, message->value, text.data, err);
    json_decref(headers);
    buffer_free(&text);
    return status;
}

/* --- handed on --- */

void bus_close(struct bus *bus)
{
    if (bus != NULL)
        bus->driver->close(bus);
}

int bus_publish_in(struct bus *bus, struct sql_tx *tx, const char *topic, const char *key,
                   const char *value, const char *headers, struct error *err)
{
    return bus->driver->publish_in(bus, tx, topic, key, value, headers, err);
}

int bus_subscribe(struct bus *bus, const char *group, const char *topic, enum bus_start start,
                  struct bus_consumer **out, struct error *err)
{
    return bus->driver->subscribe(bus, group, topic, start, out, err);
}

void bus_consumer_close(struct bus_consumer *consumer)
{
    if (consumer != NULL)
        consumer->driver->consumer_close(consumer);
}

int bus_poll(struct bus_consumer *consumer, int max, int64_t timeout_ms, struct bus_batch *batch,
             struct error *err)
{
    return consumer->driver->poll(consumer, max, timeout_ms, batch, err);
}

void bus_consumer_wake(struct bus_consumer *consumer)
{
    consumer->driver->consumer_wake(consumer);
}

int bus_commit_in(struct bus_consumer *consumer, struct sql_tx *tx, int64_t next_offset,
                  struct error *err)
{
    return consumer->driver->commit_in(consumer, tx, next_offset, err);
}

int bus_replay(struct bus *bus, const char *topic, int64_t offset_first, int64_t offset_last,
               int64_t *count, struct error *err)
{
    return bus->driver->replay(bus, topic, offset_first, offset_last, count, err);
}

int bus_group_remove(struct bus *bus, const char *group, struct error *err)
{
    return bus->driver->group_remove(bus, group, err);
}

int64_t bus_backlog(struct bus *bus, const char *topic)
{
    return bus->driver->backlog(bus, topic);
}

int bus_prune(struct bus *bus, int64_t limit, int64_t *count, struct error *err)
{
    return bus->driver->prune(bus, limit, count, err);
}

int bus_describe(struct bus *bus, json_t **out, struct error *err)
{
    return bus->driver->describe(bus, out, err);
}

int bus_browse(struct bus *bus, const char *topic, int64_t offset_first, int limit,
               struct bus_batch *batch, struct error *err)
{
    return bus->driver->browse(bus, topic, offset_first, limit, batch, err);
}

const char *bus_engine(const struct bus *bus)
{
    return bus->driver->engine;
}
