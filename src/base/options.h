/* Command lines: one table of options a subcommand gives its parser, its --help, the man page and
 * the shell completions. */
#ifndef BASE_OPTIONS_H
#define BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

enum option_kind {
    OPTION_FLAG,    /* bool */
    OPTION_TEXT,    /* const char *, borrowed from argv */
    OPTION_INTEGER, /* int64_t; sizes may end in k, M, G */
    OPTION_REAL,    /* double */
    OPTION_LIST,    /* struct option_list: may be given several times */
};

struct option_list {
    const char **items; /* owned array of borrowed texts */
    int count;
};

struct option {
    const char *name; /* "epochs" for --epochs; "--epochs=5" and "--epochs 5" are both read */
    char letter;      /* 'e', or 0 */
    enum option_kind kind;
    size_t offset; /* of the value in the caller's struct, which holds the defaults beforehand */
    const char *value; /* what --help calls the value: "N", "FILE", "DIR"; NULL for flags */
    const char *help;  /* one line */
    double low, high;  /* bounds of numbers; both 0 for none */
};

/* What a subcommand says about itself. */
struct usage {
    const char *name;             /* "train" */
    const char *arguments;        /* "IMAGE..." or "" */
    const char *summary;          /* one line, no full stop */
    const char *details;          /* paragraphs for --help and the man page; may be NULL */
    const struct option *options; /* ended by a row whose name is NULL */
};

/* Reads argv[1..] into `values`; what is no option is left in order in
 * arguments[0..*argument_count-1] (borrowed from argv; room for argc entries; "--" ends the
 * options). STATUS_INVALID names the option and suggests the nearest one; *help is set when --help
 * was asked for (nothing is checked then). */
int options_parse(const struct usage *usage, int argc, char **argv, void *values,
                  const char **arguments, int *argument_count, bool *help, struct error *err);
void options_help(const struct usage *usage, struct buffer *out);
/* Only the rows, a line each. */
void options_list(const struct option *options, struct buffer *out);

#endif
