/* `ocelli stream`: a folder of images, or CIFAR-10, to a running server. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "cmd/client.h"
#include "cmd/command.h"
#include "cmd/settings.h"
#include "cmd/terminal.h"
#include "cmd/upload.h"

enum { REDRAW_MS = 200, BACKLOG_POLL_MS = 200, BACKLOG_STUCK_S = 60 };

struct values {
    const char *data, *split, *url;
    double rate;
    int64_t limit, seed, concurrency;
    bool labelled, loop, wait, json;
};

static const struct option options[] = {
    {.name = "rate",
     .letter = 'r',
     .kind = OPTION_REAL,
     .offset = offsetof(struct values, rate),
     .value = "R",
     .help = "images a second; as fast as the server takes them when not given",
     .low = 0.001,
     .high = 1e6},
    {.name = "limit",
     .letter = 'n',
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct values, limit),
     .value = "N",
     .help = "stop after so many images",
     .low = 1,
     .high = 1e12},
    {.name = "labelled",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct values, labelled),
     .help = "the folder that a file lies in names its true class, which is sent along"},
    {.name = "data",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct values, data),
     .value = "DIR",
     .help = "cifar10: its official binary files, or folders train/ and test/ of class folders"},
    {.name = "split",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct values, split),
     .value = "NAME",
     .help = "cifar10: test (as when not given) or train"},
    {.name = "shuffle",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct values, seed),
     .value = "SEED",
     .help = "mix the images; the same seed gives the same order",
     .low = 1,
     .high = 1e15},
    {.name = "loop",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct values, loop),
     .help = "begin again at the end, until the limit or Ctrl-C"},
    {.name = "concurrency",
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct values, concurrency),
     .value = "N",
     .help = "connections to upload over; 8 when not given",
     .low = 1,
     .high = 256},
    {.name = "wait",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct values, wait),
     .help = "at the end, wait until all is classified and recorded, and time that too"},
    {.name = "url",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct values, url),
     .value = "URL",
     .help = "where the server is; the settings' address when not given"},
    {.name = "json",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct values, json),
     .help = "print the summary as JSON"},
    {.name = NULL},
};

static const struct usage usage = {
    .name = "stream",
    .arguments = "DIR|cifar10",
    .summary = "upload a folder of images, or CIFAR-10, to a running server",
    .details = "Nothing is lost: what a busy server puts off is sent again when it asks for it. "
               "Ctrl-C ends\nearly, with the summary. The exit status is 1 when any image was "
               "refused or failed.",
    .options = options,
};

/* What there is to stream. */
struct origin {
    const struct values *values;
    const char *argument; /* the folder, or "cifar10" */
};

/* --- The source ------------------------------------------------------------------------------- */

static bool is_cifar10(const struct origin *origin)
{
    return strcmp(origin->argument, "cifar10") == 0;
}

static bool exists_below(const char *folder, const char *name)
{
    struct buffer path = {0};

    buffer_print(&path, "%s/%s", folder, name);
    const bool there = buffer_ok(&path) && file_exists(path.data);
    buffer_free(&path);
    return there;
}

static int open_below(const char *folder, const char *name, const struct values *values,
                      struct source **out, struct error *err)
{
    struct buffer path = {0};
    int status;

    buffer_print(&path, "%s/%s", folder, name);
    if (!buffer_ok(&path))
        status = error_set(err, STATUS_NO_MEMORY, "no memory for a path");
    else if (strcmp(name, "cifar-10-batches-bin") == 0)
        status = source_open_cifar10(path.data, strcmp(values->split, "test") == 0,
                                     (uint64_t)values->seed, out, err);
    else
        status = source_open_folder(path.data, 1, (uint64_t)values->seed, out, err);
    buffer_free(&path);
    return status;
}

static int open_cifar10(const struct values *values, struct source **out, struct error *err)
{
    const bool test = strcmp(values->split, "test") == 0;
    const char *data = values->data;

    if (data == NULL)
        return error_set(err, STATUS_INVALID, "say with --data where CIFAR-10 is");
    if (exists_below(data, test ? "test_batch.bin" : "data_batch_1.bin"))
        return source_open_cifar10(data, test, (uint64_t)values->seed, out, err);
    if (exists_below(data, "cifar-10-batches-bin"))
        return open_below(data, "cifar-10-batches-bin", values, out, err);
    if (exists_below(data, values->split))
        return open_below(data, values->split, values, out, err);
    return error_set(err, STATUS_NOT_FOUND,
                     "there is no CIFAR-10 in '%s': neither the binary version's files (%s) nor a "
                     "folder '%s' of class folders",
                     data, test ? "test_batch.bin" : "data_batch_1.bin ...", values->split);
}

