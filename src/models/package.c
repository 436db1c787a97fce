/* Model packages on disk: model.yaml into a struct model_package, and back. What is written is
 * first read by the same rules, so nothing is written that package_load would refuse. */
#include "models/package.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "models/package_preprocess.h"
#include "models/yaml_json.h"

enum {
    DESCRIPTION_BYTES_MAX = 4 << 20,
    LABELS_FILE_BYTES_MAX = 16 << 20,
    NAME_LENGTH_MAX = 64,
    VERSION_LENGTH_MAX = 64,
    LABEL_LENGTH_MAX = 256,
    LABELS_MAX = 100000,
};

static int no_memory(struct error *err)
{
    return error_set(err, STATUS_NO_MEMORY, "no memory for a model package");
}

/* --- Names and versions */

int package_check_name(const char *name, struct error *err)
{
    const size_t length = strlen(name);

    if (length < 1 || length > NAME_LENGTH_MAX ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != length)
        return error_set(err, STATUS_INVALID,
                         "'name' must be 1 to %d of a-z, 0-9, _ and -, not '%.80s'",
                         NAME_LENGTH_MAX, name);
    return STATUS_OK;
}

/* One line of text: it ends up in messages, tables and topics' group names. */
static bool is_plain_line(const char *text, size_t length_max)
{
    const size_t length = strlen(text);

    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return length >= 1 && length <= length_max;
}

static int copy_member(const json_t *object, const char *name, const char *otherwise, char **out,
                       struct error *err)
{
    const char *text = otherwise;
    const int status = json_get_text(object, name, otherwise == NULL, &text, err);
    if (status != STATUS_OK)
        return status;
    *out = strdup(text);
    return *out != NULL ? STATUS_OK : no_memory(err);
}

static int read_identity(struct model_package *package, struct error *err)
{
    const json_t *description = package->description;

    int status = copy_member(description, "name", NULL, &package->name, err);
    if (status == STATUS_OK)
        status = package_check_name(package->name, err);
    if (status == STATUS_OK)
        status = copy_member(description, "version", "1", &package->version, err);
    if (status == STATUS_OK && !is_plain_line(package->version, VERSION_LENGTH_MAX))
        status = error_set(err, STATUS_INVALID, "'version' must be one line of 1 to %d bytes",
                           VERSION_LENGTH_MAX);
    if (status == STATUS_OK)
        status = copy_member(description, "architecture", "", &package->architecture, err);
    return status;
}

/* --- Labels */

static int make_room_for_labels(struct model_package *package, size_t count, struct error *err)
{
    if (count < 1 || count > LABELS_MAX)
        return error_set(err, STATUS_INVALID, "there must be 1 to %d labels, not %zu", LABELS_MAX,
                         count);
    package->labels = calloc(count, sizeof *package->labels);
    return package->labels != NULL ? STATUS_OK : no_memory(err);
}

static int add_label(struct model_package *package, const char *text, size_t length,
                     struct error *err)
{
    char *label = strndup(text, length);
    if (label == NULL)
        return no_memory(err);
    package->labels[package->label_count++] = label;
    if (!is_plain_line(label, LABEL_LENGTH_MAX))
        return error_set(err, STATUS_INVALID, "label %d must be one line of 1 to %d bytes",
                         package->label_count, LABEL_LENGTH_MAX);
    return STATUS_OK;
}

static int read_label_list(struct model_package *package, const json_t *list, struct error *err)
{
    if (!json_is_array(list))
        return error_set(err, STATUS_INVALID, "'labels' must be a list of texts");
    const size_t count = json_array_size(list);
    int status = make_room_for_labels(package, count, err);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        const json_t *label = json_array_get(list, i);
        status = json_is_string(label)
                     ? add_label(package, json_string_value(label), json_string_length(label), err)
                     : error_set(err, STATUS_INVALID, "label %zu must be a text", i + 1);
    }
    return status;
}

/* The length of the line without its end, be it "\n" or "\r\n". */
static size_t line_length(const char *line)
{
    size_t length = strcspn(line, "\n");
    return length > 0 && line[length - 1] == '\r' ? length - 1 : length;
}

