/* The server over the wire: routes, statuses, headers, conditions, access, keep-alive, nonsense. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/id.h"
#include "http_fixture.h"

/* --- Routes */

static void echo(struct request *request, struct response *response, void *context)
{
    const uint8_t *bytes;
    size_t size;
    (void)context;
    request_body(request, &bytes, &size);
    response_json(response, 200,
                  json_pack("{s:s, s:s, s:s?, s:s?, s:s?, s:I, s:s}", "method",
                            request_method(request), "path", request_path(request), "id",
                            request_param(request, "id"), "rest", request_param(request, "rest"),
                            "q", request_query(request, "q"), "size", (json_int_t)size, "client",
                            request_client(request)));
}

static void bounded(struct request *request, struct response *response, void *context)
{
    struct error err = {0};
    int64_t limit = 10;
    double ratio = 0.5;
    (void)context;
    if (request_query_integer(request, "limit", 1, 100, &limit, &err) != 0 ||
        request_query_real(request, "ratio", 0, 1, &ratio, &err) != 0)
        response_error(response, &err);
    else
        response_json(response, 200, json_pack("{s:I, s:f}", "limit", limit, "ratio", ratio));
}

static void take_json(struct request *request, struct response *response, void *context)
{
    struct error err = {0};
    json_t *body = NULL;
    (void)context;
    if (request_json(request, &body, &err) != 0)
        response_error(response, &err);
    else
        response_json(response, 201, body);
}

static void content(struct request *request, struct response *response, void *context)
{
    char *bytes = strdup("0123456789");
    (void)context;
    response_content(response, request, "image/png", "tag", request_query(request, "forever"),
                     bytes, 10);
}

static void asset(struct request *request, struct response *response, void *context)
{
    static const char bytes[] = "body { }";
    (void)request;
    (void)context;
    response_static(response, "text/css", "gzip", bytes, sizeof bytes - 1);
    response_header(response, "ETag", "\"v1\"");
}

static void fails(struct request *request, struct response *response, void *context)
{
    struct error err = {0};
    int64_t code = 0;
    (void)context;
    request_query_integer(request, "code", -15, -1, &code, &err);
    error_set(&err, (enum status)code, "it is \"so\"");
    response_text(response, 200, "text/plain", "replaced by the next");
    response_error(response, &err);
}

static void forgets(struct request *request, struct response *response, void *context)
{
    (void)request;
    (void)response;
    (void)context;
}

static pthread_mutex_t gate_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_changed = PTHREAD_COND_INITIALIZER;
static bool gate_open = true;
static int waiting;

static void set_gate(bool open)
{
    pthread_mutex_lock(&gate_mutex);
    gate_open = open;
    pthread_cond_broadcast(&gate_changed);
    pthread_mutex_unlock(&gate_mutex);
}

static void await_waiting(int count)
{
    pthread_mutex_lock(&gate_mutex);
    while (waiting < count)
        pthread_cond_wait(&gate_changed, &gate_mutex);
    pthread_mutex_unlock(&gate_mutex);
}

static void waits(struct request *request, struct response *response, void *context)
{
    (void)request;
    (void)context;
    pthread_mutex_lock(&gate_mutex);
    waiting++;
    pthread_cond_broadcast(&gate_changed);
    while (!gate_open)
        pthread_cond_wait(&gate_changed, &gate_mutex);
    waiting--;
    pthread_mutex_unlock(&gate_mutex);
    response_text(response, 200, "text/plain", "done");
}

static const struct route routes[] = {
    {.method = "GET", .path = "/", .handler = echo, .flags = ROUTE_OPEN},
    {.method = "GET", .path = "/images/{id}", .handler = echo},
    {.method = "DELETE", .path = "/images/{id}", .handler = echo},
    {.method = "GET", .path = "/images/recent", .handler = echo},
    {.method = "PUT", .path = "/images/{id}/label", .handler = take_json, .body_max = 1000},
    {.method = "GET", .path = "/files/{rest...}", .handler = echo},
    {.method = "POST", .path = "/echo", .handler = echo, .body_max = 100000},
    {.method = "GET", .path = "/bounded", .handler = bounded},
    {.method = "GET", .path = "/content", .handler = content},
    {.method = "GET", .path = "/asset", .handler = asset},
    {.method = "GET", .path = "/fails", .handler = fails},
    {.method = "GET", .path = "/forgets", .handler = forgets},
    {.method = "GET", .path = "/waits", .handler = waits},
    {.method = NULL}};

