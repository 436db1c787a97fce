/* Topics in the database: order, groups, redelivery, waiting, dead letters, pruning. */
#include "data_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "data/bus.h"
#include "data/schema.h"

static struct fixture fixture;
static struct sql *database;
static struct bus *bus;

static void open_bus(void)
{
    struct error err = {0};
    assert_ok(sql_open_sqlite(fixture.config, fixture.metrics, NULL, &database, &err), &err);
    assert_ok(schema_migrate(database, &err), &err);
    assert_ok(bus_open_sql(fixture.config, database, fixture.metrics, &bus, &err), &err);
}

static void close_bus(void)
{
    bus_close(bus);
    sql_close(database);
}

static int setup(void **state)
{
    (void)state;
    fixture_make(&fixture);
    open_bus();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    close_bus();
    fixture_drop(&fixture);
    return 0;
}

/* --- shorthands --- */

struct publication {
    const char *topic, *key, *value, *headers;
    bool fail;
};

static int publish_work(struct sql_tx *tx, void *context, struct error *err)
{
    const struct publication *p = context;
    const int status = bus_publish_in(bus, tx, p->topic, p->key, p->value, p->headers, err);
    return status == STATUS_OK && p->fail ? error_set(err, STATUS_BUSY, "gave up") : status;
}

static void publish(const char *topic, const char *value)
{
    struct error err = {0};
    struct publication p = {.topic = topic, .value = value};
    assert_ok(sql_write(database, publish_work, &p, &err), &err);
}

struct numbers {
    const char *topic;
    int first, last;
};

static int publish_numbers_work(struct sql_tx *tx, void *context, struct error *err)
{
    const struct numbers *numbers = context;
    char value[16];
    int status = STATUS_OK;
    for (int i = numbers->first; status == STATUS_OK && i <= numbers->last; i++) {
        snprintf(value, sizeof value, "%d", i);
        status = bus_publish_in(bus, tx, numbers->topic, NULL, value, NULL, err);
    }
    return status;
}

static void publish_numbers(const char *topic, int first, int last)
{
    struct error err = {0};
    struct numbers numbers = {topic, first, last};
    assert_ok(sql_write(database, publish_numbers_work, &numbers, &err), &err);
}

static struct bus_consumer *subscribe(const char *group, const char *topic, enum bus_start start)
{
    struct error err = {0};
    struct bus_consumer *consumer = NULL;
    assert_ok(bus_subscribe(bus, group, topic, start, &consumer, &err), &err);
    return consumer;
}

struct commitment {
    struct bus_consumer *consumer;
    int64_t next_offset;
    bool fail;
};

static int commit_work(struct sql_tx *tx, void *context, struct error *err)
{
    const struct commitment *c = context;
    const int status = bus_commit_in(c->consumer, tx, c->next_offset, err);
    return status == STATUS_OK && c->fail ? error_set(err, STATUS_BUSY, "gave up") : status;
}

static void commit(struct bus_consumer *consumer, int64_t next_offset)
{
    struct error err = {0};
    struct commitment c = {.consumer = consumer, .next_offset = next_offset};
    assert_ok(sql_write(database, commit_work, &c, &err), &err);
}

/* Polls at once and checks that the values are first..last, with their offsets. */
static void expect_numbers(struct bus_consumer *consumer, int max, int first, int last)
{
    struct error err = {0};
    struct bus_batch batch;
    assert_ok(bus_poll(consumer, max, 0, &batch, &err), &err);
    assert_int_equal(batch.count, last - first + 1);
    for (int i = 0; i < batch.count; i++) {
        assert_int_equal(strtol(batch.messages[i].value, NULL, 10), first + i);
        if (i > 0)
            assert_int_equal(batch.messages[i].offset, batch.messages[i - 1].offset + 1);
    }
    bus_batch_free(&batch);
}

static void expect_nothing(struct bus_consumer *consumer)
{
    expect_numbers(consumer, 10, 1, 0);
}

/* --- messages --- */

