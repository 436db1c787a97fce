/* Topics in the database: groups and their consumers. See bus_sql.h.
 *
 * A consumer keeps the offset it has read up to in memory and moves on with every poll; the group's
 * committed offset follows in the transactions of those who do the work. After a crash it starts
 * from there, so what was read and not committed is delivered again. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "data/bus_sql.h"
#include "data/wait.h"

struct sql_bus_consumer {
    struct bus_consumer base;
    struct sql_bus *bus;
    struct sql_bus_topic *topic;
    struct sql_bus_group *group; /* NULL for a private tail */
    int64_t position;            /* the next offset to read; the polling thread's own */
    bool woken;                  /* under the bus's lock */
};

/* --- subscribing --- */

struct join {
    const char *group, *topic;
    enum bus_start start;
    int64_t next_offset; /* out: where the group stands */
};

static int read_integer(struct sql_tx *tx, const char *text, const struct sql_value *params,
                        int param_count, int64_t *out, struct error *err)
{
    struct sql_rows *rows;
    int status = sql_query(tx, text, params, param_count, &rows, err);

    if (status != STATUS_OK)
        return status;
    status = sql_rows_next(rows, err);
    if (status == 1)
        *out = sql_rows_integer(rows, 0);
    sql_rows_free(rows);
    return status < 0 ? status : STATUS_OK;
}

static int join_group(struct sql_tx *tx, void *context, struct error *err)
{
    static const char newest[] =
        "SELECT next_offset FROM bus_topics WHERE topic = $1 AND partition = 0";
    static const char oldest[] = "SELECT message_offset FROM bus_messages WHERE topic = $1 "
                                 "AND partition = 0 ORDER BY message_offset LIMIT 1";
    static const char insert[] =
        "INSERT INTO bus_offsets (consumer_group, topic, partition, next_offset) "
        "VALUES ($1, $2, 0, $3) ON CONFLICT (consumer_group, topic, partition) DO NOTHING";
    static const char select[] = "SELECT next_offset FROM bus_offsets WHERE consumer_group = $1 "
                                 "AND topic = $2 AND partition = 0";
    struct join *join = context;
    int64_t start = 0;

    /* An empty topic is at its end either way. */
    int status = read_integer(tx, newest, SQL_PARAMS(sql_text(join->topic)), &start, err);
    if (status == STATUS_OK && join->start == BUS_FROM_OLDEST)
        status = read_integer(tx, oldest, SQL_PARAMS(sql_text(join->topic)), &start, err);
    if (status == STATUS_OK)
        status =
            sql_exec(tx, insert,
                     SQL_PARAMS(sql_text(join->group), sql_text(join->topic), sql_integer(start)),
                     NULL, err);
    if (status == STATUS_OK)
        status = read_integer(tx, select, SQL_PARAMS(sql_text(join->group), sql_text(join->topic)),
                              &join->next_offset, err);
    return status;
}

/* Takes the group's one place. */
static int group_claim(struct sql_bus *bus, struct sql_bus_topic *topic, const char *name,
                       struct sql_bus_group **out, struct error *err)
{
    struct error reason = {0};

    pthread_mutex_lock(&bus->lock);
    struct sql_bus_group *group = sql_bus_group(topic, name);
    if (group == NULL)
        group = sql_bus_group_add(topic, name, &reason);
    else if (group->live)
        error_set(&reason, STATUS_EXISTS, "the group '%s' already has its consumer of '%s'", name,
                  topic->name);
    if (reason.code == STATUS_OK)
        group->live = true;
    pthread_mutex_unlock(&bus->lock);
    if (reason.code != STATUS_OK && err != NULL)
        *err = reason;
    *out = group;
    return reason.code;
}

static int consumer_join(struct sql_bus_consumer *consumer, const char *group, enum bus_start start,
                         struct error *err)
{
    struct sql_bus *bus = consumer->bus;
    struct join join = {.group = group, .topic = consumer->topic->name, .start = start};

    int status = group_claim(bus, consumer->topic, group, &consumer->group, err);
    if (status != STATUS_OK) {
        consumer->group = NULL;
        return status;
    }
    status = sql_write(bus->sql, join_group, &join, err);
    if (status != STATUS_OK)
        return status;
    pthread_mutex_lock(&bus->lock);
    consumer->group->committed = join.next_offset;
    consumer->group->joined = true;
    pthread_mutex_unlock(&bus->lock);
    consumer->position = join.next_offset;
    return STATUS_OK;
}

int sql_bus_subscribe(struct bus *base, const char *group, const char *topic, enum bus_start start,
                      struct bus_consumer **out, struct error *err)
{
    struct sql_bus *bus = (struct sql_bus *)base;
    struct error reason = {0};
    struct sql_bus_consumer *consumer = calloc(1, sizeof *consumer);

