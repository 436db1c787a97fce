/* Command lines: see options.h. */
#include "base/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* Where the parser is in argv. */
struct cursor {
    int argc, next;
    char **argv;
};

/* --- Finding an option */

static const struct option *find_by_letter(const struct usage *usage, char letter)
{
    for (const struct option *option = usage->options; option->name != NULL; option++)
        if (option->letter == letter)
            return option;
    return NULL;
}

static const struct option *find_by_name(const struct usage *usage, const char *name, size_t length)
{
    for (const struct option *option = usage->options; option->name != NULL; option++)
        if (strlen(option->name) == length && memcmp(option->name, name, length) == 0)
            return option;
    return NULL;
}

static int unknown_option(const struct usage *usage, const char *name, size_t length,
                          struct error *err)
{
    const char *nearest = "help";
    char given[64];

    snprintf(given, sizeof given, "%.*s", (int)(length < sizeof given ? length : 63), name);
    for (const struct option *option = usage->options; option->name != NULL; option++)
        if (text_distance(given, option->name) < text_distance(given, nearest))
            nearest = option->name;
    if (text_resembles(given, nearest))
        return error_set(err, STATUS_INVALID, "there is no option --%s; did you mean --%s?", given,
                         nearest);
    return error_set(err, STATUS_INVALID, "there is no option --%s; see `ocelli %s --help`", given,
                     usage->name);
}

/* --- Taking a value */

static int append_to_list(struct option_list *list, const char *text, struct error *err)
{
    const char **items = realloc(list->items, ((size_t)list->count + 1) * sizeof *items);
    if (items == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the options");
    items[list->count++] = text;
    list->items = items;
    return STATUS_OK;
}

static int take_number(const struct option *option, const char *text, void *value,
                       struct error *err)
{
    const bool whole = option->kind == OPTION_INTEGER, bounded = option->low != option->high;
    int64_t integer = 0;
    double real = 0;

    const int failed = whole ? text_read_bytes(text, &integer) : text_read_real(text, &real);
    if (whole)
        real = (double)integer;
    if (failed)
        return error_set(err, STATUS_INVALID, "--%s takes a %s, not '%.64s'", option->name,
                         whole ? "whole number" : "number", text);
    if (bounded && (real < option->low || real > option->high))
        return error_set(err, STATUS_INVALID,
                         "--%s takes a number from %.15g to %.15g, not '%.64s'", option->name,
                         option->low, option->high, text);
    if (whole)
        *(int64_t *)value = integer;
    else
        *(double *)value = real;
    return STATUS_OK;
}

static int take_value(const struct option *option, const char *text, void *values,
                      struct error *err)
{
    void *value = (char *)values + option->offset;

    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)value = true;
        return STATUS_OK;
    case OPTION_TEXT:
        *(const char **)value = text;
        return STATUS_OK;
    case OPTION_LIST:
        return append_to_list(value, text, err);
    case OPTION_INTEGER:
    case OPTION_REAL:
        break;
    }
    return take_number(option, text, value, err);
}

/* The value written behind the option, or else the next word. */
static int find_value(struct cursor *cursor, const struct option *option, const char *attached,
                      const char **value, struct error *err)
{
    if (option->kind == OPTION_FLAG) {
        if (attached != NULL)
            return error_set(err, STATUS_INVALID, "--%s takes no value", option->name);
        *value = NULL;
        return STATUS_OK;
    }
    if (attached == NULL && cursor->next >= cursor->argc)
        return error_set(err, STATUS_INVALID, "--%s needs a value (%s)", option->name,
                         option->value);
    *value = attached != NULL ? attached : cursor->argv[cursor->next++];
    return STATUS_OK;
}

/* --- Reading words */

static int parse_long(const struct usage *usage, struct cursor *cursor, const char *word,
                      void *values, struct error *err)
{
    const char *name = word + 2;
    const size_t length = strcspn(name, "=");
    const char *value = NULL;
    const struct option *option = find_by_name(usage, name, length);

    if (option == NULL)
        return unknown_option(usage, name, length, err);
    const char *attached = name[length] == '=' ? name + length + 1 : NULL;
    const int status = find_value(cursor, option, attached, &value, err);
    return status != STATUS_OK ? status : take_value(option, value, values, err);
}

