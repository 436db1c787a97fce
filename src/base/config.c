/* Settings: see config.h. Every setting is one row of the table below, which is config_table.h once
 * more; what differs between kinds is in `read_value` and `config_text`, nothing else knows them.
 */
#include "base/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

static const struct config_setting settings[] = {
#define SETTING(kind, name, environment, default_text, low, high, help)                            \
    {#name, environment, CONFIG_KIND_##kind,           default_text, low,                          \
     high,  help,        offsetof(struct config, name)},
#include "base/config_table.h"
#undef SETTING
    {.name = NULL}};

enum {
    SETTING_COUNT = sizeof settings / sizeof settings[0] - 1,
    FILE_SIZE_MAX = 1 << 20,
    SECRET_SIZE_MAX = 1 << 16
};

/* What config_create allocates: the values callers see, and where each came from. */
struct config_record {
    struct config values;
    enum config_origin origins[SETTING_COUNT];
};

const struct config_setting *config_settings(void)
{
    return settings;
}

static const void *value_of(const struct config *config, const struct config_setting *setting)
{
    return (const char *)config + setting->offset;
}

static void *value_to_set(struct config *config, const struct config_setting *setting)
{
    return (char *)config + setting->offset;
}

static bool is_text(const struct config_setting *setting)
{
    return setting->kind == CONFIG_KIND_TEXT || setting->kind == CONFIG_KIND_SECRET;
}

/* --- Reading one value */

static int replace_text(char **value, const char *text, struct error *err)
{
    char *copy = strdup(text);
    if (copy == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a setting");
    if (*value != NULL)
        explicit_bzero(*value, strlen(*value)); /* it may be a secret */
    free(*value);
    *value = copy;
    return STATUS_OK;
}

/* The unit is told by the name: upload_bytes_max, request_timeout_seconds, topic_retention_hours.
 */
static int read_integer(const struct config_setting *setting, const char *text, int64_t *out)
{
    if (strstr(setting->name, "_bytes") != NULL)
        return text_read_bytes(text, out);
    if (strstr(setting->name, "_seconds") != NULL)
        return text_read_duration(text, 1, out);
    if (strstr(setting->name, "_hours") != NULL)
        return text_read_duration(text, 3600, out);
    return text_read_integer(text, out);
}

static int read_number(const struct config_setting *setting, const char *text, void *value,
                       struct error *err)
{
    int64_t integer = 0;
    double real = 0;
    int failed;

    if (setting->kind == CONFIG_KIND_INTEGER) {
        failed = read_integer(setting, text, &integer);
        real = (double)integer;
    } else {
        failed = text_read_real(text, &real);
    }
    if (failed || real < setting->low || real > setting->high)
        return error_set(err, STATUS_INVALID,
                         "'%s' cannot be '%.64s': it takes a %s from %.15g to %.15g", setting->name,
                         text, setting->kind == CONFIG_KIND_INTEGER ? "whole number" : "number",
                         setting->low, setting->high);
    if (setting->kind == CONFIG_KIND_INTEGER)
        *(int64_t *)value = integer;
    else
        *(double *)value = real;
    return STATUS_OK;
}

static int read_value(const struct config_setting *setting, const char *text, void *value,
                      struct error *err)
{
    switch (setting->kind) {
    case CONFIG_KIND_TEXT:
    case CONFIG_KIND_SECRET:
        return replace_text(value, text, err);
    case CONFIG_KIND_INTEGER:
    case CONFIG_KIND_REAL:
        return read_number(setting, text, value, err);
    case CONFIG_KIND_FLAG:
        break;
    }
    if (text_read_flag(text, value) != 0)
        return error_set(err, STATUS_INVALID, "'%s' cannot be '%.64s': it takes true or false",
                         setting->name, text);
    return STATUS_OK;
}

/* --- Setting */

static int find_setting(const char *name, const struct config_setting **out, struct error *err)
{
    const struct config_setting *nearest = NULL;

    for (const struct config_setting *setting = settings; setting->name != NULL; setting++) {
        if (strcmp(setting->name, name) == 0) {
            *out = setting;
            return STATUS_OK;
        }
        if (text_resembles(name, setting->name) &&
            (nearest == NULL ||
             text_distance(name, setting->name) < text_distance(name, nearest->name)))
            nearest = setting;
    }
    if (nearest != NULL)
        return error_set(err, STATUS_NOT_FOUND, "there is no setting '%.64s'; did you mean '%s'?",
                         name, nearest->name);
    return error_set(err, STATUS_NOT_FOUND,
                     "there is no setting '%.64s'; `ocelli config` lists them all", name);
}

static int set_found(struct config *config, const struct config_setting *setting, const char *text,
                     enum config_origin origin, struct error *err)
{
    struct config_record *record = (struct config_record *)config;
    const size_t row = (size_t)(setting - settings);

    if (origin < record->origins[row])
        return STATUS_OK;
    const int status = read_value(setting, text, value_to_set(config, setting), err);
    if (status == STATUS_OK)
        record->origins[row] = origin;
    return status;
}

int config_set(struct config *config, const char *name, const char *text, enum config_origin origin,
               struct error *err)
{
    const struct config_setting *setting = NULL;
    const int status = find_setting(name, &setting, err);
    return status != STATUS_OK ? status : set_found(config, setting, text, origin, err);
}

int config_create(struct config **out, struct error *err)
{
    struct config_record *record = calloc(1, sizeof *record);

    if (record == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the settings");
    for (const struct config_setting *setting = settings; setting->name != NULL; setting++) {
        const int status =
            set_found(&record->values, setting, setting->default_text, CONFIG_DEFAULT, err);
        if (status != STATUS_OK) {
            config_free(&record->values);
            return status;
        }
    }
    *out = &record->values;
    return STATUS_OK;
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    for (const struct config_setting *setting = settings; setting->name != NULL; setting++) {
        if (!is_text(setting))
            continue;
        char *text = *(char **)value_to_set(config, setting);
        if (text != NULL)
            explicit_bzero(text, strlen(text));
        free(text);
    }
    free((struct config_record *)config);
}

/* --- From a file */

static char *trim(char *text)
{
    while (*text == ' ' || *text == '\t')
        text++;
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t\r", text[length - 1]) != NULL)
        text[--length] = '\0';
    return text;
}

/* The value after the colon, without quotes or comment; NULL when a quote is not closed or is
 * followed by more. Backslashes stand for themselves. */
static char *unquote(char *text)
{
    text = trim(text);
    if (*text == '"' || *text == '\'') {
        char *end = strchr(text + 1, *text);
        if (end == NULL)
            return NULL;
        *end = '\0';
        const char *rest = trim(end + 1);
        return *rest == '\0' || *rest == '#' ? text + 1 : NULL;
    }
    for (char *at = text; *at != '\0'; at++) {
        if (*at == '#' && (at == text || at[-1] == ' ' || at[-1] == '\t')) {
            *at = '\0';
            break;
        }
    }
    return trim(text);
}

static int set_from_line(struct config *config, char *line, struct error *err)
{
    line = trim(line);
    if (*line == '\0' || *line == '#' || strcmp(line, "---") == 0)
        return STATUS_OK;
    char *colon = strchr(line, ':');
    if (colon == NULL)
        return error_set(err, STATUS_INVALID, "expected 'name: value'");
    *colon = '\0';
    const char *name = trim(line), *value = unquote(colon + 1);
    if (value == NULL)
        return error_set(err, STATUS_INVALID, "the quotes around the value of '%.64s' do not match",
                         name);
    return config_set(config, name, value, CONFIG_FILE, err);
}

int config_load_file(struct config *config, const char *path, struct error *err)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    int status = file_read(path, FILE_SIZE_MAX, &bytes, &size, err);
    int number = 0;

    if (status != STATUS_OK)
        return status;
    if (memchr(bytes, '\0', size) != NULL)
        status = error_set(err, STATUS_INVALID, "'%s' is not a text file", path);
    for (char *line = (char *)bytes, *next; status == STATUS_OK && line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        number++;
        struct error why = {0};
        status = set_from_line(config, line, &why);
        if (status != STATUS_OK)
            status = error_set(err, (enum status)status, "%s:%d: %s", path, number, why.message);
    }
    explicit_bzero(bytes, size);
    free(bytes);
    return status;
}

/* --- From the environment */

static int set_from_secret_file(struct config *config, const struct config_setting *setting,
                                const char *path, struct error *err)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    int status = file_read(path, SECRET_SIZE_MAX, &bytes, &size, err);

    if (status != STATUS_OK) {
        error_wrap(err, "reading the secret named by %s_FILE", setting->environment);
        return status;
    }
    /* Editors and `echo` end a file with a line feed that is no part of the secret. */
    char *text = (char *)bytes;
    text[strcspn(text, "\r\n")] = '\0';
    status = set_found(config, setting, text, CONFIG_ENVIRONMENT, err);
    explicit_bzero(bytes, size);
    free(bytes);
    return status;
}

