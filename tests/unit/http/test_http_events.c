/* Event streams, and stopping: many clients, slow ones, lost ones, and the server's end under load.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "http_fixture.h"

/* --- A hub, as the live feed has one */

enum { STREAMS_MAX = 512 };

static struct hub {
    pthread_mutex_t mutex;
    struct event_stream *streams[STREAMS_MAX];
    int count, opened, closed;
} hub = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void leave(struct event_stream *stream, void *context)
{
    (void)context;
    pthread_mutex_lock(&hub.mutex);
    for (int i = 0; i < hub.count; i++)
        if (hub.streams[i] == stream)
            hub.streams[i] = hub.streams[--hub.count];
    hub.closed++;
    pthread_mutex_unlock(&hub.mutex);
}

static void join(struct request *request, struct response *response, void *context)
{
    struct event_stream *stream = NULL;
    struct error err = {0};
    int64_t pending_max = 65536;
    (void)context;
    request_query_integer(request, "pending", 1, 100000000, &pending_max, NULL);
    pthread_mutex_lock(&hub.mutex);
    if (response_event_stream(response, (size_t)pending_max, leave, NULL, &stream, &err) != 0) {
        response_error(response, &err);
    } else {
        hub.streams[hub.count++] = stream;
        hub.opened++;
    }
    pthread_mutex_unlock(&hub.mutex);
}

static int broadcast(const char *event, const char *id, const char *data)
{
    int sent = 0;
    pthread_mutex_lock(&hub.mutex);
    for (int i = 0; i < hub.count; i++)
        sent += event_stream_send(hub.streams[i], event, id, data) == STATUS_OK;
    pthread_mutex_unlock(&hub.mutex);
    return sent;
}

static int look(const int *number)
{
    pthread_mutex_lock(&hub.mutex);
    const int now = *number;
    pthread_mutex_unlock(&hub.mutex);
    return now;
}

static void await(const int *number, int expected)
{
    for (int i = 0; i < 4000; i++) {
        if (look(number) == expected)
            return;
        clock_sleep_ms(5);
    }
    fail_msg("%d, not %d", look(number), expected);
}

static void replaced(struct request *request, struct response *response, void *context)
{
    join(request, response, context);
    response_text(response, 200, "text/plain", "no stream after all");
}

static atomic_int slow_done;

static void slow(struct request *request, struct response *response, void *context)
{
    (void)request;
    (void)context;
    clock_sleep_ms(200);
    atomic_fetch_add(&slow_done, 1);
    response_json(response, 200, json_pack("{s:b}", "slow", 1));
}

static void quick(struct request *request, struct response *response, void *context)
{
    (void)request;
    (void)context;
    response_json(response, 200, json_pack("{s:b}", "quick", 1));
}

static void read_parts(struct request *request, struct response *response, void *context)
{
    struct part part;
    struct error err = {0};
    int status;
    (void)context;
    while ((status = request_next_part(request, 1000, &part, &err)) == 1)
        ;
    if (status < 0)
        response_error(response, &err);
    else
        response_status(response, 204);
}

static const struct route routes[] = {{.method = "GET", .path = "/events", .handler = join},
                                      {.method = "GET", .path = "/replaced", .handler = replaced},
                                      {.method = "GET", .path = "/slow", .handler = slow},
                                      {.method = "GET", .path = "/quick", .handler = quick},
                                      {.method = "POST",
                                       .path = "/stream",
                                       .handler = read_parts,
                                       .flags = ROUTE_STREAMS_BODY,
                                       .body_max = 1000000},
                                      {.method = NULL}};

static struct fixture fixture;

