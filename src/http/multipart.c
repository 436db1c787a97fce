/* The multipart parser: see multipart.h.
 *
 * Content ends at the delimiter, CR LF "--" boundary. A carriage return stands only at its start
 * (boundaries may not hold one), so a match that breaks off can begin anew at the breaking byte and
 * nowhere before: no table is needed, and the bytes of a partial match at the end of one piece are
 * given back, should it come to nothing, from the delimiter itself. */
#include "http/multipart.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "http/disposition.h"

enum state {
    STATE_PREAMBLE,  /* before the first boundary; discarded */
    STATE_DELIMITED, /* behind a boundary: "--", or blanks and a line end */
    STATE_LINE_END,  /* the CR behind a boundary was seen */
    STATE_CLOSING,   /* the first '-' behind a boundary was seen */
    STATE_HEADERS,
    STATE_CONTENT,
    STATE_EPILOGUE
};

struct multipart {
    enum state state;
    size_t matched; /* bytes of the delimiter that the last pieces ended with */
    char delimiter[MULTIPART_BOUNDARY_MAX + 5];
    size_t delimiter_size;
    int part_count, part_count_max;
    size_t headers_size;
    char headers[MULTIPART_HEADERS_MAX + 1];
    struct disposition disposition; /* borrows from `headers` */
};

/* --- Setting up */

static bool is_boundary_character(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("'()+_,-./:=? ", c) != NULL);
}

int multipart_create(const char *content_type, int part_count_max, struct multipart **out,
                     struct error *err)
{
    char boundary[MULTIPART_BOUNDARY_MAX + 1];

    if (!header_value_is(content_type, "multipart/form-data"))
        return error_set(err, STATUS_UNSUPPORTED,
                         "the body must be multipart/form-data, not '%.100s'",
                         content_type != NULL ? content_type : "of no stated type");
    const size_t length = header_parameter(content_type, "boundary", boundary, sizeof boundary);
    bool valid = length > 0 && length < sizeof boundary && boundary[length - 1] != ' ';
    for (size_t i = 0; valid && i < length; i++)
        valid = is_boundary_character(boundary[i]);
    if (!valid)
        return error_set(err, STATUS_INVALID,
                         "the Content-Type of the body names no valid multipart boundary");

