/* Addresses and routes: what is decoded, what is refused, which row wins. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "http/router.h"

static struct arena arena;

static int free_arena(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

static struct uri parse(const char *target)
{
    struct uri uri;
    struct error err = {0};
    if (uri_parse(&arena, target, &uri, &err) != STATUS_OK)
        fail_msg("'%s': %s", target, err.message);
    return uri;
}

static void test_parts_of_addresses(void **state)
{
    (void)state;
    struct uri uri = parse("/a/b%2Fc//d?x=1&y=%20+z&&x=2&flag&=e#ignored?");
    assert_string_equal(uri.path, "/a/b/c//d");
    assert_int_equal(uri.segment_count, 4);
    assert_string_equal(uri.segments[1], "b/c");
    assert_string_equal(uri.segments[2], "");
    assert_int_equal(uri.query_count, 5);
    assert_string_equal(uri.query[1].value, "  z");
    assert_string_equal(uri.query[2].value, "2");
    assert_string_equal(uri.query[3].name, "flag");
    assert_string_equal(uri.query[3].value, "");
    assert_string_equal(uri.query[4].name, "");

    uri = parse("/a+b");
    assert_string_equal(uri.segments[0], "a+b");
    uri = parse("/");
    assert_int_equal(uri.segment_count, 1);
    assert_string_equal(uri.segments[0], "");
    uri = parse("https://host:1/p?q");
    assert_string_equal(uri.path, "/p");
    assert_int_equal(uri.query_count, 1);
    uri = parse("http://host?q=1");
    assert_string_equal(uri.path, "/");
    assert_string_equal(uri.query[0].value, "1");
    uri = parse("/...");
    assert_string_equal(uri.segments[0], "...");
}

static void test_refused_addresses(void **state)
{
    static const char *const cases[] = {"a",       "*",          "/%",      "/%4",       "/%4g",
                                        "/%00",    "/a%0ab",     "/%7f",    "/%c3",      "/\xff",
                                        "/.",      "/..",        "/a/../b", "/%2e%2e/x", "/a%2f..",
                                        "/..%2fa", "/a%2f.%2fb", "/?a=%zz", "/?%01=b",   "/?a=%ff"};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct uri uri;
        if (uri_parse(&arena, cases[i], &uri, NULL) != STATUS_INVALID)
            fail_msg("'%s' was taken", cases[i]);
    }
}

static void test_bounds_of_addresses(void **state)
{
    struct buffer text = {0};
    struct uri uri;
    (void)state;
    for (int i = 0; i < URI_SEGMENTS_MAX; i++)
        buffer_text(&text, "/s");
    assert_int_equal(uri_parse(&arena, text.data, &uri, NULL), STATUS_OK);
    buffer_text(&text, "/s");
    assert_int_equal(uri_parse(&arena, text.data, &uri, NULL), STATUS_INVALID);
    buffer_clear(&text);
    buffer_text(&text, "/?");
    for (int i = 0; i < URI_QUERY_MAX; i++)
        buffer_text(&text, "a=1&");
    assert_int_equal(uri_parse(&arena, text.data, &uri, NULL), STATUS_OK);
    buffer_text(&text, "a");
    assert_int_equal(uri_parse(&arena, text.data, &uri, NULL), STATUS_INVALID);
    buffer_free(&text);
}

/* --- Routes */

static const struct route images[] = {{.method = "GET", .path = "/images/{id}"},
                                      {.method = "GET", .path = "/images/recent"},
                                      {.method = "DELETE", .path = "/images/{image_id}"},
                                      {.method = "PUT", .path = "/images/{id}/label/{name}"},
                                      {.method = NULL}};
static const struct route files[] = {{.method = "GET", .path = "/"},
                                     {.method = "GET", .path = "/{page}"},
                                     {.method = "GET", .path = "/files/{rest...}"},
                                     {.method = "POST", .path = "/files/new"},
                                     {.method = NULL}};
static int first_context, second_context;
static const struct route_table tables[] = {{images, &first_context}, {files, &second_context}};

static struct router *make_router(void)
{
    struct router *router = NULL;
    assert_int_equal(router_create(tables, 2, &router, NULL), STATUS_OK);
    return router;
}

