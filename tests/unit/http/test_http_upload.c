/* Bodies over the wire: bounds, multipart in memory and streamed, and clients that cheat or leave.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/process.h"
#include "http_fixture.h"

enum { PART_MAX = 100000 };

/* --- Routes */

static void count_bytes(struct request *request, struct response *response, void *context)
{
    const uint8_t *bytes;
    size_t size;
    unsigned sum = 0;
    (void)context;
    request_body(request, &bytes, &size);
    for (size_t i = 0; i < size; i++)
        sum += bytes[i];
    response_json(response, 200,
                  json_pack("{s:I, s:I}", "size", (json_int_t)size, "sum", (json_int_t)sum));
}

/* How the last reading of parts ended, for clients that are no longer there to be told. */
static atomic_int last_status, readers;

/* Answers what each of the first parts was, and their number. */
static void read_parts(struct request *request, struct response *response, void *context)
{
    struct part part;
    struct error err = {0};
    json_t *list = json_array();
    int status, count = 0, too_large = 0;
    long long total = 0;

    (void)context;
    atomic_fetch_add(&readers, 1);
    while ((status = request_next_part(request, PART_MAX, &part, &err)) == 1 ||
           status == STATUS_TOO_LARGE) {
        too_large += status == STATUS_TOO_LARGE;
        count++;
        total += (long long)part.size;
        if (count <= 5)
            json_array_append_new(list,
                                  json_pack("{s:s, s:s?, s:s?, s:I}", "name", part.name, "filename",
                                            part.filename, "type", part.content_type, "size",
                                            (json_int_t)part.size));
    }
    atomic_store(&last_status, status);
    atomic_fetch_sub(&readers, 1);
    if (status < 0) {
        json_decref(list);
        response_error(response, &err);
        return;
    }
    response_json(response, 200,
                  json_pack("{s:i, s:i, s:I, s:o}", "count", count, "too_large", too_large, "total",
                            (json_int_t)total, "parts", list));
}

static void refuse(struct request *request, struct response *response, void *context)
{
    const struct error err = {STATUS_NO_SPACE, "the disk is full"};
    (void)request;
    (void)context;
    response_error(response, &err);
}

/* Reads one part and answers, whatever follows. */
static void read_one(struct request *request, struct response *response, void *context)
{
    struct part part;
    struct error err = {0};
    (void)context;
    const int status = request_next_part(request, PART_MAX, &part, &err);
    response_json(response, 200, json_pack("{s:i}", "status", status));
}

static const struct route routes[] = {
    {.method = "POST", .path = "/bytes", .handler = count_bytes, .body_max = 1000000},
    {.method = "GET", .path = "/none", .handler = count_bytes},
    {.method = "POST", .path = "/parts", .handler = read_parts, .body_max = 1000000},
    {.method = "POST",
     .path = "/stream",
     .handler = read_parts,
     .flags = ROUTE_STREAMS_BODY,
     .body_max = 200000000},
    {.method = "POST",
     .path = "/refuse",
     .handler = refuse,
     .flags = ROUTE_STREAMS_BODY,
     .body_max = 200000000},
    {.method = "POST",
     .path = "/one",
     .handler = read_one,
     .flags = ROUTE_STREAMS_BODY,
     .body_max = 200000000},
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
    fixture_await_metric(&fixture, "ocelli_http_connections", 0);
    assert_int_equal(readers, 0);
    fixture_stop(&fixture);
    return 0;
}

/* --- A client that sends what it is told */

static void *filled(size_t size)
{
    unsigned char *bytes = malloc(size + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 251);
    return bytes;
}

