/* The platform put together: see platform.h. */
#include "cmd/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "data/schema.h"
#include "flow/prune.h"
#include "flow/record.h"

struct roles {
    bool api, classify, record, schedule;
};

struct platform {
    const struct config *config;
    struct roles roles;
    int lock_fd;   /* the data folder is ours */
    int signal_fd; /* SIGINT and SIGTERM */
    int unfit_fd;  /* readable once a part declared the process unfit */
    struct metrics *metrics;
    struct objects *objects;
    struct sql *sql;
    struct bus *bus;
    struct cache *cache;
    struct model_set *models;
    struct ingest *ingest;
    struct live *live;
    struct classify *classify;
    struct record *record;
    struct prune *prune;
    struct api api;
    struct server *server;
    int64_t start_ms;
};

/* --- Roles, the folder, signals
 * ------------------------------------------------------------------------------- */

static int parse_roles(const char *text, struct roles *roles, struct error *err)
{
    const struct {
        const char *name;
        bool *flag;
    } known[] = {{"api", &roles->api},
                 {"classify", &roles->classify},
                 {"record", &roles->record},
                 {"schedule", &roles->schedule}};

    for (const char *at = text; *at != '\0';) {
        const size_t length = strcspn(at, ",");
        size_t i = 0;
        while (i < 4 &&
               (strlen(known[i].name) != length || strncmp(known[i].name, at, length) != 0))
            i++;
        if (i == 4)
            return error_set(
                err, STATUS_INVALID,
                "'%.*s' is not a role; the roles are api, classify, record and schedule",
                (int)length, at);
        *known[i].flag = true;
        at += length + (at[length] == ',');
    }
    return STATUS_OK;
}

