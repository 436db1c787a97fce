/* YAML as JSON values, see yaml_json.h. Reading goes through libyaml's document tree, writing
 * through its emitter, which quotes what needs quoting; the one thing it cannot know is that a text
 * such as "1" or "true" must be quoted to stay a text. */
#include "models/yaml_json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { DEPTH_MAX = 32, VALUES_MAX = 100000, FLOW_LENGTH_MAX = 80 };

/* --- Plain scalars (YAML 1.2, chapter 10.3: the core schema) */

static size_t span_of_digits(const char *text)
{
    return strspn(text, "0123456789");
}

/* [-+]? [0-9]+ */
static bool is_integer(const char *text)
{
    text += *text == '-' || *text == '+';
    const size_t digits = span_of_digits(text);
    return digits > 0 && text[digits] == '\0';
}

/* [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )? */
static bool is_real(const char *text)
{
    text += *text == '-' || *text == '+';
    const size_t whole = span_of_digits(text);
    size_t fraction = 0;
    text += whole;
    if (*text == '.') {
        fraction = span_of_digits(text + 1);
        text += 1 + fraction;
    }
    if (whole + fraction == 0)
        return false;
    if (*text == 'e' || *text == 'E') {
        text++;
        text += *text == '-' || *text == '+';
        const size_t exponent = span_of_digits(text);
        return exponent > 0 && text[exponent] == '\0';
    }
    return *text == '\0';
}

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}

/* The value a plain scalar stands for; NULL when out of memory. */
static json_t *resolve_plain(const char *text)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", NULL};

    if (is_one_of(text, nulls))
        return json_null();
    if (is_one_of(text, trues))
        return json_true();
    if (is_one_of(text, falses))
        return json_false();
    if (is_integer(text)) {
        errno = 0;
        const long long value = strtoll(text, NULL, 10);
        if (errno == 0)
            return json_integer(value);
    }
    if (is_real(text)) {
        const double value = strtod(text, NULL);
        if (isfinite(value))
            return json_real(value);
    }
    return json_string(text);
}

static bool stays_text_when_plain(const char *text)
{
    json_t *value = resolve_plain(text);
    const bool is_text = json_is_string(value);
    json_decref(value);
    return is_text;
}

/* --- Reading */

struct reader {
    yaml_document_t *document;
    int values; /* made so far: bounds what aliases can blow up */
};

static int fail_at(const yaml_mark_t *mark, struct error *err, const char *what)
{
    return error_set(err, STATUS_INVALID, "line %zu, column %zu: %s", mark->line + 1,
                     mark->column + 1, what);
}

static int read_node(struct reader *reader, int index, bool as_text, int depth, json_t **out,
                     struct error *err);

