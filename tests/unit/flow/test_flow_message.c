/* Messages: what is written is read back, and what comes from strangers is either read or refused
 * with a sentence that names the field. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "flow/message.h"

#define UUID "018f2b6e-1111-7222-8333-944444444444"

static struct image_message example_image(void)
{
    return (struct image_message){
        .image_id = UUID,
        .path = "raw-images/2024/01/15/" UUID ".jpg",
        .source = "web\"cam\\\n\x01",
        .timestamp_us = 1705314600123456,
        .width = 640,
        .height = 480,
        .format = "JPEG",
        .label = "chat noir é 猫 \U0001F408",
        .size = 123456789012,
    };
}

static void assert_same_image(const struct image_message *a, const struct image_message *b)
{
    assert_string_equal(a->image_id, b->image_id);
    assert_string_equal(a->path, b->path);
    assert_string_equal(a->source, b->source);
    assert_int_equal(a->timestamp_us, b->timestamp_us);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    assert_string_equal(a->format, b->format);
    assert_string_equal(a->label, b->label);
    assert_int_equal(a->size, b->size);
}

static void image_round_trip(void **state)
{
    const struct image_message before = example_image();
    struct image_message after;
    struct buffer text = {0};
    struct error err = {0};

    (void)state;
    image_message_write(&before, &text);
    assert_true(buffer_ok(&text));
    assert_int_equal(image_message_read(text.data, text.size, &after, &err), STATUS_OK);
    assert_same_image(&before, &after);
    buffer_free(&text);
}

/* The field names are an interface that other programs rely on. */
static void image_fields_are_fixed(void **state)
{
    const struct image_message message = example_image();
    struct buffer text = {0};
    json_t *json;

    (void)state;
    image_message_write(&message, &text);
    assert_int_equal(json_read(text.data, text.size, &json, NULL), STATUS_OK);
    assert_string_equal(json_string_value(json_object_get(json, "image_id")), UUID);
    assert_string_equal(json_string_value(json_object_get(json, "minio_path")), message.path);
    assert_string_equal(json_string_value(json_object_get(json, "source")), message.source);
    assert_string_equal(json_string_value(json_object_get(json, "timestamp")),
                        "2024-01-15T10:30:00.123456Z");
    const json_t *metadata = json_object_get(json, "metadata");
    assert_int_equal(json_integer_value(json_object_get(metadata, "width")), 640);
    assert_int_equal(json_integer_value(json_object_get(metadata, "height")), 480);
    assert_string_equal(json_string_value(json_object_get(metadata, "format")), "JPEG");
    json_decref(json);
    buffer_free(&text);
}

static struct prediction_message example_prediction(void)
{
    struct prediction_message message = {
        .image_id = UUID,
        .model_name = "resnet50",
        .model_version = "2.1",
        .prediction_class = "cat",
        .confidence = 0.953125,
        .inference_time_ms = 12.345,
        .batch_size = 7,
        .timestamp_us = 1705314600500000,
        .top_count = 2,
        .top = {{"cat", 0.953125}, {"d\"og", 0.03125}},
        .image = example_image(),
    };
    message.image.timestamp_us = message.timestamp_us;
    return message;
}

static void prediction_round_trip(void **state)
{
    const struct prediction_message before = example_prediction();
    struct prediction_message after;
    struct buffer text = {0};
    struct error err = {0};

    (void)state;
    prediction_message_write(&before, &text);
    assert_true(buffer_ok(&text));
    assert_int_equal(prediction_message_read(text.data, text.size, &after, &err), STATUS_OK);
    assert_string_equal(after.model_name, "resnet50");
    assert_string_equal(after.model_version, "2.1");
    assert_string_equal(after.prediction_class, "cat");
    assert_true(after.confidence == before.confidence);
    assert_true(after.inference_time_ms == before.inference_time_ms);
    assert_int_equal(after.batch_size, 7);
    assert_int_equal(after.timestamp_us, before.timestamp_us);
    assert_int_equal(after.top_count, 2);
    assert_string_equal(after.top[1].label, "d\"og");
    assert_true(after.top[1].confidence == 0.03125);
    assert_string_equal(after.error, "");
    assert_same_image(&before.image, &after.image);
    buffer_free(&text);
}

