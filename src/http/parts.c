/* The parts of a multipart body: request_next_part of http.h. The parser gives spans of the body; a
 * part that lies in one span is handed out where it lies, others are put together in one buffer
 * that serves all parts of the request in turn. */
#include <stdlib.h>
#include <string.h>

#include "http/multipart.h"
#include "http/request.h"

struct parts {
    struct multipart *multipart;
    const uint8_t *input; /* what the parser has not seen of the current piece */
    size_t input_size;
    size_t piece_size; /* to be consumed from the pipe before the next piece; 0 without a pipe */
    bool started;      /* a piece was given */
    int result;        /* what ended it: 0 or a failure; 1 while there may be more */
    struct error why;

    /* The part being read: `size` bytes at `span`, which is in the piece or in `buffer`. */
    const uint8_t *span;
    size_t size;
    bool too_large;
    uint8_t *buffer;
    size_t capacity;
};

void parts_free(struct parts *parts)
{
    if (parts == NULL)
        return;
    multipart_free(parts->multipart);
    free(parts->buffer);
    free(parts);
}

static int parts_create(const struct request *request, struct parts **out, struct error *err)
{
    struct parts *parts = calloc(1, sizeof *parts);

    if (parts == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to read the body");
    const int status = multipart_create(request_header(request, "Content-Type"),
                                        request->part_count_max, &parts->multipart, err);
    if (status != STATUS_OK) {
        free(parts);
        return status;
    }
    parts->result = 1;
    *out = parts;
    return STATUS_OK;
}

/* Brings what is known of the part into the buffer, with room for more behind it. */
static int own_span(struct parts *parts, size_t room, struct error *err)
{
    const size_t needed = parts->size + room;

    if (needed <= parts->capacity) {
        if (parts->span != parts->buffer && parts->size > 0)
            memcpy(parts->buffer, parts->span, parts->size);
        parts->span = parts->buffer;
        return STATUS_OK;
    }
    size_t capacity = parts->capacity < 4096 ? 4096 : parts->capacity;
    while (capacity < needed)
        capacity *= 2;
    uint8_t *buffer = malloc(capacity);
    if (buffer == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a part of %zu bytes", needed);
    memcpy(buffer, parts->span, parts->size);
    free(parts->buffer);
    parts->span = parts->buffer = buffer;
    parts->capacity = capacity;
    return STATUS_OK;
}

static int add_data(struct parts *parts, const uint8_t *data, size_t size, size_t part_max,
                    struct error *err)
{
    if (parts->too_large || size > part_max - parts->size) {
        parts->too_large = true;
        parts->size = 0;
        return STATUS_OK;
    }
    if (parts->size == 0) {
        parts->span = data;
        parts->size = size;
        return STATUS_OK;
    }
    const int status = own_span(parts, size, err);
    if (status != STATUS_OK)
        return status;
    memcpy(parts->buffer + parts->size, data, size);
    parts->size += size;
    return STATUS_OK;
}

/* The next piece of the body; a body that has no more is cut, or the parser would not ask. */
static int fetch(struct request *request, struct parts *parts, struct error *err)
{
    int status = parts->size > 0 ? own_span(parts, 0, err) : STATUS_OK;

    if (status != STATUS_OK)
        return status;
    if (request->pipe != NULL) {
        if (parts->piece_size > 0)
            body_pipe_consume(request->pipe, parts->piece_size);
        parts->piece_size = 0;
        status = body_pipe_peek(request->pipe, &parts->input, &parts->input_size, err);
        if (status < 0)
            return status;
        if (status == 1) {
            parts->piece_size = parts->input_size;
            return STATUS_OK;
        }
    } else if (!parts->started && request->body_size > 0) {
        parts->started = true;
        parts->input = request->body;
        parts->input_size = request->body_size;
        return STATUS_OK;
    }
    return error_set(err, STATUS_CORRUPT, "the multipart body ends before its closing boundary");
}

static int give_part(struct parts *parts, size_t part_max, struct part *part, struct error *err)
{
    *part = (struct part){.name = multipart_name(parts->multipart),
                          .filename = multipart_filename(parts->multipart),
                          .content_type = multipart_content_type(parts->multipart)};
    if (parts->too_large)
        return error_set(err, STATUS_TOO_LARGE, "'%.100s' is over %zu bytes",
                         part->filename != NULL ? part->filename : part->name, part_max);
    part->bytes = parts->size > 0 ? parts->span : (const uint8_t *)"";
    part->size = parts->size;
    return 1;
}

/* Reads on until a part is complete (1), or there is no other (0), or it fails. */
static int read_part(struct request *request, struct parts *parts, size_t part_max,
                     struct error *err)
{
    const uint8_t *data = NULL;
    size_t size = 0;
    int status = STATUS_OK;

    parts->size = 0;
    parts->too_large = false;
    while (status == STATUS_OK) {
        const int event =
            multipart_next(parts->multipart, &parts->input, &parts->input_size, &data, &size, err);
        switch (event) {
        case MULTIPART_MORE:
            status = fetch(request, parts, err);
            break;
        case MULTIPART_PART:
            break;
        case MULTIPART_DATA:
            status = add_data(parts, data, size, part_max, err);
            break;
        case MULTIPART_PART_END:
            return 1;
        case MULTIPART_END:
            return 0;
        default:
            status = event;
        }
    }
    return status;
}

int request_next_part(struct request *request, size_t part_max, struct part *part,
                      struct error *err)
{
    if (request->parts == NULL) {
        const int status = parts_create(request, &request->parts, err);
        if (status != STATUS_OK)
            return status;
    }
    struct parts *parts = request->parts;
    if (parts->result == 1)
        parts->result = read_part(request, parts, part_max, &parts->why);
    if (parts->result == 1)
        return give_part(parts, part_max, part, err);
    if (parts->result == 0)
        return 0;
    /* Too many parts cannot be skipped as one part too large can: the reader must stop. */
    const enum status status =
        parts->result == STATUS_TOO_LARGE ? STATUS_INVALID : (enum status)parts->result;
    return error_set(err, status, "%s", parts->why.message);
}
