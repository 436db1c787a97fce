/* `ocelli completion`: what shells and man(1) want to know about the command line, made from the
 * same tables that read it. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/command.h"
#include "cmd/manual.h"
#include "cmd/settings.h"

static const struct option options[] = {{.name = NULL}};

static const struct usage usage = {
    .name = "completion",
    .arguments = "bash|zsh|fish|man",
    .summary = "print a shell's completions, or the manual page",
    .details =
        "For bash:  ocelli completion bash > ~/.local/share/bash-completion/completions/ocelli\n"
        "For zsh:   ocelli completion zsh > a folder of $fpath, as _ocelli\n"
        "For fish:  ocelli completion fish > ~/.config/fish/completions/ocelli.fish\n"
        "As a page: ocelli completion man | man -l -",
    .options = options,
};

/* --- The tables ------------------------------------------------------------------------------- */

/* Calls `visit` for each option of a command: its own, the settings and --help. */
static void each_option(const struct command *command,
                        void (*visit)(const struct command *command, const struct option *option))
{
    static const struct option help = {.name = "help", .kind = OPTION_FLAG, .help = "show help"};
    const struct option *settings = command == &command_completion ? NULL : settings_options();

    for (const struct option *option = command->usage->options; option->name != NULL; option++)
        visit(command, option);
    for (; settings != NULL && settings->name != NULL; settings++)
        visit(command, settings);
    visit(command, &help);
}

/* Calls `visit` for each word that stands for itself in a command's arguments: "list" and "lag" of
 * "list|tail TOPIC|lag". */
static void each_word(const struct command *command, void (*visit)(const char *word, size_t length))
{
    for (const char *at = command->usage->arguments; *at != '\0';) {
        const size_t length = strcspn(at, "| []");
        bool literal = length > 0;
        for (size_t i = 0; i < length; i++)
            literal &=
                islower((unsigned char)at[i]) || isdigit((unsigned char)at[i]) || at[i] == '-';
        if (literal)
            visit(at, length);
        at += length + (at[length] != '\0');
    }
}

static void print_word(const char *word, size_t length)
{
    printf(" %.*s", (int)length, word);
}

/* Text that stands between single quotes of a shell, with `special` characters behind a backslash.
 */
static void print_inside_quotes(const char *text, const char *special)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            fputs("'\\''", stdout);
        else if (strchr(special, *text) != NULL)
            printf("\\%c", *text);
        else
            putchar(*text);
    }
}

/* --- bash ------------------------------------------------------------------------------------- */

static void print_bash_option(const struct command *command, const struct option *option)
{
    (void)command;
    printf(" --%s", option->name);
}

static void print_bash(void)
{
    fputs("# Completions of ocelli for bash.\n"
          "_ocelli() {\n"
          "    local current=${COMP_WORDS[COMP_CWORD]} words= options=\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        COMPREPLY=($(compgen -W '",
          stdout);
    for (const struct command *const *command = commands; *command != NULL; command++)
        printf("%s ", (*command)->usage->name);
    fputs("--help --version' -- \"$current\"))\n"
          "        return\n"
          "    fi\n"
          "    case ${COMP_WORDS[1]} in\n",
          stdout);
    for (const struct command *const *command = commands; *command != NULL; command++) {
        printf("    %s)\n        words='", (*command)->usage->name);
        each_word(*command, print_word);
        fputs("'\n        options='", stdout);
        each_option(*command, print_bash_option);
        fputs("' ;;\n", stdout);
    }
    fputs("    esac\n"
          "    if [[ $current == -* ]]; then\n"
          "        COMPREPLY=($(compgen -W \"$options\" -- \"$current\"))\n"
          "    else\n"
          "        COMPREPLY=($(compgen -W \"$words\" -- \"$current\") $(compgen -f -- "
          "\"$current\"))\n"
          "    fi\n"
          "}\n"
          "complete -o filenames -F _ocelli ocelli\n",
          stdout);
}

/* --- zsh -------------------------------------------------------------------------------------- */

static const char *zsh_action(const char *value)
{
    return strcmp(value, "DIR") == 0 ? "_files -/" : strcmp(value, "FILE") == 0 ? "_files" : " ";
}

