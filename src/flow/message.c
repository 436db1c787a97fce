/* The messages that flow: see message.h. Written directly into a buffer, since one image makes one
 * message a model; read through jansson, since they may come from anywhere. */
#include "flow/message.h"

#include <string.h>

#include "base/clock.h"
#include "base/text.h"

/* Above this a time is nonsense, and would overflow as microseconds: a day. */
static const double time_ms_max = 86400000.0;

/* The length of the UTF-8 character at `text`, of at most `left` bytes; 0 when it is none. */
static size_t character_size(const char *text, size_t left)
{
    for (size_t size = 1; size <= 4 && size <= left; size++)
        if (text_is_utf8(text, size))
            return size;
    return 0;
}

void text_clean(char *text)
{
    size_t left = strlen(text);

    while (!text_is_utf8(text, left)) {
        size_t size = character_size(text, left);
        if (size == 0) {
            *text = '?';
            size = 1;
        }
        text += size;
        left -= size;
    }
}

/* Bytes without anything to escape, but perhaps not UTF-8. */
static void quote_plain(struct buffer *out, const char *text, size_t length)
{
    if (text_is_utf8(text, length)) {
        buffer_append(out, text, length);
        return;
    }
    for (size_t i = 0; i < length;) {
        const size_t size = character_size(text + i, length - i);
        if (size > 0)
            buffer_append(out, text + i, size);
        else
            buffer_text(out, "\\ufffd");
        i += size > 0 ? size : 1;
    }
}

void json_quote(struct buffer *out, const char *text)
{
    buffer_text(out, "\"");
    for (const char *run = text; *run != '\0';) {
        const size_t plain = strcspn(run, "\"\\\001\002\003\004\005\006\007\010\011\012\013\014\015"
                                          "\016\017\020\021\022\023\024\025\026\027\030\031\032"
                                          "\033\034\035\036\037");
        quote_plain(out, run, plain);
        run += plain;
        if (*run == '"' || *run == '\\')
            buffer_print(out, "\\%c", *run++);
        else if (*run != '\0')
            buffer_print(out, "\\u%04x", (unsigned)(unsigned char)*run++);
    }
    buffer_text(out, "\"");
}

static void write_field(struct buffer *out, const char *name, const char *text)
{
    buffer_print(out, "\"%s\":", name);
    json_quote(out, text);
}

static void write_timestamp(struct buffer *out, int64_t utc_us)
{
    char text[TIMESTAMP_TEXT_MAX];
    write_field(out, "timestamp", timestamp_format(utc_us, text));
}

/* What the two messages say about an image, beyond its id. */
static void write_image_fields(const struct image_message *image, struct buffer *out)
{
    write_field(out, "minio_path", image->path);
    buffer_text(out, ",");
    write_field(out, "source", image->source);
    buffer_print(out, ",\"metadata\":{\"width\":%d,\"height\":%d,", image->width, image->height);
    write_field(out, "format", image->format);
    buffer_print(out, ",\"size\":%lld}", (long long)image->size);
    if (image->label[0] != '\0') {
        buffer_text(out, ",");
        write_field(out, "label", image->label);
    }
}

void image_message_write(const struct image_message *message, struct buffer *out)
{
    buffer_text(out, "{");
    write_field(out, "image_id", message->image_id);
    buffer_text(out, ",");
    write_image_fields(message, out);
    buffer_text(out, ",");
    write_timestamp(out, message->timestamp_us);
    buffer_text(out, "}");
}

static void write_answer(const struct prediction_message *message, struct buffer *out)
{
    write_field(out, "prediction_class", message->prediction_class);
    buffer_print(out,
                 ",\"confidence\":%.6f,\"inference_time_ms\":%.3f,\"batch_size\":%d,\"top_k\":[",
                 message->confidence, message->inference_time_ms, message->batch_size);
    for (int i = 0; i < message->top_count; i++) {
        buffer_text(out, i == 0 ? "{" : ",{");
        write_field(out, "class", message->top[i].label);
        buffer_print(out, ",\"confidence\":%.6f}", message->top[i].confidence);
    }
    buffer_text(out, "]");
}

