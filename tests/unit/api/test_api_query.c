/* Rows as JSON: types, columns that hold JSON or a flag, texts that are not UTF-8, and what is not
 * there. */
#include "../flow/flow_test.h"

#include "api/query.h"

static void expect(struct store *store, const char *text, const char *expected)
{
    struct buffer out = {0};
    struct error err = {0};
    json_t *rows;

    assert_ok(query_json(store->sql, text, SQL_NO_PARAMS, &rows, &err), &err);
    assert_ok(json_write(rows, &out, &err), &err);
    assert_string_equal(out.data, expected);
    buffer_free(&out);
    json_decref(rows);
}

static void types(void **state)
{
    expect(*state, "SELECT 1 AS a, 2.5 AS b, 'x\"y' AS c, NULL AS d, x'00' AS e",
           "[{\"a\":1,\"b\":2.5,\"c\":\"x\\\"y\",\"d\":null,\"e\":null}]");
    expect(*state, "SELECT 9223372036854775807 AS a, 0.0 AS b, '' AS c",
           "[{\"a\":9223372036854775807,\"b\":0.0,\"c\":\"\"}]");
    expect(*state, "SELECT 1 AS a WHERE 1 = 0", "[]");
    expect(*state, "SELECT 1 AS a UNION SELECT 2 ORDER BY 1 DESC", "[{\"a\":2},{\"a\":1}]");
}

static void columns_with_a_meaning(void **state)
{
    expect(*state, "SELECT '{\"k\":[1,null]}' AS x_json, '7' AS y_json, NULL AS z_json",
           "[{\"x\":{\"k\":[1,null]},\"y\":7,\"z\":null}]");
    expect(*state, "SELECT 'not json' AS x_json, '' AS y_json", "[{\"x\":null,\"y\":null}]");
    expect(*state, "SELECT 1 AS a_bool, 0 AS b_bool, NULL AS c_bool",
           "[{\"a\":true,\"b\":false,\"c\":null}]");
    /* A suffix alone is a name. */
    expect(*state, "SELECT 1 AS _bool, 'x' AS _json", "[{\"_bool\":1,\"_json\":\"x\"}]");
}

static void text_that_is_not_utf8(void **state)
{
    expect(*state, "SELECT CAST(x'ff41' AS TEXT) AS a, 'ok' AS b", "[{\"a\":null,\"b\":\"ok\"}]");
}

static void one_row(void **state)
{
    struct store *store = *state;
    struct error err = {0};
    json_t *row = NULL;

    assert_ok(query_json_one(store->sql, "SELECT $1 AS a", SQL_PARAMS(sql_integer(3)), "none", &row,
                             &err),
              &err);
    assert_int_equal(json_integer_value(json_object_get(row, "a")), 3);
    json_decref(row);
    assert_int_equal(query_json_one(store->sql, "SELECT 1 AS a WHERE 1 = 0", SQL_NO_PARAMS,
                                    "there is no such thing", &row, &err),
                     STATUS_NOT_FOUND);
    assert_string_equal(err.message, "there is no such thing");
}

static void a_wrong_statement_is_told(void **state)
{
    struct store *store = *state;
    struct error err = {0};
    json_t *rows = NULL;

    assert_int_not_equal(
        query_json(store->sql, "SELECT * FROM nowhere", SQL_NO_PARAMS, &rows, &err), STATUS_OK);
    assert_null(rows);
    assert_true(err.message[0] != '\0');
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, store_setup, store_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(types),
        STORE_TEST(columns_with_a_meaning),
        STORE_TEST(one_row),
        STORE_TEST(text_that_is_not_utf8),
        STORE_TEST(a_wrong_statement_is_told),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
