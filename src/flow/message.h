/* The messages that flow between the stages, as JSON on the bus. Field names are fixed
 * (docs/messages.md); unknown fields are ignored, so that other producers and later versions can
 * add theirs. */
#ifndef FLOW_MESSAGE_H
#define FLOW_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/id.h"
#include "base/json.h"

enum { OBJECT_KEY_SIZE = 256, NAME_SIZE = 65, LABEL_SIZE = 129, TOP_K_MAX = 5 };

/* Finished comparisons go to this topic, for live feeds and whoever waits for one image. */
#define TOPIC_COMPARISONS "comparisons-output-stream"

/* images-input-stream: an image waits to be classified. */
struct image_message {
    char image_id[ID_TEXT_SIZE];
    char path[OBJECT_KEY_SIZE]; /* "minio_path": the object's key */
    char source[NAME_SIZE];     /* "upload", "webcam", "cifar10", ... */
    int64_t timestamp_us;
    int width, height;
    char format[8];         /* "JPEG", "PNG", "WEBP" */
    char label[LABEL_SIZE]; /* the true class, "" when unknown */
    int64_t size;           /* bytes; 0 when unknown */
};

/* predictions-output-stream: one model's answer to one image, or why there is none. */
struct prediction_message {
    char image_id[ID_TEXT_SIZE];
    char model_name[NAME_SIZE];
    char model_version[NAME_SIZE];
    char prediction_class[LABEL_SIZE];
    double confidence;        /* 0 .. 1 */
    double inference_time_ms; /* the batch's time divided by its images */
    int batch_size;           /* images that were run together */
    int64_t timestamp_us;
    int top_count; /* most likely first; 0 when there is an error */
    struct {
        char label[LABEL_SIZE];
        double confidence;
    } top[TOP_K_MAX];
    char error[ERROR_MESSAGE_MAX]; /* "" for success */
    int image_unreadable;          /* the error is the image's, so no model can answer */
    struct image_message image;    /* what the prediction is about; image_id repeats */
};

/* Text for the bus: appended to `out` as one JSON object. Check buffer_ok(out) once at the end. */
void image_message_write(const struct image_message *message, struct buffer *out);
void prediction_message_write(const struct prediction_message *message, struct buffer *out);

/* STATUS_INVALID names the field that is missing, of the wrong type or too long. */
int image_message_read(const char *text, size_t size, struct image_message *message,
                       struct error *err);
int prediction_message_read(const char *text, size_t size, struct prediction_message *message,
                            struct error *err);

/* Appends `text` as a JSON string with quotes; what is not UTF-8 in it becomes U+FFFD. */
void json_quote(struct buffer *out, const char *text);
/* Replaces bytes that are not UTF-8 by '?': for sentences that quote what a stranger sent, or were
 * cut, before they become JSON elsewhere. */
void text_clean(char *text);

#endif
