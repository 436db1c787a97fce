/* Glue around jansson: see json.h. */
#include "base/json.h"

enum { DEPTH_MAX = 64 };

/* The deepest nesting of a text, well formed or not: jansson parses by recursion up to 2048 levels,
 * which is more stack than a worker should give to a stranger. */
static int nesting_depth(const char *text, size_t size)
{
    int depth = 0, deepest = 0;
    bool in_string = false;

    for (size_t i = 0; i < size; i++) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > deepest)
                deepest = depth;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return deepest;
}

int json_read(const char *text, size_t size, json_t **out, struct error *err)
{
    json_error_t where;

    if (nesting_depth(text, size) > DEPTH_MAX)
        return error_set(err, STATUS_INVALID, "the JSON is nested deeper than %d levels",
                         DEPTH_MAX);
    json_t *json = json_loadb(text, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &where);
    if (json == NULL) {
        if (json_error_code(&where) == json_error_out_of_memory)
            return error_set(err, STATUS_NO_MEMORY, "no memory to read %zu bytes of JSON", size);
        return error_set(err, STATUS_INVALID, "not valid JSON at line %d, column %d: %s",
                         where.line, where.column, where.text);
    }
    *out = json;
    return STATUS_OK;
}

static int append_piece(const char *text, size_t size, void *context)
{
    struct buffer *out = context;
    buffer_append(out, text, size);
    return buffer_ok(out) ? 0 : -1;
}

int json_write(const json_t *json, struct buffer *out, struct error *err)
{
    /* 15 significant digits give back every decimal a person or a program wrote with up to 15
     * ("0.1", not "0.10000000000000001"). */
    const size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15);

    if (json_dump_callback(json, append_piece, out, flags) == 0)
        return STATUS_OK;
    if (!buffer_ok(out))
        return error_set(err, STATUS_NO_MEMORY, "no memory to write JSON");
    return error_set(err, STATUS_INTERNAL, "a JSON value could not be written");
}

/* The member, or NULL with *status saying whether that is an error. */
static const json_t *find_member(const json_t *object, const char *name, bool required, int *status,
                                 struct error *err)
{
    const json_t *member = json_object_get(object, name);

    *status = STATUS_OK;
    if (member != NULL && !json_is_null(member))
        return member;
    if (required)
        *status = error_set(err, STATUS_INVALID, "'%s' is missing", name);
    return NULL;
}

int json_get_text(const json_t *object, const char *name, bool required, const char **out,
                  struct error *err)
{
    int status;
    const json_t *member = find_member(object, name, required, &status, err);
    if (member == NULL)
        return status;
    if (!json_is_string(member))
        return error_set(err, STATUS_INVALID, "'%s' must be a string", name);
    *out = json_string_value(member);
    return STATUS_OK;
}

int json_get_real(const json_t *object, const char *name, bool required, double *out,
                  struct error *err)
{
    int status;
    const json_t *member = find_member(object, name, required, &status, err);
    if (member == NULL)
        return status;
    if (!json_is_number(member))
        return error_set(err, STATUS_INVALID, "'%s' must be a number", name);
    *out = json_number_value(member);
    return STATUS_OK;
}

int json_get_integer(const json_t *object, const char *name, bool required, int64_t *out,
                     struct error *err)
{
    int status;
    const json_t *member = find_member(object, name, required, &status, err);
    if (member == NULL)
        return status;
    if (!json_is_integer(member))
        return error_set(err, STATUS_INVALID, "'%s' must be a whole number", name);
    *out = json_integer_value(member);
    return STATUS_OK;
}