static void prediction_error_round_trip(void **state)
{
    struct prediction_message before = example_prediction(), after;
    struct buffer text = {0};

    (void)state;
    snprintf(before.error, sizeof before.error, "the JPEG ends early, at \"byte 17\"");
    before.image_unreadable = 1;
    prediction_message_write(&before, &text);
    assert_int_equal(prediction_message_read(text.data, text.size, &after, NULL), STATUS_OK);
    assert_string_equal(after.error, before.error);
    assert_int_equal(after.image_unreadable, 1);
    assert_string_equal(after.prediction_class, "");
    buffer_free(&text);
}

/* --- What is not ours */

#define PATH  "\"minio_path\":\"raw-images/a.jpg\""
#define ID    "\"image_id\":\"" UUID "\""
#define MODEL "\"model_name\":\"m\""
#define RIGHT "\"prediction_class\":\"cat\",\"confidence\":0.5,\"inference_time_ms\":1"

static int read_image(const char *text, struct image_message *message, struct error *err)
{
    return image_message_read(text, strlen(text), message, err);
}

static int read_prediction(const char *text, struct prediction_message *message, struct error *err)
{
    return prediction_message_read(text, strlen(text), message, err);
}

static void unknown_and_missing_fields(void **state)
{
    struct image_message image;
    struct prediction_message prediction;

    (void)state;
    assert_int_equal(
        read_image("{" ID "," PATH ",\"later\":{\"a\":[1]},\"source\":null}", &image, NULL),
        STATUS_OK);
    assert_string_equal(image.source, "");
    assert_int_equal(image.width, 0);
    assert_true(llabs(clock_utc_us() - image.timestamp_us) < 60000000);
    assert_int_equal(read_prediction("{" ID "," MODEL "," RIGHT ",\"x\":1}", &prediction, NULL),
                     STATUS_OK);
    assert_string_equal(prediction.model_version, "1");
    assert_int_equal(prediction.batch_size, 1);
    assert_int_equal(prediction.top_count, 0);
}

/* Each text is refused and the sentence names the field. */
static const struct {
    const char *text, *named;
} bad_images[] = {
    {"", "JSON"},
    {"not json", "JSON"},
    {"{", "JSON"},
    {"[]", "image_id"},
    {"17", "image_id"},
    {"\"text\"", "image_id"},
    {"null", "image_id"},
    {"{\"image_id\":\"" UUID "\",\"image_id\":\"" UUID "\"," PATH "}", "JSON"},
    {"{" PATH "}", "image_id"},
    {"{\"image_id\":null," PATH "}", "image_id"},
    {"{\"image_id\":7," PATH "}", "image_id"},
    {"{\"image_id\":\"\"," PATH "}", "image_id"},
    {"{\"image_id\":\"018f2b6e\"," PATH "}", "image_id"},
    {"{\"image_id\":\"018f2b6e_1111_7222_8333_944444444444\"," PATH "}", "image_id"},
    {"{\"image_id\":\"" UUID "0\"," PATH "}", "image_id"},
    {"{" ID "}", "minio_path"},
    {"{" ID ",\"minio_path\":\"\"}", "minio_path"},
    {"{" ID ",\"minio_path\":[]}", "minio_path"},
    {"{" ID "," PATH ",\"source\":1}", "source"},
    {"{" ID "," PATH ",\"label\":false}", "label"},
    {"{" ID "," PATH ",\"timestamp\":\"yesterday\"}", "timestamp"},
    {"{" ID "," PATH ",\"timestamp\":\"2024-02-30T00:00:00Z\"}", "timestamp"},
    {"{" ID "," PATH ",\"timestamp\":1705314600}", "timestamp"},
    {"{" ID "," PATH ",\"metadata\":[]}", "metadata"},
    {"{" ID "," PATH ",\"metadata\":{\"width\":-1}}", "width"},
    {"{" ID "," PATH ",\"metadata\":{\"width\":2147483648}}", "width"},
    {"{" ID "," PATH ",\"metadata\":{\"height\":1.5}}", "height"},
    {"{" ID "," PATH ",\"metadata\":{\"size\":-1}}", "size"},
    {"{" ID "," PATH ",\"metadata\":{\"size\":\"1\"}}", "size"},
    {"{" ID "," PATH ",\"metadata\":{\"format\":\"JPEG2000\"}}", "format"},
};

