/* Topics in the database: what people and the schedule do with them. See bus_sql.h. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "data/bus_sql.h"

enum { REPLAY_A_WRITE_MAX = 200 };

/* Takes messages first..last out of a topic and its count. */
static int delete_range(struct sql_tx *tx, const char *topic, int64_t first, int64_t last,
                        int64_t *deleted, struct error *err)
{
    static const char delete_text[] = "DELETE FROM bus_messages WHERE topic = $1 "
                                      "AND partition = 0 AND message_offset BETWEEN $2 AND $3";
    static const char count_text[] = "UPDATE bus_topics SET messages = messages - $2 "
                                     "WHERE topic = $1 AND partition = 0";

    const int status =
        sql_exec(tx, delete_text,
                 SQL_PARAMS(sql_text(topic), sql_integer(first), sql_integer(last)), deleted, err);
    if (status != STATUS_OK)
        return status;
    return sql_exec(tx, count_text, SQL_PARAMS(sql_text(topic), sql_integer(*deleted)), NULL, err);
}

/* --- replaying --- */

struct replay {
    struct sql_bus *bus;
    const char *origin;          /* where letters go that do not say where they come from */
    char letters[BUS_NAME_SIZE]; /* the topic of dead letters */
    int64_t first, last;         /* still to do */
    int64_t done_first;          /* out: one past the last one replayed in this write */
    int count;                   /* out: of this write */
};

static int replay_one(struct replay *replay, struct sql_tx *tx, const struct bus_message *letter,
                      struct error *err)
{
    const char *origin = replay->origin;
    struct buffer headers = {0};
    json_t *notes = NULL;
    int64_t deleted;
    int status = STATUS_OK;

    if (letter->headers != NULL)
        status = json_read(letter->headers, strlen(letter->headers), &notes, err);
    if (status == STATUS_OK && notes != NULL) {
        const json_t *before = json_object_get(notes, "headers");
        status = json_get_text(notes, "origin_topic", false, &origin, err);
        if (status == STATUS_OK && before != NULL)
            status = json_write(before, &headers, err);
    }
    if (status == STATUS_OK)
        status = bus_publish_in(&replay->bus->base, tx, origin, letter->key, letter->value,
                                headers.data, err);
    if (status == STATUS_OK)
        status = delete_range(tx, replay->letters, letter->offset, letter->offset, &deleted, err);
    json_decref(notes);
    buffer_free(&headers);
    return status;
}

static int replay_some(struct sql_tx *tx, void *context, struct error *err)
{
    static const char text[] =
        "SELECT message_offset, key, value, headers, created_at FROM bus_messages "
        "WHERE topic = $1 AND partition = 0 AND message_offset BETWEEN $2 AND $3 "
        "ORDER BY message_offset LIMIT $4";
    struct replay *replay = context;
    struct bus_batch batch;

    replay->count = 0;
    int status =
        sql_bus_fill(tx, text,
                     SQL_PARAMS(sql_text(replay->letters), sql_integer(replay->first),
                                sql_integer(replay->last), sql_integer(REPLAY_A_WRITE_MAX)),
                     replay->letters, REPLAY_A_WRITE_MAX, &batch, err);
    for (int i = 0; status == STATUS_OK && i < batch.count; i++) {
        status = replay_one(replay, tx, &batch.messages[i], err);
        replay->done_first = batch.messages[i].offset + 1;
        replay->count++;
    }
    bus_batch_free(&batch);
    return status;
}

int sql_bus_replay(struct bus *base, const char *origin, int64_t offset_first, int64_t offset_last,
                   int64_t *count, struct error *err)
{
    struct sql_bus *bus = (struct sql_bus *)base;
    struct replay replay = {
        .bus = bus, .origin = origin, .first = offset_first, .last = offset_last};

    *count = 0;
    int status = bus_dead_letter_topic(origin, replay.letters, err);
    if (status != STATUS_OK)
        return status;
    struct error reason = {0};
    const struct sql_bus_topic *letters = sql_bus_topic(bus, replay.letters, &reason);
    if (letters == NULL) {
        if (err != NULL)
            *err = reason;
        return reason.code;
    }
    /* A letter that fails again comes back behind the newest of now, and is not replayed twice. */
    pthread_mutex_lock(&bus->lock);
    if (replay.last >= letters->next_offset)
        replay.last = letters->next_offset - 1;
    pthread_mutex_unlock(&bus->lock);
    while (replay.first <= replay.last) {
        status = sql_write(bus->sql, replay_some, &replay, err);
        if (status != STATUS_OK || replay.count == 0)
            return status;
        *count += replay.count;
        replay.first = replay.done_first;
    }
    return STATUS_OK;
}

