/* The bus: durable topics with consumer groups. Messages are delivered at least once, in order
 * within a partition; a group's offset moves when its consumer commits. Two implementations: topics
 * in the database (embedded) and Kafka.
 *
 * Embedded: a topic is rows of `bus_messages`(topic, partition, message_offset, key, value,
 * headers, created_at); a group is a row of `bus_offsets`(consumer_group, topic, partition,
 * next_offset). One partition. Waiting consumers sleep on a condition that commits signal; nothing
 * polls. */
#ifndef DATA_BUS_H
#define DATA_BUS_H

#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "base/json.h"
#include "base/metrics.h"
#include "data/sql.h"

struct bus;
struct bus_consumer;

struct bus_message {
    const char *topic;
    int partition;
    int64_t offset;
    int64_t timestamp_us;
    const char *key;   /* NULL when none */
    const char *value; /* NUL-terminated, value_size bytes */
    size_t value_size;
    const char *headers; /* a JSON object's text; NULL when none */
    int attempts;        /* earlier deliveries, where the engine counts them; else 0 */
};

/* A batch owns its messages' memory. */
struct bus_batch {
    struct bus_message *messages;
    int count;
    struct arena *arena; /* private */
};

int bus_open_sql(const struct config *config, struct sql *sql, struct metrics *metrics,
                 struct bus **out, struct error *err);
void bus_close(struct bus *bus); /* consumers must be closed first */

/* Publishes inside a write transaction: the message exists when, and only when, the transaction is
 * durable; consumers wake after it. (Over Kafka: an outbox row that the relay sends.) Strings are
 * copied; key and headers may be NULL. */
int bus_publish_in(struct bus *bus, struct sql_tx *tx, const char *topic, const char *key,
                   const char *value, const char *headers, struct error *err);

enum bus_start { BUS_FROM_OLDEST, BUS_FROM_NEWEST };

/* Joins a group, which starts where it left off, or at `start` when it is new; the starting point
 * of a new group is durable when this returns. `group` NULL: a private tail that keeps no offset
 * (live feeds). STATUS_EXISTS when the group already has a consumer of that topic (embedded: one a
 * group). */
int bus_subscribe(struct bus *bus, const char *group, const char *topic, enum bus_start start,
                  struct bus_consumer **out, struct error *err);
void bus_consumer_close(struct bus_consumer *consumer);

/* Up to `max` messages that follow the last ones polled, waiting at most timeout_ms for the first.
 * An empty batch is success. Free with bus_batch_free. STATUS_CLOSED after bus_consumer_wake or
 * while closing. */
int bus_poll(struct bus_consumer *consumer, int max, int64_t timeout_ms, struct bus_batch *batch,
             struct error *err);
void bus_batch_free(struct bus_batch *batch);
/* Makes the present or next bus_poll return STATUS_CLOSED at once, from any thread. */
void bus_consumer_wake(struct bus_consumer *consumer);

/* Everything of this consumer below `next_offset` is done. In the embedded shape the new offset is
 * part of `tx`, atomically with the results written in it. */
int bus_commit_in(struct bus_consumer *consumer, struct sql_tx *tx, int64_t next_offset,
                  struct error *err);

/* Inside a write: copies the message to `<topic>.dlq` with headers origin_topic, origin_partition,
 * origin_offset, group, attempts and error. The caller then commits past it. */
int bus_dead_letter_in(struct bus *bus, struct sql_tx *tx, const struct bus_message *message,
                       const char *group, int attempts, const char *reason, struct error *err);
/* Publishes the dead letters offset_first..offset_last of `<topic>.dlq` to their origin again and
 * removes them; *count says how many. */
int bus_replay(struct bus *bus, const char *topic, int64_t offset_first, int64_t offset_last,
               int64_t *count, struct error *err);

/* Drops the group's offsets (a model was removed). STATUS_BUSY while it has a consumer. */
int bus_group_remove(struct bus *bus, const char *group, struct error *err);
/* Messages of `topic` that the slowest group has not committed; cheap (kept in memory). */
int64_t bus_backlog(struct bus *bus, const char *topic);
/* Deletes messages older than the retention that every group has committed, at most `limit` in one
 * call; *count says how many. */
int bus_prune(struct bus *bus, int64_t limit, int64_t *count, struct error *err);

/* For the topics page:
 * [{"topic","partitions":[{"partition","offset_oldest","offset_next"}],"messages",
 * "groups":[{"group","offset_committed","lag"}]}]. The caller json_decref()s. */
int bus_describe(struct bus *bus, json_t **out, struct error *err);
/* Messages of a topic from `offset_first` (or, when negative, the last -offset_first ones), at most
 * `limit`. */
int bus_browse(struct bus *bus, const char *topic, int64_t offset_first, int limit,
               struct bus_batch *batch, struct error *err);

const char *bus_engine(const struct bus *bus);

#endif
