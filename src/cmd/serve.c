/* `ocelli serve`: the platform, until it is told to stop. */
#include <stdio.h>

#include "cmd/command.h"
#include "cmd/platform.h"
#include "cmd/settings.h"

enum { GRACE_MS = 10000 };

static const struct option options[] = {{.name = NULL}};

static const struct usage usage = {
    .name = "serve",
    .arguments = "",
    .summary = "run the platform: API, pages, classification, recording, schedules",
    .details =
        "Everything runs in this one process, on a database and a folder in --data-dir. Stops "
        "gracefully\non SIGINT or SIGTERM: running requests end, accepted images stay and go on "
        "at the next start.",
    .options = options,
};

static int serve(const struct config *config, struct error *err)
{
    struct platform *platform;

    const int status = platform_start(config, &platform, err);
    if (status != STATUS_OK)
        return command_fail("serve", err);
    printf("ocelli is ready at http://%s:%d (%lld ms)\n", config->listen, platform_port(platform),
           (long long)platform_start_ms(platform));
    fflush(stdout);
    const int unfit = platform_wait(platform);
    platform_stop(platform, GRACE_MS);
    return unfit != 0;
}

static int run(int argc, char **argv)
{
    struct command_line line;
    struct error err = {0};

    int status = settings_parse(&usage, argc, argv, NULL, 0, &line, &err);
    if (status != STATUS_OK)
        return command_fail("serve", &err);
    if (line.help) {
        status = 0;
    } else if (line.argument_count > 0) {
        error_set(&err, STATUS_INVALID, "takes no arguments, but got '%.64s'", line.arguments[0]);
        status = command_fail("serve", &err);
    } else {
        status = serve(line.config, &err);
    }
    command_line_free(&line);
    return status;
}

const struct command command_serve = {&usage, run};
