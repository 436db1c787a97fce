/* `ocelli topics`: the topics of a running server, their messages, and how far behind groups are.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cmd/client.h"
#include "cmd/command.h"
#include "cmd/settings.h"
#include "cmd/table.h"
#include "cmd/terminal.h"

enum { POLL_MS = 500, PAGE = 100, PATH_SIZE = 512 };

struct values {
    const char *url;
    int64_t limit;
    bool json, no_follow;
};

static const struct option options[] = {
    {.name = "limit",
     .letter = 'n',
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct values, limit),
     .value = "N",
     .help = "tail: the last N messages to begin with; 10 when not given",
     .low = 0,
     .high = 1000},
    {.name = "no-follow",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct values, no_follow),
     .help = "tail: leave after those, instead of waiting for more"},
    {.name = "url",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct values, url),
     .value = "URL",
     .help = "where the server is; the settings' address when not given"},
    {.name = "json",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct values, json),
     .help = "print JSON; tail: an object a line and message"},
    {.name = NULL},
};

static const struct usage usage = {
    .name = "topics",
    .arguments = "list|tail TOPIC|lag",
    .summary = "show a running server's topics, their messages, and how far behind readers are",
    .details = "list         every topic with its messages and groups\n"
               "tail TOPIC   the last messages of a topic, and then each new one, until Ctrl-C\n"
               "lag          for each group of readers, how many messages it has not read yet",
    .options = options,
};

static int64_t integer_of(const json_t *object, const char *name)
{
    return (int64_t)json_integer_value(json_object_get(object, name));
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static int print_json(const json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    return STATUS_OK;
}

static int print_table(const struct table *table, const struct terminal *terminal,
                       struct error *err)
{
    struct buffer out = {0};

    table_print(table, terminal, 0, &out);
    const bool ok = buffer_ok(&out) && !table->failed;
    if (ok && out.size > 0)
        fwrite(out.data, 1, out.size, stdout);
    buffer_free(&out);
    return ok ? STATUS_OK : error_set(err, STATUS_NO_MEMORY, "no memory for a table");
}

/* --- list and lag ----------------------------------------------------------------------------- */

static int print_topics(const json_t *topics, const struct terminal *terminal, struct error *err)
{
    static const struct table_column columns[] = {
        {"topic", false}, {"partitions", true}, {"messages", true}, {"groups", true}};
    struct table table;
    json_t *topic;
    size_t i;

    table_open(&table, columns, 4);
    json_array_foreach (topics, i, topic) {
        table_cell(&table, STYLE_PLAIN, "%s", text_of(topic, "topic"));
        table_cell(&table, STYLE_PLAIN, "%zu",
                   json_array_size(json_object_get(topic, "partitions")));
        table_cell(&table, STYLE_PLAIN, "%" PRId64, integer_of(topic, "messages"));
        table_cell(&table, STYLE_PLAIN, "%zu", json_array_size(json_object_get(topic, "groups")));
    }
    const int status = print_table(&table, terminal, err);
    table_free(&table);
    return status;
}

static int print_lags(const json_t *topics, const struct terminal *terminal, struct error *err)
{
    static const struct table_column columns[] = {
        {"group", false}, {"topic", false}, {"offset", true}, {"lag", true}};
    struct table table;
    json_t *topic, *group;
    size_t i, j;

    table_open(&table, columns, 4);
    json_array_foreach (topics, i, topic) {
        json_array_foreach (json_object_get(topic, "groups"), j, group) {
            const int64_t lag = integer_of(group, "lag");
            table_cell(&table, STYLE_PLAIN, "%s", text_of(group, "group"));
            table_cell(&table, STYLE_PLAIN, "%s", text_of(topic, "topic"));
            table_cell(&table, STYLE_PLAIN, "%" PRId64, integer_of(group, "offset_committed"));
            table_cell(&table, lag > 0 ? STYLE_YELLOW : STYLE_GREEN, "%" PRId64, lag);
        }
    }
    const int status = print_table(&table, terminal, err);
    table_free(&table);
    return status;
}

static int list(struct client *client, bool lags, bool json, struct error *err)
{
    struct terminal terminal;
    json_t *answer;

    int status = client_get(client, "/topics", &answer, err);
    if (status != STATUS_OK)
        return status;
    const json_t *topics = json_object_get(answer, "topics");
    terminal_open(&terminal, stdout);
    if (json)
        status = print_json(topics != NULL ? topics : answer);
    else if (lags)
        status = print_lags(topics, &terminal, err);
    else
        status = print_topics(topics, &terminal, err);
    json_decref(answer);
    return status;
}

/* --- tail ------------------------------------------------------------------------------------- */