static struct fixture fixture;

static int start(void **state)
{
    (void)state;
    fixture_start(&fixture, routes, NULL, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    return 0;
}

/* Sends "METHOD target" with the headers given and checks the status. */
static struct answer ask(const char *request_line, const char *headers, int status)
{
    static char request[4096];
    struct answer answer;
    snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: x\r\n%s\r\n", request_line, headers);
    exchange_once(&fixture, request, &answer);
    if (answer.status != status)
        fail_msg("%s: %d, not %d: %s", request_line, answer.status, status,
                 answer.body != NULL ? answer.body : "");
    return answer;
}

static void assert_answer(const char *request_line, const char *headers, int status,
                          const char *expected)
{
    struct answer answer = ask(request_line, headers, status);
    if (answer.body == NULL || strstr(answer.body, expected) == NULL)
        fail_msg("%s: no '%s' in '%s'", request_line, expected,
                 answer.body != NULL ? answer.body : "");
    answer_free(&answer);
}

/* --- Tests */

static void test_routes_and_decoding(void **state)
{
    (void)state;
    assert_answer("GET /", "", 200, "\"path\":\"/\"");
    assert_answer("GET /images/a%20b%2Fc", "", 200, "\"id\":\"a b/c\"");
    assert_answer("GET /images/recent", "", 200, "\"id\":null");
    assert_answer("DELETE /images/recent", "", 200, "\"id\":\"recent\"");
    assert_answer("GET /files/a/b%C3%A9/c", "", 200, "\"rest\":\"a/b\xc3\xa9/c\"");
    assert_answer("GET /files/", "", 200, "\"rest\":\"\"");
    assert_answer("GET /?q=a%26b+c&x", "", 200, "\"q\":\"a&b c\"");
    assert_answer("GET /?q", "", 200, "\"q\":\"\"");
    assert_answer("GET http://x/images/7", "", 200, "\"id\":\"7\"");
    assert_answer("GET /", "", 200, "\"client\":\"127.0.0.1\"");
}

static void test_wrong_addresses(void **state)
{
    (void)state;
    assert_answer("GET /nothing", "", 404, "\"instance\":\"/nothing\"");
    assert_answer("GET /images/", "", 404, "\"status\":404");
    assert_answer("GET /images/%zz", "", 400, "hexadecimal");
    assert_answer("GET /images/%00", "", 400, "control");
    assert_answer("GET /images/%ff", "", 400, "UTF-8");
    assert_answer("GET /files/../x", "", 400, "'..'");
    assert_answer("GET /files/a%2f..%2fx", "", 400, "'..'");
    assert_answer("GET /?q=%f", "", 400, "\"detail\"");
}

static void test_methods(void **state)
{
    (void)state;
    struct answer answer = ask("POST /images/7", "Content-Length: 0\r\n", 405);
    assert_string_equal(answer_header(&answer, "Allow"), "GET, HEAD, DELETE, OPTIONS");
    assert_string_equal(answer_header(&answer, "Content-Type"), "application/problem+json");
    answer_free(&answer);
    answer = ask("OPTIONS /images/7/label", "", 204);
    assert_string_equal(answer_header(&answer, "Allow"), "PUT, OPTIONS");
    assert_int_equal(answer.body_size, 0);
    answer_free(&answer);
    answer = ask("HEAD /images/7", "", 200);
    assert_true(strtol(answer_header(&answer, "Content-Length"), NULL, 10) > 50);
    answer_free(&answer);
    answer = ask("BREW /images/7", "", 405);
    answer_free(&answer);
}

static void test_too_many_headers(void **state)
{
    struct buffer headers = {0};
    (void)state;
    for (int i = 0; i < 126; i++)
        buffer_text(&headers, "X: y\r\n");
    assert_answer("GET /", headers.data, 200, "GET");
    buffer_text(&headers, "X: y\r\n");
    assert_answer("GET /", headers.data, 431, "127 headers");
    buffer_free(&headers);
}

static void test_query_bounds(void **state)
{
    (void)state;
    assert_answer("GET /bounded", "", 200, "{\"limit\":10,\"ratio\":0.5}");
    assert_answer("GET /bounded?limit=100&ratio=1e-1", "", 200, "{\"limit\":100,\"ratio\":0.1}");
    assert_answer("GET /bounded?limit=101", "", 400, "'limit' cannot be '101'");
    assert_answer("GET /bounded?limit=", "", 400, "from 1 to 100");
    assert_answer("GET /bounded?limit=1x", "", 400, "1x");
    assert_answer("GET /bounded?ratio=nan", "", 400, "'ratio'");
}

static void test_common_headers(void **state)
{
    (void)state;
    struct answer answer = ask("GET /", "", 200);
    assert_string_equal(answer_header(&answer, "X-Content-Type-Options"), "nosniff");
    assert_string_equal(answer_header(&answer, "Cache-Control"), "no-store");
    assert_string_equal(answer_header(&answer, "Content-Type"), "application/json");
    assert_string_equal(answer_header(&answer, "Access-Control-Allow-Origin"), "");
    assert_true(id_valid(answer_header(&answer, "X-Request-Id")));
    answer_free(&answer);
    answer = ask("GET /", "X-Request-Id: abc-1.2_Z\r\n", 200);
    assert_string_equal(answer_header(&answer, "X-Request-Id"), "abc-1.2_Z");
    answer_free(&answer);
    answer = ask("GET /nothing", "X-Request-Id: a b\r\n", 404);
    assert_true(id_valid(answer_header(&answer, "X-Request-Id")));
    answer_free(&answer);
}

static void test_json_bodies(void **state)
{
    (void)state;
    assert_answer("PUT /images/7/label",
                  "Content-Type: application/json; charset=utf-8\r\nContent-Length: 11\r\n"
                  "\r\n{\"a\":[1,2]}",
                  201, "{\"a\":[1,2]}");
    assert_answer("PUT /images/7/label", "Content-Length: 2\r\n\r\n{]", 400, "line 1");
    assert_answer("PUT /images/7/label", "Content-Length: 0\r\n", 400, "empty");
    assert_answer("PUT /images/7/label", "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
                  415, "text/plain");
    assert_answer("PUT /images/7/label",
                  "Content-Type: application/merge-patch+json\r\nContent-Length: 2\r\n\r\n{}", 201,
                  "{}");
}

static void test_every_status_of_ours(void **state)
{
    static const struct {
        int code, http;
    } cases[] = {{STATUS_NO_MEMORY, 500},   {STATUS_INVALID, 400},   {STATUS_CORRUPT, 422},
                 {STATUS_UNSUPPORTED, 415}, {STATUS_TOO_LARGE, 413}, {STATUS_NOT_FOUND, 404},
                 {STATUS_EXISTS, 409},      {STATUS_BUSY, 503},      {STATUS_DENIED, 403},
                 {STATUS_TIMEOUT, 504},     {STATUS_NO_SPACE, 507},  {STATUS_UNAVAILABLE, 503},
                 {STATUS_INTERNAL, 500},    {STATUS_IO, 500}};
    char line[64];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(line, sizeof line, "GET /fails?code=%d", cases[i].code);
        struct answer answer = ask(line, "", cases[i].http);
        assert_string_equal(answer_header(&answer, "Content-Type"), "application/problem+json");
        assert_string_equal(answer_header(&answer, "Retry-After"), cases[i].http == 503 ? "1" : "");
        assert_non_null(strstr(answer.body, "\"detail\":\"it is \\\"so\\\"\""));
        assert_non_null(strstr(answer.body, "\"type\":\"about:blank\""));
        answer_free(&answer);
    }
    assert_answer("GET /forgets", "", 500, "not answered");
}

