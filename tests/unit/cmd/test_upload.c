/* Uploading against a real server whose answers this test decides: what a busy one puts off arrives
 * once, what is refused is counted, and what cannot go on says why. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "cmd/client.h"
#include "cmd/upload.h"
#include "http/server.h"

enum { IMAGES_MAX = 64, NAME_SIZE = 64 };

/* Takes images in. A file is answered by how its name begins: "busy" with 503 the first time,
 * "full" with 507 the first time, "bad" with 415, "sick" with 500. */
struct office {
    pthread_mutex_t lock;
    struct {
        char name[NAME_SIZE], label[NAME_SIZE], source[NAME_SIZE];
        size_t size;
    } taken[IMAGES_MAX];
    int taken_count;
    char put_off[IMAGES_MAX][NAME_SIZE];
    int put_off_count;
};

struct fixture {
    struct office office;
    struct config *config;
    struct metrics *metrics;
    struct route_table table;
    struct server *server;
    char folder[64], url[64];
};

/* --- The server ------------------------------------------------------------------------------- */

static bool begins(const char *name, const char *how)
{
    return strncmp(name, how, strlen(how)) == 0;
}

/* Whether this is the first time, which is noted. */
static bool put_off(struct office *office, const char *name)
{
    for (int i = 0; i < office->put_off_count; i++)
        if (strcmp(office->put_off[i], name) == 0)
            return false;
    if (office->put_off_count < IMAGES_MAX)
        snprintf(office->put_off[office->put_off_count++], NAME_SIZE, "%s", name);
    return true;
}

static enum status decide(struct office *office, const char *name)
{
    if (begins(name, "busy") && put_off(office, name))
        return STATUS_BUSY;
    if (begins(name, "full") && put_off(office, name))
        return STATUS_NO_SPACE;
    if (begins(name, "bad"))
        return STATUS_UNSUPPORTED;
    return begins(name, "sick") ? STATUS_INTERNAL : STATUS_OK;
}

static void keep_text(char field[NAME_SIZE], const struct part *part)
{
    snprintf(field, NAME_SIZE, "%.*s", (int)part->size, (const char *)part->bytes);
}

static void handle_upload(struct request *request, struct response *response, void *context)
{
    struct office *office = context;
    char label[NAME_SIZE] = "", source[NAME_SIZE] = "", name[NAME_SIZE] = "";
    size_t size = 0;
    struct part part;
    struct error err = {0};

    while (request_next_part(request, 1 << 20, &part, &err) == 1) {
        if (strcmp(part.name, "label") == 0)
            keep_text(label, &part);
        else if (strcmp(part.name, "source") == 0)
            keep_text(source, &part);
        else if (strcmp(part.name, "file") == 0) {
            snprintf(name, sizeof name, "%s", part.filename);
            size = part.size;
        }
    }
    pthread_mutex_lock(&office->lock);
    const enum status status = decide(office, name);
    if (status == STATUS_OK && office->taken_count < IMAGES_MAX) {
        const int i = office->taken_count++;
        snprintf(office->taken[i].name, NAME_SIZE, "%s", name);
        snprintf(office->taken[i].label, NAME_SIZE, "%s", label);
        snprintf(office->taken[i].source, NAME_SIZE, "%s", source);
        office->taken[i].size = size;
    }
    pthread_mutex_unlock(&office->lock);
    if (status == STATUS_OK) {
        response_json(response, 200, json_object());
    } else {
        error_set(&err, status, "not '%s'", name);
        response_error(response, &err);
    }
}

static const struct route_answer answers[] = {{200, "application/json", "{}", "taken"}, {0}};
static const struct route routes[] = {
    {"POST", "/upload", handle_upload, SCOPE_WRITE, ROUTE_STREAMS_BODY, 1 << 20, "images", "Take",
     NULL, NULL, answers},
    {NULL},
};

static void start_server(struct fixture *fixture, const char *api_key)
{
    assert_int_equal(config_create(&fixture->config, NULL), STATUS_OK);
    assert_int_equal(config_set(fixture->config, "port", "0", CONFIG_FLAG, NULL), STATUS_OK);
    assert_int_equal(config_set(fixture->config, "api_key", api_key, CONFIG_FLAG, NULL), STATUS_OK);
    assert_int_equal(metrics_create(&fixture->metrics, NULL), STATUS_OK);
    fixture->table = (struct route_table){routes, &fixture->office};
    assert_int_equal(
        server_start(fixture->config, fixture->metrics, &fixture->table, 1, &fixture->server, NULL),
        STATUS_OK);
    snprintf(fixture->url, sizeof fixture->url, "127.0.0.1:%d/", server_port(fixture->server));
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    if (fixture == NULL)
        return -1;
    pthread_mutex_init(&fixture->office.lock, NULL);
    snprintf(fixture->folder, sizeof fixture->folder, "/tmp/ocelli-upload-XXXXXX");
    if (mkdtemp(fixture->folder) == NULL)
        return -1;
    start_server(fixture, "sesame");
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    server_stop(fixture->server, 1000);
    metrics_free(fixture->metrics);
    config_free(fixture->config);
    folder_remove(fixture->folder, NULL);
    pthread_mutex_destroy(&fixture->office.lock);
    free(fixture);
    return 0;
}

