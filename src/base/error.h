/* Errors: one list of status codes, and the sentence a person needs.
 *
 * A function that can fail returns an `int` status, 0 (STATUS_OK) or one of the negative codes
 * below, and takes `struct error *err` as its last parameter. On failure it fills `err` with what
 * failed, on what, and what to do about it; on success it leaves `err` untouched. `err` may be NULL
 * where the caller wants only the code. Whoever returns an error does not log it. Programmer errors
 * are assertions, not statuses. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

/* X(NAME, value, short name for logs and JSON, what it means) */
#define STATUS_MAP(X)                                                                              \
    X(OK, 0, "ok", "success")                                                                      \
    X(NO_MEMORY, -1, "no_memory", "an allocation failed")                                          \
    X(INVALID, -2, "invalid", "the input breaks a rule")                                           \
    X(CORRUPT, -3, "corrupt", "data that should be well formed is not")                            \
    X(UNSUPPORTED, -4, "unsupported", "well formed, but not something this program handles")       \
    X(TOO_LARGE, -5, "too_large", "over a configured bound")                                       \
    X(NOT_FOUND, -6, "not_found", "no such thing")                                                 \
    X(EXISTS, -7, "exists", "the thing is there already")                                          \
    X(BUSY, -8, "busy", "a queue or limit is full; try again later")                               \
    X(DENIED, -9, "denied", "not allowed")                                                         \
    X(TIMEOUT, -10, "timeout", "it took longer than allowed")                                      \
    X(CLOSED, -11, "closed", "the thing is shutting down or already shut")                         \
    X(IO, -12, "io", "the operating system or a peer failed to read or write")                     \
    X(NO_SPACE, -13, "no_space", "the disk is full")                                               \
    X(UNAVAILABLE, -14, "unavailable", "an engine this needs cannot be reached")                   \
    X(INTERNAL, -15, "internal", "a fault of this program or of a library it uses")

enum status {
#define STATUS_ENUM(name, value, short_name, meaning) STATUS_##name = value,
    STATUS_MAP(STATUS_ENUM)
#undef STATUS_ENUM
};

enum { ERROR_MESSAGE_MAX = 512 };

struct error {
    int code;                        /* an enum status; STATUS_OK while nothing failed */
    char message[ERROR_MESSAGE_MAX]; /* one sentence, no newline; cut at the end when too long */
};

#if defined(__GNUC__)
#define PRINTF_LIKE(format_index, first_argument)                                                  \
    __attribute__((format(printf, format_index, first_argument)))
#else
#define PRINTF_LIKE(format_index, first_argument)
#endif

/* Fills `err` (when not NULL) and returns `code`, so that a failure is one line: `return
 * error_set(...)`. */
int error_set(struct error *err, enum status code, const char *format, ...) PRINTF_LIKE(3, 4);

/* As error_set, with strerror(errno_value) appended; the code is chosen from errno (ENOSPC gives
 * STATUS_NO_SPACE, ENOENT STATUS_NOT_FOUND, ENOMEM STATUS_NO_MEMORY, the rest STATUS_IO). */
int error_set_errno(struct error *err, int errno_value, const char *format, ...) PRINTF_LIKE(3, 4);

/* Puts context before the message already in `err` ("loading model 'a': ...") and returns err's
 * code; STATUS_INTERNAL when `err` is NULL. */
int error_wrap(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* The short name ("too_large") of a status; "unknown" for a number that is none. Never NULL. */
const char *status_name(int code);
/* The meaning in words. Never NULL. */
const char *status_meaning(int code);

#endif