static void test_a_message_keeps_everything(void **state)
{
    struct error err = {0};
    struct bus_batch batch;
    struct publication p = {"t", "the key", "{\"text\":\"\u00e9\"}", "{\"h\":1}", false};
    const int64_t before = clock_utc_us();
    (void)state;
    struct bus_consumer *consumer = subscribe("g", "t", BUS_FROM_OLDEST);
    assert_ok(sql_write(database, publish_work, &p, &err), &err);
    publish("t", "");
    assert_ok(bus_poll(consumer, 10, 0, &batch, &err), &err);
    assert_int_equal(batch.count, 2);
    const struct bus_message *message = &batch.messages[0];
    assert_string_equal(message->topic, "t");
    assert_int_equal(message->partition, 0);
    assert_int_equal(message->offset, 0);
    assert_string_equal(message->key, "the key");
    assert_string_equal(message->value, p.value);
    assert_int_equal(message->value_size, strlen(p.value));
    assert_string_equal(message->headers, "{\"h\":1}");
    assert_true(message->timestamp_us >= before && message->timestamp_us <= clock_utc_us());
    assert_null(batch.messages[1].key);
    assert_null(batch.messages[1].headers);
    assert_string_equal(batch.messages[1].value, "");
    bus_batch_free(&batch);
    bus_consumer_close(consumer);
}

static void test_a_failed_transaction_publishes_nothing(void **state)
{
    struct error err = {0};
    struct publication p = {.topic = "t", .value = "lost", .fail = true};
    (void)state;
    struct bus_consumer *consumer = subscribe("g", "t", BUS_FROM_OLDEST);
    publish_numbers("t", 0, 0);
    assert_int_equal(sql_write(database, publish_work, &p, &err), STATUS_BUSY);
    publish_numbers("t", 1, 1);
    expect_numbers(consumer, 10, 0, 1); /* also: no hole in the offsets */
    assert_int_equal(bus_backlog(bus, "t"), 2);
    bus_consumer_close(consumer);
}

static void test_names_and_sizes_are_checked(void **state)
{
    struct error err = {0};
    struct bus_consumer *consumer;
    struct publication p = {.topic = "no spaces", .value = "x"};
    (void)state;
    assert_int_equal(sql_write(database, publish_work, &p, &err), STATUS_INVALID);
    p.topic = "";
    assert_int_equal(sql_write(database, publish_work, &p, &err), STATUS_INVALID);
    assert_int_equal(bus_subscribe(bus, "g/h", "t", BUS_FROM_OLDEST, &consumer, &err),
                     STATUS_INVALID);
    char *large = malloc((2 << 20) + 1);
    assert_non_null(large);
    memset(large, 'x', 2 << 20);
    large[2 << 20] = '\0';
    p = (struct publication){.topic = "t", .value = large};
    assert_int_equal(sql_write(database, publish_work, &p, &err), STATUS_TOO_LARGE);
    free(large);
}

/* --- groups --- */

static void test_groups_start_where_asked(void **state)
{
    (void)state;
    publish_numbers("t", 0, 4);
    struct bus_consumer *oldest = subscribe("oldest", "t", BUS_FROM_OLDEST);
    struct bus_consumer *newest = subscribe("newest", "t", BUS_FROM_NEWEST);
    struct bus_consumer *tail = subscribe(NULL, "t", BUS_FROM_NEWEST);
    struct bus_consumer *tail_oldest = subscribe(NULL, "t", BUS_FROM_OLDEST);
    expect_nothing(newest);
    expect_nothing(tail);
    publish_numbers("t", 5, 6);
    expect_numbers(oldest, 4, 0, 3);
    expect_numbers(oldest, 100, 4, 6);
    expect_nothing(oldest);
    expect_numbers(newest, 100, 5, 6);
    expect_numbers(tail, 100, 5, 6);
    expect_numbers(tail_oldest, 100, 0, 6);
    bus_consumer_close(oldest);
    bus_consumer_close(newest);
    bus_consumer_close(tail);
    bus_consumer_close(tail_oldest);
}

