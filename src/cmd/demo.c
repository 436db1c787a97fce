/* `ocelli demo`: the platform on its embedded default, and sample photographs through every model,
 * to be watched. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cmd/command.h"
#include "cmd/demo_board.h"
#include "cmd/demo_feed.h"
#include "cmd/demo_place.h"
#include "cmd/photographs.h"
#include "cmd/platform.h"
#include "cmd/settings.h"
#include "cmd/terminal.h"

enum {
    REDRAW_MS = 200,
    REDRAW_IDLE_MS = 1000, /* once all photographs are through */
    STUCK_MS = 120000,     /* without one more finished image: something is wrong */
    GRACE_MS = 5000,
};

/* Photographs a second on a terminal: quick, and still to be followed. */
#define RATE_TO_WATCH 5.0

struct values {
    double rate;
    int64_t limit;
    bool exit, json;
};

static const struct option options[] = {
    {.name = "exit",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct values, exit),
     .help = "print the final comparison and leave, instead of serving on"},
    {.name = "limit",
     .letter = 'n',
     .kind = OPTION_INTEGER,
     .offset = offsetof(struct values, limit),
     .value = "N",
     .help = "only the first N photographs",
     .low = 1,
     .high = 1e9},
    {.name = "rate",
     .letter = 'r',
     .kind = OPTION_REAL,
     .offset = offsetof(struct values, rate),
     .value = "R",
     .help = "photographs a second; on a terminal 5, elsewhere as fast as they go; 0 likewise",
     .low = 0,
     .high = 1e6},
    {.name = "json",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct values, json),
     .help = "print the final comparison as JSON and leave"},
    {.name = NULL},
};

static const struct usage usage = {
    .name = "demo",
    .arguments = "[FOLDER]",
    .summary = "watch sample photographs being classified by every model side by side",
    .details =
        "Starts the platform on a fresh data folder of its own, streams the photographs of FOLDER "
        "(or those\nof Debian's package " PHOTOGRAPHS_PACKAGE
        ") through all models, shows how they compare, and\nserves until Ctrl-C. A folder inside "
        "FOLDER that is named as a class says what its photographs show.\nWithout a terminal it "
        "prints the final comparison and leaves, as with --exit.",
    .options = options,
};

/* What runs while the demo does. */
struct demo {
    struct config *config;
    const struct values *values;
    struct terminal terminal;
    struct platform *platform;
    struct feed *feed;
    struct board *board;
    bool stays;    /* serves on until a signal */
    int stderr_fd; /* the real one, while the log goes to a file; -1 otherwise */
    char log_path[PATH_MAX];
};

/* --- Starting --------------------------------------------------------------------------------- */

static int open_photographs(const struct command_line *line, struct source **out, struct error *err)
{
    if (line->argument_count > 0)
        return source_open_folder(line->arguments[0], 1, 0, out, err);
    const int status =
        source_open_list(PHOTOGRAPHS_FOLDER, photographs, photograph_count, out, err);
    if (status != STATUS_NOT_FOUND)
        return status;
    return error_set(err, STATUS_NOT_FOUND,
                     "there are no sample photographs on this machine; `make run` installs them "
                     "(Debian's package " PHOTOGRAPHS_PACKAGE
                     "), or name a folder of your own: ocelli demo FOLDER");
}

static int count_active_models(struct model_set *set)
{
    struct model **models;
    int count, active = 0;

    if (set == NULL || model_set_list(set, &models, &count, NULL) != STATUS_OK)
        return 0;
    for (int i = 0; i < count; i++) {
        active += model_state(models[i]) == MODEL_ACTIVE;
        model_release(models[i]);
    }
    free(models);
    return active;
}

static int check_models(const struct demo *demo, struct error *err)
{
    if (count_active_models(platform_api(demo->platform)->models) > 0)
        return STATUS_OK;
    return error_set(err, STATUS_NOT_FOUND,
                     "there is no model in '%s'; run it from the project's folder, or say with "
                     "--models-dir where the models are",
                     demo->config->models_dir);
}

