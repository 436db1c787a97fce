/* What the tests of src/flow share: see flow_test.h. */
#include "flow_test.h"

#include <string.h>

#include "base/clock.h"
#include "data/schema.h"

void store_open(struct store *store)
{
    struct error err = {0};

    assert_ok(sql_open_sqlite(store->files.config, store->files.metrics, NULL, &store->sql, &err),
              &err);
    assert_ok(schema_migrate(store->sql, &err), &err);
    assert_ok(
        bus_open_sql(store->files.config, store->sql, store->files.metrics, &store->bus, &err),
        &err);
}

void store_close(struct store *store)
{
    bus_close(store->bus);
    sql_close(store->sql);
    store->bus = NULL;
    store->sql = NULL;
}

int store_setup(void **state)
{
    struct store *store = test_calloc(1, sizeof *store);
    fixture_make(&store->files);
    store_open(store);
    *state = store;
    return 0;
}

int store_teardown(void **state)
{
    struct store *store = *state;
    store_close(store);
    fixture_drop(&store->files);
    test_free(store);
    return 0;
}

/* --- SQL */

static int run_text(struct sql_tx *tx, void *context, struct error *err)
{
    return sql_exec(tx, context, SQL_NO_PARAMS, NULL, err);
}

void store_exec(struct store *store, const char *text)
{
    struct error err = {0};
    assert_ok(sql_write(store->sql, run_text, (void *)text, &err), &err);
}

struct dump {
    const char *text;
    struct buffer *out;
};

static void print_value(const struct sql_rows *rows, int column, struct buffer *out)
{
    if (sql_rows_null(rows, column))
        buffer_text(out, "null");
    else if (sql_rows_type(rows, column) == SQL_REAL)
        buffer_print(out, "%.9g", sql_rows_real(rows, column));
    else
        buffer_text(out, sql_rows_text(rows, column));
}

static int dump_rows(struct sql_tx *tx, void *context, struct error *err)
{
    const struct dump *dump = context;
    struct sql_rows *rows = NULL;
    int more;

    buffer_clear(dump->out);
    const int status = sql_query(tx, dump->text, SQL_NO_PARAMS, &rows, err);
    if (status != STATUS_OK)
        return status;
    while ((more = sql_rows_next(rows, err)) == 1) {
        for (int column = 0; column < sql_rows_columns(rows); column++) {
            buffer_text(dump->out, column == 0 ? "" : "|");
            print_value(rows, column, dump->out);
        }
        buffer_text(dump->out, "\n");
    }
    sql_rows_free(rows);
    return more;
}

void store_dump(struct store *store, const char *text, struct buffer *out)
{
    struct dump dump = {text, out};
    struct error err = {0};
    assert_ok(sql_read(store->sql, dump_rows, &dump, &err), &err);
    buffer_text(out, "");
    assert_true(buffer_ok(out));
}

void store_expect(struct store *store, const char *text, const char *expected)
{
    struct buffer out = {0};
    store_dump(store, text, &out);
    assert_string_equal(out.data != NULL ? out.data : "", expected);
    buffer_free(&out);
}

/* --- Messages */

struct publication {
    struct bus *bus;
    const char *topic, *key, *value;
};

static int publish(struct sql_tx *tx, void *context, struct error *err)
{
    const struct publication *publication = context;
    return bus_publish_in(publication->bus, tx, publication->topic, publication->key,
                          publication->value, NULL, err);
}

void store_publish(struct store *store, const char *topic, const char *key, const char *value)
{
    struct publication publication = {store->bus, topic, key, value};
    struct error err = {0};
    assert_ok(sql_write(store->sql, publish, &publication, &err), &err);
}

void store_publish_prediction(struct store *store, const struct prediction_message *message)
{
    struct buffer text = {0};
    prediction_message_write(message, &text);
    assert_true(buffer_ok(&text));
    store_publish(store, store->files.config->topic_predictions, message->image_id, text.data);
    buffer_free(&text);
}

void wait_until(bool (*done)(void *context), void *context)
{
    for (int i = 0; i < 20000 && !done(context); i++)
        clock_sleep_ms(3);
    assert_true(done(context));
}