static void send_headers(int fd, const char *target, const char *headers)
{
    char request[1024];
    snprintf(request, sizeof request, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n", target, headers);
    client_send_text(fd, request);
}

static struct answer receive(int fd, int status)
{
    struct answer answer;
    if (client_read(fd, false, &answer) != 0)
        fail_msg("no answer; %d expected", status);
    if (answer.status != status)
        fail_msg("%d, not %d: %s", answer.status, status, answer.body);
    return answer;
}

static void assert_answer(int fd, int status, const char *expected)
{
    struct answer answer = receive(fd, status);
    if (strstr(answer.body, expected) == NULL)
        fail_msg("no '%s' in '%s'", expected, answer.body);
    answer_free(&answer);
}

/* --- Whole bodies */

static void test_bodies_up_to_the_bound(void **state)
{
    static const size_t sizes[] = {0, 1, 16384, 16385, 999999, 1000000};
    char headers[128], expected[64];
    unsigned char *bytes = filled(1000000);
    (void)state;
    const int fd = client_connect(&fixture);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned sum = 0;
        for (size_t j = 0; j < sizes[i]; j++)
            sum += bytes[j];
        snprintf(headers, sizeof headers, "Content-Length: %zu\r\n", sizes[i]);
        snprintf(expected, sizeof expected, "{\"size\":%zu,\"sum\":%u}", sizes[i], sum);
        send_headers(fd, "/bytes", headers);
        assert_true(client_send(fd, bytes, sizes[i]));
        assert_answer(fd, 200, expected);
    }
    close(fd);
    free(bytes);
}

static void test_too_large_is_refused_by_its_length(void **state)
{
    (void)state;
    const int fd = client_connect(&fixture);
    send_headers(fd, "/bytes", "Content-Length: 1000001\r\n");
    assert_answer(fd, 413, "1000001 bytes; at most 1000000"); /* before a byte was sent */
    close(fd);
    const int other = client_connect(&fixture);
    send_headers(other, "/bytes", "Content-Length: 1000001\r\nExpect: 100-continue\r\n");
    assert_answer(other, 413, "1000001");
    close(other);
}

/* A client that does not look up before it sent everything still gets its answer. */
static void test_too_large_is_told_to_who_sends_first(void **state)
{
    enum { SIZE = 20000000 };
    unsigned char *bytes = filled(SIZE);
    (void)state;
    for (int i = 0; i < 3; i++) {
        const int fd = client_connect(&fixture);
        send_headers(fd, "/bytes", "Content-Length: 20000000\r\n");
        assert_true(client_send(fd, bytes, SIZE));
        struct answer answer = receive(fd, 413);
        assert_true(answer.closed);
        answer_free(&answer);
        close(fd);
    }
    free(bytes);
}

static void test_small_refused_bodies_keep_the_connection(void **state)
{
    (void)state;
    const int fd = client_connect(&fixture);
    for (int i = 0; i < 3; i++) {
        send_headers(fd, "/nothing", "Content-Length: 5\r\n");
        client_send_text(fd, "12345");
        struct answer answer = receive(fd, 404);
        assert_false(answer.closed);
        answer_free(&answer);
    }
    client_send_text(fd, "GET /none HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab");
    assert_answer(fd, 413, "takes no body");
    send_headers(fd, "/bytes", "Content-Length: 2\r\n");
    client_send_text(fd, "ab");
    assert_answer(fd, 200, "\"size\":2");
    close(fd);
}

/* Sends a body in chunks of `chunk` bytes; false when the connection broke. */
static bool send_chunked(int fd, const unsigned char *bytes, size_t size, size_t chunk)
{
    char head[32];
    for (size_t at = 0; at < size; at += chunk) {
        const size_t length = size - at < chunk ? size - at : chunk;
        snprintf(head, sizeof head, "%zx\r\n", length);
        if (!client_send_text(fd, head) || !client_send(fd, bytes + at, length) ||
            !client_send_text(fd, "\r\n"))
            return false;
    }
    return client_send_text(fd, "0\r\n\r\n");
}

static void test_chunked_bodies(void **state)
{
    unsigned char *bytes = filled(3000000);
    (void)state;
    const int fd = client_connect(&fixture);
    send_headers(fd, "/bytes", "Transfer-Encoding: chunked\r\n");
    assert_true(send_chunked(fd, bytes, 1000000, 7919));
    assert_answer(fd, 200, "\"size\":1000000,");
    send_headers(fd, "/bytes", "Transfer-Encoding: chunked\r\n");
    assert_true(send_chunked(fd, bytes, 3000000, 65536));
    assert_answer(fd, 413, "over 1000000 bytes");
    close(fd);
    assert_true(fixture_metric(&fixture, "ocelli_http_refused_total{reason=\"too_large\"}") == 1);
    free(bytes);
}

