/* Topics in the database: opening and publishing. See bus_sql.h. */
#include "data/bus_sql.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "data/wait.h"

/* --- topics and groups in memory --- */

static struct sql_bus_topic *topic_add(struct sql_bus *bus, const char *name, struct error *err)
{
    struct sql_bus_topic *topic;

    if (bus_name_check("topic", name, err) != STATUS_OK)
        return NULL;
    if (bus->topic_count >= BUS_TOPICS_MAX) {
        error_set(err, STATUS_TOO_LARGE, "there are %d topics; no more are allowed",
                  bus->topic_count);
        return NULL;
    }
    topic = calloc(1, sizeof *topic);
    if (topic == NULL) {
        error_set(err, STATUS_NO_MEMORY, "no memory for the topic '%s'", name);
        return NULL;
    }
    memcpy(topic->name, name, strlen(name) + 1);
    condition_init(&topic->grown);
    topic->next = bus->topics;
    bus->topics = topic;
    bus->topic_count++;
    return topic;
}

struct sql_bus_topic *sql_bus_topic(struct sql_bus *bus, const char *name, struct error *err)
{
    pthread_mutex_lock(&bus->lock);
    struct sql_bus_topic *topic = bus->topics;
    while (topic != NULL && strcmp(topic->name, name) != 0)
        topic = topic->next;
    if (topic == NULL)
        topic = topic_add(bus, name, err);
    pthread_mutex_unlock(&bus->lock);
    return topic;
}

struct sql_bus_group *sql_bus_group(struct sql_bus_topic *topic, const char *name)
{
    struct sql_bus_group *group = topic->groups;
    while (group != NULL && strcmp(group->name, name) != 0)
        group = group->next;
    return group;
}

struct sql_bus_group *sql_bus_group_add(struct sql_bus_topic *topic, const char *name,
                                        struct error *err)
{
    struct sql_bus_group *group;

    if (bus_name_check("group", name, err) != STATUS_OK)
        return NULL;
    if (topic->group_count >= BUS_GROUPS_MAX) {
        error_set(err, STATUS_TOO_LARGE, "the topic '%s' has %d groups; no more are allowed",
                  topic->name, topic->group_count);
        return NULL;
    }
    group = calloc(1, sizeof *group);
    if (group == NULL) {
        error_set(err, STATUS_NO_MEMORY, "no memory for the group '%s'", name);
        return NULL;
    }
    memcpy(group->name, name, strlen(name) + 1);
    group->next = topic->groups;
    topic->groups = group;
    topic->group_count++;
    return group;
}

/* --- opening --- */

static int load_topics(struct sql_bus *bus, struct sql_tx *tx, struct error *err)
{
    struct sql_rows *rows;
    int status = sql_query(tx, "SELECT topic, next_offset FROM bus_topics WHERE partition = 0",
                           SQL_NO_PARAMS, &rows, err);

    if (status != STATUS_OK)
        return status;
    while ((status = sql_rows_next(rows, err)) == 1) {
        struct sql_bus_topic *topic = sql_bus_topic(bus, sql_rows_text(rows, 0), err);
        if (topic == NULL) {
            status = STATUS_NO_MEMORY;
            break;
        }
        topic->next_offset = sql_rows_integer(rows, 1);
    }
    sql_rows_free(rows);
    return status;
}

static int load_groups(struct sql_bus *bus, struct sql_tx *tx, struct error *err)
{
    struct sql_rows *rows;
    int status = sql_query(tx,
                           "SELECT topic, consumer_group, next_offset FROM bus_offsets "
                           "WHERE partition = 0",
                           SQL_NO_PARAMS, &rows, err);

    if (status != STATUS_OK)
        return status;
    while ((status = sql_rows_next(rows, err)) == 1) {
        struct sql_bus_topic *topic = sql_bus_topic(bus, sql_rows_text(rows, 0), err);
        struct sql_bus_group *group =
            topic == NULL ? NULL : sql_bus_group_add(topic, sql_rows_text(rows, 1), err);
        if (group == NULL) {
            status = STATUS_NO_MEMORY;
            break;
        }
        group->committed = sql_rows_integer(rows, 2);
        group->joined = true;
    }
    sql_rows_free(rows);
    return status;
}

static int load(struct sql_tx *tx, void *context, struct error *err)
{
    const int status = load_topics(context, tx, err);
    return status != STATUS_OK ? status : load_groups(context, tx, err);
}

static void close_bus(struct bus *base)
{
    struct sql_bus *bus = (struct sql_bus *)base;

    while (bus->topics != NULL) {
        struct sql_bus_topic *topic = bus->topics;
        bus->topics = topic->next;
        while (topic->groups != NULL) {
            struct sql_bus_group *group = topic->groups;
            topic->groups = group->next;
            free(group);
        }
        pthread_cond_destroy(&topic->grown);
        free(topic);
    }
    pthread_mutex_destroy(&bus->lock);
    free(bus);
}

int bus_open_sql(const struct config *config, struct sql *sql, struct metrics *metrics,
                 struct bus **out, struct error *err)
{
    struct sql_bus *bus = calloc(1, sizeof *bus);