static void test_conditions_and_ranges(void **state)
{
    (void)state;
    struct answer answer = ask("GET /content", "", 200);
    assert_string_equal(answer_header(&answer, "ETag"), "\"tag\"");
    assert_string_equal(answer_header(&answer, "Accept-Ranges"), "bytes");
    assert_string_equal(answer_header(&answer, "Cache-Control"), "private, no-cache");
    answer_free(&answer);
    answer = ask("GET /content?forever", "", 200);
    assert_non_null(strstr(answer_header(&answer, "Cache-Control"), "immutable"));
    answer_free(&answer);

    static const struct {
        const char *headers;
        int status;
        const char *body, *range;
    } cases[] = {
        {"If-None-Match: \"tag\"\r\n", 304, "", ""},
        {"If-None-Match: \"a\", W/\"tag\"\r\n", 304, "", ""},
        {"If-None-Match: *\r\n", 304, "", ""},
        {"If-None-Match: \"tagged\"\r\n", 200, "0123456789", ""},
        {"If-None-Match: tag\r\n", 200, "0123456789", ""},
        {"Range: bytes=2-4\r\n", 206, "234", "bytes 2-4/10"},
        {"Range: bytes=7-\r\n", 206, "789", "bytes 7-9/10"},
        {"Range: bytes=-4\r\n", 206, "6789", "bytes 6-9/10"},
        {"Range: bytes=-40\r\n", 206, "0123456789", "bytes 0-9/10"},
        {"Range: bytes=0-99999999999\r\n", 206, "0123456789", "bytes 0-9/10"},
        {"Range: bytes=9-9\r\nIf-Range: \"tag\"\r\n", 206, "9", "bytes 9-9/10"},
        {"Range: bytes=9-9\r\nIf-Range: \"old\"\r\n", 200, "0123456789", ""},
        {"Range: bytes=1-2,4-5\r\n", 200, "0123456789", ""},
        {"Range: bytes=4-2\r\n", 200, "0123456789", ""},
        {"Range: lines=1-2\r\n", 200, "0123456789", ""},
        {"Range: bytes=-\r\n", 200, "0123456789", ""},
        {"Range: bytes=--1\r\n", 200, "0123456789", ""},
        {"Range: bytes=1-99999999999999999999\r\n", 200, "0123456789", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        answer = ask("GET /content", cases[i].headers, cases[i].status);
        assert_string_equal(answer.body, cases[i].body);
        assert_string_equal(answer_header(&answer, "Content-Range"), cases[i].range);
        answer_free(&answer);
    }
    answer = ask("GET /content", "Range: bytes=10-\r\n", 416);
    assert_string_equal(answer_header(&answer, "Content-Range"), "bytes */10");
    answer_free(&answer);
    answer = ask("GET /content", "Range: bytes=-0\r\n", 416);
    answer_free(&answer);
}

static void test_static_bytes(void **state)
{
    (void)state;
    struct answer answer = ask("GET /asset", "", 200);
    assert_string_equal(answer_header(&answer, "Content-Encoding"), "gzip");
    assert_string_equal(answer_header(&answer, "Vary"), "Accept-Encoding");
    assert_string_equal(answer_header(&answer, "Cache-Control"), "");
    assert_string_equal(answer.body, "body { }");
    answer_free(&answer);
    answer = ask("GET /asset", "If-None-Match: \"v1\"\r\n", 304);
    answer_free(&answer);
}

static void test_pipelined_requests_keep_the_connection(void **state)
{
    enum { REQUESTS = 50 };
    char request[128];
    (void)state;
    const int fd = client_connect(&fixture);
    for (int i = 0; i < REQUESTS; i++) {
        snprintf(request, sizeof request, "%s /images/%d HTTP/1.1\r\nHost: x\r\n\r\n",
                 i % 5 == 4 ? "POST" : "GET", i);
        assert_true(client_send_text(fd, request));
    }
    for (int i = 0; i < REQUESTS; i++) {
        struct answer answer;
        assert_int_equal(client_read(fd, false, &answer), 0);
        assert_int_equal(answer.status, i % 5 == 4 ? 405 : 200);
        assert_false(answer.closed);
        if (i % 5 != 4) {
            snprintf(request, sizeof request, "\"id\":\"%d\"", i);
            assert_non_null(strstr(answer.body, request));
        }
        answer_free(&answer);
    }
    close(fd);
    fixture_await_metric(&fixture, "ocelli_http_connections", 0);
}

static void test_http_1_0_closes(void **state)
{
    struct answer answer;
    char byte;
    (void)state;
    const int fd = client_connect(&fixture);
    client_send_text(fd, "GET / HTTP/1.0\r\n\r\n");
    assert_int_equal(client_read(fd, false, &answer), 0);
    assert_int_equal(answer.status, 200);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    answer_free(&answer);
    close(fd);
}

/* Whatever comes, the connection is answered with an error or closed, and the server goes on. */
static void test_nonsense(void **state)
{
    static const char *const cases[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n", /* no Host */
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: bogus\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "GET relative HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nbroken header\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer answer;
        const int fd = client_connect(&fixture);
        client_send_text(fd, cases[i]);
        shutdown(fd, SHUT_WR);
        if (client_read(fd, false, &answer) == 0) {
            if (answer.status < 400)
                fail_msg("case %zu: %d", i, answer.status);
            answer_free(&answer);
        }
        close(fd);
    }
    char *huge = malloc(300001);
    assert_non_null(huge);
    memset(huge, 'a', 300000);
    memcpy(huge, "GET /", 5);
    huge[300000] = '\0';
    const int fd = client_connect(&fixture);
    struct answer answer;
    client_send_text(fd, huge);
    if (client_read(fd, false, &answer) == 0) {
        assert_true(answer.status >= 400);
        answer_free(&answer);
    }
    close(fd);
    free(huge);
    fixture_await_metric(&fixture, "ocelli_http_connections", 0);
    assert_answer("GET /", "", 200, "GET");
}

static void test_metrics(void **state)
{
    (void)state;
    assert_answer("GET /images/1", "", 200, "");
    assert_answer("GET /images/2", "", 200, "");
    assert_answer("GET /nothing", "", 404, "");
    assert_true(fixture_metric(&fixture, "ocelli_http_requests_total{route=\"/images/{id}\","
                                         "method=\"GET\",status=\"200\"}") == 2);
    assert_true(fixture_metric(&fixture, "ocelli_http_requests_total{route=\"other\","
                                         "method=\"other\",status=\"404\"}") == 1);
    assert_true(fixture_metric(&fixture, "ocelli_http_request_duration_seconds_count{"
                                         "route=\"/images/{id}\"}") >= 2);
}

static void test_key(void **state)
{
    static const char *const settings[] = {"api_key", "s3cret", NULL};
    (void)state;
    fixture_start(&fixture, routes, NULL, settings);
    assert_answer("GET /", "", 200, "");
    struct answer answer = ask("GET /images/1", "", 401);
    assert_string_equal(answer_header(&answer, "WWW-Authenticate"), "Bearer realm=\"ocelli\"");
    answer_free(&answer);
    assert_answer("GET /images/1", "Authorization: Bearer s3cre\r\n", 401, "");
    assert_answer("GET /images/1", "Authorization: Bearer s3cret2\r\n", 401, "");
    assert_answer("GET /images/1", "Authorization: Basic s3cret\r\n", 401, "");
    assert_answer("GET /images/1", "Authorization: bearer s3cret\r\n", 200, "");
    assert_answer("GET /nothing", "", 404, "");
    assert_true(fixture_metric(&fixture, "ocelli_http_refused_total{reason=\"unauthorized\"}") ==
                4);
    fixture_stop(&fixture);
}

static void test_rate_limit(void **state)
{
    static const char *const settings[] = {"rate_limit_per_minute", "5", NULL};
    (void)state;
    fixture_start(&fixture, routes, NULL, settings);
    for (int i = 0; i < 5; i++)
        assert_answer("GET /images/1", "", 200, "");
    struct answer answer = ask("GET /images/1", "", 429);
    const long seconds = strtol(answer_header(&answer, "Retry-After"), NULL, 10);
    assert_in_range(seconds, 1, 13);
    answer_free(&answer);
    assert_answer("GET /nothing", "", 429, "");
    assert_answer("GET /", "", 200, "");
    fixture_stop(&fixture);
}

static void test_other_sites_may_not_write(void **state)
{
    (void)state;
    assert_answer("POST /echo", "Content-Length: 1\r\nOrigin: http://evil\r\n\r\nx", 403, "sites");
    assert_answer("POST /echo", "Content-Length: 1\r\nOrigin: null\r\n\r\nx", 403, "sites");
    assert_answer("POST /echo", "Content-Length: 1\r\nOrigin: http://x\r\n\r\nx", 200, "POST");
    assert_answer("GET /", "Origin: http://evil\r\n", 200, "GET");
}

static void test_full_queue_is_refused(void **state)
{
    enum { CLIENTS = 40 }; /* one runs, sixteen wait */
    static const char *const settings[] = {"http_threads", "1", NULL};
    int fds[CLIENTS], done = 0, refused = 0;
    (void)state;
    fixture_start(&fixture, routes, NULL, settings);
    set_gate(false);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client_connect(&fixture);
        client_send_text(fds[i], "GET /waits HTTP/1.1\r\nHost: x\r\n\r\n");
        if (i == 0)
            await_waiting(1);
    }
    fixture_await_metric(&fixture, "ocelli_http_refused_total{reason=\"queue_full\"}",
                         CLIENTS - 17);
    set_gate(true);
    for (int i = 0; i < CLIENTS; i++) {
        struct answer answer;
        assert_int_equal(client_read(fds[i], false, &answer), 0);
        done += answer.status == 200;
        refused += answer.status == 503;
        if (answer.status == 503)
            assert_string_equal(answer_header(&answer, "Retry-After"), "1");
        answer_free(&answer);
        close(fds[i]);
    }
    assert_int_equal(done, 17);
    assert_int_equal(refused, CLIENTS - 17);
    fixture_stop(&fixture);
}

