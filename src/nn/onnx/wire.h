/* The protobuf wire format, as much of it as ONNX needs: a reader that never looks past its bytes
 * and a writer that grows.
 *
 * FORMAT (Protocol Buffers documentation, "Encoding"). A message is a row of fields until its bytes
 * end; it carries neither its own length nor its type. A field is a key and a payload:
 *
 *   key      varint: field number << 3 | wire type; field numbers are 1 .. 2^29-1
 *   payload  type 0, varint    1..10 bytes, seven bits each, low bits first, the high bit of a byte
 *                              set while more follow; negative int64 take all ten bytes
 *            type 1, fixed64   8 bytes, little endian (double)
 *            type 2, length    varint n, then n bytes: text, bytes, a nested message, or a "packed"
 *                              row of varints or fixed numbers
 *            type 5, fixed32   4 bytes, little endian (float)
 *
 * Types 3 and 4 (groups) are not used by ONNX. Fields come in any order; a field that may repeat
 * repeats its key, and numbers that may repeat come packed, single, or mixed. Of a field that may
 * not repeat the last one counts. Unknown field numbers are skipped by their type.
 *
 * VALID is a message of which every key, varint and payload ends within the message, whose field
 * numbers are not 0, and whose types are 0, 1, 2 or 5. Anything else is STATUS_CORRUPT, named with
 * the byte's place in the file.
 *
 * READING copies nothing. A `struct wire` is a window [at, end) over the file's bytes; taking a
 * field moves `at`; a nested message is a window over the field's payload, which was checked to lie
 * inside its parent, so no depth of nesting can reach outside the file. */
#ifndef NN_ONNX_WIRE_H
#define NN_ONNX_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Bytes still to be read. All zero is an empty message. */
struct wire {
    const uint8_t *file; /* the first byte of all, for places in error messages */
    const uint8_t *at, *end;
};

enum wire_type {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_LENGTH = 2,
    WIRE_FIXED32 = 5,
};

struct wire_field {
    uint32_t number;
    enum wire_type type;
    uint64_t bits;       /* the payload of VARINT, FIXED64 and FIXED32 */
    struct wire payload; /* the payload of LENGTH */
};

/* Text inside the file: not terminated, valid as long as the file's bytes. */
struct wire_text {
    const char *text;
    size_t size;
};

/* The two arguments of "%.*s" that print such a text, cut where it is long. */
#define WIRE_TEXT_PRINT(value) ((value).size < 120 ? (int)(value).size : 120), (value).text

struct wire wire_open(const uint8_t *bytes, size_t size);
static inline bool wire_more(const struct wire *wire)
{
    return wire->at < wire->end;
}
static inline size_t wire_left(const struct wire *wire)
{
    return (size_t)(wire->end - wire->at);
}

/* Takes the next field; call only while wire_more(). STATUS_CORRUPT when it breaks the format. */
int wire_next(struct wire *wire, struct wire_field *field, struct error *err);

/* Take one number from inside a packed payload; call only while wire_more(). */
int wire_take_varint(struct wire *wire, uint64_t *value, struct error *err);
int wire_take_fixed32(struct wire *wire, uint32_t *value, struct error *err);
int wire_take_fixed64(struct wire *wire, uint64_t *value, struct error *err);

/* What a field holds, refused as STATUS_CORRUPT where the type says otherwise. Text must be UTF-8
 * without NUL. */
int wire_get_int(const struct wire_field *field, int64_t *value, struct error *err);
int wire_get_float(const struct wire_field *field, float *value, struct error *err);
int wire_get_text(const struct wire_field *field, struct wire_text *text, struct error *err);
int wire_get_message(const struct wire_field *field, struct wire *message, struct error *err);

bool wire_text_is(struct wire_text text, const char *expected);
bool wire_text_equal(struct wire_text a, struct wire_text b);
/* A malloc'd, terminated copy; NULL when out of memory. */
char *wire_text_copy(struct wire_text text);

/* A growing message. All zero is an empty one. Running out of memory is remembered in `failed`
 * and makes every later call do nothing, so that a caller checks once, at the end. */
struct wire_writer {
    uint8_t *bytes; /* owned; freed by wire_writer_free */
    size_t size, capacity;
    bool failed;
};

void wire_writer_free(struct wire_writer *writer);
void wire_put_int(struct wire_writer *writer, uint32_t number, int64_t value);
void wire_put_float(struct wire_writer *writer, uint32_t number, float value);
void wire_put_bytes(struct wire_writer *writer, uint32_t number, const void *bytes, size_t size);
void wire_put_text(struct wire_writer *writer, uint32_t number, const char *text);
/* A nested message is what is put between the two; `begin` is what wire_begin returned. */
size_t wire_begin(struct wire_writer *writer, uint32_t number);
void wire_end(struct wire_writer *writer, size_t begin);
/* Without a key, for packed payloads between wire_begin and wire_end. */
void wire_append_varint(struct wire_writer *writer, uint64_t value);
void wire_append_bytes(struct wire_writer *writer, const void *bytes, size_t size);

#endif