static int open_origin(void *context, struct source **out, struct error *err)
{
    const struct origin *origin = context;
    const struct values *values = origin->values;

    if (is_cifar10(origin))
        return open_cifar10(values, out, err);
    return source_open_folder(origin->argument, values->labelled, (uint64_t)values->seed, out, err);
}

/* --- Progress --------------------------------------------------------------------------------- */

static int64_t done_of(const struct upload_counts *counts)
{
    return counts->accepted + counts->refused + counts->failed + counts->unreadable;
}

static void draw_progress(struct terminal *terminal, const struct upload_counts *counts)
{
    const int64_t done = done_of(counts);
    const double rate = counts->seconds > 0.0 ? (double)done / counts->seconds : 0.0;
    struct buffer out = {0};

    if (counts->total >= 0) {
        terminal_bar(terminal, (double)done / (double)counts->total, 24, &out);
        buffer_print(&out, " %lld/%lld", (long long)done, (long long)counts->total);
    } else {
        buffer_print(&out, "%lld images", (long long)done);
    }
    buffer_print(&out, "  %.1f images/s  %lld refused", rate, (long long)counts->refused);
    if (counts->failed + counts->unreadable > 0)
        buffer_print(&out, "  %lld failed", (long long)(counts->failed + counts->unreadable));
    if (counts->total >= 0) {
        buffer_text(&out, "  ");
        terminal_time(rate > 0.0 ? (double)(counts->total - done) / rate : -1.0, &out);
        buffer_text(&out, " left");
    }
    if (counts->waiting > 0)
        buffer_print(&out, "  %sthe server is busy, waiting%s",
                     terminal_style(terminal, STYLE_YELLOW), terminal_style(terminal, STYLE_PLAIN));
    buffer_text(&out, "\n");
    terminal_draw(terminal, &out);
    buffer_free(&out);
}

/* SIGINT and SIGTERM, which the threads have blocked; false when none came within REDRAW_MS. */
static bool wait_for_signal(const sigset_t *signals)
{
    const struct timespec pause = {.tv_nsec = REDRAW_MS * 1000000L};
    return sigtimedwait(signals, NULL, &pause) > 0;
}

/* --- Until all is recorded -------------------------------------------------------------------- */

/* Messages that some group has still to read, over all topics. */
static int64_t sum_of_lags(const json_t *answer)
{
    int64_t lags = 0;
    json_t *topic, *group;
    size_t i, j;

    json_array_foreach (json_object_get(answer, "topics"), i, topic) {
        json_array_foreach (json_object_get(topic, "groups"), j, group) {
            lags += json_integer_value(json_object_get(group, "lag"));
        }
    }
    return lags;
}

struct recorded {
    bool complete;
    double seconds; /* since the first upload began */
};

/* Asks the server until no group has anything left to read. `began_ns` is when the uploads began.
 */
static int wait_until_recorded(const struct config *config, const struct values *values,
                               struct terminal *terminal, const sigset_t *signals, int64_t began_ns,
                               struct recorded *recorded, struct error *err)
{
    struct client *client;
    int64_t left = -1, changed_ns = clock_monotonic_ns();

    int status = client_open(config, values->url, &client, err);
    if (status != STATUS_OK)
        return status;
    while (!recorded->complete) {
        json_t *topics;
        status = client_get(client, "/topics", &topics, err);
        if (status != STATUS_OK)
            break;
        const int64_t lags = sum_of_lags(topics), now_ns = clock_monotonic_ns();
        json_decref(topics);
        if (lags != left)
            changed_ns = now_ns;
        left = lags;
        recorded->complete = left == 0;
        recorded->seconds = (double)(now_ns - began_ns) / 1e9;
        struct buffer out = {0};
        buffer_print(&out, "classifying: %lld messages left\n", (long long)left);
        terminal_draw(terminal, &out);
        buffer_free(&out);
        if (now_ns - changed_ns > (int64_t)BACKLOG_STUCK_S * 1000000000 ||
            (!recorded->complete && wait_for_signal(signals)))
            break;
    }
    terminal_erase(terminal);
    client_close(client);
    return status;
}

/* --- The summary ------------------------------------------------------------------------------ */

static double per_second(int64_t count, double seconds)
{
    return seconds > 0.0 ? (double)count / seconds : 0.0;
}

static double time_ms(const struct upload_counts *counts, double q)
{
    return histogram_quantile(&counts->times, q) / 1000.0;
}