/* --- The source ------------------------------------------------------------------------------- */

static const uint8_t png_head[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0,    0, 0,
                                   13,   'I', 'H', 'D', 'R',  0,    0,    0,    7,    0, 0,
                                   0,    5,   8,   2,   0,    0,    0,    0x18, 0x2b, 1, 0x32};

static void put_image(const struct fixture *fixture, const char *label, const char *name)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", fixture->folder, label);
    assert_int_equal(folder_make(path, false, NULL), STATUS_OK);
    snprintf(path, sizeof path, "%s/%s/%s", fixture->folder, label, name);
    assert_int_equal(file_write_atomic(path, png_head, sizeof png_head, false, NULL), STATUS_OK);
}

static int open_folder(void *context, struct source **out, struct error *err)
{
    const struct fixture *fixture = context;
    return source_open_folder(fixture->folder, 1, 0, out, err);
}

static struct upload_options default_options(struct fixture *fixture)
{
    return (struct upload_options){
        .config = fixture->config,
        .url = fixture->url,
        .source_name = "folder",
        .limit = -1,
        .concurrency = 3,
        .open = open_folder,
        .context = fixture,
    };
}

static int upload(const struct upload_options *options, struct upload_counts *counts,
                  struct error *err)
{
    struct upload *running;
    const int status = upload_start(options, &running, err);
    return status == STATUS_OK ? upload_finish(running, counts, err) : status;
}

static int times_taken(const struct fixture *fixture, const char *name)
{
    int times = 0;
    for (int i = 0; i < fixture->office.taken_count; i++)
        times += strcmp(fixture->office.taken[i].name, name) == 0;
    return times;
}

/* --- The tests -------------------------------------------------------------------------------- */

static void test_everything_arrives_once(void **state)
{
    struct fixture *fixture = *state;
    struct upload_options options = default_options(fixture);
    struct upload_counts counts;
    struct error err = {0};
    char name[NAME_SIZE];

    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "%d.png", i);
        put_image(fixture, i % 2 == 0 ? "cat" : "dog", name);
    }
    assert_int_equal(upload(&options, &counts, &err), STATUS_OK);
    assert_int_equal(counts.total, 20);
    assert_int_equal(counts.accepted, 20);
    assert_int_equal(counts.times.total, 20);
    assert_int_equal(counts.bytes, 20 * sizeof png_head);
    assert_int_equal(counts.refused + counts.failed + counts.unreadable + counts.waits, 0);
    assert_int_equal(fixture->office.taken_count, 20);
    for (int i = 0; i < 20; i++) {
        const bool even = atoi(fixture->office.taken[i].name) % 2 == 0;
        snprintf(name, sizeof name, "%d.png", i);
        assert_int_equal(times_taken(fixture, name), 1);
        assert_string_equal(fixture->office.taken[i].label, even ? "cat" : "dog");
        assert_string_equal(fixture->office.taken[i].source, "folder");
        assert_int_equal(fixture->office.taken[i].size, sizeof png_head);
    }
}

static void test_what_is_put_off_arrives_once(void **state)
{
    struct fixture *fixture = *state;
    struct upload_options options = default_options(fixture);
    struct upload_counts counts;
    struct error err = {0};

    put_image(fixture, "cat", "busy-1.png");
    put_image(fixture, "cat", "full-1.png");
    put_image(fixture, "cat", "plain.png");
    assert_int_equal(upload(&options, &counts, &err), STATUS_OK);
    assert_int_equal(counts.accepted, 3);
    assert_int_equal(counts.waits, 2);
    assert_int_equal(counts.waiting, 0);
    assert_int_equal(times_taken(fixture, "busy-1.png"), 1);
    assert_int_equal(times_taken(fixture, "full-1.png"), 1);
}

static void test_what_goes_wrong_is_counted_and_told(void **state)
{
    struct fixture *fixture = *state;
    struct upload_options options = default_options(fixture);
    struct upload_counts counts;
    struct error err = {0};

    put_image(fixture, "cat", "bad.png");
    put_image(fixture, "cat", "plain.png");
    put_image(fixture, "cat", "sick.png");
    options.concurrency = 1;
    assert_int_equal(upload(&options, &counts, &err), STATUS_OK);
    assert_int_equal(counts.accepted, 1);
    assert_int_equal(counts.refused, 1);
    assert_int_equal(counts.failed, 1);
    assert_int_equal(counts.problem_count, 2);
    assert_string_equal(counts.problems[0].name, "bad.png");
    assert_string_equal(counts.problems[0].message, "not 'bad.png'");
    assert_string_equal(counts.problems[1].name, "sick.png");
}