static int read_scalar(const yaml_node_t *node, bool as_text, json_t **out, struct error *err)
{
    const char *text = (const char *)node->data.scalar.value;
    const size_t length = node->data.scalar.length;

    if (memchr(text, '\0', length) != NULL)
        return fail_at(&node->start_mark, err, "a text must not hold a zero byte");
    if (as_text || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        *out = json_stringn(text, length);
    else
        *out = resolve_plain(text);
    if (*out == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to read YAML");
    return STATUS_OK;
}

static int read_sequence(struct reader *reader, const yaml_node_t *node, bool as_text, int depth,
                         json_t *array, struct error *err)
{
    const yaml_node_item_t *item = node->data.sequence.items.start;

    for (; item < node->data.sequence.items.top; item++) {
        json_t *value = NULL;
        const int status = read_node(reader, *item, as_text, depth + 1, &value, err);
        if (status != STATUS_OK)
            return status;
        if (json_array_append_new(array, value) != 0)
            return error_set(err, STATUS_NO_MEMORY, "no memory to read YAML");
    }
    return STATUS_OK;
}

static int read_member(struct reader *reader, const yaml_node_pair_t *pair, bool as_text, int depth,
                       json_t *object, struct error *err)
{
    const yaml_node_t *key = yaml_document_get_node(reader->document, pair->key);
    json_t *value = NULL;

    if (key->type != YAML_SCALAR_NODE)
        return fail_at(&key->start_mark, err, "a member's name must be a text");
    const char *name = (const char *)key->data.scalar.value;
    if (memchr(name, '\0', key->data.scalar.length) != NULL)
        return fail_at(&key->start_mark, err, "a member's name must not hold a zero byte");
    if (json_object_get(object, name) != NULL)
        return fail_at(&key->start_mark, err, "this member is there already");
    const int status = read_node(reader, pair->value, as_text, depth + 1, &value, err);
    if (status != STATUS_OK)
        return status;
    if (json_object_set_new(object, name, value) != 0)
        return error_set(err, STATUS_NO_MEMORY, "no memory to read YAML");
    return STATUS_OK;
}

static int read_mapping(struct reader *reader, const yaml_node_t *node, bool as_text, int depth,
                        json_t *object, struct error *err)
{
    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
    int status = STATUS_OK;

    for (; pair < node->data.mapping.pairs.top && status == STATUS_OK; pair++)
        status = read_member(reader, pair, as_text, depth, object, err);
    return status;
}

static int read_node(struct reader *reader, int index, bool as_text, int depth, json_t **out,
                     struct error *err)
{
    const yaml_node_t *node = yaml_document_get_node(reader->document, index);

    if (depth > DEPTH_MAX || ++reader->values > VALUES_MAX)
        return fail_at(&node->start_mark, err,
                       depth > DEPTH_MAX ? "nested too deeply" : "too many values");
    if (node->type == YAML_SCALAR_NODE)
        return read_scalar(node, as_text, out, err);
    const bool is_mapping = node->type == YAML_MAPPING_NODE;
    json_t *value = is_mapping ? json_object() : json_array();
    if (value == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to read YAML");
    const int status = is_mapping ? read_mapping(reader, node, as_text, depth, value, err)
                                  : read_sequence(reader, node, as_text, depth, value, err);
    if (status != STATUS_OK) {
        json_decref(value);
        return status;
    }
    *out = value;
    return STATUS_OK;
}

/* The top level is read apart, since only here the names in `as_text` count. */
static int read_top(struct reader *reader, const char *const *as_text, json_t **out,
                    struct error *err)
{
    const yaml_node_t *root = yaml_document_get_root_node(reader->document);

    if (root == NULL)
        return error_set(err, STATUS_INVALID, "line 1: there is nothing in it");
    if (root->type != YAML_MAPPING_NODE)
        return read_node(reader, 1, false, 0, out, err);
    json_t *object = json_object();
    if (object == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to read YAML");
    const yaml_node_pair_t *pair = root->data.mapping.pairs.start;
    int status = STATUS_OK;
    for (; pair < root->data.mapping.pairs.top && status == STATUS_OK; pair++) {
        const yaml_node_t *key = yaml_document_get_node(reader->document, pair->key);
        const bool text = key->type == YAML_SCALAR_NODE &&
                          is_one_of((const char *)key->data.scalar.value, as_text);
        status = read_member(reader, pair, text, 0, object, err);
    }
    if (status != STATUS_OK) {
        json_decref(object);
        return status;
    }
    *out = object;
    return STATUS_OK;
}

static int parser_failure(const yaml_parser_t *parser, struct error *err)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return error_set(err, STATUS_NO_MEMORY, "no memory to read YAML");
    if (parser->error == YAML_READER_ERROR)
        return error_set(err, STATUS_INVALID, "byte %zu: %s", parser->problem_offset,
                         parser->problem);
    return fail_at(&parser->problem_mark, err,
                   parser->problem != NULL ? parser->problem : "not valid YAML");
}

int yaml_read(const char *text, size_t size, const char *const *as_text, json_t **out,
              struct error *err)
{
    yaml_parser_t parser;
    yaml_document_t document;
    int status;

    if (yaml_parser_initialize(&parser) == 0)
        return error_set(err, STATUS_NO_MEMORY, "no memory to read YAML");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    if (yaml_parser_load(&parser, &document) == 0) {
        status = parser_failure(&parser, err);
        goto done;
    }
    struct reader reader = {.document = &document};
    status = read_top(&reader, as_text, out, err);
    yaml_document_delete(&document);
done:
    yaml_parser_delete(&parser);
    return status;
}

/* --- Writing */

static int append_bytes(void *context, unsigned char *bytes, size_t size)
{
    struct buffer *out = context;
    buffer_append(out, bytes, size);
    return buffer_ok(out);
}

/* Whether there was memory; the emitter takes the event in any case. */
static bool emit(yaml_emitter_t *emitter, yaml_event_t *event, int made)
{
    return made != 0 && yaml_emitter_emit(emitter, event) != 0;
}

static bool emit_text(yaml_emitter_t *emitter, const char *text, yaml_scalar_style_t style)
{
    yaml_event_t event;
    const int made = yaml_scalar_event_initialize(&event, NULL, NULL, (const unsigned char *)text,
                                                  (int)strlen(text), 1, 1, style);
    return emit(emitter, &event, made);
}

/* The fewest digits that read back as the same number, and never as an integer. */
static void print_real(double value, char text[32])
{
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, 32, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    if (is_integer(text))
        strncat(text, ".0", 31 - strlen(text));
}

static bool emit_scalar(yaml_emitter_t *emitter, const json_t *json)
{
    char text[32];

    switch (json_typeof(json)) {
    case JSON_STRING:
        return emit_text(emitter, json_string_value(json),
                         stays_text_when_plain(json_string_value(json))
                             ? YAML_ANY_SCALAR_STYLE
                             : YAML_DOUBLE_QUOTED_SCALAR_STYLE);
    case JSON_INTEGER:
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(json));
        return emit_text(emitter, text, YAML_PLAIN_SCALAR_STYLE);
    case JSON_REAL:
        print_real(json_real_value(json), text);
        return emit_text(emitter, text, YAML_PLAIN_SCALAR_STYLE);
    case JSON_TRUE:
        return emit_text(emitter, "true", YAML_PLAIN_SCALAR_STYLE);
    case JSON_FALSE:
        return emit_text(emitter, "false", YAML_PLAIN_SCALAR_STYLE);
    default:
        return emit_text(emitter, "null", YAML_PLAIN_SCALAR_STYLE);
    }
}

static bool emit_value(yaml_emitter_t *emitter, const json_t *json);

/* Lists of scalars go on one line, [a, b], everything else on a line each. */
static bool emit_array(yaml_emitter_t *emitter, const json_t *array)
{
    yaml_sequence_style_t style = YAML_FLOW_SEQUENCE_STYLE;
    yaml_event_t event;
    const json_t *item;
    size_t i;

    json_array_foreach (array, i, item) {
        if (json_is_object(item) || json_is_array(item))
            style = YAML_BLOCK_SEQUENCE_STYLE;
    }
    int made = yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, style);
    if (!emit(emitter, &event, made))
        return false;
    json_array_foreach (array, i, item) {
        if (!emit_value(emitter, item))
            return false;
    }
    made = yaml_sequence_end_event_initialize(&event);
    return emit(emitter, &event, made);
}

static bool emit_object(yaml_emitter_t *emitter, const json_t *object)
{
    yaml_event_t event;
    const char *name;
    json_t *member;

    int made = yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE);
    if (!emit(emitter, &event, made))
        return false;
    /* json_object_foreach wants an object it could change; this one is only read. */
    json_object_foreach ((json_t *)(uintptr_t)object, name, member) {
        if (!emit_text(emitter, name, YAML_ANY_SCALAR_STYLE) || !emit_value(emitter, member))
            return false;
    }
    made = yaml_mapping_end_event_initialize(&event);
    return emit(emitter, &event, made);
}