/* One process owns a data folder: two would write one embedded database. */
static int own_folder(struct platform *platform, struct error *err)
{
    char path[PATH_MAX];
    const char *folder = platform->config->data_dir;

    const int status = folder_make(folder, true, err);
    if (status != STATUS_OK)
        return status;
    if (snprintf(path, sizeof path, "%s/lock", folder) >= (int)sizeof path)
        return error_set(err, STATUS_INVALID, "the data folder's path is too long");
    platform->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (platform->lock_fd < 0)
        return error_set_errno(err, errno, "cannot open '%s'", path);
    if (flock(platform->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return error_set(err, STATUS_BUSY,
                         "another ocelli is using '%s'; stop it or choose another --data-dir",
                         folder);
    return STATUS_OK;
}

/* The C library keeps what threads free, each thread in a place of its own, and raises by itself
 * the size up to which it does: after a few 10 MB uploads every worker would sit on as much for
 * ever. Fixed, large pieces go back to the system at once and memory stays flat. What a photograph
 * and its tensor take is less: mapping that anew for each image would cost more than resizing it.
 */
static void keep_memory_flat(void)
{
    mallopt(M_MMAP_THRESHOLD, 1024 * 1024);
    mallopt(M_TRIM_THRESHOLD, 4096 * 1024);
}

/* Signals are read from a descriptor; blocked before any thread starts, so that all threads inherit
 * that. */
static int take_signals(struct platform *platform, struct error *err)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    platform->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    platform->unfit_fd = eventfd(0, EFD_CLOEXEC);
    if (platform->signal_fd < 0 || platform->unfit_fd < 0)
        return error_set_errno(err, errno, "cannot watch for signals");
    return STATUS_OK;
}

static void declare_unfit(void *context, const struct error *why)
{
    const struct platform *platform = context;
    const uint64_t one = 1;

    log_error("platform", "going down, since writes are no longer safe: %s", why->message);
    if (write(platform->unfit_fd, &one, sizeof one) != (ssize_t)sizeof one)
        abort(); /* better down than acknowledging what may not be durable */
}

/* --- Parts, in order
 * ------------------------------------------------------------------------------------------ */

static int open_data(struct platform *platform, struct error *err)
{
    const struct config *config = platform->config;
    const struct sql_events events = {.on_fatal = declare_unfit, .context = platform};
    int status;

    if ((status = metrics_create(&platform->metrics, err)) != STATUS_OK ||
        (status = objects_open_folder(config, platform->metrics, &platform->objects, err)) !=
            STATUS_OK ||
        (status = sql_open_sqlite(config, platform->metrics, &events, &platform->sql, err)) !=
            STATUS_OK ||
        (status = schema_migrate(platform->sql, err)) != STATUS_OK ||
        (status = bus_open_sql(config, platform->sql, platform->metrics, &platform->bus, err)) !=
            STATUS_OK)
        return status;
    return cache_open_memory(config, platform->metrics, &platform->cache, err);
}

/* Classify before record: the models' rows are right before anything asks which answers an image
 * still owes. */
static int start_stages(struct platform *platform, struct error *err)
{
    const struct config *config = platform->config;
    int status = STATUS_OK;

    if (platform->roles.api)
        status = live_start(config, platform->bus, platform->metrics, &platform->live, err);
    if (status == STATUS_OK && platform->roles.api)
        status = ingest_create(config, platform->sql, platform->bus, platform->objects,
                               platform->metrics, &platform->ingest, err);
    if (status == STATUS_OK && platform->roles.classify)
        status = model_set_open(config, platform->metrics, &platform->models, err);
    if (status == STATUS_OK && platform->roles.classify)
        status = classify_start(config, platform->sql, platform->bus, platform->objects,
                                platform->models, platform->metrics, &platform->classify, err);
    if (status == STATUS_OK && platform->roles.record)
        status = record_start(config, platform->sql, platform->bus, platform->metrics,
                              &platform->record, err);
    if (status == STATUS_OK && platform->roles.schedule)
        status = prune_start(platform->bus, platform->metrics, &platform->prune, err);
    return status;
}

static int start_server(struct platform *platform, struct error *err)
{
    struct route_table tables[API_TABLES_MAX];
    int count;

    if (!platform->roles.api)
        return STATUS_OK;
    platform->api = (struct api){
        .config = platform->config,
        .metrics = platform->metrics,
        .sql = platform->sql,
        .bus = platform->bus,
        .objects = platform->objects,
        .cache = platform->cache,
        .ingest = platform->ingest,
        .live = platform->live,
        .models = platform->models,
        .classify = platform->classify,
        .started_us = clock_utc_us(),
    };
    const int status = api_open(&platform->api, tables, &count, err);
    if (status != STATUS_OK)
        return status;
    return server_start(platform->config, platform->metrics, tables, count, &platform->server, err);
}

static int start(struct platform *platform, struct error *err)
{
    int status;

    if ((status = parse_roles(platform->config->roles, &platform->roles, err)) != STATUS_OK ||
        (status = take_signals(platform, err)) != STATUS_OK ||
        (status = own_folder(platform, err)) != STATUS_OK ||
        (status = open_data(platform, err)) != STATUS_OK ||
        (status = start_stages(platform, err)) != STATUS_OK ||
        (status = start_server(platform, err)) != STATUS_OK)
        return status;
    atomic_store(&platform->api.ready, true);
    /* Only now: what changes from here on changes while serving. */
    return platform->models != NULL ? model_set_watch(platform->models, err) : STATUS_OK;
}

int platform_start(const struct config *config, struct platform **out, struct error *err)
{
    const int64_t began_ns = clock_monotonic_ns();
    struct platform *platform = calloc(1, sizeof *platform);

    if (platform == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to start");
    platform->config = config;
    platform->lock_fd = platform->signal_fd = platform->unfit_fd = -1;
    keep_memory_flat();
    const int status = start(platform, err);
    if (status != STATUS_OK) {
        platform_stop(platform, 0);
        return status;
    }
    platform->start_ms = (clock_monotonic_ns() - began_ns) / 1000000;
    *out = platform;
    return STATUS_OK;
}

/* --- Stopping, in reverse
 * ------------------------------------------------------------------------------------- */

static void close_descriptor(int fd)
{
    if (fd >= 0)
        close(fd);
}

void platform_stop(struct platform *platform, int64_t grace_ms)
{
    if (platform == NULL)
        return;
    atomic_store(&platform->api.ready, false);
    if (platform->live != NULL)
        live_wake(platform->live);
    if (platform->server != NULL)
        server_stop(platform->server, grace_ms);
    api_close(&platform->api);
    prune_stop(platform->prune);
    classify_stop(platform->classify);
    record_stop(platform->record);
    if (platform->models != NULL)
        model_set_close(platform->models);
    ingest_free(platform->ingest);
    live_stop(platform->live);
    if (platform->cache != NULL)
        cache_close(platform->cache);
    if (platform->bus != NULL)
        bus_close(platform->bus);
    if (platform->sql != NULL)
        sql_close(platform->sql);
    if (platform->objects != NULL)
        objects_close(platform->objects);
    if (platform->metrics != NULL)
        metrics_free(platform->metrics);
    close_descriptor(platform->unfit_fd);
    close_descriptor(platform->signal_fd);
    close_descriptor(platform->lock_fd);
    free(platform);
}

/* --- While it runs
 * -------------------------------------------------------------------------------------------- */

struct api *platform_api(struct platform *platform)
{
    return &platform->api;
}

int platform_port(const struct platform *platform)
{
    return platform->server != NULL ? server_port(platform->server) : 0;
}

int64_t platform_start_ms(const struct platform *platform)
{
    return platform->start_ms;
}

int platform_wait_ms(struct platform *platform, int64_t ms)
{
    struct pollfd watched[] = {{.fd = platform->signal_fd, .events = POLLIN},
                               {.fd = platform->unfit_fd, .events = POLLIN}};
    int ready;

    do
        ready = poll(watched, 2, (int)ms);
    while (ready < 0 && errno == EINTR);
    if (watched[1].revents != 0)
        return -1;
    return ready == 0 ? 1 : 0;
}

int platform_wait(struct platform *platform)
{
    return platform_wait_ms(platform, -1) == 0 ? 0 : -1;
}