static int set_from_environment(struct config *config, const struct config_setting *setting,
                                struct error *err)
{
    char file_variable[128];
    const char *value = getenv(setting->environment), *path = NULL;

    if (setting->kind == CONFIG_KIND_SECRET) {
        snprintf(file_variable, sizeof file_variable, "%s_FILE", setting->environment);
        path = getenv(file_variable);
    }
    /* Compose files pass on variables that are not set as empty ones. */
    const bool has_value = value != NULL && *value != '\0',
               has_path = path != NULL && *path != '\0';
    if (has_value && has_path)
        return error_set(err, STATUS_INVALID, "%s and %s are both set; keep one of them",
                         setting->environment, file_variable);
    if (has_path)
        return set_from_secret_file(config, setting, path, err);
    if (!has_value)
        return STATUS_OK;
    struct error why = {0};
    const int status = set_found(config, setting, value, CONFIG_ENVIRONMENT, &why);
    if (status != STATUS_OK)
        return error_set(err, (enum status)status, "environment variable %s: %s",
                         setting->environment, why.message);
    return STATUS_OK;
}

int config_load_environment(struct config *config, struct error *err)
{
    for (const struct config_setting *setting = settings; setting->name != NULL; setting++) {
        const int status = set_from_environment(config, setting, err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* --- Showing */

const char *config_text(const struct config *config, const struct config_setting *setting,
                        char *text, size_t text_size)
{
    const void *value = value_of(config, setting);

    switch (setting->kind) {
    case CONFIG_KIND_TEXT:
        snprintf(text, text_size, "%s", *(char *const *)value);
        break;
    case CONFIG_KIND_SECRET:
        snprintf(text, text_size, "%s", **(char *const *)value != '\0' ? "********" : "");
        break;
    case CONFIG_KIND_INTEGER:
        snprintf(text, text_size, "%" PRId64, *(const int64_t *)value);
        break;
    case CONFIG_KIND_REAL:
        snprintf(text, text_size, "%.15g", *(const double *)value);
        break;
    case CONFIG_KIND_FLAG:
        snprintf(text, text_size, "%s", *(const bool *)value ? "true" : "false");
        break;
    }
    return text;
}

enum config_origin config_origin(const struct config *config, const struct config_setting *setting)
{
    return ((const struct config_record *)config)->origins[setting - settings];
}
