/* ocelli: one program of subcommands. This file is their table. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/command.h"

const struct command *const commands[] = {
    &command_serve,  &command_demo,  &command_predict,    &command_stream,
    &command_models, &command_train, &command_evaluate,   &command_topics,
    &command_config, &command_bench, &command_completion, NULL,
};

int command_fail(const char *name, const struct error *err)
{
    fprintf(stderr, "ocelli %s: %s\n", name, err->message);
    return err->code == STATUS_INVALID ? 2 : 1;
}

static void print_help(FILE *out)
{
    fputs(
        "ocelli - runs every image through several classifiers side by side and shows which is "
        "faster,\nwhich is right and where they disagree\n\nUsage: ocelli COMMAND [OPTION...]\n\n",
        out);
    for (const struct command *const *command = commands; *command != NULL; command++)
        fprintf(out, "  %-12s %s\n", (*command)->usage->name, (*command)->usage->summary);
    fputs("\n'ocelli COMMAND --help' tells more. 'ocelli --version' prints the version.\n", out);
}

/* Large blocks go back to the system when they are freed. By default glibc raises this threshold to
 * the largest block it has seen, and the memory of one big upload would stay for good. */
static void keep_memory_flat(void)
{
    mallopt(M_MMAP_THRESHOLD, 256 * 1024);
    mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
}

int main(int argc, char **argv)
{
    keep_memory_flat();
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("ocelli " OCELLI_VERSION);
        return 0;
    }
    for (const struct command *const *command = commands; *command != NULL; command++)
        if (strcmp((*command)->usage->name, argv[1]) == 0)
            return (*command)->run(argc - 1, argv + 1);
    fprintf(stderr, "ocelli: there is no command '%s'; 'ocelli --help' lists them\n", argv[1]);
    return 2;
}