static int read_label_lines(struct model_package *package, const char *text, struct error *err)
{
    size_t count = 0;

    for (const char *at = text; *at != '\0'; at += strcspn(at, "\n"), at += *at == '\n')
        count++;
    int status = make_room_for_labels(package, count, err);
    for (const char *at = text; *at != '\0' && status == STATUS_OK;
         at += strcspn(at, "\n"), at += *at == '\n')
        status = add_label(package, at, line_length(at), err);
    return status;
}

static int read_labels_file(struct model_package *package, const char *name, struct error *err)
{
    char path[PATH_MAX];
    uint8_t *text = NULL;
    size_t size = 0;

    if (name[0] == '.' || strchr(name, '/') != NULL)
        return error_set(err, STATUS_INVALID,
                         "'labels_file' must be a file in the package, not '%.64s'", name);
    const int length = snprintf(path, sizeof path, "%s/%s", package->folder, name);
    if (length < 0 || (size_t)length >= sizeof path)
        return error_set(err, STATUS_INVALID, "the path of 'labels_file' is too long");
    int status = file_read(path, LABELS_FILE_BYTES_MAX, &text, &size, err);
    if (status != STATUS_OK)
        return status;
    if (memchr(text, '\0', size) != NULL)
        status = error_set(err, STATUS_INVALID, "'%.64s' holds a zero byte: it is no text", name);
    else
        status = read_label_lines(package, (const char *)text, err);
    free(text);
    return status;
}

static int read_labels(struct model_package *package, struct error *err)
{
    const json_t *list = json_object_get(package->description, "labels");
    const char *file = NULL;

    const int status = json_get_text(package->description, "labels_file", false, &file, err);
    if (status != STATUS_OK)
        return status;
    if ((list != NULL) == (file != NULL))
        return error_set(err, STATUS_INVALID, "there must be either 'labels' or 'labels_file'");
    return list != NULL ? read_label_list(package, list, err)
                        : read_labels_file(package, file, err);
}

/* --- The rest, and the whole */

static int read_output(struct model_package *package, struct error *err)
{
    const char *output = "logits";

    const int status = json_get_text(package->description, "output", false, &output, err);
    if (status != STATUS_OK)
        return status;
    package->output_is_probabilities = strcmp(output, "probabilities") == 0;
    if (!package->output_is_probabilities && strcmp(output, "logits") != 0)
        return error_set(err, STATUS_INVALID,
                         "'output' must be logits or probabilities, not '%.64s'", output);
    return STATUS_OK;
}

static int read_precision(struct model_package *package, struct error *err)
{
    const char *precision = "auto";

    const int status = json_get_text(package->description, "precision", false, &precision, err);
    return status != STATUS_OK ? status : precision_parse(precision, &package->precision, err);
}

/* Fills a package from its description, of which it takes over the reference in any case. */
static int package_parse(const char *folder, json_t *description, struct model_package **out,
                         struct error *err)
{
    struct model_package *package = calloc(1, sizeof *package);
    int status = STATUS_OK;

    if (package == NULL) {
        json_decref(description);
        return no_memory(err);
    }
    package->description = description;
    package->folder = strdup(folder);
    if (package->folder == NULL)
        status = no_memory(err);
    else if (!json_is_object(description))
        status = error_set(err, STATUS_INVALID, "it must be a mapping of fields");
    if (status == STATUS_OK)
        status = read_identity(package, err);
    if (status == STATUS_OK)
        status = read_labels(package, err);
    if (status == STATUS_OK)
        status = preprocess_from_json(json_object_get(description, "preprocess"),
                                      &package->preprocess, err);
    if (status == STATUS_OK)
        status = read_output(package, err);
    if (status == STATUS_OK)
        status = read_precision(package, err);
    if (status != STATUS_OK) {
        package_free(package);
        return status;
    }
    *out = package;
    return STATUS_OK;
}