/* Keeps the log from writing into the table: it goes to a file in the data folder. */
static void divert_log(struct demo *demo)
{
    if (snprintf(demo->log_path, sizeof demo->log_path, "%s/demo.log", demo->config->data_dir) >=
        (int)sizeof demo->log_path)
        return;
    const int fd = open(demo->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    demo->stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (demo->stderr_fd >= 0)
        dup2(fd, STDERR_FILENO);
    close(fd);
}

static void restore_log(struct demo *demo)
{
    if (demo->stderr_fd < 0)
        return;
    const off_t size = lseek(STDERR_FILENO, 0, SEEK_END);
    dup2(demo->stderr_fd, STDERR_FILENO);
    close(demo->stderr_fd);
    demo->stderr_fd = -1;
    if (size > 0)
        fprintf(stderr, "ocelli demo: there were warnings; they are in %s\n", demo->log_path);
}

/* --- Running ---------------------------------------------------------------------------------- */

static void print_address(const struct demo *demo, struct buffer *out)
{
    buffer_print(out, "%socelli%s is serving at %shttp://%s:%d%s (ready in %" PRId64 " ms)\n",
                 terminal_style(&demo->terminal, STYLE_BOLD),
                 terminal_style(&demo->terminal, STYLE_PLAIN),
                 terminal_style(&demo->terminal, STYLE_CYAN), demo->config->listen,
                 platform_port(demo->platform), terminal_style(&demo->terminal, STYLE_PLAIN),
                 platform_start_ms(demo->platform));
}

static void draw(struct demo *demo, const struct feed_counts *counts, bool all_through)
{
    struct buffer out = {0};

    print_address(demo, &out);
    buffer_text(&out, "\n");
    board_live(demo->board, &demo->terminal, counts, terminal_height(&demo->terminal) - 5, &out);
    if (all_through)
        buffer_text(&out, "\nAll photographs are through. Upload your own at that address; "
                          "Ctrl-C ends.\n");
    else
        buffer_text(&out, "\nCtrl-C ends.\n");
    terminal_draw(&demo->terminal, &out);
    buffer_free(&out);
}

static bool is_through(const struct demo *demo, const struct feed_counts *counts)
{
    return counts->over && board_finished(demo->board) >= counts->submitted;
}

/* Follows the photographs until all are through, and on while the demo stays. */
static int follow(struct demo *demo, struct error *err)
{
    int64_t finished_before = -1, progress_ns = clock_monotonic_ns();
    bool all_through = false;

    for (;;) {
        const struct feed_counts counts = feed_look(demo->feed);
        int status = board_refresh(demo->board, err);
        if (status != STATUS_OK)
            return status;
        if (counts.fatal.code != STATUS_OK) {
            *err = counts.fatal;
            return counts.fatal.code;
        }
        all_through = is_through(demo, &counts);
        draw(demo, &counts, all_through);
        if (all_through && !demo->stays)
            return STATUS_OK;
        const int64_t finished = board_finished(demo->board), now_ns = clock_monotonic_ns();
        if (finished != finished_before || all_through)
            progress_ns = now_ns;
        finished_before = finished;
        if (now_ns - progress_ns > (int64_t)STUCK_MS * 1000000)
            return error_set(err, STATUS_TIMEOUT,
                             "%" PRId64 " of %" PRId64 " photographs were not classified",
                             counts.submitted - finished, counts.submitted);
        const int waited =
            platform_wait_ms(demo->platform, all_through ? REDRAW_IDLE_MS : REDRAW_MS);
        if (waited < 0)
            return error_set(err, STATUS_IO, "the platform had to stop; its log says why");
        if (waited == 0)
            return STATUS_OK; /* a signal */
    }
}

/* The numbers are read once more: the last answers may have come after the last look. */
static int print_result(struct demo *demo, struct error *err)
{
    const struct feed_counts counts = feed_look(demo->feed);
    struct buffer out = {0};

    int status = board_refresh(demo->board, err);
    if (status != STATUS_OK)
        return status;
    if (demo->values->json) {
        json_t *report = board_json(demo->board, &counts);
        json_object_set_new(report, "start_ms", json_integer(platform_start_ms(demo->platform)));
        json_dumpf(report, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(report);
        return STATUS_OK;
    }
    board_final(demo->board, &demo->terminal, &counts, &out);
    if (buffer_ok(&out) && out.size > 0)
        fwrite(out.data, 1, out.size, stdout);
    buffer_free(&out);
    return STATUS_OK;
}

static int watch(struct demo *demo, struct source *source, struct error *err)
{
    const struct values *values = demo->values;
    struct api *api = platform_api(demo->platform);
    double rate = values->rate;
    struct buffer address = {0};

    if (rate < 0.0)
        rate = demo->terminal.live ? RATE_TO_WATCH : 0.0;
    int status = board_open(api, &demo->board, err);
    if (status != STATUS_OK) {
        source_close(source);
        return status;
    }
    status = feed_start(api, source, values->limit, rate, &demo->feed, err);
    if (status != STATUS_OK)
        return status;
    if (demo->terminal.live) {
        divert_log(demo);
    } else if (!values->json) {
        print_address(demo, &address);
        fprintf(stdout, "%s\n", buffer_ok(&address) ? address.data : "");
        fflush(stdout);
        buffer_free(&address);
    }
    status = follow(demo, err);
    terminal_erase(&demo->terminal);
    if (status == STATUS_OK)
        status = print_result(demo, err);
    return status;
}

static int demo_run(struct demo *demo, struct source *source, struct error *err)
{
    int status = platform_start(demo->config, &demo->platform, err);
    if (status == STATUS_EXISTS && demo_place_take_any_port(demo->config))
        status = platform_start(demo->config, &demo->platform, err);
    if (status == STATUS_OK)
        status = check_models(demo, err);
    if (status == STATUS_OK)
        status = watch(demo, source, err);
    else
        source_close(source);
    feed_stop(demo->feed);
    board_close(demo->board);
    platform_stop(demo->platform, GRACE_MS);
    restore_log(demo);
    return status;
}

/* --- The command ------------------------------------------------------------------------------ */

/* Only warnings, unless asked otherwise: the table is what is to be seen. */
static void quieten(struct config *config)
{
    for (const struct config_setting *row = config_settings(); row->name != NULL; row++)
        if (strcmp(row->name, "log_level") == 0 && config_origin(config, row) == CONFIG_DEFAULT)
            log_configure(LOG_WARNING, config->log_json);
}

static int demo(const struct command_line *line, const struct values *values, struct error *err)
{
    struct demo demo = {.config = line->config, .values = values, .stderr_fd = -1};
    struct demo_place place;
    struct source *source;

    if (line->argument_count > 1)
        return error_set(err, STATUS_INVALID, "takes one folder, not %d", line->argument_count);
    terminal_open(&demo.terminal, stdout);
    if (values->json)
        demo.terminal.live = demo.terminal.colour = false;
    demo.stays = demo.terminal.live && !values->exit;
    quieten(line->config);
    int status = open_photographs(line, &source, err);
    if (status != STATUS_OK)
        return status;
    status = demo_place_choose(line->config, &place, err);
    if (status == STATUS_OK)
        status = demo_run(&demo, source, err);
    else
        source_close(source);
    demo_place_leave(&place);
    return status;
}

static int run(int argc, char **argv)
{
    struct values values = {.limit = -1, .rate = -1.0};
    struct command_line line;
    struct error err = {0};

    int status = settings_parse(&usage, argc, argv, &values, sizeof values, &line, &err);
    if (status != STATUS_OK)
        return command_fail("demo", &err);
    if (!line.help)
        status = demo(&line, &values, &err);
    command_line_free(&line);
    return status == STATUS_OK ? 0 : command_fail("demo", &err);
}

const struct command command_demo = {&usage, run};