    if (consumer == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a consumer of '%s'", topic);
    consumer->base.driver = &sql_bus_driver;
    consumer->bus = bus;
    consumer->topic = sql_bus_topic(bus, topic, &reason);
    if (consumer->topic != NULL && group != NULL) {
        consumer_join(consumer, group, start, &reason);
    } else if (consumer->topic != NULL && start == BUS_FROM_NEWEST) {
        pthread_mutex_lock(&bus->lock);
        consumer->position = consumer->topic->next_offset;
        pthread_mutex_unlock(&bus->lock);
    }
    if (reason.code != STATUS_OK) {
        sql_bus_consumer_close(&consumer->base);
        if (err != NULL)
            *err = reason;
        return reason.code;
    }
    *out = &consumer->base;
    return STATUS_OK;
}

void sql_bus_consumer_close(struct bus_consumer *base)
{
    struct sql_bus_consumer *consumer = (struct sql_bus_consumer *)base;

    if (consumer->group != NULL) {
        pthread_mutex_lock(&consumer->bus->lock);
        consumer->group->live = false;
        pthread_mutex_unlock(&consumer->bus->lock);
    }
    free(consumer);
}

void sql_bus_consumer_wake(struct bus_consumer *base)
{
    struct sql_bus_consumer *consumer = (struct sql_bus_consumer *)base;

    pthread_mutex_lock(&consumer->bus->lock);
    consumer->woken = true;
    pthread_cond_broadcast(&consumer->topic->grown);
    pthread_mutex_unlock(&consumer->bus->lock);
}

/* --- polling --- */

static const char *copy_column(struct arena *arena, const struct sql_rows *rows, int column,
                               size_t *size, bool *failed)
{
    if (sql_rows_null(rows, column))
        return NULL;
    const void *bytes = sql_rows_blob(rows, column, size);
    const char *text = arena_copy_text(arena, bytes, *size);
    *failed = *failed || text == NULL;
    return text;
}

static int fill_message(struct bus_batch *batch, const char *topic, const struct sql_rows *rows,
                        struct error *err)
{
    struct bus_message *message = &batch->messages[batch->count];
    bool failed = false;
    size_t size;

    *message = (struct bus_message){.topic = topic, .offset = sql_rows_integer(rows, 0)};
    message->key = copy_column(batch->arena, rows, 1, &size, &failed);
    message->value = copy_column(batch->arena, rows, 2, &message->value_size, &failed);
    message->headers = copy_column(batch->arena, rows, 3, &size, &failed);
    if (failed)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a message of '%s'", topic);
    if (timestamp_parse(sql_rows_text(rows, 4), &message->timestamp_us) != 0)
        return error_set(err, STATUS_CORRUPT, "message %lld of '%s' has no readable time",
                         (long long)message->offset, topic);
    batch->count++;
    return STATUS_OK;
}

int sql_bus_fill(struct sql_tx *tx, const char *text, const struct sql_value *params,
                 int param_count, const char *topic, int capacity, struct bus_batch *batch,
                 struct error *err)
{
    struct sql_rows *rows;
    int status = bus_batch_create(batch, capacity, err);

    if (status != STATUS_OK)
        return status;
    const char *name = arena_copy_text(batch->arena, topic, strlen(topic));
    if (name == NULL) {
        bus_batch_free(batch);
        return error_set(err, STATUS_NO_MEMORY, "no memory for messages of '%s'", topic);
    }
    status = sql_query(tx, text, params, param_count, &rows, err);
    if (status == STATUS_OK) {
        while (batch->count < capacity && batch->arena->used < BUS_BATCH_BYTES_MAX &&
               (status = sql_rows_next(rows, err)) == 1)
            if ((status = fill_message(batch, name, rows, err)) != STATUS_OK)
                break;
        sql_rows_free(rows);
    }
    if (status < 0)
        bus_batch_free(batch);
    return status < 0 ? status : STATUS_OK;
}

struct poll {
    const struct sql_bus_consumer *consumer;
    int max;
    struct bus_batch *batch;
};

static int read_messages(struct sql_tx *tx, void *context, struct error *err)
{
    static const char text[] =
        "SELECT message_offset, key, value, headers, created_at FROM bus_messages "
        "WHERE topic = $1 AND partition = 0 AND message_offset >= $2 "
        "ORDER BY message_offset LIMIT $3";
    const struct poll *poll = context;
    const char *topic = poll->consumer->topic->name;

    return sql_bus_fill(
        tx, text,
        SQL_PARAMS(sql_text(topic), sql_integer(poll->consumer->position), sql_integer(poll->max)),
        topic, poll->max, poll->batch, err);
}

/* Waits until there is something at or after the consumer's position. *next is then one past the
 * newest durable message. STATUS_CLOSED when woken. */
static int wait_for_messages(struct sql_bus_consumer *consumer, int64_t timeout_ms, int64_t *next,
                             struct error *err)
{
    struct sql_bus *bus = consumer->bus;
    const int64_t deadline = deadline_after_ms(timeout_ms);
    int status = STATUS_OK;
    bool in_time = timeout_ms != 0;