static void bad_images_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_images / sizeof *bad_images; i++) {
        struct image_message message;
        struct error err = {0};
        if (read_image(bad_images[i].text, &message, &err) != STATUS_INVALID ||
            strstr(err.message, bad_images[i].named) == NULL)
            fail_msg("%s: '%s' does not name %s", bad_images[i].text, err.message,
                     bad_images[i].named);
    }
}

static const struct {
    const char *text, *named;
} bad_predictions[] = {
    {"{" ID "," RIGHT "}", "model_name"},
    {"{" ID ",\"model_name\":\"\"," RIGHT "}", "model_name"},
    {"{" MODEL "," RIGHT "}", "image_id"},
    {"{" ID "," MODEL ",\"confidence\":0.5,\"inference_time_ms\":1}", "prediction_class"},
    {"{" ID "," MODEL ",\"prediction_class\":\"\",\"confidence\":0.5,\"inference_time_ms\":1}",
     "prediction_class"},
    {"{" ID "," MODEL ",\"prediction_class\":\"c\",\"inference_time_ms\":1}", "confidence"},
    {"{" ID "," MODEL ",\"prediction_class\":\"c\",\"confidence\":\"0.5\","
     "\"inference_time_ms\":1}",
     "confidence"},
    {"{" ID "," MODEL ",\"prediction_class\":\"c\",\"confidence\":1.01,\"inference_time_ms\":1}",
     "confidence"},
    {"{" ID "," MODEL ",\"prediction_class\":\"c\",\"confidence\":-0.01,\"inference_time_ms\":1}",
     "confidence"},
    {"{" ID "," MODEL ",\"prediction_class\":\"c\",\"confidence\":0.5}", "inference_time_ms"},
    {"{" ID "," MODEL ",\"prediction_class\":\"c\",\"confidence\":0.5,\"inference_time_ms\":-1}",
     "inference_time_ms"},
    {"{" ID "," MODEL ",\"prediction_class\":\"c\",\"confidence\":0.5,\"inference_time_ms\":1e300}",
     "inference_time_ms"},
    {"{" ID "," MODEL "," RIGHT ",\"batch_size\":\"1\"}", "batch_size"},
    {"{" ID "," MODEL "," RIGHT ",\"top_k\":[{\"confidence\":1}]}", "class"},
    {"{" ID "," MODEL "," RIGHT ",\"top_k\":[{\"class\":\"c\"}]}", "confidence"},
    {"{" ID "," MODEL "," RIGHT ",\"top_k\":[7]}", "class"},
    {"{" ID "," MODEL "," RIGHT ",\"error\":{}}", "error"},
    {"{" ID "," MODEL "," RIGHT ",\"model_version\":3}", "model_version"},
};

static void bad_predictions_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_predictions / sizeof *bad_predictions; i++) {
        struct prediction_message message;
        struct error err = {0};
        if (read_prediction(bad_predictions[i].text, &message, &err) != STATUS_INVALID ||
            strstr(err.message, bad_predictions[i].named) == NULL)
            fail_msg("%s: '%s' does not name %s", bad_predictions[i].text, err.message,
                     bad_predictions[i].named);
    }
}