static void test_expect_continue(void **state)
{
    char line[64] = "";
    (void)state;
    const int fd = client_connect(&fixture);
    send_headers(fd, "/bytes", "Content-Length: 3\r\nExpect: 100-continue\r\n");
    assert_int_equal(recv(fd, line, 25, MSG_WAITALL), 25);
    assert_string_equal(line, "HTTP/1.1 100 Continue\r\n\r\n");
    client_send_text(fd, "abc");
    assert_answer(fd, 200, "\"size\":3,");
    close(fd);
}

static void test_memory_of_all_bodies_is_bounded(void **state)
{
    enum { CLIENTS = 4, SENT = 900000 };
    static const char *const settings[] = {"bodies_bytes_max", "2097152", NULL};
    int fds[CLIENTS], refused = 0;
    unsigned char *bytes = filled(1000000);
    (void)state;
    fixture_start(&fixture, routes, NULL, settings);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = client_connect(&fixture);
        send_headers(fds[i], "/bytes", "Content-Length: 1000000\r\n");
        assert_true(client_send(fds[i], bytes, SENT));
        fixture_await_metric(&fixture, "ocelli_http_bodies_bytes", i == 0 ? 1e6 : 2e6);
    }
    fixture_await_metric(&fixture, "ocelli_http_refused_total{reason=\"memory\"}", 2);
    for (int i = 0; i < CLIENTS; i++) {
        struct answer answer;
        assert_true(client_send(fds[i], bytes, 1000000 - SENT));
        assert_int_equal(client_read(fds[i], false, &answer), 0);
        refused += answer.status == 503;
        answer_free(&answer);
    }
    assert_int_equal(refused, 2);
    send_headers(fds[0], "/bytes", "Content-Length: 1000000\r\n");
    assert_true(client_send(fds[0], bytes, 1000000));
    assert_answer(fds[0], 200, "\"size\":1000000,");
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    free(bytes);
    fixture_stop(&fixture);
}

/* --- Multipart */

static void send_form(int fd, const char *target, const char *body)
{
    char headers[256];
    snprintf(headers, sizeof headers,
             "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: %zu\r\n",
             strlen(body));
    send_headers(fd, target, headers);
    client_send_text(fd, body);
}

static const char *const targets[] = {"/parts", "/stream"};

static void test_parts_in_memory_and_streamed_are_the_same(void **state)
{
    static const char body[] =
        "--B\r\nContent-Disposition: form-data; name=\"label\"\r\n\r\ncat\r\n"
        "--B\r\nContent-Disposition: form-data; name=\"file\"; "
        "filename=\"C:\\\\a\\\\b.png\"\r\nContent-Type: image/png\r\n\r\n"
        "\r\n--\r\n--B--\r\n";
    (void)state;
    for (int i = 0; i < 2; i++) {
        const int fd = client_connect(&fixture);
        send_form(fd, targets[i], body);
        assert_answer(
            fd, 200,
            "{\"count\":2,\"too_large\":0,\"total\":7,\"parts\":["
            "{\"name\":\"label\",\"filename\":null,\"type\":null,\"size\":3},"
            "{\"name\":\"file\",\"filename\":\"b.png\",\"type\":\"image/png\",\"size\":4}]}");
        close(fd);
    }
}

static void test_broken_forms(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        const int fd = client_connect(&fixture);
        send_form(fd, targets[i], "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\ncut");
        assert_answer(fd, 422, "ends before its closing boundary");
        send_form(fd, targets[i], "--B\r\nno header\r\n\r\nx\r\n--B--");
        assert_answer(fd, 422, "form-data");
        send_form(fd, targets[i], "nothing of the kind");
        assert_answer(fd, 422, "ends before");
        send_headers(fd, targets[i], "Content-Type: text/plain\r\nContent-Length: 1\r\n");
        client_send_text(fd, "x");
        close(fd);
        const int other = client_connect(&fixture);
        send_headers(other, targets[i], "Content-Type: image/png\r\nContent-Length: 1\r\n");
        client_send_text(other, "x");
        assert_answer(other, 415, "image/png");
        close(other);
    }
}

struct upload {
    long parts, sent;
    size_t part_size;
    char head[256];
    size_t head_size, in_part; /* bytes of head and content of the part sent */
    bool closed;
};

