/* `ocelli config`: every setting, its value, and where that came from. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cmd/command.h"
#include "cmd/settings.h"

struct values {
    bool json;
};

static const struct option options[] = {
    {.name = "json", .kind = OPTION_FLAG, .help = "print JSON"},
    {.name = NULL},
};

static const struct usage usage = {
    .name = "config",
    .arguments = "[NAME]",
    .summary = "show the settings in force and where each comes from",
    .details =
        "Order of precedence: flag, environment, file (--config), default. Secrets are masked; "
        "give them in\nthe environment, or in a file named by the same name with _FILE behind.",
    .options = options,
};

static const char *origin_name(enum config_origin origin)
{
    static const char *const names[] = {"default", "file", "environment", "flag"};
    return names[origin];
}

static void print_row(const struct config *config, const struct config_setting *setting)
{
    char text[1024];
    printf("%-26s %-28s %-11s %s\n%-26s   %s\n", setting->name,
           config_text(config, setting, text, sizeof text),
           origin_name(config_origin(config, setting)), setting->environment, "", setting->help);
}

static json_t *row_as_json(const struct config *config, const struct config_setting *setting)
{
    char text[1024];
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "name", setting->name, "value",
                     config_text(config, setting, text, sizeof text), "origin",
                     origin_name(config_origin(config, setting)), "environment",
                     setting->environment, "default", setting->default_text, "help", setting->help);
}

static int show(const struct config *config, const char *name, bool as_json, struct error *err)
{
    json_t *list = json_array();
    int shown = 0;

    for (const struct config_setting *row = config_settings(); row->name != NULL; row++) {
        if (name != NULL && strcmp(name, row->name) != 0)
            continue;
        shown++;
        if (as_json)
            json_array_append_new(list, row_as_json(config, row));
        else
            print_row(config, row);
    }
    if (as_json) {
        json_dumpf(list, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(list);
    return shown > 0 ? STATUS_OK
                     : error_set(err, STATUS_NOT_FOUND, "there is no setting '%.64s'", name);
}

static int run(int argc, char **argv)
{
    struct values values = {0};
    struct command_line line;
    struct error err = {0};

    int status = settings_parse(&usage, argc, argv, &values, sizeof values, &line, &err);
    if (status != STATUS_OK)
        return command_fail("config", &err);
    if (!line.help)
        status = show(line.config, line.argument_count > 0 ? line.arguments[0] : NULL, values.json,
                      &err);
    command_line_free(&line);
    return status == STATUS_OK ? 0 : command_fail("config", &err);
}

const struct command command_config = {&usage, run};