static void print_message(const json_t *message, const struct terminal *terminal, bool json)
{
    char key[128];

    if (json) {
        json_dumpf(message, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
        return;
    }
    printf("%s%8" PRId64 "  %s  %s%s  ", terminal_style(terminal, STYLE_DIM),
           integer_of(message, "offset"), text_of(message, "timestamp"),
           text_printable(text_of(message, "key"), key, sizeof key),
           terminal_style(terminal, STYLE_PLAIN));
    json_dumpf(json_object_get(message, "value"), stdout,
               JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    putchar('\n');
}

/* Prints the messages from offset *from (negative: the last ones) on and moves it behind them. */
static int print_messages(struct client *client, const char *topic, int64_t limit, bool json,
                          int64_t *from, int *count, struct error *err)
{
    struct terminal terminal;
    char path[PATH_SIZE];
    json_t *answer, *message;
    size_t i;

    snprintf(path, sizeof path, "/topics/%s/messages?from=%" PRId64 "&limit=%" PRId64, topic, *from,
             limit);
    const int status = client_get(client, path, &answer, err);
    if (status != STATUS_OK)
        return status;
    const json_t *messages = json_object_get(answer, "messages");
    terminal_open(&terminal, stdout);
    json_array_foreach (messages, i, message) {
        print_message(message, &terminal, json);
        *from = integer_of(message, "offset") + 1;
    }
    *count = (int)json_array_size(messages);
    fflush(stdout);
    json_decref(answer);
    return STATUS_OK;
}

/* The offset that the next message will have; STATUS_NOT_FOUND for a topic that is not there. */
static int next_offset(struct client *client, const char *name, int64_t *next, struct error *err)
{
    json_t *answer, *topic;
    size_t i;

    int status = client_get(client, "/topics", &answer, err);
    if (status != STATUS_OK)
        return status;
    status = STATUS_NOT_FOUND;
    json_array_foreach (json_object_get(answer, "topics"), i, topic) {
        if (strcmp(text_of(topic, "topic"), name) != 0)
            continue;
        const json_t *partition = json_array_get(json_object_get(topic, "partitions"), 0);
        *next = integer_of(partition, "offset_next");
        status = STATUS_OK;
    }
    json_decref(answer);
    if (status != STATUS_OK)
        return error_set(err, STATUS_NOT_FOUND,
                         "there is no topic '%.64s'; `ocelli topics list` shows those there are",
                         name);
    return STATUS_OK;
}

static int tail(struct client *client, const char *topic, const struct values *values,
                struct error *err)
{
    char *escaped = client_escape(client, topic);
    int64_t from = 0;
    int count = 0;

    if (escaped == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a topic's name");
    int status = next_offset(client, topic, &from, err);
    if (status == STATUS_OK && values->limit > 0) {
        int64_t last = -values->limit;
        status = print_messages(client, escaped, values->limit, values->json, &last, &count, err);
        if (count > 0)
            from = last;
    }
    while (status == STATUS_OK && !values->no_follow) {
        if (count < PAGE)
            clock_sleep_ms(POLL_MS);
        status = print_messages(client, escaped, PAGE, values->json, &from, &count, err);
    }
    client_escaped_free(escaped);
    return status;
}

/* --- The command ------------------------------------------------------------------------------ */

static int dispatch(const struct command_line *line, const struct values *values, struct error *err)
{
    const char *action = line->argument_count > 0 ? line->arguments[0] : "";
    const bool is_tail = strcmp(action, "tail") == 0;
    struct client *client;

    if (!is_tail && strcmp(action, "list") != 0 && strcmp(action, "lag") != 0)
        return error_set(err, STATUS_INVALID,
                         "say what to show: list, tail TOPIC or lag; see `ocelli topics --help`");
    if (line->argument_count != (is_tail ? 2 : 1))
        return error_set(err, STATUS_INVALID,
                         is_tail ? "tail takes the name of one topic" : "%s takes no names",
                         action);
    int status = client_open(line->config, values->url, &client, err);
    if (status != STATUS_OK)
        return status;
    if (is_tail)
        status = tail(client, line->arguments[1], values, err);
    else
        status = list(client, strcmp(action, "lag") == 0, values->json, err);
    client_close(client);
    return status;
}

static int run(int argc, char **argv)
{
    struct values values = {.limit = 10};
    struct command_line line;
    struct error err = {0};

    int status = settings_parse(&usage, argc, argv, &values, sizeof values, &line, &err);
    if (status != STATUS_OK)
        return command_fail("topics", &err);
    if (!line.help)
        status = dispatch(&line, &values, &err);
    command_line_free(&line);
    return status == STATUS_OK ? 0 : command_fail("topics", &err);
}

const struct command command_topics = {&usage, run};
