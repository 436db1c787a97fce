/* Settings: one table (config_table.h) gives each a name, a type, a default, bounds, an environment
 * name and help; it serves flags, environment, file, `ocelli config` and the documentation. Order:
 * flag, environment, file, default. Secrets may also come from a file named by <ENVIRONMENT>_FILE.
 */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* The C types of the table's kinds. Texts are owned by the config; never NULL, "" when unset. */
#define CONFIG_C_TYPE_TEXT    char *
#define CONFIG_C_TYPE_SECRET  char *
#define CONFIG_C_TYPE_INTEGER int64_t
#define CONFIG_C_TYPE_REAL    double
#define CONFIG_C_TYPE_FLAG    bool

struct config {
#define SETTING(kind, name, environment, default_text, low, high, help) CONFIG_C_TYPE_##kind name;
#include "base/config_table.h"
#undef SETTING
};

enum config_origin { CONFIG_DEFAULT, CONFIG_FILE, CONFIG_ENVIRONMENT, CONFIG_FLAG };

enum config_kind {
    CONFIG_KIND_TEXT,
    CONFIG_KIND_SECRET,
    CONFIG_KIND_INTEGER,
    CONFIG_KIND_REAL,
    CONFIG_KIND_FLAG
};

/* One row, for those who list settings. */
struct config_setting {
    const char *name;        /* "upload_bytes_max"; the flag is --upload-bytes-max */
    const char *environment; /* "OCELLI_UPLOAD_BYTES_MAX" or a fixed name ("POSTGRES_HOST") */
    enum config_kind kind;
    const char *default_text;
    double low, high; /* bounds of numbers */
    const char *help;
    size_t offset; /* in struct config */
};

/* The table, ended by a row whose name is NULL. */
const struct config_setting *config_settings(void);

/* All defaults. */
int config_create(struct config **out, struct error *err);
void config_free(struct config *config);

/* Sets one from text ("64", "true", "10MB" and "30s" are understood for bytes and seconds where the
 * name says so). STATUS_NOT_FOUND for an unknown name, STATUS_INVALID naming the setting, the text
 * and the bounds. An origin of lower precedence than the one in force is ignored. */
int config_set(struct config *config, const char *name, const char *text, enum config_origin origin,
               struct error *err);
/* `name: value` lines (a flat YAML subset), # comments. */
int config_load_file(struct config *config, const char *path, struct error *err);
int config_load_environment(struct config *config, struct error *err);

/* The value in force as text (secrets as "********"); returns text. */
const char *config_text(const struct config *config, const struct config_setting *setting,
                        char *text, size_t text_size);
enum config_origin config_origin(const struct config *config, const struct config_setting *setting);

#endif
