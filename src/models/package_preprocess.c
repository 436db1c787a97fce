/* struct preprocess as model.yaml spells it: one table of fields serves reading and writing. */
#include "models/package_preprocess.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const fit_names[] = {"stretch", "shorter", "none", NULL};
static const char *const kernel_names[] = {"bilinear", "bicubic", NULL};
static const char *const order_names[] = {"rgb", "bgr", NULL};

static int wrong(const char *name, const char *wanted, struct error *err)
{
    return error_set(err, STATUS_INVALID, "'preprocess.%s' must be %s", name, wanted);
}

/* --- One field from its member */

static int read_choice(const json_t *value, const char *name, const char *const *choices,
                       const char *wanted, int *out, struct error *err)
{
    const char *text = json_string_value(value);
    for (int i = 0; text != NULL && choices[i] != NULL; i++)
        if (strcmp(text, choices[i]) == 0) {
            *out = i;
            return STATUS_OK;
        }
    return wrong(name, wanted, err);
}

static int read_side(const json_t *value, const char *name, int *out, struct error *err)
{
    const json_int_t side = json_integer_value(value);
    if (!json_is_integer(value) || side < 1 || side > PREPROCESS_SIDE_MAX)
        return wrong(name, "a whole number of pixels, 1 to 4096", err);
    *out = (int)side;
    return STATUS_OK;
}

static int read_three(const json_t *value, const char *name, float out[3], struct error *err)
{
    if (json_array_size(value) != 3)
        return wrong(name, "a list of three numbers", err);
    for (size_t i = 0; i < 3; i++) {
        const json_t *item = json_array_get(value, i);
        if (!json_is_number(item))
            return wrong(name, "a list of three numbers", err);
        out[i] = (float)json_number_value(item);
    }
    return STATUS_OK;
}

static int read_field(const char *name, const json_t *value, struct preprocess *out,
                      struct error *err)
{
    int choice = 0, status = STATUS_OK;

    if (strcmp(name, "preset") == 0)
        return STATUS_OK; /* was read first */
    if (strcmp(name, "fit") == 0) {
        status = read_choice(value, name, fit_names, "stretch, shorter or none", &choice, err);
        out->fit = (enum preprocess_fit)choice;
        return status;
    }
    if (strcmp(name, "kernel") == 0) {
        status = read_choice(value, name, kernel_names, "bilinear or bicubic", &choice, err);
        out->kernel = (enum resize_kernel)choice;
        return status;
    }
    if (strcmp(name, "order") == 0) {
        status = read_choice(value, name, order_names, "rgb or bgr", &choice, err);
        out->order = (enum preprocess_order)choice;
        return status;
    }
    if (strcmp(name, "antialias") == 0) {
        out->antialias = json_is_true(value);
        return json_is_boolean(value) ? STATUS_OK : wrong(name, "true or false", err);
    }
    if (strcmp(name, "shorter_side") == 0)
        return read_side(value, name, &out->shorter_side, err);
    if (strcmp(name, "width") == 0)
        return read_side(value, name, &out->width, err);
    if (strcmp(name, "height") == 0)
        return read_side(value, name, &out->height, err);
    if (strcmp(name, "scale") == 0) {
        out->scale = (float)json_number_value(value);
        return json_is_number(value) ? STATUS_OK : wrong(name, "a number", err);
    }
    if (strcmp(name, "mean") == 0)
        return read_three(value, name, out->mean, err);
    if (strcmp(name, "std") == 0)
        return read_three(value, name, out->std, err);
    return error_set(err, STATUS_INVALID, "'preprocess' has no field '%.64s'", name);
}

/* --- The whole */

int preprocess_from_json(const json_t *json, struct preprocess *out, struct error *err)
{
    struct preprocess preprocess;
    const char *preset = "raw01", *name;
    json_t *value;

    if (json_is_string(json))
        return preprocess_preset(json_string_value(json), out, err);
    if (!json_is_object(json))
        return error_set(err, STATUS_INVALID, "'preprocess' must be a preset's name or a mapping");
    int status = json_get_text(json, "preset", false, &preset, err);
    if (status == STATUS_OK)
        status = preprocess_preset(preset, &preprocess, err);
    /* json_object_foreach wants an object it could change; this one is only read. */
    json_object_foreach ((json_t *)(uintptr_t)json, name, value) {
        if (status == STATUS_OK)
            status = read_field(name, value, &preprocess, err);
    }
    if (status == STATUS_OK)
        status = preprocess_check(&preprocess, err);
    if (status == STATUS_OK)
        *out = preprocess;
    return status;
}

/* The shortest decimal that is this float: 0.485, not 0.4850000143. */
static json_t *short_real(float value)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return json_real(strtod(text, NULL));
}

json_t *preprocess_to_json(const struct preprocess *preprocess)
{
    const struct preprocess *p = preprocess;
    json_t *json = json_pack(
        "{s:s, s:s, s:b, s:i, s:i, s:s, s:o, s:[o, o, o], s:[o, o, o]}", "fit", fit_names[p->fit],
        "kernel", kernel_names[p->kernel], "antialias", p->antialias, "width", p->width, "height",
        p->height, "order", order_names[p->order], "scale", short_real(p->scale), "mean",
        short_real(p->mean[0]), short_real(p->mean[1]), short_real(p->mean[2]), "std",
        short_real(p->std[0]), short_real(p->std[1]), short_real(p->std[2]));

    if (json != NULL && p->fit == PREPROCESS_FIT_SHORTER &&
        json_object_set_new(json, "shorter_side", json_integer(p->shorter_side)) != 0) {
        json_decref(json);
        return NULL;
    }
    return json;
}