    struct multipart *multipart = calloc(1, sizeof *multipart);
    if (multipart == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to read the body");
    memcpy(multipart->delimiter, "\r\n--", 4);
    memcpy(multipart->delimiter + 4, boundary, length);
    multipart->delimiter_size = length + 4;
    multipart->part_count_max = part_count_max;
    multipart->state = STATE_PREAMBLE;
    multipart->matched = 2; /* the first boundary may open the body without a line end before it */
    *out = multipart;
    return STATUS_OK;
}

void multipart_free(struct multipart *multipart)
{
    free(multipart);
}

/* --- Content */

static void step(const uint8_t **input, size_t *input_size, size_t count)
{
    *input += count;
    *input_size -= count;
}

/* Goes on with a match that earlier pieces began. True when the delimiter is complete or the input
 * used up; false when it came to nothing, with the bytes to give back in *lost. */
static bool continue_match(struct multipart *multipart, const uint8_t **input, size_t *input_size,
                           size_t *lost)
{
    while (*input_size > 0 && multipart->matched < multipart->delimiter_size) {
        if (**input != (uint8_t)multipart->delimiter[multipart->matched]) {
            *lost = multipart->matched;
            multipart->matched = 0;
            return false;
        }
        multipart->matched++;
        step(input, input_size, 1);
    }
    return true;
}

/* How many bytes at the end of the input the delimiter might begin with. */
static size_t partial_match_at_end(const struct multipart *multipart, const uint8_t *input,
                                   size_t size)
{
    size_t tail = size < multipart->delimiter_size - 1 ? size : multipart->delimiter_size - 1;

    while (tail > 0 && memcmp(input + size - tail, multipart->delimiter, tail) != 0)
        tail--;
    return tail;
}

/* Content up to the delimiter or the end of the input; in the preamble it is dropped. */
static int next_in_content(struct multipart *multipart, const uint8_t **input, size_t *input_size,
                           const uint8_t **data, size_t *data_size)
{
    const bool in_part = multipart->state == STATE_CONTENT;
    size_t lost = 0;

    if (multipart->matched > 0 && !continue_match(multipart, input, input_size, &lost)) {
        *data = (const uint8_t *)multipart->delimiter;
        *data_size = lost;
        return in_part ? MULTIPART_DATA : MULTIPART_MORE;
    }
    if (multipart->matched == multipart->delimiter_size) {
        multipart->matched = 0;
        multipart->state = STATE_DELIMITED;
        return in_part ? MULTIPART_PART_END : MULTIPART_MORE;
    }
    if (multipart->matched > 0 || *input_size == 0)
        return MULTIPART_MORE;

    const uint8_t *start = *input;
    const uint8_t *end =
        memmem(start, *input_size, multipart->delimiter, multipart->delimiter_size);
    if (end != NULL) {
        multipart->matched = multipart->delimiter_size;
        step(input, input_size, (size_t)(end - start) + multipart->delimiter_size);
    } else {
        multipart->matched = partial_match_at_end(multipart, start, *input_size);
        end = start + *input_size - multipart->matched;
        step(input, input_size, *input_size);
    }
    *data = start;
    *data_size = (size_t)(end - start);
    return in_part && *data_size > 0 ? MULTIPART_DATA : MULTIPART_MORE;
}

/* --- Between the parts */

static int broken(const char *what, struct error *err)
{
    return error_set(err, STATUS_CORRUPT, "the multipart body is broken: %s", what);
}

/* One byte behind a boundary. */
static int after_delimiter(struct multipart *multipart, uint8_t byte, struct error *err)
{
    if (multipart->state == STATE_DELIMITED) {
        if (byte == '-')
            multipart->state = STATE_CLOSING;
        else if (byte == '\r')
            multipart->state = STATE_LINE_END;
        else if (byte != ' ' && byte != '\t')
            return broken("a boundary is followed by something else than a line end", err);
    } else if (multipart->state == STATE_CLOSING) {
        if (byte != '-')
            return broken("a boundary is followed by a single '-'", err);
        multipart->state = STATE_EPILOGUE;
        return MULTIPART_END;
    } else {
        if (byte != '\n')
            return broken("a line end behind a boundary lacks its line feed", err);
        if (multipart->part_count++ == multipart->part_count_max)
            return error_set(err, STATUS_TOO_LARGE, "the body has more than %d parts",
                             multipart->part_count_max);
        multipart->state = STATE_HEADERS;
        multipart->headers_size = 0;
    }
    return MULTIPART_MORE;
}

static bool headers_complete(const struct multipart *multipart)
{
    const char *text = multipart->headers;
    const size_t size = multipart->headers_size;
    return (size == 2 && memcmp(text, "\r\n", 2) == 0) ||
           (size >= 4 && memcmp(text + size - 4, "\r\n\r\n", 4) == 0);
}

static int next_in_headers(struct multipart *multipart, const uint8_t **input, size_t *input_size,
                           struct error *err)
{
    while (*input_size > 0) {
        if (**input == '\0')
            return broken("a part's headers hold a NUL byte", err);
        if (multipart->headers_size == MULTIPART_HEADERS_MAX)
            return error_set(err, STATUS_TOO_LARGE, "a part's headers are over %d bytes",
                             MULTIPART_HEADERS_MAX);
        multipart->headers[multipart->headers_size++] = (char)**input;
        step(input, input_size, 1);
        if (!headers_complete(multipart))
            continue;
        multipart->headers[multipart->headers_size] = '\0';
        if (disposition_read(multipart->headers, &multipart->disposition) != 0)
            return broken("a part has no 'Content-Disposition: form-data' with a name", err);
        multipart->state = STATE_CONTENT;
        return MULTIPART_PART;
    }
    return MULTIPART_MORE;
}

int multipart_next(struct multipart *multipart, const uint8_t **input, size_t *input_size,
                   const uint8_t **data, size_t *data_size, struct error *err)
{
    int event = MULTIPART_MORE;

    while (event == MULTIPART_MORE) {
        const size_t before = *input_size;
        const enum state state = multipart->state;
        switch (state) {
        case STATE_PREAMBLE:
        case STATE_CONTENT:
            event = next_in_content(multipart, input, input_size, data, data_size);
            break;
        case STATE_HEADERS:
            event = next_in_headers(multipart, input, input_size, err);
            break;
        case STATE_EPILOGUE:
            step(input, input_size, *input_size);
            return MULTIPART_END;
        default:
            if (*input_size == 0)
                return MULTIPART_MORE;
            event = after_delimiter(multipart, **input, err);
            step(input, input_size, 1);
        }
        /* Nothing left to read, and nothing decided by what was read before. */
        if (before == 0 && multipart->state == state)
            break;
    }
    return event;
}

const char *multipart_name(const struct multipart *multipart)
{
    return multipart->disposition.name;
}

const char *multipart_filename(const struct multipart *multipart)
{
    return multipart->disposition.filename;
}

const char *multipart_content_type(const struct multipart *multipart)
{
    return multipart->disposition.content_type;
}
