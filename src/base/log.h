/* The log: one line an event on standard error, as text for people or as JSON for collectors.
 * Thread-safe; a line is one write. What is returned as an error is not logged as well: whoever
 * handles it decides. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/error.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

/* Process-wide; set once at start. The default is LOG_INFO as text. */
void log_configure(enum log_level least, int as_json);
int log_level_parse(const char *text, enum log_level *out, struct error *err);
const char *log_level_name(enum log_level level);

/* `part` names the part that speaks ("classify", "http"). No newline at the end of format. */
void log_write(enum log_level level, const char *part, const char *format, ...) PRINTF_LIKE(3, 4);

#define log_debug(part, ...)   log_write(LOG_DEBUG, part, __VA_ARGS__)
#define log_info(part, ...)    log_write(LOG_INFO, part, __VA_ARGS__)
#define log_warning(part, ...) log_write(LOG_WARNING, part, __VA_ARGS__)
#define log_error(part, ...)   log_write(LOG_ERROR, part, __VA_ARGS__)

#endif