static void test_which_row_wins(void **state)
{
    static const struct {
        const char *method, *target, *path, *name, *value;
    } cases[] = {
        {"GET", "/", "/", NULL, NULL},
        {"GET", "/images", "/{page}", "page", "images"},
        {"GET", "/images/recent", "/images/recent", NULL, NULL},
        {"HEAD", "/images/recent", "/images/recent", NULL, NULL},
        {"DELETE", "/images/recent", "/images/{image_id}", "image_id", "recent"},
        {"GET", "/images/a%20b", "/images/{id}", "id", "a b"},
        {"PUT", "/images/recent/label/x", "/images/{id}/label/{name}", "name", "x"},
        {"GET", "/files/a/b%2Fc/", "/files/{rest...}", "rest", "a/b/c/"},
        {"GET", "/files/new", "/files/{rest...}", "rest", "new"},
        {"POST", "/files/new", "/files/new", NULL, NULL},
        {"GET", "/files/", "/files/{rest...}", "rest", ""},
    };
    struct router *router = make_router();
    (void)state;
    assert_int_equal(router_size(router), 8);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct route_match match;
        const struct uri uri = parse(cases[i].target);
        if (router_find(router, &arena, cases[i].method, &uri, &match, NULL) != STATUS_OK)
            fail_msg("%s %s was not found", cases[i].method, cases[i].target);
        assert_string_equal(match.route->path, cases[i].path);
        assert_ptr_equal(router_route(router, match.number), match.route);
        assert_ptr_equal(match.context, match.number < 4 ? &first_context : &second_context);
        bool found = cases[i].name == NULL;
        for (int j = 0; j < match.param_count; j++)
            if (!found && strcmp(match.params[j].name, cases[i].name) == 0) {
                assert_string_equal(match.params[j].value, cases[i].value);
                found = true;
            }
        assert_true(found);
    }
    router_free(router);
}

static void test_what_is_missing(void **state)
{
    static const struct {
        const char *method, *target;
        int status;
        const char *allow;
    } cases[] = {
        {"GET", "/images/a/b", STATUS_NOT_FOUND, NULL},
        {"GET", "/images/", STATUS_NOT_FOUND, NULL},
        {"POST", "/images/recent", STATUS_UNSUPPORTED, "GET, HEAD, DELETE, OPTIONS"},
        {"PATCH", "/files/new", STATUS_UNSUPPORTED, "GET, HEAD, POST, OPTIONS"},
        {"OPTIONS", "/images/1/label/2", STATUS_UNSUPPORTED, "PUT, OPTIONS"},
        {"get", "/", STATUS_UNSUPPORTED, "GET, HEAD, OPTIONS"},
    };
    struct router *router = make_router();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct route_match match;
        struct error err = {0};
        const struct uri uri = parse(cases[i].target);
        assert_int_equal(router_find(router, &arena, cases[i].method, &uri, &match, &err),
                         cases[i].status);
        if (cases[i].allow != NULL)
            assert_string_equal(match.allow, cases[i].allow);
    }
    router_free(router);
}

static void test_broken_tables(void **state)
{
    static const struct route twice[] = {
        {.method = "GET", .path = "/a/{x}"}, {.method = "GET", .path = "/a/{y}"}, {.method = NULL}};
    static const struct route no_slash[] = {{.method = "GET", .path = "a"}, {.method = NULL}};
    static const struct route after_rest[] = {{.method = "GET", .path = "/{rest...}/a"},
                                              {.method = NULL}};
    static const struct route too_many[] = {
        {.method = "GET", .path = "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}"}, {.method = NULL}};
    static const struct route *const broken[] = {no_slash, after_rest, too_many};
    struct router *router = NULL;
    struct error err = {0};
    (void)state;
    struct route_table table = {twice, NULL};
    assert_int_equal(router_create(&table, 1, &router, &err), STATUS_EXISTS);
    assert_non_null(strstr(err.message, "/a/{y}"));
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        table.routes = broken[i];
        assert_int_equal(router_create(&table, 1, &router, &err), STATUS_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_parts_of_addresses, free_arena),
        cmocka_unit_test_teardown(test_refused_addresses, free_arena),
        cmocka_unit_test_teardown(test_bounds_of_addresses, free_arena),
        cmocka_unit_test_teardown(test_which_row_wins, free_arena),
        cmocka_unit_test_teardown(test_what_is_missing, free_arena),
        cmocka_unit_test(test_broken_tables),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
