/* The protobuf wire format: see wire.h. The reader's one rule: every advance of `at` goes through
 * wire_advance, which refuses to pass `end`. */
#include "nn/onnx/wire.h"

#include <stdlib.h>
#include <string.h>

enum { VARINT_BYTES_MAX = 10 };

static size_t wire_place(const struct wire *wire)
{
    return (size_t)(wire->at - wire->file);
}

static bool wire_advance(struct wire *wire, size_t size, const uint8_t **from)
{
    if (size > wire_left(wire))
        return false;
    *from = wire->at;
    wire->at += size;
    return true;
}

struct wire wire_open(const uint8_t *bytes, size_t size)
{
    return (struct wire){.file = bytes, .at = bytes, .end = bytes + size};
}

int wire_take_varint(struct wire *wire, uint64_t *value, struct error *err)
{
    const size_t place = wire_place(wire);
    uint64_t bits = 0;
    const uint8_t *byte;

    for (unsigned i = 0; i < VARINT_BYTES_MAX; i++) {
        if (!wire_advance(wire, 1, &byte))
            return error_set(err, STATUS_CORRUPT, "byte %zu: the data ends inside a number", place);
        bits |= (uint64_t)(*byte & 0x7f) << (7 * i);
        if ((*byte & 0x80) == 0) {
            *value = bits;
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_CORRUPT, "byte %zu: a number longer than %d bytes", place,
                     VARINT_BYTES_MAX);
}

static int wire_take_fixed(struct wire *wire, size_t size, uint64_t *value, struct error *err)
{
    const size_t place = wire_place(wire);
    const uint8_t *bytes;

    if (!wire_advance(wire, size, &bytes))
        return error_set(err, STATUS_CORRUPT, "byte %zu: the data ends inside a number", place);
    *value = 0;
    for (size_t i = 0; i < size; i++)
        *value |= (uint64_t)bytes[i] << (8 * i);
    return STATUS_OK;
}

int wire_take_fixed32(struct wire *wire, uint32_t *value, struct error *err)
{
    uint64_t bits = 0;
    const int status = wire_take_fixed(wire, sizeof *value, &bits, err);
    if (status == STATUS_OK)
        *value = (uint32_t)bits;
    return status;
}

int wire_take_fixed64(struct wire *wire, uint64_t *value, struct error *err)
{
    return wire_take_fixed(wire, sizeof *value, value, err);
}

static int wire_take_payload(struct wire *wire, struct wire *payload, struct error *err)
{
    const size_t place = wire_place(wire);
    uint64_t size;
    const uint8_t *bytes;

    const int status = wire_take_varint(wire, &size, err);
    if (status != STATUS_OK)
        return status;
    if (size > wire_left(wire) || !wire_advance(wire, (size_t)size, &bytes))
        return error_set(err, STATUS_CORRUPT, "byte %zu: a length of %llu bytes where %zu are left",
                         place, (unsigned long long)size, wire_left(wire));
    *payload = (struct wire){.file = wire->file, .at = bytes, .end = bytes + size};
    return STATUS_OK;
}

int wire_next(struct wire *wire, struct wire_field *field, struct error *err)
{
    const size_t place = wire_place(wire);
    uint64_t key;

    const int status = wire_take_varint(wire, &key, err);
    if (status != STATUS_OK)
        return status;
    if (key >> 3 == 0 || key > UINT32_MAX)
        return error_set(err, STATUS_CORRUPT, "byte %zu: no field has the number %llu", place,
                         (unsigned long long)(key >> 3));
    *field = (struct wire_field){.number = (uint32_t)(key >> 3), .type = key & 7};
    switch (field->type) {
    case WIRE_VARINT:
        return wire_take_varint(wire, &field->bits, err);
    case WIRE_FIXED64:
        return wire_take_fixed(wire, sizeof(uint64_t), &field->bits, err);
    case WIRE_FIXED32:
        return wire_take_fixed(wire, sizeof(uint32_t), &field->bits, err);
    case WIRE_LENGTH:
        return wire_take_payload(wire, &field->payload, err);
    }
    return error_set(err, STATUS_CORRUPT, "byte %zu: no field has the wire type %d", place,
                     (int)field->type);
}

static int wire_wrong_type(const struct wire_field *field, const char *wanted, struct error *err)
{
    return error_set(err, STATUS_CORRUPT, "field %u should hold %s but has wire type %d",
                     field->number, wanted, (int)field->type);
}

int wire_get_int(const struct wire_field *field, int64_t *value, struct error *err)
{
    if (field->type != WIRE_VARINT)
        return wire_wrong_type(field, "an integer", err);
    *value = (int64_t)field->bits;
    return STATUS_OK;
}

int wire_get_float(const struct wire_field *field, float *value, struct error *err)
{
    if (field->type != WIRE_FIXED32)
        return wire_wrong_type(field, "a float", err);
    const uint32_t bits = (uint32_t)field->bits;
    memcpy(value, &bits, sizeof *value);
    return STATUS_OK;
}

/* How many bytes the UTF-8 character at the front of text takes; 0 when it is none, or is NUL.
 * Surrogates and overlong forms are not told apart: nothing here decodes the text. */
static size_t utf8_character(const uint8_t *text, size_t left)
{
    const uint8_t first = text[0];
    const size_t size = first < 0x80             ? 1
                        : (first & 0xe0) == 0xc0 ? 2
                        : (first & 0xf0) == 0xe0 ? 3
                        : (first & 0xf8) == 0xf0 ? 4
                                                 : 0;
    if (first == 0 || size > left)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

int wire_get_text(const struct wire_field *field, struct wire_text *text, struct error *err)
{
    const struct wire *payload = &field->payload;

    if (field->type != WIRE_LENGTH)
        return wire_wrong_type(field, "text", err);
    for (const uint8_t *at = payload->at; at < payload->end;) {
        const size_t size = utf8_character(at, (size_t)(payload->end - at));
        if (size == 0)
            return error_set(err, STATUS_CORRUPT, "byte %zu: the text of field %u is not UTF-8",
                             (size_t)(at - payload->file), field->number);
        at += size;
    }
    *text = (struct wire_text){.text = (const char *)payload->at, .size = wire_left(payload)};
    return STATUS_OK;
}

int wire_get_message(const struct wire_field *field, struct wire *message, struct error *err)
{
    if (field->type != WIRE_LENGTH)
        return wire_wrong_type(field, "a message", err);
    *message = field->payload;
    return STATUS_OK;
}

bool wire_text_equal(struct wire_text a, struct wire_text b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.text, b.text, a.size) == 0);
}

