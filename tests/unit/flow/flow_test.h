/* What the tests of src/flow share: a database and a bus in a folder of their own. */
#ifndef TESTS_FLOW_TEST_H
#define TESTS_FLOW_TEST_H

#include "../data/data_test.h"

#include "base/buffer.h"
#include "data/bus.h"
#include "data/sql.h"
#include "flow/message.h"

struct store {
    struct fixture files;
    struct sql *sql;
    struct bus *bus;
};

/* cmocka's setup and teardown; *state is the struct store. */
int store_setup(void **state);
int store_teardown(void **state);
/* In between: as a process that stops and one that starts on the same folder. */
void store_close(struct store *store);
void store_open(struct store *store);

/* Runs a statement. */
void store_exec(struct store *store, const char *text);
/* The rows of a query as lines of columns with '|' between; replaces what `out` holds. */
void store_dump(struct store *store, const char *text, struct buffer *out);
void store_expect(struct store *store, const char *text, const char *expected);

void store_publish(struct store *store, const char *topic, const char *key, const char *value);
void store_publish_prediction(struct store *store, const struct prediction_message *message);

/* Fails the test when it has not become true within a minute. */
void wait_until(bool (*done)(void *context), void *context);

#endif