static bool emit_value(yaml_emitter_t *emitter, const json_t *json)
{
    if (json_is_object(json))
        return emit_object(emitter, json);
    if (json_is_array(json))
        return emit_array(emitter, json);
    return emit_scalar(emitter, json);
}

static bool emit_document(yaml_emitter_t *emitter, const json_t *json)
{
    yaml_event_t event;

    int made = yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING);
    if (!emit(emitter, &event, made))
        return false;
    made = yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1);
    if (!emit(emitter, &event, made) || !emit_value(emitter, json))
        return false;
    made = yaml_document_end_event_initialize(&event, 1);
    if (!emit(emitter, &event, made))
        return false;
    made = yaml_stream_end_event_initialize(&event);
    return emit(emitter, &event, made);
}

int yaml_write(const json_t *json, struct buffer *out, struct error *err)
{
    yaml_emitter_t emitter;
    int status = STATUS_OK;

    if (yaml_emitter_initialize(&emitter) == 0)
        return error_set(err, STATUS_NO_MEMORY, "no memory to write YAML");
    yaml_emitter_set_output(&emitter, append_bytes, out);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, FLOW_LENGTH_MAX);
    if (!emit_document(&emitter, json) || !buffer_ok(out))
        status = error_set(err, buffer_ok(out) ? STATUS_INTERNAL : STATUS_NO_MEMORY,
                           "cannot write YAML: %s",
                           emitter.problem != NULL ? emitter.problem : "no memory");
    yaml_emitter_delete(&emitter);
    return status;
}
