/* A growing run of bytes: see buffer.h. */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY_MIN = 128 };

/* Makes room for `size` more bytes and a NUL. */
static bool reserve(struct buffer *buffer, size_t size)
{
    if (buffer->failed)
        return false;
    if (size < buffer->capacity - buffer->size)
        return true;

    size_t capacity = buffer->capacity < CAPACITY_MIN ? CAPACITY_MIN : buffer->capacity;
    while (capacity - buffer->size <= size) {
        if (capacity > SIZE_MAX / 2) {
            buffer->failed = true;
            return false;
        }
        capacity *= 2;
    }
    char *data = realloc(buffer->data, capacity);
    if (data == NULL) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

void buffer_append(struct buffer *buffer, const void *bytes, size_t size)
{
    if (!reserve(buffer, size))
        return;
    if (size > 0)
        memcpy(buffer->data + buffer->size, bytes, size);
    buffer->size += size;
    buffer->data[buffer->size] = '\0';
}

void buffer_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

void buffer_print(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;

    /* Most prints are short: they are written in place at the first try. */
    if (!reserve(buffer, CAPACITY_MIN))
        return;
    size_t room = buffer->capacity - buffer->size;
    va_start(arguments, format);
    const int length = vsnprintf(buffer->data + buffer->size, room, format, arguments);
    va_end(arguments);
    if (length < 0) {
        buffer->data[buffer->size] = '\0';
        buffer->failed = true;
        return;
    }
    if ((size_t)length >= room) {
        buffer->data[buffer->size] = '\0';
        if (!reserve(buffer, (size_t)length))
            return;
        room = buffer->capacity - buffer->size;
        va_start(arguments, format);
        vsnprintf(buffer->data + buffer->size, room, format, arguments);
        va_end(arguments);
    }
    buffer->size += (size_t)length;
}

bool buffer_ok(const struct buffer *buffer)
{
    return !buffer->failed;
}

void buffer_clear(struct buffer *buffer)
{
    buffer->size = 0;
    buffer->failed = false;
    if (buffer->data != NULL)
        buffer->data[0] = '\0';
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

char *buffer_take(struct buffer *buffer, size_t *size)
{
    if (!reserve(buffer, 0)) {
        buffer_free(buffer);
        return NULL;
    }
    char *data = buffer->data;
    data[buffer->size] = '\0';
    if (size != NULL)
        *size = buffer->size;
    *buffer = (struct buffer){0};
    return data;
}