static void print_summary(const struct upload_counts *counts, const struct recorded *recorded)
{
    printf("%lld images stored in %.2f s: %.1f images/s, %.2f MB/s; answered in %.2f ms (median), "
           "%.2f ms (p99)\n",
           (long long)counts->accepted, counts->seconds,
           per_second(counts->accepted, counts->seconds),
           per_second(counts->bytes, counts->seconds) / 1e6, time_ms(counts, 0.5),
           time_ms(counts, 0.99));
    if (recorded->complete)
        printf("classified and recorded after %.2f s: %.1f images/s\n", recorded->seconds,
               per_second(counts->accepted, recorded->seconds));
    else if (recorded->seconds > 0.0)
        puts("not all of them were classified when waiting ended");
    if (counts->waits > 0)
        printf("the server was busy %lld times and got its images later\n",
               (long long)counts->waits);
    if (counts->refused + counts->failed + counts->unreadable > 0)
        printf("refused %lld, failed %lld, unreadable %lld:\n", (long long)counts->refused,
               (long long)counts->failed, (long long)counts->unreadable);
    for (int i = 0; i < counts->problem_count; i++)
        printf("  %s%s%s\n", counts->problems[i].name,
               counts->problems[i].name[0] != '\0' ? ": " : "", counts->problems[i].message);
    if (counts->problem_count == UPLOAD_PROBLEMS_MAX)
        puts("  ...");
}

static void print_json(const struct upload_counts *counts, const struct recorded *recorded)
{
    json_t *problems = json_array();

    for (int i = 0; i < counts->problem_count; i++)
        json_array_append_new(problems, json_pack("{s:s, s:s}", "name", counts->problems[i].name,
                                                  "detail", counts->problems[i].message));
    json_t *summary = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:{s:f, s:f, s:f}, s:o}", "accepted",
        (json_int_t)counts->accepted, "refused", (json_int_t)counts->refused, "failed",
        (json_int_t)counts->failed, "unreadable", (json_int_t)counts->unreadable, "put_off",
        (json_int_t)counts->waits, "bytes", (json_int_t)counts->bytes, "seconds", counts->seconds,
        "images_per_second", per_second(counts->accepted, counts->seconds), "answer_ms", "p50",
        time_ms(counts, 0.5), "p95", time_ms(counts, 0.95), "p99", time_ms(counts, 0.99),
        "problems", problems);
    if (recorded->complete) {
        json_object_set_new(summary, "recorded_seconds", json_real(recorded->seconds));
        json_object_set_new(summary, "recorded_images_per_second",
                            json_real(per_second(counts->accepted, recorded->seconds)));
    }
    json_dumpf(summary, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(summary);
}

/* --- The command ------------------------------------------------------------------------------ */

static int stream(const struct config *config, const struct values *values,
                  const struct origin *origin, struct error *err)
{
    const struct upload_options upload_options = {
        .config = config,
        .url = values->url,
        .source_name = is_cifar10(origin) ? "cifar10" : "folder",
        .rate = values->rate,
        .limit = values->limit,
        .concurrency = (int)values->concurrency,
        .open = open_origin,
        .context = (void *)origin,
        .loop = values->loop,
    };
    struct upload_counts *counts = calloc(1, sizeof *counts);
    struct recorded recorded = {0};
    struct terminal terminal;
    struct upload *upload;
    sigset_t signals;

    if (counts == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to stream");
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    terminal_open(&terminal, stderr);
    const int64_t began_ns = clock_monotonic_ns();
    int status = upload_start(&upload_options, &upload, err);
    if (status == STATUS_OK) {
        while (upload_look(upload, counts)) {
            draw_progress(&terminal, counts);
            if (wait_for_signal(&signals))
                upload_stop(upload);
        }
        terminal_erase(&terminal);
        status = upload_finish(upload, counts, err);
        if (status == STATUS_OK && values->wait)
            status =
                wait_until_recorded(config, values, &terminal, &signals, began_ns, &recorded, err);
        if (status == STATUS_OK || done_of(counts) > 0)
            (values->json ? print_json : print_summary)(counts, &recorded);
    }
    const bool all_well = counts->refused + counts->failed + counts->unreadable == 0;
    free(counts);
    if (status != STATUS_OK)
        return status;
    return all_well ? STATUS_OK : 1;
}

static int check(const struct values *values, const struct command_line *line, struct error *err)
{
    if (line->argument_count != 1)
        return error_set(err, STATUS_INVALID,
                         "name one folder of images, or cifar10; see `ocelli stream --help`");
    if (strcmp(values->split, "test") != 0 && strcmp(values->split, "train") != 0)
        return error_set(err, STATUS_INVALID, "--split takes test or train, not '%.32s'",
                         values->split);
    return STATUS_OK;
}

static int run(int argc, char **argv)
{
    struct values values = {.split = "test", .limit = -1, .concurrency = 8};
    struct command_line line;
    struct error err = {0};

    int status = settings_parse(&usage, argc, argv, &values, sizeof values, &line, &err);
    if (status != STATUS_OK)
        return command_fail("stream", &err);
    if (!line.help && (status = check(&values, &line, &err)) == STATUS_OK) {
        const struct origin origin = {.values = &values, .argument = line.arguments[0]};
        status = stream(line.config, &values, &origin, &err);
    }
    command_line_free(&line);
    return status < 0 ? command_fail("stream", &err) : status;
}

const struct command command_stream = {&usage, run};
