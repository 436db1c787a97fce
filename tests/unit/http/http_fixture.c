/* The tests' server and client: see http_fixture.h. */
#include "http_fixture.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"

void fixture_start(struct fixture *fixture, const struct route *routes, void *context,
                   const char *const *settings)
{
    const struct route_table table = {routes, context};
    struct error err = {0};

    log_configure(LOG_ERROR, 0);
    assert_int_equal(config_create(&fixture->config, &err), 0);
    assert_int_equal(config_set(fixture->config, "port", "0", CONFIG_FLAG, &err), 0);
    for (; settings != NULL && settings[0] != NULL; settings += 2)
        if (config_set(fixture->config, settings[0], settings[1], CONFIG_FLAG, &err) != 0)
            fail_msg("%s", err.message);
    assert_int_equal(metrics_create(&fixture->metrics, &err), 0);
    if (server_start(fixture->config, fixture->metrics, &table, 1, &fixture->server, &err) != 0)
        fail_msg("%s", err.message);
}

void fixture_stop(struct fixture *fixture)
{
    server_stop(fixture->server, 5000);
    metrics_free(fixture->metrics);
    config_free(fixture->config);
}

double fixture_metric(struct fixture *fixture, const char *line)
{
    struct buffer text = {0};
    const size_t length = strlen(line);
    double value = 0;

    metrics_render(fixture->metrics, &text);
    assert_true(buffer_ok(&text));
    for (const char *at = text.data; at != NULL; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, line, length) == 0 && at[length] == ' ')
            value = strtod(at + length, NULL);
    }
    buffer_free(&text);
    return value;
}

void fixture_await_metric(struct fixture *fixture, const char *line, double value)
{
    for (int i = 0; i < 2000; i++) {
        if (fixture_metric(fixture, line) == value)
            return;
        clock_sleep_ms(5);
    }
    fail_msg("%s is %g, not %g", line, fixture_metric(fixture, line), value);
}

int client_connect(const struct fixture *fixture)
{
    const struct timeval patience = {.tv_sec = 20};
    struct sockaddr_in address = {.sin_family = AF_INET};
    const int on = 1;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    address.sin_port = htons((uint16_t)server_port(fixture->server));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

bool client_send(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;

    while (size > 0) {
        const ssize_t put = send(fd, at, size, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        at += put;
        size -= (size_t)put;
    }
    return true;
}

bool client_send_text(int fd, const char *text)
{
    return client_send(fd, text, strlen(text));
}

const char *answer_header(const struct answer *answer, const char *name)
{
    static _Thread_local char value[512];
    const size_t length = strlen(name);

    for (const char *at = answer->headers; at != NULL; at = strstr(at, "\r\n")) {
        at += strncmp(at, "\r\n", 2) == 0 ? 2 : 0;
        if (strncasecmp(at, name, length) != 0 || at[length] != ':')
            continue;
        at += length + 1;
        at += strspn(at, " ");
        const size_t size = strcspn(at, "\r");
        assert_true(size < sizeof value);
        memcpy(value, at, size);
        value[size] = '\0';
        return value;
    }
    return "";
}

static int read_headers(int fd, struct buffer *headers)
{
    char byte;

    while (headers->size < 4 || memcmp(headers->data + headers->size - 4, "\r\n\r\n", 4) != 0) {
        const ssize_t got = recv(fd, &byte, 1, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return -1;
        buffer_append(headers, &byte, 1);
    }
    return 0;
}

int client_read(int fd, bool head, struct answer *answer)
{
    struct buffer headers = {0};

    *answer = (struct answer){0};
    if (read_headers(fd, &headers) != 0) {
        buffer_free(&headers);
        return -1;
    }
    answer->headers = buffer_take(&headers, NULL);
    assert_non_null(answer->headers);
    answer->status = (int)strtol(answer->headers + strlen("HTTP/1.1 "), NULL, 10);
    answer->closed = strcasecmp(answer_header(answer, "Connection"), "close") == 0;
    const size_t size = strtoul(answer_header(answer, "Content-Length"), NULL, 10);
    answer->body = calloc(1, size + 1);
    assert_non_null(answer->body);
    while (!head && answer->body_size < size) {
        const ssize_t got = recv(fd, answer->body + answer->body_size, size - answer->body_size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            answer_free(answer);
            return -1;
        }
        answer->body_size += (size_t)got;
    }
    return 0;
}

void answer_free(struct answer *answer)
{
    free(answer->headers);
    free(answer->body);
    *answer = (struct answer){0};
}

void exchange_once(const struct fixture *fixture, const char *request, struct answer *answer)
{
    const int fd = client_connect(fixture);

    client_send_text(fd, request);
    if (client_read(fd, strncmp(request, "HEAD ", 5) == 0, answer) != 0)
        fail_msg("no answer to: %s", request);
    close(fd);
}