    if (bus == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the bus");
    bus->base.driver = &sql_bus_driver;
    bus->sql = sql;
    bus->retention_us = config->topic_retention_hours * 3600 * 1000000;
    bus->published = metrics_get(metrics, METRIC_COUNTER, "ocelli_bus_published_total",
                                 "Messages published, dead letters included", "");
    bus->delivered = metrics_get(metrics, METRIC_COUNTER, "ocelli_bus_delivered_total",
                                 "Messages handed to consumers", "");
    pthread_mutex_init(&bus->lock, NULL);
    const int status = sql_read(sql, load, bus, err);
    if (status != STATUS_OK) {
        close_bus(&bus->base);
        return error_wrap(err, "opening the topics");
    }
    *out = &bus->base;
    return STATUS_OK;
}

/* --- publishing --- */

/* What the hook of one publication needs, in the transaction's memory. */
struct published {
    struct sql_bus *bus;
    struct sql_bus_topic *topic;
    int64_t next_offset;
};

static void on_published(void *context)
{
    const struct published *published = context;

    pthread_mutex_lock(&published->bus->lock);
    if (published->topic->next_offset < published->next_offset)
        published->topic->next_offset = published->next_offset;
    pthread_cond_broadcast(&published->topic->grown);
    pthread_mutex_unlock(&published->bus->lock);
    metric_add(published->bus->published, 1);
}

static int take_offset(struct sql_tx *tx, const char *topic, int64_t *offset, struct error *err)
{
    static const char text[] =
        "INSERT INTO bus_topics (topic, partition, next_offset, messages) VALUES ($1, 0, 1, 1) "
        "ON CONFLICT (topic, partition) DO UPDATE SET next_offset = bus_topics.next_offset + 1, "
        "messages = bus_topics.messages + 1 RETURNING next_offset - 1";
    struct sql_rows *rows;
    int status = sql_query(tx, text, SQL_PARAMS(sql_text(topic)), &rows, err);

    if (status != STATUS_OK)
        return status;
    status = sql_rows_next(rows, err);
    if (status == 1) {
        *offset = sql_rows_integer(rows, 0);
        status = sql_rows_next(rows, err); /* to its end: only then is it all done */
    }
    sql_rows_free(rows);
    return status;
}

static int insert_message(struct sql_tx *tx, const char *topic, int64_t offset, const char *key,
                          const char *value, size_t value_size, const char *headers,
                          struct error *err)
{
    static const char text[] =
        "INSERT INTO bus_messages (topic, partition, message_offset, key, value, headers, "
        "created_at) VALUES ($1, 0, $2, $3, $4, $5, $6)";
    char now[TIMESTAMP_TEXT_MAX];

    return sql_exec(tx, text,
                    SQL_PARAMS(sql_text(topic), sql_integer(offset), sql_text(key),
                               sql_text_n(value, value_size), sql_text(headers),
                               sql_timestamp(clock_utc_us(), now)),
                    NULL, err);
}

static int publish_in(struct bus *base, struct sql_tx *tx, const char *name, const char *key,
                      const char *value, const char *headers, struct error *err)
{
    struct sql_bus *bus = (struct sql_bus *)base;
    const size_t value_size = strlen(value);
    struct error reason = {0};
    int64_t offset = 0;

    if (value_size > BUS_VALUE_BYTES_MAX)
        return error_set(err, STATUS_TOO_LARGE, "a message of %zu bytes for '%s'; at most %d are",
                         value_size, name, BUS_VALUE_BYTES_MAX);
    struct sql_bus_topic *topic = sql_bus_topic(bus, name, &reason);
    if (topic == NULL) {
        if (err != NULL)
            *err = reason;
        return reason.code;
    }
    int status = take_offset(tx, name, &offset, err);
    if (status == STATUS_OK)
        status = insert_message(tx, name, offset, key, value, value_size, headers, err);
    if (status != STATUS_OK)
        return status;
    struct published *published = sql_alloc(tx, sizeof *published);
    if (published == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to publish to '%s'", name);
    *published = (struct published){.bus = bus, .topic = topic, .next_offset = offset + 1};
    return sql_on_commit(tx, on_published, published, err);
}

/* --- state --- */

static int64_t backlog(struct bus *base, const char *name)
{
    struct sql_bus *bus = (struct sql_bus *)base;
    int64_t most = 0;

    pthread_mutex_lock(&bus->lock);
    for (const struct sql_bus_topic *topic = bus->topics; topic != NULL; topic = topic->next) {
        if (strcmp(topic->name, name) != 0)
            continue;
        for (const struct sql_bus_group *group = topic->groups; group != NULL; group = group->next)
            if (group->joined && topic->next_offset - group->committed > most)
                most = topic->next_offset - group->committed;
    }
    pthread_mutex_unlock(&bus->lock);
    return most;
}

const struct bus_driver sql_bus_driver = {
    .engine = "sql",
    .close = close_bus,
    .publish_in = publish_in,
    .subscribe = sql_bus_subscribe,
    .consumer_close = sql_bus_consumer_close,
    .poll = sql_bus_poll,
    .consumer_wake = sql_bus_consumer_wake,
    .commit_in = sql_bus_commit_in,
    .replay = sql_bus_replay,
    .group_remove = sql_bus_group_remove,
    .backlog = backlog,
    .prune = sql_bus_prune,
    .describe = sql_bus_describe,
    .browse = sql_bus_browse,
};