/* --- pruning --- */

struct prune_topic {
    const char *topic;
    int64_t floor;     /* every group has committed what is below */
    int64_t cutoff_us; /* what is older may go */
    int64_t limit;
    int64_t last;  /* the newest message that goes; -1 for none */
    int64_t count; /* out */
};

/* Messages are in the order of their times, but for steps of the clock, so those that may go are a
 * run from the oldest on. */
static int find_last(struct sql_tx *tx, void *context, struct error *err)
{
    static const char text[] =
        "SELECT message_offset, created_at FROM bus_messages WHERE topic = $1 AND partition = 0 "
        "AND message_offset < $2 ORDER BY message_offset LIMIT $3";
    struct prune_topic *prune = context;
    struct sql_rows *rows;
    int64_t created_us;

    prune->last = -1;
    int status = sql_query(
        tx, text,
        SQL_PARAMS(sql_text(prune->topic), sql_integer(prune->floor), sql_integer(prune->limit)),
        &rows, err);
    if (status != STATUS_OK)
        return status;
    while ((status = sql_rows_next(rows, err)) == 1) {
        if (timestamp_parse(sql_rows_text(rows, 1), &created_us) == 0 &&
            created_us >= prune->cutoff_us)
            break;
        prune->last = sql_rows_integer(rows, 0);
    }
    sql_rows_free(rows);
    return status < 0 ? status : STATUS_OK;
}

static int delete_old(struct sql_tx *tx, void *context, struct error *err)
{
    struct prune_topic *prune = context;
    return delete_range(tx, prune->topic, 0, prune->last, &prune->count, err);
}

static int64_t prune_floor(struct sql_bus *bus, const struct sql_bus_topic *topic)
{
    pthread_mutex_lock(&bus->lock);
    int64_t least = topic->next_offset;
    for (const struct sql_bus_group *group = topic->groups; group != NULL; group = group->next)
        if (group->joined && group->committed < least)
            least = group->committed;
    pthread_mutex_unlock(&bus->lock);
    return least;
}

int sql_bus_prune(struct bus *base, int64_t limit, int64_t *count, struct error *err)
{
    struct sql_bus *bus = (struct sql_bus *)base;

    *count = 0;
    pthread_mutex_lock(&bus->lock);
    struct sql_bus_topic *topic = bus->topics; /* the list only grows, at this end */
    pthread_mutex_unlock(&bus->lock);
    for (; topic != NULL && *count < limit; topic = topic->next) {
        struct prune_topic prune = {.topic = topic->name,
                                    .floor = prune_floor(bus, topic),
                                    .cutoff_us = clock_utc_us() - bus->retention_us,
                                    .limit = limit - *count};
        int status = sql_read(bus->sql, find_last, &prune, err);
        if (status == STATUS_OK && prune.last >= 0)
            status = sql_write(bus->sql, delete_old, &prune, err);
        if (status != STATUS_OK)
            return error_wrap(err, "deleting old messages of '%s'", topic->name);
        *count += prune.count;
    }
    return STATUS_OK;
}

/* --- looking --- */

static int describe_groups(struct sql_tx *tx, const char *topic, int64_t next_offset, json_t *out,
                           struct error *err)
{
    static const char text[] =
        "SELECT consumer_group, next_offset FROM bus_offsets WHERE topic = $1 AND partition = 0 "
        "ORDER BY consumer_group";
    struct sql_rows *rows;
    int status = sql_query(tx, text, SQL_PARAMS(sql_text(topic)), &rows, err);

    if (status != STATUS_OK)
        return status;
    while ((status = sql_rows_next(rows, err)) == 1) {
        const json_int_t committed = sql_rows_integer(rows, 1);
        if (json_array_append_new(out, json_pack("{s:s, s:I, s:I}", "group", sql_rows_text(rows, 0),
                                                 "offset_committed", committed, "lag",
                                                 (json_int_t)next_offset - committed)) != 0) {
            status = error_set(err, STATUS_NO_MEMORY, "no memory to describe the topics");
            break;
        }
    }
    sql_rows_free(rows);
    return status;
}