static int start(void **state)
{
    (void)state;
    hub.count = hub.opened = hub.closed = 0;
    fixture_start(&fixture, routes, NULL, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop(&fixture);
    assert_int_equal(hub.count, 0);
    assert_int_equal(hub.closed, hub.opened);
    return 0;
}

/* --- Reading streams */

static int open_stream(const char *query)
{
    char request[128];
    const int fd = client_connect(&fixture);
    snprintf(request, sizeof request, "GET /events%s HTTP/1.1\r\nHost: x\r\n\r\n", query);
    client_send_text(fd, request);
    return fd;
}

/* Reads until `end` was seen; false when the stream ended before. Chunk sizes stay in the text. */
static bool read_until(int fd, const char *end, char *text, size_t text_size)
{
    size_t size = 0;
    text[0] = '\0';
    while (strstr(text, end) == NULL) {
        const ssize_t got = recv(fd, text + size, text_size - size - 1, 0);
        if (got <= 0)
            return false;
        size += (size_t)got;
        text[size] = '\0';
        assert_true(size + 1 < text_size);
    }
    return true;
}

static void test_format(void **state)
{
    char text[4096];
    (void)state;
    const int fd = open_stream("");
    await(&hub.opened, 1);
    assert_int_equal(broadcast("predic\ntion", "7", "one\ntwo\r\nthree\rfour"), 1);
    assert_int_equal(broadcast(NULL, NULL, ""), 1);
    assert_int_equal(broadcast(NULL, NULL, "last"), 1);
    assert_true(read_until(fd, "data: last\n\n", text, sizeof text));
    assert_non_null(strstr(text, "Content-Type: text/event-stream\r\n"));
    assert_non_null(strstr(text, "Cache-Control: no-store\r\n"));
    assert_non_null(strstr(text, "id: 7\nevent: predic\ndata: one\ndata: two\ndata: three\n"
                                 "data: four\n\n"));
    assert_non_null(strstr(text, "data: \n\n"));
    close(fd);
    await(&hub.closed, 1);
}

static void test_two_hundred_streams(void **state)
{
    enum { STREAMS = 200, EVENTS = 100 };
    static char text[65536];
    int fds[STREAMS];
    char data[32];
    (void)state;
    for (int i = 0; i < STREAMS; i++)
        fds[i] = open_stream("");
    await(&hub.opened, STREAMS);
    assert_true(fixture_metric(&fixture, "ocelli_http_event_streams") == STREAMS);
    for (int i = 0; i < EVENTS; i++) {
        snprintf(data, sizeof data, "{\"n\":%d}", i);
        assert_int_equal(broadcast("tick", NULL, data), STREAMS);
    }
    for (int i = 0; i < STREAMS; i++) {
        const char *at = text;
        assert_true(read_until(fds[i], "data: {\"n\":99}\n\n", text, sizeof text));
        for (int j = 0; j < EVENTS; j++) {
            snprintf(data, sizeof data, "{\"n\":%d}", j);
            at = strstr(at, data);
            assert_non_null(at);
        }
        close(fds[i]);
    }
    await(&hub.closed, STREAMS);
    fixture_await_metric(&fixture, "ocelli_http_connections", 0);
}

/* Other requests are served while streams are open, and lost clients are noticed without sending.
 */
static void test_lost_clients_are_noticed_at_rest(void **state)
{
    (void)state;
    const int fd = open_stream(""), other = open_stream("");
    await(&hub.opened, 2);
    struct answer answer;
    exchange_once(&fixture, "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n", &answer);
    assert_int_equal(answer.status, 200);
    answer_free(&answer);
    const struct linger reset = {.l_onoff = 1};
    setsockopt(other, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
    close(other);
    await(&hub.closed, 2);
    assert_int_equal(broadcast(NULL, NULL, "x"), 0);
}

static void test_slow_reader_is_closed(void **state)
{
    static char block[10001];
    int refused = 0;
    (void)state;
    memset(block, 'x', sizeof block - 1);
    const int fd = open_stream("?pending=50000"), reader = open_stream("");
    await(&hub.opened, 2);
    static char text[65536];
    for (int i = 0; i < 5000 && look(&hub.closed) == 0; i++) {
        refused += broadcast(NULL, NULL, block) < 2;
        assert_true(read_until(reader, "xx\n\n", text, sizeof text));
    }
    await(&hub.closed, 1);
    assert_true(refused > 0);
    assert_int_equal(broadcast(NULL, NULL, "still"), 1);
    assert_true(read_until(reader, "data: still\n\n", text, sizeof text));
    close(reader);
    close(fd);
    await(&hub.closed, 2);
}

static void test_streams_that_are_none(void **state)
{
    struct answer answer;
    (void)state;
    exchange_once(&fixture, "GET /replaced HTTP/1.1\r\nHost: x\r\n\r\n", &answer);
    assert_string_equal(answer.body, "no stream after all");
    assert_string_equal(answer_header(&answer, "Content-Type"), "text/plain");
    answer_free(&answer);
    await(&hub.closed, 1);
    exchange_once(&fixture, "HEAD /events HTTP/1.1\r\nHost: x\r\n\r\n", &answer);
    assert_int_equal(answer.status, 200);
    answer_free(&answer);
    await(&hub.closed, 2);
}

static void test_closing_sends_what_is_pending(void **state)
{
    char text[4096];
    (void)state;
    const int fd = open_stream("");
    await(&hub.opened, 1);
    pthread_mutex_lock(&hub.mutex);
    assert_int_equal(event_stream_send(hub.streams[0], NULL, NULL, "goodbye"), STATUS_OK);
    event_stream_close(hub.streams[0]);
    assert_int_equal(event_stream_send(hub.streams[0], NULL, NULL, "late"), STATUS_CLOSED);
    pthread_mutex_unlock(&hub.mutex);
    assert_true(read_until(fd, "0\r\n\r\n", text, sizeof text));
    assert_non_null(strstr(text, "data: goodbye\n\n"));
    await(&hub.closed, 1);
    close(fd);
}

/* --- Many senders and clients that come and go */

static atomic_bool storm_over;

static void *send_all_the_time(void *context)
{
    (void)context;
    while (!atomic_load(&storm_over)) {
        broadcast("e", NULL, "payload payload payload");
        clock_sleep_ms(1);
    }
    return NULL;
}

static void *come_and_go(void *context)
{
    char text[65536];
    (void)context;
    for (int i = 0; i < 30; i++) {
        const int fd = open_stream("");
        if (i % 3 != 0)
            read_until(fd, "payload\n\n", text, sizeof text);
        close(fd);
    }
    return NULL;
}

static void test_storm(void **state)
{
    enum { SENDERS = 2, CLIENTS = 4 };
    pthread_t senders[SENDERS], clients[CLIENTS];
    (void)state;
    atomic_store(&storm_over, false);
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_create(&senders[i], NULL, send_all_the_time, NULL), 0);
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_create(&clients[i], NULL, come_and_go, NULL), 0);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
    fixture_await_metric(&fixture, "ocelli_http_event_streams", 0);
    atomic_store(&storm_over, true);
    for (int i = 0; i < SENDERS; i++)
        pthread_join(senders[i], NULL);
}