/* Makes the body up while it is sent. */
static size_t produce(char *out, size_t size, size_t count, void *context)
{
    struct upload *upload = context;
    size_t room = size * count, made = 0;

    while (made < room && !upload->closed) {
        if (upload->in_part == 0)
            upload->head_size =
                (size_t)snprintf(upload->head, sizeof upload->head,
                                 upload->sent < upload->parts
                                     ? "\r\n--B\r\nContent-Disposition: form-data; name=\"files\"; "
                                       "filename=\"%ld.bin\"\r\n\r\n"
                                     : "\r\n--B--\r\n",
                                 upload->sent);
        if (upload->in_part < upload->head_size) {
            out[made++] = upload->head[upload->in_part++];
            if (upload->in_part == upload->head_size && upload->sent == upload->parts)
                upload->closed = true;
            continue;
        }
        size_t fill = upload->head_size + upload->part_size - upload->in_part;
        if (fill > room - made)
            fill = room - made;
        memset(out + made, 'x', fill);
        made += fill;
        upload->in_part += fill;
        if (upload->in_part == upload->head_size + upload->part_size) {
            upload->in_part = 0;
            upload->sent++;
        }
    }
    return made;
}

static size_t collect(char *bytes, size_t size, size_t count, void *context)
{
    char *text = context;
    const size_t length = strlen(text), more = size * count;
    if (length + more < 4096) {
        memcpy(text + length, bytes, more);
        text[length + more] = '\0';
    }
    return more;
}

static long upload_parts(struct upload *upload, char *answer)
{
    char url[128];
    long status = 0;
    CURL *curl = curl_easy_init();
    struct curl_slist *headers =
        curl_slist_append(NULL, "Content-Type: multipart/form-data; boundary=B");

    headers = curl_slist_append(headers, "Expect:");
    headers = curl_slist_append(headers, "Transfer-Encoding: chunked");
    answer[0] = '\0';
    snprintf(url, sizeof url, "http://127.0.0.1:%d/stream", server_port(fixture.server));
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, produce);
    curl_easy_setopt(curl, CURLOPT_READDATA, upload);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    const CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK)
        fail_msg("%s", curl_easy_strerror(code));
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return status;
}

static void test_ten_thousand_parts_in_flat_memory(void **state)
{
    static char answer[4096];
    struct upload warm_up = {.parts = 100, .part_size = 4000};
    struct upload upload = {.parts = 10000, .part_size = 4000};
    (void)state;
    assert_int_equal(upload_parts(&warm_up, answer), 200);
    const double before = process_resident_bytes();
    assert_int_equal(upload_parts(&upload, answer), 200);
    const double growth = process_resident_bytes() - before;
    assert_non_null(strstr(answer, "{\"count\":10000,\"too_large\":0,\"total\":40000000,"));
    assert_non_null(strstr(answer, "\"filename\":\"0.bin\",\"type\":null,\"size\":4000"));
    if (growth > 8e6)
        fail_msg("memory grew by %.0f bytes", growth);
}

static void test_one_part_too_large_does_not_stop_the_others(void **state)
{
    static char answer[4096];
    struct upload upload = {.parts = 3, .part_size = 1000000};
    (void)state;
    assert_int_equal(upload_parts(&upload, answer), 200);
    assert_non_null(strstr(answer, "{\"count\":3,\"too_large\":3,\"total\":0,"));
    assert_non_null(strstr(answer, "\"filename\":\"2.bin\""));
}

static void test_too_many_parts_or_bytes(void **state)
{
    static const char *const settings[] = {"batch_files_max", "10", NULL};
    static char answer[4096];
    struct upload many = {.parts = 1000, .part_size = 10};
    struct upload huge = {.parts = 2500, .part_size = 90000};
    (void)state;
    fixture_start(&fixture, routes, NULL, settings);
    assert_int_equal(upload_parts(&many, answer), 400);
    assert_non_null(strstr(answer, "more than 74 parts"));
    fixture_stop(&fixture);
    fixture_start(&fixture, routes, NULL, NULL);
    assert_int_equal(upload_parts(&huge, answer), 413);
    assert_non_null(strstr(answer, "over 200000000 bytes"));
    fixture_stop(&fixture);
}

/* --- Answers before the end of the body */

static void test_streaming_refusal_comes_before_the_body(void **state)
{
    (void)state;
    const int fd = client_connect(&fixture);
    send_headers(fd, "/refuse", "Content-Length: 100000000\r\nExpect: 100-continue\r\n");
    assert_answer(fd, 507, "the disk is full");
    close(fd);
    unsigned char *bytes = filled(5000000);
    const int other = client_connect(&fixture);
    send_headers(other, "/refuse", "Content-Length: 5000000\r\n");
    assert_true(client_send(other, bytes, 5000000));
    assert_answer(other, 507, "the disk is full");
    close(other);
    free(bytes);
}