bool wire_text_is(struct wire_text text, const char *expected)
{
    return wire_text_equal(text, (struct wire_text){expected, strlen(expected)});
}

char *wire_text_copy(struct wire_text text)
{
    char *copy = malloc(text.size + 1);
    if (copy == NULL)
        return NULL;
    if (text.size > 0)
        memcpy(copy, text.text, text.size);
    copy[text.size] = '\0';
    return copy;
}

void wire_writer_free(struct wire_writer *writer)
{
    free(writer->bytes);
    *writer = (struct wire_writer){0};
}

/* Makes room for `more` bytes and returns where they go; NULL once anything failed. */
static uint8_t *wire_writer_grow(struct wire_writer *writer, size_t more)
{
    if (writer->failed)
        return NULL;
    if (more > writer->capacity - writer->size) {
        size_t capacity = writer->capacity < 4096 ? 4096 : writer->capacity;
        while (capacity - writer->size < more && capacity <= SIZE_MAX / 2)
            capacity *= 2;
        uint8_t *bytes = capacity - writer->size < more ? NULL : realloc(writer->bytes, capacity);
        if (bytes == NULL) {
            writer->failed = true;
            return NULL;
        }
        writer->bytes = bytes;
        writer->capacity = capacity;
    }
    uint8_t *place = writer->bytes + writer->size;
    writer->size += more;
    return place;
}

static size_t varint_encode(uint64_t value, uint8_t encoded[VARINT_BYTES_MAX])
{
    size_t size = 0;
    for (; value >= 0x80; value >>= 7)
        encoded[size++] = (uint8_t)(value | 0x80);
    encoded[size++] = (uint8_t)value;
    return size;
}

void wire_append_bytes(struct wire_writer *writer, const void *bytes, size_t size)
{
    if (size == 0)
        return;
    uint8_t *place = wire_writer_grow(writer, size);
    if (place != NULL)
        memcpy(place, bytes, size);
}

void wire_append_varint(struct wire_writer *writer, uint64_t value)
{
    uint8_t encoded[VARINT_BYTES_MAX];
    wire_append_bytes(writer, encoded, varint_encode(value, encoded));
}

static void wire_put_key(struct wire_writer *writer, uint32_t number, enum wire_type type)
{
    wire_append_varint(writer, (uint64_t)number << 3 | type);
}

void wire_put_int(struct wire_writer *writer, uint32_t number, int64_t value)
{
    wire_put_key(writer, number, WIRE_VARINT);
    wire_append_varint(writer, (uint64_t)value);
}

void wire_put_float(struct wire_writer *writer, uint32_t number, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint8_t bytes[4] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                              (uint8_t)(bits >> 24)};
    wire_put_key(writer, number, WIRE_FIXED32);
    wire_append_bytes(writer, bytes, sizeof bytes);
}

void wire_put_bytes(struct wire_writer *writer, uint32_t number, const void *bytes, size_t size)
{
    wire_put_key(writer, number, WIRE_LENGTH);
    wire_append_varint(writer, size);
    wire_append_bytes(writer, bytes, size);
}

void wire_put_text(struct wire_writer *writer, uint32_t number, const char *text)
{
    wire_put_bytes(writer, number, text, strlen(text));
}

size_t wire_begin(struct wire_writer *writer, uint32_t number)
{
    wire_put_key(writer, number, WIRE_LENGTH);
    return writer->size;
}

/* The length goes before a payload whose size is known only now, so the payload moves up by the one
 * to five bytes that the length takes. */
void wire_end(struct wire_writer *writer, size_t begin)
{
    uint8_t encoded[VARINT_BYTES_MAX];

    if (writer->failed)
        return;
    const size_t payload = writer->size - begin;
    const size_t length = varint_encode(payload, encoded);
    if (wire_writer_grow(writer, length) == NULL)
        return;
    memmove(writer->bytes + begin + length, writer->bytes + begin, payload);
    memcpy(writer->bytes + begin, encoded, length);
}