static int describe_topics(struct sql_tx *tx, void *context, struct error *err)
{
    static const char text[] =
        "SELECT topic, next_offset, messages, (SELECT MIN(message_offset) FROM bus_messages "
        "WHERE bus_messages.topic = bus_topics.topic AND bus_messages.partition = 0) "
        "FROM bus_topics WHERE partition = 0 ORDER BY topic";
    json_t *out = context;
    struct sql_rows *rows;

    json_array_clear(out);
    int status = sql_query(tx, text, SQL_NO_PARAMS, &rows, err);
    if (status != STATUS_OK)
        return status;
    while ((status = sql_rows_next(rows, err)) == 1) {
        const char *topic = sql_rows_text(rows, 0);
        const json_int_t next = sql_rows_integer(rows, 1);
        const json_int_t oldest = sql_rows_null(rows, 3) ? next : sql_rows_integer(rows, 3);
        json_t *groups = json_array();
        status = describe_groups(tx, topic, next, groups, err);
        json_t *row =
            json_pack("{s:s, s:[{s:i, s:I, s:I}], s:I, s:o}", "topic", topic, "partitions",
                      "partition", 0, "offset_oldest", oldest, "offset_next", next, "messages",
                      (json_int_t)sql_rows_integer(rows, 2), "groups", groups);
        if (json_array_append_new(out, row) != 0 && status == STATUS_OK)
            status = error_set(err, STATUS_NO_MEMORY, "no memory to describe the topics");
        if (status != STATUS_OK)
            break;
    }
    sql_rows_free(rows);
    return status;
}

int sql_bus_describe(struct bus *base, json_t **out, struct error *err)
{
    struct sql_bus *bus = (struct sql_bus *)base;
    json_t *topics = json_array();

    if (topics == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to describe the topics");
    const int status = sql_read(bus->sql, describe_topics, topics, err);
    if (status != STATUS_OK) {
        json_decref(topics);
        return status;
    }
    *out = topics;
    return STATUS_OK;
}

struct browse {
    const char *topic;
    int64_t offset_first;
    int limit;
    struct bus_batch *batch;
};

/* The offset of the last but `back` message; 0 when there are not so many. */
static int offset_from_end(struct sql_tx *tx, const char *topic, int64_t back, int64_t *offset,
                           struct error *err)
{
    static const char text[] =
        "SELECT message_offset FROM bus_messages WHERE topic = $1 AND partition = 0 "
        "ORDER BY message_offset DESC LIMIT 1 OFFSET $2";
    struct sql_rows *rows;
    int status =
        sql_query(tx, text, SQL_PARAMS(sql_text(topic), sql_integer(back - 1)), &rows, err);

    if (status != STATUS_OK)
        return status;
    status = sql_rows_next(rows, err);
    *offset = status == 1 ? sql_rows_integer(rows, 0) : 0;
    sql_rows_free(rows);
    return status < 0 ? status : STATUS_OK;
}

static int browse_messages(struct sql_tx *tx, void *context, struct error *err)
{
    static const char text[] =
        "SELECT message_offset, key, value, headers, created_at FROM bus_messages "
        "WHERE topic = $1 AND partition = 0 AND message_offset >= $2 "
        "ORDER BY message_offset LIMIT $3";
    struct browse *browse = context;
    int64_t first = browse->offset_first;

    if (first < 0) {
        const int status = offset_from_end(tx, browse->topic, -first, &first, err);
        if (status != STATUS_OK)
            return status;
    }
    return sql_bus_fill(
        tx, text,
        SQL_PARAMS(sql_text(browse->topic), sql_integer(first), sql_integer(browse->limit)),
        browse->topic, browse->limit, browse->batch, err);
}

int sql_bus_browse(struct bus *base, const char *topic, int64_t offset_first, int limit,
                   struct bus_batch *batch, struct error *err)
{
    struct sql_bus *bus = (struct sql_bus *)base;
    struct browse browse = {.topic = topic,
                            .offset_first =
                                offset_first < -BUS_POLL_MAX ? -BUS_POLL_MAX : offset_first,
                            .limit = limit < BUS_POLL_MAX ? limit : BUS_POLL_MAX,
                            .batch = batch};

    *batch = (struct bus_batch){0};
    if (limit <= 0)
        return STATUS_OK;
    return sql_read(bus->sql, browse_messages, &browse, err);
}