    pthread_mutex_lock(&bus->lock);
    while (!consumer->woken && consumer->position >= consumer->topic->next_offset && in_time)
        in_time = condition_wait_until(&consumer->topic->grown, &bus->lock, deadline);
    *next = consumer->topic->next_offset;
    if (consumer->woken) {
        consumer->woken = false;
        status = error_set(err, STATUS_CLOSED, "the consumer of '%s' was told to stop",
                           consumer->topic->name);
    }
    pthread_mutex_unlock(&bus->lock);
    return status;
}

int sql_bus_poll(struct bus_consumer *base, int max, int64_t timeout_ms, struct bus_batch *batch,
                 struct error *err)
{
    struct sql_bus_consumer *consumer = (struct sql_bus_consumer *)base;
    struct poll poll = {
        .consumer = consumer, .max = max < BUS_POLL_MAX ? max : BUS_POLL_MAX, .batch = batch};
    int64_t next;

    *batch = (struct bus_batch){0};
    int status = wait_for_messages(consumer, timeout_ms, &next, err);
    if (status != STATUS_OK || consumer->position >= next || max <= 0)
        return status;
    status = sql_read(consumer->bus->sql, read_messages, &poll, err);
    if (status != STATUS_OK)
        return status;
    /* None there although some were published: a tail fell behind and they have been pruned. */
    consumer->position = batch->count > 0 ? batch->messages[batch->count - 1].offset + 1 : next;
    metric_add(consumer->bus->delivered, batch->count);
    return STATUS_OK;
}

/* --- committing --- */

struct committed {
    struct sql_bus *bus;
    struct sql_bus_group *group;
    int64_t next_offset;
};

static void on_committed(void *context)
{
    const struct committed *committed = context;

    pthread_mutex_lock(&committed->bus->lock);
    if (committed->group->committed < committed->next_offset)
        committed->group->committed = committed->next_offset;
    pthread_mutex_unlock(&committed->bus->lock);
}

int sql_bus_commit_in(struct bus_consumer *base, struct sql_tx *tx, int64_t next_offset,
                      struct error *err)
{
    static const char text[] =
        "UPDATE bus_offsets SET next_offset = $3 WHERE consumer_group = $1 AND topic = $2 "
        "AND partition = 0 AND next_offset < $3";
    struct sql_bus_consumer *consumer = (struct sql_bus_consumer *)base;

    if (consumer->group == NULL)
        return STATUS_OK; /* a private tail keeps no offset */
    const int status =
        sql_exec(tx, text,
                 SQL_PARAMS(sql_text(consumer->group->name), sql_text(consumer->topic->name),
                            sql_integer(next_offset)),
                 NULL, err);
    if (status != STATUS_OK)
        return status;
    struct committed *committed = sql_alloc(tx, sizeof *committed);
    if (committed == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to commit an offset of '%s'",
                         consumer->topic->name);
    *committed = (struct committed){consumer->bus, consumer->group, next_offset};
    return sql_on_commit(tx, on_committed, committed, err);
}

/* --- leaving --- */

static int delete_group(struct sql_tx *tx, void *context, struct error *err)
{
    return sql_exec(tx, "DELETE FROM bus_offsets WHERE consumer_group = $1",
                    SQL_PARAMS(sql_text(context)), NULL, err);
}

static void forget_group(struct sql_bus_topic *topic, const char *name)
{
    for (struct sql_bus_group **link = &topic->groups; *link != NULL; link = &(*link)->next) {
        struct sql_bus_group *group = *link;
        if (strcmp(group->name, name) != 0)
            continue;
        *link = group->next;
        topic->group_count--;
        free(group);
        return;
    }
}

/* Claims every place of the group, so that nobody subscribes while it is dropped; false when one is
 * taken. */
static bool claim_all(struct sql_bus *bus, const char *name, bool claim)
{
    bool taken = false;

    pthread_mutex_lock(&bus->lock);
    for (struct sql_bus_topic *topic = bus->topics; topic != NULL; topic = topic->next) {
        const struct sql_bus_group *group = sql_bus_group(topic, name);
        taken = taken || (claim && group != NULL && group->live);
    }
    for (struct sql_bus_topic *topic = bus->topics; topic != NULL && !taken; topic = topic->next) {
        struct sql_bus_group *group = sql_bus_group(topic, name);
        if (group != NULL)
            group->live = claim;
    }
    pthread_mutex_unlock(&bus->lock);
    return !taken;
}

int sql_bus_group_remove(struct bus *base, const char *group, struct error *err)
{
    struct sql_bus *bus = (struct sql_bus *)base;

    if (!claim_all(bus, group, true))
        return error_set(err, STATUS_BUSY, "the group '%s' has a consumer; close it first", group);
    const int status = sql_write(bus->sql, delete_group, (void *)group, err);
    if (status != STATUS_OK) {
        claim_all(bus, group, false);
        return status;
    }
    pthread_mutex_lock(&bus->lock);
    for (struct sql_bus_topic *topic = bus->topics; topic != NULL; topic = topic->next)
        forget_group(topic, group);
    pthread_mutex_unlock(&bus->lock);
    return STATUS_OK;
}
