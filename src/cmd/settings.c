/* Command lines with settings: see settings.h. options_parse fills one block of memory; here it is
 * the subcommand's own values followed by one text a setting. */
#include "cmd/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum { NAME_MAX_SIZE = 64, SETTINGS_MAX = 128 };

static const struct option config_file_option = {
    .name = "config",
    .letter = 'c',
    .kind = OPTION_TEXT,
    .value = "FILE",
    .help = "read settings from FILE, `name: value` lines; see `ocelli config`",
};

/* Flags are texts here, so that "--log-json=false" can undo what a file says. */
static void fill_option(const struct config_setting *setting, char name[NAME_MAX_SIZE],
                        struct option *option)
{
    snprintf(name, NAME_MAX_SIZE, "%s", setting->name);
    for (char *at = name; *at != '\0'; at++)
        if (*at == '_')
            *at = '-';
    *option = (struct option){
        .name = name,
        .kind = OPTION_TEXT,
        .value = setting->kind == CONFIG_KIND_FLAG      ? "BOOL"
                 : setting->kind == CONFIG_KIND_INTEGER ? "N"
                 : setting->kind == CONFIG_KIND_REAL    ? "X"
                                                        : "TEXT",
        .help = setting->help,
    };
}

const struct option *settings_options(void)
{
    static char names[SETTINGS_MAX][NAME_MAX_SIZE];
    static struct option options[SETTINGS_MAX];

    if (options[0].name != NULL)
        return options;
    options[0] = config_file_option;
    int count = 1;
    for (const struct config_setting *setting = config_settings();
         setting->name != NULL && count < SETTINGS_MAX - 1; setting++, count++)
        fill_option(setting, names[count], &options[count]);
    return options;
}

static int count_options(const struct option *options)
{
    int count = 0;
    while (options[count].name != NULL)
        count++;
    return count;
}

/* The subcommand's options and then the settings, whose texts lie behind `values_size` bytes. */
static struct option *join_options(const struct option *own, size_t values_size)
{
    const struct option *settings = settings_options();
    const int own_count = count_options(own), settings_count = count_options(settings);
    struct option *joined = calloc((size_t)(own_count + settings_count) + 1, sizeof *joined);

    if (joined == NULL)
        return NULL;
    memcpy(joined, own, (size_t)own_count * sizeof *own);
    for (int i = 0; i < settings_count; i++) {
        joined[own_count + i] = settings[i];
        joined[own_count + i].offset = values_size + (size_t)i * sizeof(char *);
    }
    return joined;
}

/* texts[0] is --config's, then one a setting. */
static int apply(struct config *config, const char *const *texts, struct error *err)
{
    int status = STATUS_OK;

    if (texts[0] != NULL)
        status = config_load_file(config, texts[0], err);
    if (status == STATUS_OK)
        status = config_load_environment(config, err);
    const struct config_setting *setting = config_settings();
    for (int i = 1; status == STATUS_OK && setting->name != NULL; i++, setting++)
        if (texts[i] != NULL)
            status = config_set(config, setting->name, texts[i], CONFIG_FLAG, err);
    if (status != STATUS_OK)
        return status;
    enum log_level level;
    status = log_level_parse(config->log_level, &level, err);
    if (status == STATUS_OK)
        log_configure(level, config->log_json);
    return status;
}

static int print_help(const struct usage *usage, struct error *err)
{
    struct buffer out = {0};

    options_help(usage, &out);
    buffer_text(&out,
                "\nSettings (also from the environment and --config; see `ocelli config`):\n");
    options_list(settings_options(), &out);
    const bool ok = buffer_ok(&out);
    if (ok)
        fputs(out.data, stdout);
    buffer_free(&out);
    return ok ? STATUS_OK : error_set(err, STATUS_NO_MEMORY, "no memory for the help");
}

/* Reads argv with the block as options_parse's values, and takes the settings from it. `usage` has
 * the settings among its options, `own` has not. */
static int read_line(const struct usage *usage, const struct usage *own, int argc, char **argv,
                     char *block, size_t own_size, struct command_line *line, struct error *err)
{
    int status = options_parse(usage, argc, argv, block, line->arguments, &line->argument_count,
                               &line->help, err);
    if (status != STATUS_OK)
        return status;
    if (line->help)
        return print_help(own, err);
    status = config_create(&line->config, err);
    if (status != STATUS_OK)
        return status;
    return apply(line->config, (const char *const *)(void *)(block + own_size), err);
}

int settings_parse(const struct usage *usage, int argc, char **argv, void *values,
                   size_t values_size, struct command_line *line, struct error *err)
{
    const size_t own_size = (values_size + 15) / 16 * 16;
    struct option *options = join_options(usage->options, own_size);
    char *block = calloc(1, own_size + SETTINGS_MAX * sizeof(char *));
    struct usage joined = *usage;
    int status;

    *line = (struct command_line){.arguments = calloc((size_t)argc, sizeof *line->arguments)};
    if (options == NULL || block == NULL || line->arguments == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory for the options");
        goto done;
    }
    if (values_size > 0)
        memcpy(block, values, values_size);
    joined.options = options;
    status = read_line(&joined, usage, argc, argv, block, own_size, line, err);
    if (values_size > 0)
        memcpy(values, block, values_size);
done:
    if (status != STATUS_OK)
        command_line_free(line);
    free(options);
    free(block);
    return status;
}

void command_line_free(struct command_line *line)
{
    config_free(line->config);
    free(line->arguments);
    *line = (struct command_line){0};
}