/* --- Stopping */

static void test_stop_ends_streams(void **state)
{
    char text[4096];
    (void)state;
    start(state);
    const int fd = open_stream("");
    await(&hub.opened, 1);
    broadcast(NULL, NULL, "last words");
    stop(state);
    assert_true(read_until(fd, "0\r\n\r\n", text, sizeof text));
    assert_non_null(strstr(text, "last words"));
    close(fd);
}

static void test_stop_lets_requests_finish(void **state)
{
    enum { CLIENTS = 20 };
    int fds[CLIENTS];
    (void)state;
    start(state);
    slow_done = 0;
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client_connect(&fixture);
        client_send_text(fds[i], "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    for (int i = 0; i < 2000 && slow_done == 0; i++)
        clock_sleep_ms(1);
    stop(state);
    assert_int_equal(slow_done, CLIENTS);
    for (int i = 0; i < CLIENTS; i++) {
        struct answer answer;
        assert_int_equal(client_read(fds[i], false, &answer), 0);
        assert_int_equal(answer.status, 200);
        answer_free(&answer);
        close(fds[i]);
    }
}

/* A client in the middle of an upload, one idle, one half-way through its headers, and no grace. */
static void test_stop_does_not_wait_for_clients(void **state)
{
    (void)state;
    start(state);
    const int upload = client_connect(&fixture), idle = client_connect(&fixture);
    const int half = client_connect(&fixture);
    struct answer answer;
    client_send_text(upload, "POST /stream HTTP/1.1\r\nHost: x\r\nContent-Type: "
                             "multipart/form-data; boundary=B\r\nContent-Length: 1000\r\n\r\n--B");
    client_send_text(half, "GET /quick HT");
    client_send_text(idle, "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(client_read(idle, false, &answer), 0);
    answer_free(&answer);
    server_stop(fixture.server, 50);
    metrics_free(fixture.metrics);
    config_free(fixture.config);
    close(upload);
    close(idle);
    close(half);
}

static atomic_int load_errors, load_answers;

/* Asks as fast as it can until the server is gone; every request sent whole is answered or the
 * connection closes between two. */
static void *ask_until_closed(void *context)
{
    const int fd = *(int *)context;
    struct answer answer;
    bool closing = false;
    while (!closing && client_send_text(fd, "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")) {
        if (client_read(fd, false, &answer) != 0) {
            atomic_fetch_add(&load_errors, 1);
            break;
        }
        atomic_fetch_add(&load_answers, 1);
        if (answer.status != 200)
            atomic_fetch_add(&load_errors, 1);
        closing = answer.closed;
        answer_free(&answer);
    }
    close(fd);
    return NULL;
}

static void test_stop_under_load(void **state)
{
    enum { CLIENTS = 16 };
    pthread_t threads[CLIENTS];
    int fds[CLIENTS];
    (void)state;
    start(state);
    load_errors = load_answers = 0;
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client_connect(&fixture);
        assert_int_equal(pthread_create(&threads[i], NULL, ask_until_closed, &fds[i]), 0);
    }
    while (load_answers < 500)
        clock_sleep_ms(1);
    stop(state);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    /* Between its last answer and the server's end a client may send one request in vain. */
    assert_in_range(load_errors, 0, CLIENTS);
    assert_true(load_answers >= 500);
}

#define SERVER_TEST(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_TEST(test_format),
        SERVER_TEST(test_two_hundred_streams),
        SERVER_TEST(test_lost_clients_are_noticed_at_rest),
        SERVER_TEST(test_slow_reader_is_closed),
        SERVER_TEST(test_streams_that_are_none),
        SERVER_TEST(test_closing_sends_what_is_pending),
        SERVER_TEST(test_storm),
        cmocka_unit_test(test_stop_ends_streams),
        cmocka_unit_test(test_stop_lets_requests_finish),
        cmocka_unit_test(test_stop_does_not_wait_for_clients),
        cmocka_unit_test(test_stop_under_load),
    };
    const struct rlimit files = {4096, 4096};
    setrlimit(RLIMIT_NOFILE, &files);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