int package_load(const char *folder, struct model_package **out, struct error *err)
{
    static const char *const texts[] = {"name", "version", "architecture", "labels", NULL};
    char path[PATH_MAX];
    uint8_t *text = NULL;
    size_t size = 0;
    json_t *description = NULL;

    const int length = snprintf(path, sizeof path, "%s/" PACKAGE_DESCRIPTION_FILE, folder);
    if (length < 0 || (size_t)length >= sizeof path)
        return error_set(err, STATUS_INVALID, "the path '%.64s...' is too long", folder);
    int status = file_read(path, DESCRIPTION_BYTES_MAX, &text, &size, err);
    if (status != STATUS_OK)
        return status;
    status = yaml_read((const char *)text, size, texts, &description, err);
    free(text);
    if (status == STATUS_OK)
        status = package_parse(folder, description, out, err);
    return status != STATUS_OK ? error_wrap(err, "%s", path) : STATUS_OK;
}

void package_free(struct model_package *package)
{
    if (package == NULL)
        return;
    free(package->folder);
    free(package->name);
    free(package->version);
    free(package->architecture);
    for (int i = 0; i < package->label_count; i++)
        free(package->labels[i]);
    free(package->labels);
    json_decref(package->description);
    free(package);
}

/* --- Writing */

/* Members are json_object_set_new()s; any that fails leaves *failed true. */
static void set_member(json_t *object, const char *name, json_t *value, bool *failed)
{
    if (json_object_set_new(object, name, value) != 0)
        *failed = true;
}

static int add_extra(json_t *description, const json_t *extra, struct error *err)
{
    const char *name;
    json_t *value;

    /* json_object_foreach wants an object it could change; this one is only read. */
    json_object_foreach ((json_t *)(uintptr_t)extra, name, value) {
        if (json_object_get(description, name) != NULL)
            return error_set(err, STATUS_INVALID, "'%.64s' is a fixed field of a package", name);
        if (json_object_set(description, name, value) != 0)
            return no_memory(err);
    }
    return STATUS_OK;
}

static int describe(const struct package_text *text, json_t **out, struct error *err)
{
    json_t *description = json_object(), *labels = json_array();
    bool failed = description == NULL || labels == NULL;

    for (int i = 0; i < text->label_count && !failed; i++)
        failed = json_array_append_new(labels, json_string(text->labels[i])) != 0;
    set_member(description, "name", json_string(text->name), &failed);
    set_member(description, "version", json_string(text->version), &failed);
    if (text->architecture != NULL && text->architecture[0] != '\0')
        set_member(description, "architecture", json_string(text->architecture), &failed);
    set_member(description, "labels", labels, &failed);
    set_member(description, "preprocess",
               text->preprocess != NULL ? json_string(text->preprocess)
                                        : preprocess_to_json(text->own_preprocess),
               &failed);
    set_member(description, "output",
               json_string(text->output_is_probabilities ? "probabilities" : "logits"), &failed);
    /* jansson refuses texts that are not UTF-8; that, or memory, is all that can fail above. */
    int status = STATUS_OK;
    if (failed)
        status = error_set(err, STATUS_INVALID, "a text of the package is not UTF-8");
    else if (text->extra != NULL)
        status = add_extra(description, text->extra, err);
    if (status != STATUS_OK) {
        json_decref(description);
        return status;
    }
    *out = description;
    return STATUS_OK;
}

int package_write(const char *folder, const struct package_text *text, struct error *err)
{
    struct model_package *package = NULL;
    struct buffer yaml = {0};
    json_t *description = NULL;
    char path[PATH_MAX];

    const int length = snprintf(path, sizeof path, "%s/" PACKAGE_DESCRIPTION_FILE, folder);
    if (length < 0 || (size_t)length >= sizeof path)
        return error_set(err, STATUS_INVALID, "the path '%.64s...' is too long", folder);
    int status = describe(text, &description, err);
    if (status == STATUS_OK)
        status = package_parse(folder, description, &package, err);
    if (status == STATUS_OK)
        status = yaml_write(package->description, &yaml, err);
    if (status == STATUS_OK)
        status = folder_make(folder, true, err);
    if (status == STATUS_OK)
        status = file_write_atomic(path, yaml.data, yaml.size, true, err);
    buffer_free(&yaml);
    package_free(package);
    return status != STATUS_OK ? error_wrap(err, "writing %s", path) : STATUS_OK;
}