static void test_one_consumer_a_group(void **state)
{
    struct error err = {0};
    struct bus_consumer *second;
    (void)state;
    struct bus_consumer *first = subscribe("g", "t", BUS_FROM_OLDEST);
    assert_int_equal(bus_subscribe(bus, "g", "t", BUS_FROM_OLDEST, &second, &err), STATUS_EXISTS);
    second = subscribe("g", "another", BUS_FROM_OLDEST);
    bus_consumer_close(second);
    bus_consumer_close(first);
    second = subscribe("g", "t", BUS_FROM_OLDEST);
    bus_consumer_close(second);
}

static void test_what_is_not_committed_comes_again(void **state)
{
    struct error err = {0};
    (void)state;
    struct bus_consumer *consumer = subscribe("g", "t", BUS_FROM_OLDEST);
    publish_numbers("t", 0, 9);
    expect_numbers(consumer, 6, 0, 5);
    commit(consumer, 3);
    struct commitment failing = {.consumer = consumer, .next_offset = 6, .fail = true};
    assert_int_equal(sql_write(database, commit_work, &failing, &err), STATUS_BUSY);
    commit(consumer, 2); /* never backwards */
    assert_int_equal(bus_backlog(bus, "t"), 7);
    bus_consumer_close(consumer);
    close_bus();
    open_bus();
    assert_int_equal(bus_backlog(bus, "t"), 7);
    consumer = subscribe("g", "t", BUS_FROM_NEWEST); /* not new any more */
    expect_numbers(consumer, 100, 3, 9);
    publish_numbers("t", 10, 10);
    expect_numbers(consumer, 100, 10, 10);
    bus_consumer_close(consumer);
}

static void test_a_new_group_is_durable_at_once(void **state)
{
    (void)state;
    struct bus_consumer *consumer = subscribe("g", "t", BUS_FROM_NEWEST);
    bus_consumer_close(consumer);
    publish_numbers("t", 0, 2);
    close_bus();
    open_bus();
    consumer = subscribe("g", "t", BUS_FROM_NEWEST);
    expect_numbers(consumer, 10, 0, 2);
    bus_consumer_close(consumer);
}

static void test_backlog_is_of_the_slowest(void **state)
{
    struct error err = {0};
    (void)state;
    assert_int_equal(bus_backlog(bus, "t"), 0);
    struct bus_consumer *fast = subscribe("fast", "t", BUS_FROM_OLDEST);
    struct bus_consumer *slow = subscribe("slow", "t", BUS_FROM_OLDEST);
    publish_numbers("t", 0, 9);
    commit(fast, 10);
    commit(slow, 4);
    assert_int_equal(bus_backlog(bus, "t"), 6);
    assert_int_equal(bus_group_remove(bus, "slow", &err), STATUS_BUSY);
    bus_consumer_close(slow);
    assert_int_equal(bus_backlog(bus, "t"), 6); /* it will come back */
    assert_ok(bus_group_remove(bus, "slow", &err), &err);
    assert_int_equal(bus_backlog(bus, "t"), 0);
    slow = subscribe("slow", "t", BUS_FROM_NEWEST); /* new again */
    expect_nothing(slow);
    bus_consumer_close(slow);
    bus_consumer_close(fast);
}

/* --- threads --- */

enum { PRODUCERS = 4, PRODUCED = 250 };

struct traffic {
    struct bus_consumer *consumers[3];
    atomic_int wrong;
};

static void produce(int producer)
{
    char value[32];
    for (int i = 0; i < PRODUCED; i++) {
        struct error err = {0};
        struct publication p = {.topic = "t", .value = value};
        snprintf(value, sizeof value, "%d %d", producer, i);
        sql_write(database, publish_work, &p, &err);
    }
}

