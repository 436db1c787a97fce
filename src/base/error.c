/* Errors: see error.h. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, enum status code, const char *format, ...)
{
    if (err != NULL) {
        va_list arguments;
        va_start(arguments, format);
        err->code = code;
        vsnprintf(err->message, sizeof err->message, format, arguments);
        va_end(arguments);
    }
    return code;
}

static enum status status_from_errno(int errno_value)
{
    switch (errno_value) {
    case ENOSPC:
    case EDQUOT:
        return STATUS_NO_SPACE;
    case ENOENT:
    case ENOTDIR:
        return STATUS_NOT_FOUND;
    case EEXIST:
        return STATUS_EXISTS;
    case ENOMEM:
        return STATUS_NO_MEMORY;
    case EACCES:
    case EPERM:
    case EROFS:
        return STATUS_DENIED;
    default:
        return STATUS_IO;
    }
}

/* Adds ": reason" behind the first `length` bytes of the message, cut where there is no more room.
 */
static void append_reason(struct error *err, size_t length, const char *reason)
{
    const size_t room = sizeof err->message - length;
    const int written = snprintf(err->message + length, room, ": %s", reason);
    (void)written; /* what does not fit is left out, on purpose */
}

int error_set_errno(struct error *err, int errno_value, const char *format, ...)
{
    const enum status code = status_from_errno(errno_value);

    if (err != NULL) {
        char reason[128];
        va_list arguments;
        va_start(arguments, format);
        err->code = code;
        int length = vsnprintf(err->message, sizeof err->message, format, arguments);
        va_end(arguments);
        /* The GNU strerror_r returns the text, which may or may not be in the buffer. */
        const char *text = strerror_r(errno_value, reason, sizeof reason);
        if (length >= 0 && (size_t)length < sizeof err->message)
            append_reason(err, (size_t)length, text);
    }
    return code;
}

int error_wrap(struct error *err, const char *format, ...)
{
    char inner[ERROR_MESSAGE_MAX];
    va_list arguments;

    if (err == NULL)
        return STATUS_INTERNAL;
    memcpy(inner, err->message, sizeof inner);
    va_start(arguments, format);
    int length = vsnprintf(err->message, sizeof err->message, format, arguments);
    va_end(arguments);
    if (length >= 0 && (size_t)length < sizeof err->message)
        append_reason(err, (size_t)length, inner);
    return err->code;
}

const char *status_name(int code)
{
    switch (code) {
#define STATUS_NAME(name, value, short_name, meaning)                                              \
    case value:                                                                                    \
        return short_name;
        STATUS_MAP(STATUS_NAME)
#undef STATUS_NAME
    default:
        return "unknown";
    }
}

const char *status_meaning(int code)
{
    switch (code) {
#define STATUS_MEANING(name, value, short_name, meaning)                                           \
    case value:                                                                                    \
        return meaning;
        STATUS_MAP(STATUS_MEANING)
#undef STATUS_MEANING
    default:
        return "not a status of this program";
    }
}