static void test_handler_may_answer_in_the_middle(void **state)
{
    enum { SIZE = 3000000 };
    static const char head[] =
        "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--B\r\n"
        "Content-Disposition: form-data; name=\"b\"\r\n\r\n";
    unsigned char *bytes = filled(SIZE);
    (void)state;
    memcpy(bytes, head, sizeof head - 1);
    const int fd = client_connect(&fixture);
    for (int i = 0; i < 2; i++) {
        send_headers(
            fd, "/one",
            "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 3000000\r\n");
        assert_true(client_send(fd, bytes, SIZE));
        assert_answer(fd, 200, "{\"status\":1}");
    }
    close(fd);
    free(bytes);
}

/* --- Clients that leave */

static void test_short_bodies_are_dropped_and_counted(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        const int fd = client_connect(&fixture);
        send_headers(fd, "/bytes", "Content-Length: 1000\r\n");
        client_send_text(fd, "not a thousand");
        close(fd);
    }
    fixture_await_metric(&fixture, "ocelli_http_refused_total{reason=\"aborted\"}", 5);
}

static void await_readers(int count)
{
    for (int i = 0; i < 2000 && readers != count; i++)
        clock_sleep_ms(5);
    assert_int_equal(readers, count);
}

static void test_streams_that_break_off_end_their_handlers(void **state)
{
    enum { CLIENTS = 20 };
    (void)state;
    for (int i = 0; i < CLIENTS; i++) {
        const int fd = client_connect(&fixture);
        send_headers(
            fd, "/stream",
            "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 10000000\r\n");
        client_send_text(fd, "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nsome");
        await_readers(1); /* a reset would take back what was not read yet */
        if (i % 2) {      /* a reset, in place of an end */
            const struct linger reset = {.l_onoff = 1};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        }
        close(fd);
        await_readers(0);
        assert_int_equal(last_status, STATUS_CORRUPT);
    }
    fixture_await_metric(&fixture, "ocelli_http_refused_total{reason=\"aborted\"}", CLIENTS);
}

static void test_slow_clients_time_out(void **state)
{
    static const char *const settings[] = {"request_timeout_seconds", "1", NULL};
    char byte;
    (void)state;
    fixture_start(&fixture, routes, NULL, settings);
    const int fd = client_connect(&fixture), other = client_connect(&fixture);
    send_headers(fd, "/stream",
                 "Content-Type: multipart/form-data; boundary=B\r\nContent-Length: 10000000\r\n");
    client_send_text(fd, "--B\r\n");
    client_send_text(other, "GET / HT");
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    assert_true(recv(other, &byte, 1, 0) <= 0);
    fixture_await_metric(&fixture, "ocelli_http_refused_total{reason=\"timeout\"}", 1);
    close(fd);
    close(other);
    fixture_stop(&fixture);
}

#define SERVER_TEST(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SERVER_TEST(test_bodies_up_to_the_bound),
        SERVER_TEST(test_too_large_is_refused_by_its_length),
        SERVER_TEST(test_too_large_is_told_to_who_sends_first),
        SERVER_TEST(test_small_refused_bodies_keep_the_connection),
        SERVER_TEST(test_chunked_bodies),
        SERVER_TEST(test_expect_continue),
        cmocka_unit_test(test_memory_of_all_bodies_is_bounded),
        SERVER_TEST(test_parts_in_memory_and_streamed_are_the_same),
        SERVER_TEST(test_broken_forms),
        SERVER_TEST(test_ten_thousand_parts_in_flat_memory),
        SERVER_TEST(test_one_part_too_large_does_not_stop_the_others),
        cmocka_unit_test(test_too_many_parts_or_bytes),
        SERVER_TEST(test_streaming_refusal_comes_before_the_body),
        SERVER_TEST(test_handler_may_answer_in_the_middle),
        SERVER_TEST(test_short_bodies_are_dropped_and_counted),
        SERVER_TEST(test_streams_that_break_off_end_their_handlers),
        cmocka_unit_test(test_slow_clients_time_out),
    };
    curl_global_init(CURL_GLOBAL_DEFAULT);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