/* Everything once, each producer's messages in their order. */
static int consume(struct bus_consumer *consumer, bool keeps_offset)
{
    int next[PRODUCERS] = {0}, wrong = 0;
    int64_t offset = 0;

    for (int total = 0; total < PRODUCERS * PRODUCED;) {
        struct error err = {0};
        struct bus_batch batch;
        if (bus_poll(consumer, 64, 60000, &batch, &err) != STATUS_OK || batch.count == 0)
            return 1000;
        for (int i = 0; i < batch.count; i++) {
            int producer = -1, number = -1;
            sscanf(batch.messages[i].value, "%d %d", &producer, &number);
            wrong += batch.messages[i].offset != offset++;
            wrong += producer < 0 || producer >= PRODUCERS || number != next[producer]++;
        }
        total += batch.count;
        bus_batch_free(&batch);
        struct commitment c = {.consumer = consumer, .next_offset = offset};
        if (keeps_offset)
            wrong += sql_write(database, commit_work, &c, &err) != STATUS_OK;
    }
    return wrong;
}

static void traffic_thread(int number, void *context)
{
    struct traffic *traffic = context;
    if (number < PRODUCERS)
        produce(number);
    else
        atomic_fetch_add(&traffic->wrong,
                         consume(traffic->consumers[number - PRODUCERS], number != PRODUCERS));
}

static void test_many_producers_and_groups(void **state)
{
    struct traffic traffic = {0};
    (void)state;
    traffic.consumers[0] = subscribe(NULL, "t", BUS_FROM_OLDEST);
    traffic.consumers[1] = subscribe("one", "t", BUS_FROM_OLDEST);
    traffic.consumers[2] = subscribe("two", "t", BUS_FROM_OLDEST);
    run_threads(PRODUCERS + 3, traffic_thread, &traffic);
    assert_int_equal(traffic.wrong, 0);
    assert_int_equal(bus_backlog(bus, "t"), 0);
    for (int i = 0; i < 3; i++)
        bus_consumer_close(traffic.consumers[i]);
}

struct waiting {
    struct bus_consumer *consumer;
    int status, count;
};

static void *wait_main(void *context)
{
    struct waiting *waiting = context;
    struct error err = {0};
    struct bus_batch batch;
    waiting->status = bus_poll(waiting->consumer, 10, -1, &batch, &err);
    waiting->count = batch.count;
    bus_batch_free(&batch);
    return NULL;
}

static void test_waiting_ends_with_a_message_or_a_wake(void **state)
{
    struct waiting waiting = {.consumer = subscribe("g", "t", BUS_FROM_OLDEST)};
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, wait_main, &waiting), 0);
    clock_sleep_ms(20);
    publish("t", "x");
    pthread_join(thread, NULL);
    assert_int_equal(waiting.status, STATUS_OK);
    assert_int_equal(waiting.count, 1);
    assert_int_equal(pthread_create(&thread, NULL, wait_main, &waiting), 0);
    clock_sleep_ms(20);
    bus_consumer_wake(waiting.consumer);
    pthread_join(thread, NULL);
    assert_int_equal(waiting.status, STATUS_CLOSED);
    bus_consumer_wake(waiting.consumer); /* before the poll, as well */
    wait_main(&waiting);
    assert_int_equal(waiting.status, STATUS_CLOSED);
    expect_nothing(waiting.consumer); /* and only once */
    bus_consumer_close(waiting.consumer);
}

/* --- dead letters --- */

struct dead {
    const struct bus_message *message;
};

static int dead_work(struct sql_tx *tx, void *context, struct error *err)
{
    const struct dead *dead = context;
    return bus_dead_letter_in(bus, tx, dead->message, "g", 3, "cannot \"read\" it", err);
}

