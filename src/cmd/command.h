/* A subcommand: a row of the table in main.c. */
#ifndef CMD_COMMAND_H
#define CMD_COMMAND_H

#include "base/options.h"

struct command {
    const struct usage *usage;
    /* argv[0] is the subcommand's name. Returns the exit status: 0 done, 1 it failed (the sentence
     * is on standard error), 2 the command line was wrong. */
    int (*run)(int argc, char **argv);
};

/* One of these per file of this folder. */
extern const struct command command_serve, command_demo, command_predict, command_evaluate,
    command_train, command_stream, command_models, command_topics, command_config, command_bench,
    command_datasets, command_completion;

/* The table, ended by NULL. */
extern const struct command *const commands[];

/* Prints "ocelli NAME: message" to standard error and returns 1 (2 for STATUS_INVALID command
 * lines). */
int command_fail(const char *name, const struct error *err);

#endif
