/* The log: see log.h. A line is built in one bounded buffer and leaves in one write(2), so that
 * lines of several threads, or of several processes on one pipe, never mix. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

/* A pipe takes this much in one piece (PIPE_BUF is 4096 on Linux). */
enum { LINE_MAX_BYTES = 4096, MESSAGE_MAX_BYTES = 2048 };

static atomic_int least_level = LOG_INFO;
static atomic_int write_json = 0;

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARNING] = "warning", [LOG_ERROR] = "error"};

void log_configure(enum log_level least, int as_json)
{
    atomic_store(&least_level, (int)least);
    atomic_store(&write_json, as_json);
}

int log_level_parse(const char *text, enum log_level *out, struct error *err)
{
    for (int level = LOG_DEBUG; level <= LOG_ERROR; level++) {
        if (strcmp(text, level_names[level]) == 0) {
            *out = (enum log_level)level;
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_INVALID,
                     "'%.64s' is no log level; it is one of debug, info, warning, error", text);
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

struct line {
    char text[LINE_MAX_BYTES];
    size_t size;
};

/* Room for the closing of a JSON line is kept back by whoever writes the message. */
static void line_append(struct line *line, const char *text, size_t size)
{
    const size_t room = sizeof line->text - line->size;
    if (size > room)
        size = room;
    memcpy(line->text + line->size, text, size);
    line->size += size;
}

static void line_text(struct line *line, const char *text)
{
    line_append(line, text, strlen(text));
}

/* Control characters are written as escapes in both forms: an event stays one line, and what a
 * client sent cannot forge another or move a terminal's cursor. */
static void line_escaped(struct line *line, const char *text, int json, size_t keep_back)
{
    for (const char *at = text; *at != '\0'; at++) {
        const unsigned char byte = (unsigned char)*at;
        char piece[8] = {*at, '\0'};
        if (byte < 0x20 || byte == 0x7f)
            snprintf(piece, sizeof piece, "\\u%04x", byte);
        else if (json && (byte == '"' || byte == '\\'))
            snprintf(piece, sizeof piece, "\\%c", byte);
        const size_t size = strlen(piece);
        if (line->size + size + keep_back > sizeof line->text)
            return;
        line_append(line, piece, size);
    }
}

static void format_json(struct line *line, enum log_level level, const char *part,
                        const char *timestamp, const char *message)
{
    line_text(line, "{\"time\":\"");
    line_text(line, timestamp);
    line_text(line, "\",\"level\":\"");
    line_text(line, level_names[level]);
    line_text(line, "\",\"part\":\"");
    line_escaped(line, part, 1, LINE_MAX_BYTES / 2);
    line_text(line, "\",\"message\":\"");
    line_escaped(line, message, 1, 3);
    line_text(line, "\"}\n");
}

static void format_text(struct line *line, enum log_level level, const char *part,
                        const char *timestamp, const char *message)
{
    line_text(line, timestamp);
    line_text(line, " ");
    line_text(line, level_names[level]);
    line_text(line, " ");
    line_escaped(line, part, 0, LINE_MAX_BYTES / 2);
    line_text(line, ": ");
    line_escaped(line, message, 0, 1);
    line_text(line, "\n");
}

void log_write(enum log_level level, const char *part, const char *format, ...)
{
    char message[MESSAGE_MAX_BYTES], timestamp[TIMESTAMP_TEXT_MAX];
    struct line line = {.size = 0};
    va_list arguments;

    if ((int)level < atomic_load_explicit(&least_level, memory_order_relaxed))
        return;
    const int saved_errno = errno;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    timestamp_format(clock_utc_us(), timestamp);
    if (atomic_load_explicit(&write_json, memory_order_relaxed))
        format_json(&line, level, part, timestamp, message);
    else
        format_text(&line, level, part, timestamp, message);
    /* Nowhere is left to report that the log itself cannot be written. */
    while (write(STDERR_FILENO, line.text, line.size) < 0 && errno == EINTR)
        ;
    errno = saved_errno;
}