/* Every text field at its longest is read, and with one byte more is refused by name. */
static void lengths_are_bounded(void **state)
{
    static const struct {
        const char *name;
        size_t size;
    } fields[] = {{"minio_path", OBJECT_KEY_SIZE}, {"source", NAME_SIZE},
                  {"label", LABEL_SIZE},           {"model_name", NAME_SIZE},
                  {"model_version", NAME_SIZE},    {"prediction_class", LABEL_SIZE},
                  {"error", ERROR_MESSAGE_MAX}};
    char value[1024], text[2048];

    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        for (size_t over = 0; over <= 1; over++) {
            struct prediction_message message;
            struct error err = {0};
            const size_t length = fields[i].size - 1 + over;
            memset(value, 'x', length);
            value[length] = '\0';
            /* Later members of the same name would be duplicates: leave out the default one. */
            snprintf(text, sizeof text, "{" ID "%s%s%s%s,\"%s\":\"%s\"}",
                     strcmp(fields[i].name, "model_name") != 0 ? "," MODEL : "",
                     strcmp(fields[i].name, "prediction_class") != 0
                         ? ",\"prediction_class\":\"cat\""
                         : "",
                     ",\"confidence\":0.5", ",\"inference_time_ms\":1", fields[i].name, value);
            const int status = read_prediction(text, &message, &err);
            if (over == 0 && status != STATUS_OK)
                fail_msg("%s at its longest: %s", fields[i].name, err.message);
            if (over == 1 &&
                (status != STATUS_INVALID || strstr(err.message, fields[i].name) == NULL))
                fail_msg("%s too long: '%s'", fields[i].name, err.message);
        }
}

static void more_answers_than_kept(void **state)
{
    struct prediction_message message;

    (void)state;
    assert_int_equal(
        read_prediction("{" ID "," MODEL "," RIGHT ",\"top_k\":["
                        "{\"class\":\"a\",\"confidence\":0.3},{\"class\":\"b\",\"confidence\":0.2},"
                        "{\"class\":\"c\",\"confidence\":0.2},{\"class\":\"d\",\"confidence\":0.1},"
                        "{\"class\":\"e\",\"confidence\":0.1},{\"class\":\"f\",\"confidence\":0.1}]"
                        "}",
                        &message, NULL),
        STATUS_OK);
    assert_int_equal(message.top_count, TOP_K_MAX);
    assert_string_equal(message.top[TOP_K_MAX - 1].label, "e");
}

/* --- Quoting */

/* Whatever the bytes, the result is one JSON string; where they are UTF-8 it is the same text. */
static void quoting_is_always_json(void **state)
{
    unsigned seed = 1;

    (void)state;
    for (int round = 0; round < 2000; round++) {
        char text[24];
        struct buffer out = {0};
        json_t *json = NULL;
        const int length = rand_r(&seed) % (int)sizeof text;
        for (int i = 0; i < length; i++)
            text[i] = (char)(1 + rand_r(&seed) % 255);
        text[length] = '\0';
        json_quote(&out, text);
        assert_int_equal(json_read(out.data, out.size, &json, NULL), STATUS_OK);
        assert_true(json_is_string(json));
        if (text_is_utf8(text, strlen(text)))
            assert_string_equal(json_string_value(json), text);
        json_decref(json);
        buffer_free(&out);
    }
}

static void cleaning_keeps_what_is_text(void **state)
{
    char good[] = "caf\xc3\xa9 \xf0\x9f\x90\x88", cut[] = "caf\xc3",
         mixed[] = "\xff"
                   "a\xc3\xa9\x80z";

    (void)state;
    text_clean(good);
    assert_string_equal(good, "café \U0001F408");
    text_clean(cut);
    assert_string_equal(cut, "caf?");
    text_clean(mixed);
    assert_string_equal(mixed, "?aé?z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_round_trip),
        cmocka_unit_test(image_fields_are_fixed),
        cmocka_unit_test(prediction_round_trip),
        cmocka_unit_test(prediction_error_round_trip),
        cmocka_unit_test(unknown_and_missing_fields),
        cmocka_unit_test(bad_images_are_named),
        cmocka_unit_test(bad_predictions_are_named),
        cmocka_unit_test(lengths_are_bounded),
        cmocka_unit_test(more_answers_than_kept),
        cmocka_unit_test(quoting_is_always_json),
        cmocka_unit_test(cleaning_keeps_what_is_text),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
