/* Topics in the database: what the files of this implementation share.
 *
 *   bus_sql.c           opening, publishing, the state in memory
 *   bus_sql_consumer.c  groups and their consumers: subscribing, polling, committing
 *   bus_sql_upkeep.c    replaying, pruning, describing, browsing
 *
 * The tables (migrations.h):
 *   bus_topics    the next offset of each topic. A publication takes it in its own transaction, so
 *                 offsets are in the order of commits, without holes, and are never used again even
 *                 when all messages have been pruned
 *   bus_messages  the messages
 *   bus_offsets   for each group, the offset below which everything is done
 *
 * In memory each topic has the newest offset that is durable, and each group its committed one.
 * Hooks on commit bring them up to date and wake who waits, so a consumer with nothing to read does
 * not touch the database, and the backlog is a subtraction. This is sound because one process owns
 * the database. There is one partition, 0. Private to src/data. */
#ifndef DATA_BUS_SQL_H
#define DATA_BUS_SQL_H

#include <pthread.h>
#include <stdbool.h>

#include "data/bus_driver.h"

enum {
    BUS_POLL_MAX = 10000,               /* messages in one batch */
    BUS_BATCH_BYTES_MAX = 16 * 1048576, /* a batch ends when it has grown past this */
    BUS_VALUE_BYTES_MAX = 1048576,      /* of one message */
    BUS_TOPICS_MAX = 1000,
    BUS_GROUPS_MAX = 1000, /* of one topic */
};

struct sql_bus_group {
    struct sql_bus_group *next;
    int64_t committed; /* everything below is durably done */
    bool joined;       /* has a row; until then it holds nothing back */
    bool live;         /* a consumer is subscribed */
    char name[BUS_NAME_SIZE];
};

struct sql_bus_topic {
    struct sql_bus_topic *next;
    int64_t next_offset; /* one past the newest durable message */
    struct sql_bus_group *groups;
    int group_count;
    pthread_cond_t grown; /* also signalled to wake a consumer */
    char name[BUS_NAME_SIZE];
};

struct sql_bus {
    struct bus base;
    struct sql *sql;
    int64_t retention_us;
    struct metric *published, *delivered;
    pthread_mutex_t lock;         /* guards all below */
    struct sql_bus_topic *topics; /* none is dropped while open */
    int topic_count;
};

extern const struct bus_driver sql_bus_driver;

/* The topic, made in memory when it is new; NULL with `err` set when the name or their number
 * forbids. Takes the lock. */
struct sql_bus_topic *sql_bus_topic(struct sql_bus *bus, const char *name, struct error *err);
/* The group, or NULL. With the lock held. */
struct sql_bus_group *sql_bus_group(struct sql_bus_topic *topic, const char *name);
struct sql_bus_group *sql_bus_group_add(struct sql_bus_topic *topic, const char *name,
                                        struct error *err);

/* --- bus_sql_consumer.c --- */
int sql_bus_subscribe(struct bus *bus, const char *group, const char *topic, enum bus_start start,
                      struct bus_consumer **out, struct error *err);
void sql_bus_consumer_close(struct bus_consumer *consumer);
int sql_bus_poll(struct bus_consumer *consumer, int max, int64_t timeout_ms,
                 struct bus_batch *batch, struct error *err);
void sql_bus_consumer_wake(struct bus_consumer *consumer);
int sql_bus_commit_in(struct bus_consumer *consumer, struct sql_tx *tx, int64_t next_offset,
                      struct error *err);
int sql_bus_group_remove(struct bus *bus, const char *group, struct error *err);
/* Reads at most batch_capacity messages of a topic into the batch; a query with the columns
 * message_offset, key, value, headers, created_at. */
int sql_bus_fill(struct sql_tx *tx, const char *text, const struct sql_value *params,
                 int param_count, const char *topic, int capacity, struct bus_batch *batch,
                 struct error *err);

/* --- bus_sql_upkeep.c --- */
int sql_bus_replay(struct bus *bus, const char *topic, int64_t offset_first, int64_t offset_last,
                   int64_t *count, struct error *err);
int sql_bus_prune(struct bus *bus, int64_t limit, int64_t *count, struct error *err);
int sql_bus_describe(struct bus *bus, json_t **out, struct error *err);
int sql_bus_browse(struct bus *bus, const char *topic, int64_t offset_first, int limit,
                   struct bus_batch *batch, struct error *err);

#endif