void prediction_message_write(const struct prediction_message *message, struct buffer *out)
{
    buffer_text(out, "{");
    write_field(out, "image_id", message->image_id);
    buffer_text(out, ",");
    write_field(out, "model_name", message->model_name);
    buffer_text(out, ",");
    write_field(out, "model_version", message->model_version);
    buffer_text(out, ",");
    if (message->error[0] != '\0') {
        write_field(out, "error", message->error);
        buffer_print(out, ",\"image_unreadable\":%s", message->image_unreadable ? "true" : "false");
    } else {
        write_answer(message, out);
    }
    buffer_text(out, ",");
    write_image_fields(&message->image, out);
    buffer_text(out, ",");
    write_timestamp(out, message->timestamp_us);
    buffer_text(out, "}");
}

/* Copies an object's text member into a fixed field; absent leaves it empty unless required. */
static int read_text(const json_t *object, const char *name, bool required, char *field,
                     size_t field_size, struct error *err)
{
    const char *text = NULL;
    const int status = json_get_text(object, name, required, &text, err);
    if (status != STATUS_OK)
        return status;
    const size_t length = text == NULL ? 0 : strlen(text);
    if (length >= field_size)
        return error_set(err, STATUS_INVALID, "'%s' has %zu bytes; at most %zu are allowed", name,
                         length, field_size - 1);
    if (required && length == 0)
        return error_set(err, STATUS_INVALID, "'%s' is empty", name);
    memcpy(field, text == NULL ? "" : text, length + 1);
    return STATUS_OK;
}

static int read_dimension(const json_t *metadata, const char *name, int *out, struct error *err)
{
    int64_t number = 0;
    const int status = json_get_integer(metadata, name, false, &number, err);
    if (status != STATUS_OK)
        return status;
    if (number < 0 || number > INT32_MAX)
        return error_set(err, STATUS_INVALID, "metadata '%s' is out of range", name);
    *out = (int)number;
    return STATUS_OK;
}

static int read_metadata(const json_t *object, struct image_message *image, struct error *err)
{
    const json_t *metadata = json_object_get(object, "metadata");
    int status;

    if (metadata == NULL || json_is_null(metadata))
        return STATUS_OK;
    if (!json_is_object(metadata))
        return error_set(err, STATUS_INVALID, "'metadata' is not an object");
    if ((status = read_dimension(metadata, "width", &image->width, err)) != STATUS_OK ||
        (status = read_dimension(metadata, "height", &image->height, err)) != STATUS_OK ||
        (status = json_get_integer(metadata, "size", false, &image->size, err)) != STATUS_OK)
        return status;
    if (image->size < 0)
        return error_set(err, STATUS_INVALID, "metadata 'size' is out of range");
    return read_text(metadata, "format", false, image->format, sizeof image->format, err);
}

static int read_timestamp(const json_t *object, int64_t *utc_us, struct error *err)
{
    const char *text = NULL;
    const int status = json_get_text(object, "timestamp", false, &text, err);
    if (status != STATUS_OK)
        return status;
    if (text == NULL)
        *utc_us = clock_utc_us();
    else if (timestamp_parse(text, utc_us) != 0)
        return error_set(err, STATUS_INVALID,
                         "'timestamp' is not an RFC 3339 date and time: '%.40s'", text);
    return STATUS_OK;
}

static int read_image_fields(const json_t *object, bool path_required, struct image_message *image,
                             struct error *err)
{
    int status;