/* "-n5", "-n 5", and flags together as in "-qv". */
static int parse_letters(const struct usage *usage, struct cursor *cursor, const char *word,
                         void *values, struct error *err)
{
    for (const char *at = word + 1; *at != '\0'; at++) {
        const struct option *option = find_by_letter(usage, *at);
        if (option == NULL)
            return error_set(err, STATUS_INVALID, "there is no option -%c; see `ocelli %s --help`",
                             *at, usage->name);
        const bool is_flag = option->kind == OPTION_FLAG;
        const char *value = NULL;
        int status =
            find_value(cursor, option, !is_flag && at[1] != '\0' ? at + 1 : NULL, &value, err);
        if (status == STATUS_OK)
            status = take_value(option, value, values, err);
        if (status != STATUS_OK || !is_flag)
            return status;
    }
    return STATUS_OK;
}

static bool asks_for_help(const struct usage *usage, int argc, char **argv)
{
    const bool letter_is_free = find_by_letter(usage, 'h') == NULL;

    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || (letter_is_free && strcmp(argv[i], "-h") == 0))
            return true;
    return false;
}

int options_parse(const struct usage *usage, int argc, char **argv, void *values,
                  const char **arguments, int *argument_count, bool *help, struct error *err)
{
    struct cursor cursor = {.argc = argc, .next = 1, .argv = argv};
    int status = STATUS_OK;

    *argument_count = 0;
    *help = asks_for_help(usage, argc, argv);
    if (*help)
        return STATUS_OK;
    while (status == STATUS_OK && cursor.next < argc) {
        const char *word = argv[cursor.next++];
        if (strcmp(word, "--") == 0)
            break;
        if (word[0] == '-' && word[1] == '-')
            status = parse_long(usage, &cursor, word, values, err);
        else if (word[0] == '-' && word[1] != '\0')
            status = parse_letters(usage, &cursor, word, values, err);
        else
            arguments[(*argument_count)++] = word;
    }
    while (status == STATUS_OK && cursor.next < argc)
        arguments[(*argument_count)++] = argv[cursor.next++];
    return status;
}

/* --- Help */

/* "-e, --epochs N" into `text`. */
static void name_option(const struct option *option, char *text, size_t text_size)
{
    char letter[8] = "    ";

    if (option->letter != 0)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(text, text_size, "%s--%s%s%s", letter, option->name, option->value != NULL ? " " : "",
             option->value != NULL ? option->value : "");
}

static const struct option help_option = {
    .name = "help", .letter = 'h', .kind = OPTION_FLAG, .help = "show this and leave"};

static void describe_option(const struct option *option, int width, struct buffer *out)
{
    char text[128];
    name_option(option, text, sizeof text);
    buffer_print(out, "  %-*s  %s\n", width, text, option->help);
}

/* The widest name, and what the column of names takes at least. */
static int names_width(const struct option *options)
{
    int width = 10;

    for (const struct option *option = options; option->name != NULL; option++) {
        char text[128];
        name_option(option, text, sizeof text);
        if ((int)strlen(text) > width)
            width = (int)strlen(text);
    }
    return width;
}

void options_list(const struct option *options, struct buffer *out)
{
    const int width = names_width(options);
    for (const struct option *option = options; option->name != NULL; option++)
        describe_option(option, width, out);
}

void options_help(const struct usage *usage, struct buffer *out)
{
    buffer_print(out, "Usage: ocelli %s [OPTIONS]%s%s\n\n%s.\n", usage->name,
                 *usage->arguments != '\0' ? " " : "", usage->arguments, usage->summary);
    if (usage->details != NULL)
        buffer_print(out, "\n%s\n", usage->details);
    buffer_text(out, "\nOptions:\n");
    options_list(usage->options, out);
    struct option help = help_option;
    if (find_by_letter(usage, 'h') != NULL)
        help.letter = 0;
    describe_option(&help, names_width(usage->options), out);
}