static void test_loops_to_the_limit(void **state)
{
    struct fixture *fixture = *state;
    struct upload_options options = default_options(fixture);
    struct upload_counts counts;
    struct error err = {0};

    put_image(fixture, "cat", "1.png");
    put_image(fixture, "cat", "2.png");
    put_image(fixture, "cat", "3.png");
    options.loop = true;
    options.limit = 8;
    assert_int_equal(upload(&options, &counts, &err), STATUS_OK);
    assert_int_equal(counts.total, 8);
    assert_int_equal(counts.accepted, 8);
    assert_int_equal(times_taken(fixture, "1.png"), 3);
    assert_int_equal(times_taken(fixture, "3.png"), 2);
}

/* The pace of one image an hour leaves all but the first for after the end. */
static void test_stops_early(void **state)
{
    struct fixture *fixture = *state;
    struct upload_options options = default_options(fixture);
    struct upload_counts counts;
    struct upload *running;
    struct error err = {0};

    put_image(fixture, "cat", "1.png");
    put_image(fixture, "cat", "2.png");
    options.rate = 1.0 / 3600.0;
    assert_int_equal(upload_start(&options, &running, &err), STATUS_OK);
    while (upload_look(running, &counts) && counts.accepted == 0)
        clock_sleep_ms(1);
    upload_stop(running);
    assert_int_equal(upload_finish(running, &counts, &err), STATUS_OK);
    assert_int_equal(counts.accepted, 1);
    assert_int_equal(counts.failed, 0);
    assert_int_equal(fixture->office.taken_count, 1);
}

static void test_a_wrong_key_ends_it(void **state)
{
    struct fixture *fixture = *state;
    struct upload_options options = default_options(fixture);
    struct upload_counts counts;
    struct config *config;
    struct error err = {0};

    put_image(fixture, "cat", "1.png");
    assert_int_equal(config_create(&config, NULL), STATUS_OK);
    assert_int_equal(config_set(config, "api_key", "open", CONFIG_FLAG, NULL), STATUS_OK);
    options.config = config;
    assert_int_equal(upload(&options, &counts, &err), STATUS_DENIED);
    assert_non_null(strstr(err.message, "OCELLI_API_KEY"));
    assert_int_equal(counts.accepted, 0);
    assert_int_equal(fixture->office.taken_count, 0);
    config_free(config);
}

static void test_no_server_ends_it(void **state)
{
    struct fixture *fixture = *state;
    struct upload_options options = default_options(fixture);
    struct upload_counts counts;
    struct error err = {0};

    put_image(fixture, "cat", "1.png");
    options.url = "http://127.0.0.1:1";
    assert_int_equal(upload(&options, &counts, &err), STATUS_UNAVAILABLE);
    assert_non_null(strstr(err.message, "http://127.0.0.1:1"));
    options.url = "gopher://127.0.0.1";
    assert_int_equal(upload(&options, &counts, &err), STATUS_INVALID);
}

static void test_no_source_is_told(void **state)
{
    struct fixture *fixture = *state;
    struct upload_options options = default_options(fixture);
    struct upload_counts counts;
    struct error err = {0};

    assert_int_equal(upload(&options, &counts, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, fixture->folder));
}

static void test_client_reads_problems(void **state)
{
    struct fixture *fixture = *state;
    struct client *client;
    struct error err = {0};
    json_t *answer = NULL;

    assert_int_equal(client_open(fixture->config, fixture->url, &client, &err), STATUS_OK);
    assert_int_equal(client_get(client, "/nowhere", &answer, &err), STATUS_NOT_FOUND);
    assert_int_not_equal(err.message[0], '\0');
    assert_null(answer);
    assert_false(client_never_connected(client));
    char *escaped = client_escape(client, "a/b c");
    assert_string_equal(escaped, "a%2Fb%20c");
    client_escaped_free(escaped);
    client_close(client);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(test_everything_arrives_once),
        WITH_SERVER(test_what_is_put_off_arrives_once),
        WITH_SERVER(test_what_goes_wrong_is_counted_and_told),
        WITH_SERVER(test_loops_to_the_limit),
        WITH_SERVER(test_stops_early),
        WITH_SERVER(test_a_wrong_key_ends_it),
        WITH_SERVER(test_no_server_ends_it),
        WITH_SERVER(test_no_source_is_told),
        WITH_SERVER(test_client_reads_problems),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
