/* The manual page: see manual.h. Commands, options and settings come from their tables; only what
 * tables do not say is written here. */
#include "cmd/manual.h"

#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "cmd/command.h"
#include "cmd/settings.h"

/* Text as roff: no line of it is a request, and hyphens are those that can be typed. */
static void print_roff(const char *text)
{
    bool at_start = true;

    for (; *text != '\0'; text++) {
        if (at_start && (*text == '.' || *text == '\''))
            fputs("\\&", stdout);
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
        at_start = *text == '\n';
    }
}

static void print_option(const struct option *option)
{
    fputs(".TP\n", stdout);
    if (option->letter != 0)
        printf("\\fB\\-%c\\fR, ", option->letter);
    fputs("\\fB\\-\\-", stdout);
    print_roff(option->name);
    fputs("\\fR", stdout);
    if (option->value != NULL)
        printf(" \\fI%s\\fR", option->value);
    putchar('\n');
    print_roff(option->help);
    putchar('\n');
}

/* Details keep their lines: some are small tables. */
static void print_command(const struct usage *usage)
{
    printf(".SS \"ocelli %s%s", usage->name, usage->arguments[0] != '\0' ? " " : "");
    print_roff(usage->arguments);
    puts("\"");
    print_roff(usage->summary);
    fputs(".\n", stdout);
    if (usage->details != NULL) {
        fputs(".PP\n.nf\n", stdout);
        print_roff(usage->details);
        fputs("\n.fi\n", stdout);
    }
    for (const struct option *option = usage->options; option->name != NULL; option++)
        print_option(option);
}

static void print_setting(const struct config_setting *setting)
{
    fputs(".TP\n\\fB\\-\\-", stdout);
    for (const char *at = setting->name; *at != '\0'; at++)
        fputs(*at == '_' ? "\\-" : (const char[]){*at, '\0'}, stdout);
    printf("\\fR, \\fB%s\\fR\n", setting->environment);
    print_roff(setting->help);
    if (setting->default_text[0] != '\0') {
        fputs(" (", stdout);
        print_roff(setting->default_text);
        putchar(')');
    }
    putchar('\n');
}

void manual_print(void)
{
    puts(".\\\" Made by `ocelli completion man`.\n"
         ".TH OCELLI 1 \"\" \"ocelli " OCELLI_VERSION "\" \"User Commands\"\n"
         ".SH NAME\n"
         "ocelli \\- run every image through several classifiers and compare them\n"
         ".SH SYNOPSIS\n"
         ".B ocelli\n"
         ".I COMMAND\n"
         "[\\fIOPTION\\fR...]\n"
         ".SH DESCRIPTION\n"
         "ocelli takes images from uploads and data sets, runs each through several image\n"
         "classifiers side by side, and shows, live and with statistics, which model is faster,\n"
         "which is right and where they disagree. It is one program on an embedded database and a\n"
         "folder; \\fBocelli serve\\fR starts it, \\fBocelli demo\\fR shows it at work.\n"
         ".SH COMMANDS");
    for (const struct command *const *command = commands; *command != NULL; command++)
        print_command((*command)->usage);
    puts(
        ".SH SETTINGS\n"
        "Every command takes these as options too. A setting's value is that of the option, or of\n"
        "the environment variable, or of a line \\fIname: value\\fR in the file of\n"
        "\\fB\\-\\-config\\fR, or the default, which stands in parentheses. Secrets may be put "
        "into\n"
        "a file that an environment variable of the same name with _FILE behind it names.");
    for (const struct config_setting *setting = config_settings(); setting->name != NULL; setting++)
        print_setting(setting);
    puts(".SH EXIT STATUS\n"
         "0 when all went well, 1 when something failed, 2 when the command line was wrong.\n"
         ".SH FILES\n"
         ".TP\n"
         ".I ocelli\\-data/\n"
         "the database and the images, when \\fB\\-\\-data\\-dir\\fR says nothing else\n"
         ".TP\n"
         ".I models/\n"
         "the model packages, when \\fB\\-\\-models\\-dir\\fR says nothing else\n"
         ".SH EXAMPLES\n"
         ".nf\n"
         "ocelli demo                         watch it with sample photographs\n"
         "ocelli serve \\-\\-port 8000           run the platform\n"
         "ocelli predict cat.jpg              classify a file, without a server\n"
         "ocelli stream photos/ \\-\\-rate 10    upload a folder, ten images a second\n"
         "ocelli topics lag                   see how far behind each model is\n"
         ".fi");
}