static void test_addresses_to_listen_on(void **state)
{
    const struct route_table table = {routes, NULL};
    struct config *config = NULL;
    struct metrics *metrics = NULL;
    struct server *server = NULL;
    struct error err = {0};
    char port[16];
    (void)state;
    fixture_start(&fixture, routes, NULL, NULL);
    assert_int_equal(config_create(&config, &err), 0);
    assert_int_equal(metrics_create(&metrics, &err), 0);
    snprintf(port, sizeof port, "%d", server_port(fixture.server));
    config_set(config, "port", port, CONFIG_FLAG, &err);
    assert_int_equal(server_start(config, metrics, &table, 1, &server, &err), STATUS_EXISTS);
    assert_non_null(strstr(err.message, port));
    fixture_stop(&fixture);

    config_set(config, "port", "0", CONFIG_FLAG, &err);
    config_set(config, "listen", "0.0.0.0", CONFIG_FLAG, &err);
    assert_int_equal(server_start(config, metrics, &table, 1, &server, &err), STATUS_DENIED);
    config_set(config, "insecure_listen", "true", CONFIG_FLAG, &err);
    assert_int_equal(server_start(config, metrics, &table, 1, &server, &err), 0);
    server_stop(server, 100);
    config_set(config, "insecure_listen", "false", CONFIG_FLAG, &err);
    config_set(config, "api_key", "k", CONFIG_FLAG, &err);
    assert_int_equal(server_start(config, metrics, &table, 1, &server, &err), 0);
    server_stop(server, 100);
    config_set(config, "listen", "no.such.host.invalid", CONFIG_FLAG, &err);
    assert_int_equal(server_start(config, metrics, &table, 1, &server, &err), STATUS_INVALID);
    metrics_free(metrics);
    config_free(config);
}

#define SERVER_TEST(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_TEST(test_routes_and_decoding),
        SERVER_TEST(test_wrong_addresses),
        SERVER_TEST(test_methods),
        SERVER_TEST(test_too_many_headers),
        SERVER_TEST(test_query_bounds),
        SERVER_TEST(test_common_headers),
        SERVER_TEST(test_json_bodies),
        SERVER_TEST(test_every_status_of_ours),
        SERVER_TEST(test_conditions_and_ranges),
        SERVER_TEST(test_static_bytes),
        SERVER_TEST(test_pipelined_requests_keep_the_connection),
        SERVER_TEST(test_http_1_0_closes),
        SERVER_TEST(test_nonsense),
        SERVER_TEST(test_metrics),
        SERVER_TEST(test_other_sites_may_not_write),
        cmocka_unit_test(test_key),
        cmocka_unit_test(test_rate_limit),
        cmocka_unit_test(test_full_queue_is_refused),
        cmocka_unit_test(test_addresses_to_listen_on),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