static void test_dead_letters_and_replay(void **state)
{
    struct error err = {0};
    struct bus_batch batch, letters;
    struct publication p = {"t", "k", "poison", "{\"trace\":\"7\"}", false};
    int64_t count = -1;
    (void)state;
    struct bus_consumer *consumer = subscribe("g", "t", BUS_FROM_OLDEST);
    publish("t", "fine");
    assert_ok(sql_write(database, publish_work, &p, &err), &err);
    assert_ok(bus_poll(consumer, 10, 0, &batch, &err), &err);
    struct dead dead = {&batch.messages[1]};
    assert_ok(sql_write(database, dead_work, &dead, &err), &err);
    dead.message = &batch.messages[0];
    assert_ok(sql_write(database, dead_work, &dead, &err), &err);

    assert_ok(bus_browse(bus, "t.dlq", 0, 10, &letters, &err), &err);
    assert_int_equal(letters.count, 2);
    assert_string_equal(letters.messages[0].value, "poison");
    assert_string_equal(letters.messages[0].key, "k");
    json_t *headers = json_loads(letters.messages[0].headers, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(headers, "origin_topic")), "t");
    assert_int_equal(json_integer_value(json_object_get(headers, "origin_partition")), 0);
    assert_int_equal(json_integer_value(json_object_get(headers, "origin_offset")), 1);
    assert_string_equal(json_string_value(json_object_get(headers, "group")), "g");
    assert_int_equal(json_integer_value(json_object_get(headers, "attempts")), 3);
    assert_string_equal(json_string_value(json_object_get(headers, "error")), "cannot \"read\" it");
    json_decref(headers);
    bus_batch_free(&letters);
    bus_batch_free(&batch);

    assert_ok(bus_replay(bus, "t", 0, 0, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_ok(bus_poll(consumer, 10, 0, &batch, &err), &err);
    assert_int_equal(batch.count, 1);
    assert_string_equal(batch.messages[0].value, "poison");
    assert_string_equal(batch.messages[0].key, "k");
    assert_string_equal(batch.messages[0].headers, "{\"trace\":\"7\"}");
    bus_batch_free(&batch);
    assert_ok(bus_replay(bus, "t", 0, INT64_MAX, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_ok(bus_replay(bus, "t", 0, INT64_MAX, &count, &err), &err);
    assert_int_equal(count, 0);
    assert_ok(bus_browse(bus, "t.dlq", 0, 10, &letters, &err), &err);
    assert_int_equal(letters.count, 0);
    bus_batch_free(&letters);
    bus_consumer_close(consumer);
}

static void test_replaying_many(void **state)
{
    struct error err = {0};
    int64_t count = -1;
    (void)state;
    struct bus_consumer *consumer = subscribe("g", "t", BUS_FROM_OLDEST);
    publish_numbers("t.dlq", 0, 449); /* without headers: they go to the topic's own name */
    assert_ok(bus_replay(bus, "t", 10, 439, &count, &err), &err);
    assert_int_equal(count, 430);
    expect_numbers(consumer, 1000, 10, 439);
    bus_consumer_close(consumer);
}

/* --- upkeep --- */

static int age_work(struct sql_tx *tx, void *context, struct error *err)
{
    (void)context;
    char time[32];
    return sql_exec(
        tx, "UPDATE bus_messages SET created_at = $1 WHERE message_offset < 6",
        SQL_PARAMS(sql_timestamp(clock_utc_us() - INT64_C(8) * 24 * 3600 * 1000000, time)), NULL,
        err);
}

static void test_pruning(void **state)
{
    struct error err = {0};
    int64_t count = -1;
    (void)state;
    struct bus_consumer *consumer = subscribe("g", "t", BUS_FROM_OLDEST);
    struct bus_consumer *tail = subscribe(NULL, "t", BUS_FROM_OLDEST);
    publish_numbers("t", 0, 9);
    assert_ok(sql_write(database, age_work, NULL, &err), &err);
    assert_ok(bus_prune(bus, 100, &count, &err), &err);
    assert_int_equal(count, 0); /* old, but not committed */
    commit(consumer, 5);
    assert_ok(bus_prune(bus, 3, &count, &err), &err);
    assert_int_equal(count, 3); /* at most so many */
    assert_ok(bus_prune(bus, 100, &count, &err), &err);
    assert_int_equal(count, 2);
    commit(consumer, 10);
    assert_ok(bus_prune(bus, 100, &count, &err), &err);
    assert_int_equal(count, 1); /* the rest is not old */
    expect_numbers(tail, 100, 6, 9);
    bus_consumer_close(tail);
    bus_consumer_close(consumer);
}

static int age_all_work(struct sql_tx *tx, void *context, struct error *err)
{
    (void)context;
    return sql_exec(tx, "UPDATE bus_messages SET created_at = '2000-01-01T00:00:00.000000Z'",
                    SQL_NO_PARAMS, NULL, err);
}

static void test_offsets_outlive_pruned_messages(void **state)
{
    struct error err = {0};
    struct bus_batch batch;
    int64_t count = -1;
    (void)state;
    struct bus_consumer *tail = subscribe(NULL, "t", BUS_FROM_OLDEST);
    publish_numbers("t", 0, 9);
    assert_ok(sql_write(database, age_all_work, NULL, &err), &err);
    assert_ok(bus_prune(bus, 100, &count, &err), &err);
    assert_int_equal(count, 10);
    expect_nothing(tail); /* it fell behind */
    bus_consumer_close(tail);
    close_bus();
    open_bus();
    tail = subscribe("late", "t", BUS_FROM_OLDEST);
    assert_int_equal(bus_backlog(bus, "t"), 0);
    publish("t", "next");
    assert_ok(bus_poll(tail, 10, 0, &batch, &err), &err);
    assert_int_equal(batch.count, 1);
    assert_int_equal(batch.messages[0].offset, 10);
    bus_batch_free(&batch);
    bus_consumer_close(tail);
}

static void test_describe_and_browse(void **state)
{
    struct error err = {0};
    struct bus_batch batch;
    json_t *topics = NULL;
    (void)state;
    struct bus_consumer *consumer = subscribe("g", "t", BUS_FROM_OLDEST);
    publish_numbers("t", 0, 9);
    publish("u", "x");
    commit(consumer, 4);
    assert_ok(bus_describe(bus, &topics, &err), &err);
    char *text = json_dumps(topics, JSON_COMPACT);
    assert_string_equal(
        text,
        "[{\"topic\":\"t\",\"partitions\":[{\"partition\":0,\"offset_oldest\":0,\"offset_next\":10}"
        "],\"messages\":10,\"groups\":[{\"group\":\"g\",\"offset_committed\":4,\"lag\":6}]},"
        "{\"topic\":\"u\",\"partitions\":[{\"partition\":0,\"offset_oldest\":0,\"offset_next\":1}],"
        "\"messages\":1,\"groups\":[]}]");
    free(text);
    json_decref(topics);
    static const struct {
        int64_t first;
        int limit, value_first, count;
    } cases[] = {{0, 3, 0, 3}, {7, 10, 7, 3}, {-2, 10, 8, 2}, {-20, 4, 0, 4}, {20, 5, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_ok(bus_browse(bus, "t", cases[i].first, cases[i].limit, &batch, &err), &err);
        assert_int_equal(batch.count, cases[i].count);
        for (int m = 0; m < batch.count; m++)
            assert_int_equal(batch.messages[m].offset, cases[i].value_first + m);
        bus_batch_free(&batch);
    }
    assert_ok(bus_browse(bus, "nowhere", 0, 10, &batch, &err), &err);
    assert_int_equal(batch.count, 0);
    bus_batch_free(&batch);
    bus_consumer_close(consumer);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_message_keeps_everything),
        TEST(test_a_failed_transaction_publishes_nothing),
        TEST(test_names_and_sizes_are_checked),
        TEST(test_groups_start_where_asked),
        TEST(test_one_consumer_a_group),
        TEST(test_what_is_not_committed_comes_again),
        TEST(test_a_new_group_is_durable_at_once),
        TEST(test_backlog_is_of_the_slowest),
        TEST(test_many_producers_and_groups),
        TEST(test_waiting_ends_with_a_message_or_a_wake),
        TEST(test_dead_letters_and_replay),
        TEST(test_replaying_many),
        TEST(test_pruning),
        TEST(test_offsets_outlive_pruned_messages),
        TEST(test_describe_and_browse),
    };
#undef TEST
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