/* '--name=[help]:VALUE:action', with what would end the help behind a backslash. */
static void print_zsh_option(const struct command *command, const struct option *option)
{
    (void)command;
    printf(" \\\n            '--%s%s[", option->name, option->value != NULL ? "=" : "");
    print_inside_quotes(option->help, "[]:\\");
    putchar(']');
    if (option->value != NULL)
        printf(":%s:%s", option->value, zsh_action(option->value));
    putchar('\'');
}

static void print_zsh(void)
{
    fputs("#compdef ocelli\n"
          "# Completions of ocelli for zsh.\n"
          "_ocelli() {\n"
          "    local -a commands\n"
          "    commands=(\n",
          stdout);
    for (const struct command *const *command = commands; *command != NULL; command++) {
        char row[256];
        snprintf(row, sizeof row, "%s:%s", (*command)->usage->name, (*command)->usage->summary);
        fputs("        ", stdout);
        putchar('\'');
        print_inside_quotes(row, "");
        puts("'");
    }
    fputs("    )\n"
          "    if (( CURRENT == 2 )); then\n"
          "        _describe command commands\n"
          "        return\n"
          "    fi\n"
          "    shift words\n"
          "    (( CURRENT-- ))\n"
          "    case $words[1] in\n",
          stdout);
    for (const struct command *const *command = commands; *command != NULL; command++) {
        printf("    %s)\n        _arguments -s", (*command)->usage->name);
        each_option(*command, print_zsh_option);
        fputs(" \\\n            '*: :_alternative \"words:word:(", stdout);
        each_word(*command, print_word);
        fputs(")\" \"files:file:_files\"' ;;\n", stdout);
    }
    fputs("    esac\n"
          "}\n"
          "_ocelli \"$@\"\n",
          stdout);
}

/* --- fish ------------------------------------------------------------------------------------- */

static void print_fish_option(const struct command *command, const struct option *option)
{
    printf("complete -c ocelli -n '__fish_seen_subcommand_from %s' -l %s", command->usage->name,
           option->name);
    if (option->letter != 0)
        printf(" -s %c", option->letter);
    fputs(option->value != NULL ? " -r -d '" : " -d '", stdout);
    print_inside_quotes(option->help, "\\");
    puts("'");
}

static void print_fish(void)
{
    puts("# Completions of ocelli for fish.");
    for (const struct command *const *command = commands; *command != NULL; command++) {
        const struct usage *of = (*command)->usage;
        printf("complete -c ocelli -n __fish_use_subcommand -f -a %s -d '", of->name);
        print_inside_quotes(of->summary, "\\");
        printf("'\ncomplete -c ocelli -n '__fish_seen_subcommand_from %s' -a '", of->name);
        each_word(*command, print_word);
        puts("'");
        each_option(*command, print_fish_option);
    }
}

/* --- The command ------------------------------------------------------------------------------ */

static int print_for(const char *shell, struct error *err)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } kinds[] = {
        {"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}, {"man", manual_print}};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, shell) == 0) {
            kinds[i].print();
            return STATUS_OK;
        }
    return error_set(err, STATUS_INVALID, "there are bash, zsh, fish and man, not '%.32s'", shell);
}

static int print_help(struct error *err)
{
    struct buffer out = {0};

    options_help(&usage, &out);
    const bool ok = buffer_ok(&out);
    if (ok)
        fputs(out.data, stdout);
    buffer_free(&out);
    return ok ? STATUS_OK : error_set(err, STATUS_NO_MEMORY, "no memory for the help");
}

static int run(int argc, char **argv)
{
    const char **arguments = calloc((size_t)argc, sizeof *arguments);
    int argument_count, status;
    struct error err = {0};
    bool help;

    if (arguments == NULL)
        status = error_set(&err, STATUS_NO_MEMORY, "no memory for the options");
    else
        status = options_parse(&usage, argc, argv, NULL, arguments, &argument_count, &help, &err);
    if (status == STATUS_OK && help)
        status = print_help(&err);
    else if (status == STATUS_OK && argument_count != 1)
        status = error_set(&err, STATUS_INVALID, "say for what: bash, zsh, fish or man");
    else if (status == STATUS_OK)
        status = print_for(arguments[0], &err);
    free(arguments);
    return status == STATUS_OK ? 0 : command_fail("completion", &err);
}

const struct command command_completion = {&usage, run};