    if ((status = read_text(object, "image_id", true, image->image_id, sizeof image->image_id,
                            err)) != STATUS_OK)
        return status;
    if (!id_valid(image->image_id))
        return error_set(err, STATUS_INVALID, "'image_id' is not a UUID: '%s'", image->image_id);
    if ((status = read_text(object, "minio_path", path_required, image->path, sizeof image->path,
                            err)) != STATUS_OK ||
        (status = read_text(object, "source", false, image->source, sizeof image->source, err)) !=
            STATUS_OK ||
        (status = read_text(object, "label", false, image->label, sizeof image->label, err)) !=
            STATUS_OK ||
        (status = read_timestamp(object, &image->timestamp_us, err)) != STATUS_OK)
        return status;
    return read_metadata(object, image, err);
}

int image_message_read(const char *text, size_t size, struct image_message *message,
                       struct error *err)
{
    json_t *object = NULL;

    memset(message, 0, sizeof *message);
    int status = json_read(text, size, &object, err);
    if (status != STATUS_OK)
        return status;
    status = read_image_fields(object, true, message, err);
    json_decref(object);
    return status;
}

static int read_top(const json_t *object, struct prediction_message *message, struct error *err)
{
    const json_t *list = json_object_get(object, "top_k");
    const size_t count = json_array_size(list);

    for (size_t i = 0; i < count && i < TOP_K_MAX; i++) {
        const json_t *entry = json_array_get(list, i);
        int status = read_text(entry, "class", true, message->top[i].label,
                               sizeof message->top[i].label, err);
        if (status == STATUS_OK)
            status = json_get_real(entry, "confidence", true, &message->top[i].confidence, err);
        if (status != STATUS_OK)
            return status;
        message->top_count++;
    }
    return STATUS_OK;
}

static int read_answer(const json_t *object, struct prediction_message *message, struct error *err)
{
    int64_t batch_size = 1;
    int status;

    if ((status = read_text(object, "prediction_class", true, message->prediction_class,
                            sizeof message->prediction_class, err)) != STATUS_OK ||
        (status = json_get_real(object, "confidence", true, &message->confidence, err)) !=
            STATUS_OK ||
        (status = json_get_real(object, "inference_time_ms", true, &message->inference_time_ms,
                                err)) != STATUS_OK ||
        (status = json_get_integer(object, "batch_size", false, &batch_size, err)) != STATUS_OK)
        return status;
    if (!(message->confidence >= 0.0 && message->confidence <= 1.0))
        return error_set(err, STATUS_INVALID, "'confidence' is not within 0 and 1");
    if (!(message->inference_time_ms >= 0.0 && message->inference_time_ms <= time_ms_max))
        return error_set(err, STATUS_INVALID, "'inference_time_ms' is not a time");
    message->batch_size = batch_size >= 1 && batch_size <= 65536 ? (int)batch_size : 1;
    return read_top(object, message, err);
}

int prediction_message_read(const char *text, size_t size, struct prediction_message *message,
                            struct error *err)
{
    json_t *object = NULL;

    memset(message, 0, sizeof *message);
    int status = json_read(text, size, &object, err);
    if (status != STATUS_OK)
        return status;
    if ((status = read_image_fields(object, false, &message->image, err)) != STATUS_OK ||
        (status = read_text(object, "model_name", true, message->model_name,
                            sizeof message->model_name, err)) != STATUS_OK ||
        (status = read_text(object, "model_version", false, message->model_version,
                            sizeof message->model_version, err)) != STATUS_OK ||
        (status = read_text(object, "error", false, message->error, sizeof message->error, err)) !=
            STATUS_OK)
        goto done;
    memcpy(message->image_id, message->image.image_id, sizeof message->image_id);
    message->timestamp_us = message->image.timestamp_us;
    if (message->model_version[0] == '\0')
        memcpy(message->model_version, "1", 2);
    if (message->error[0] == '\0')
        status = read_answer(object, message, err);
    else
        message->image_unreadable = json_is_true(json_object_get(object, "image_unreadable"));
done:
    json_decref(object);
    return status;
}
