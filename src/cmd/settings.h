/* Command lines of the subcommands that take the settings (serve, demo, predict, ...): each setting
 * of config_table.h is a flag beside the subcommand's own options. */
#ifndef CMD_SETTINGS_H
#define CMD_SETTINGS_H

#include "base/config.h"
#include "base/options.h"

/* What a command line said. `config` is made of the defaults, the file of --config, the environment
 * and the flags, in that order. */
struct command_line {
    struct config *config;
    const char **arguments; /* what was no option; borrowed from argv */
    int argument_count;
    bool help; /* --help was asked for and printed; there is no config */
};

/* Reads argv into `values` (the subcommand's own options, values_size bytes holding their defaults;
 * NULL and 0 for none) and *line, and configures the log. On success, and only then, the caller
 * drops it with command_line_free. */
int settings_parse(const struct usage *usage, int argc, char **argv, void *values,
                   size_t values_size, struct command_line *line, struct error *err);
void command_line_free(struct command_line *line);

/* The settings as option rows, ended by a NULL name: for completion and the man page. Valid for
 * ever; NULL when memory is out. */
const struct option *settings_options(void);

#endif
