/* Putting packages into a folder of models and taking them out: see install.h. */
#include "models/install.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "models/fetch.h"
#include "models/model.h"
#include "models/package_scan.h"

enum { LABELS_FILE_BYTES_MAX = 16 << 20, LABELS_MAX = 100000 };

static int join(char path[PATH_MAX], struct error *err, const char *folder, const char *name)
{
    const int length = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    if (length < 0 || length >= PATH_MAX)
        return error_set(err, STATUS_INVALID, "the path '%.64s...' is too long", folder);
    return STATUS_OK;
}

/* --- Labels */

static int split_labels(const char *text, char separator, char ***labels, int *count,
                        struct error *err)
{
    const char stops[] = {separator, '\0'};
    int capacity = 1;

    for (const char *at = text; *at != '\0'; at++)
        capacity += *at == separator;
    if (capacity > LABELS_MAX + 1)
        return error_set(err, STATUS_INVALID, "there are more than %d labels", LABELS_MAX);
    char **list = calloc((size_t)capacity, sizeof *list);
    int found = 0;
    for (const char *at = text; list != NULL && *at != '\0'; at += *at == separator) {
        size_t length = strcspn(at, stops);
        const char *next = at + length;
        length -= separator == '\n' && length > 0 && at[length - 1] == '\r';
        list[found] = strndup(at, length);
        if (list[found] == NULL) {
            install_labels_free(list, found);
            list = NULL;
            break;
        }
        found++;
        at = next;
    }
    if (list == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the labels");
    *labels = list;
    *count = found;
    return STATUS_OK;
}

int install_labels_read(const char *text, char ***labels, int *count, struct error *err)
{
    uint8_t *content = NULL;
    size_t size = 0;

    if (!file_exists(text))
        return split_labels(text, ',', labels, count, err);
    int status = file_read(text, LABELS_FILE_BYTES_MAX, &content, &size, err);
    if (status != STATUS_OK)
        return status;
    if (memchr(content, '\0', size) != NULL)
        status = error_set(err, STATUS_INVALID, "'%s' holds a zero byte: it is no text", text);
    else
        status = split_labels((const char *)content, '\n', labels, count, err);
    free(content);
    return status;
}

void install_labels_free(char **labels, int count)
{
    for (int i = 0; i < count; i++)
        free(labels[i]);
    free(labels);
}

/* --- Installing */

/* The sentence without the hidden folder's name at its beginning, which would say nothing to
 * anybody. */
static const char *without_folder(const char *sentence, const char *folder)
{
    const size_t length = strlen(folder);
    if (strncmp(sentence, folder, length) != 0)
        return sentence;
    return sentence + length + strspn(sentence + length, ":/ ");
}

/* Whether the package in `folder` could be served. In fp32: whether bf16 will do is for the set. */
static int try_package(const char *folder, struct error *err)
{
    const struct model_options options = {.precision = PRECISION_FP32, .batch_max = 1};
    int status = STATUS_OK;

    struct model *model = model_read(folder);
    if (model == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to try the model");
    if (model_state(model) == MODEL_LOADING)
        model_compile(model, &options);
    if (model_state(model) == MODEL_FAILED)
        status = error_set(err, STATUS_INVALID, "%s", without_folder(model_failure(model), folder));
    model_release(model);
    return status;
}

static int fill_folder(const struct install_request *request, const char *folder, struct error *err)
{
    struct package_text text = request->text;
    char **labels = NULL;
    char network[PATH_MAX];

    int status = join(network, err, folder, PACKAGE_NETWORK_FILE);
    if (status == STATUS_OK && text.labels == NULL) {
        status = install_labels_read(request->label_text, &labels, &text.label_count, err);
        text.labels = (const char *const *)labels;
    }
    if (status == STATUS_OK)
        status = folder_make(folder, true, err);
    if (status == STATUS_OK)
        status = package_write(folder, &text, err);
    if (status == STATUS_OK)
        status = fetch_file(request->source, network, PACKAGE_NETWORK_BYTES_MAX, err);
    if (status == STATUS_OK)
        status = try_package(folder, err);
    if (status == STATUS_OK)
        status = folder_sync(folder, err);
    if (labels != NULL)
        install_labels_free(labels, text.label_count);
    return status;
}

/* Renames `folder` to `target` in one step; when that is there, the two change places, so that
 * there is a package of the name at every moment. */
static int put_in_place(const char *folder, const char *target, bool replace, struct error *err)
{
    if (renameat2(AT_FDCWD, folder, AT_FDCWD, target, RENAME_NOREPLACE) == 0)
        return STATUS_OK;
    if (errno == EEXIST && !replace)
        return error_set(err, STATUS_EXISTS, "'%s' is there already", target);
    if (errno == EEXIST && renameat2(AT_FDCWD, folder, AT_FDCWD, target, RENAME_EXCHANGE) == 0)
        return STATUS_OK;
    return error_set_errno(err, errno, "cannot rename '%s' to '%s'", folder, target);
}

int model_install(const struct install_request *request, struct error *err)
{
    char target[PATH_MAX], folder[PATH_MAX], hidden[128];

    int status = package_check_name(request->text.name, err);
    if (status != STATUS_OK)
        return status;
    snprintf(hidden, sizeof hidden, ".adding-%.64s-%ld", request->text.name, (long)getpid());
    status = join(target, err, request->models_dir, request->text.name);
    if (status == STATUS_OK)
        status = join(folder, err, request->models_dir, hidden);
    if (status == STATUS_OK && !request->replace && file_exists(target))
        status = error_set(err, STATUS_EXISTS, "'%s' is there already", target);
    if (status == STATUS_OK)
        status = folder_remove(folder, err);
    if (status != STATUS_OK)
        return status;
    status = fill_folder(request, folder, err);
    if (status == STATUS_OK)
        status = put_in_place(folder, target, request->replace, err);
    if (status == STATUS_OK)
        status = folder_sync(request->models_dir, err);
    /* What is there now is a failed attempt, or the package that was replaced. */
    folder_remove(folder, NULL);
    return status;
}

/* --- Uninstalling */

static bool is_package_named(const char *folder, const char *name)
{
    struct model_package *package = NULL;
    const char *slash = strrchr(folder, '/');

    if (package_load(folder, &package, NULL) != STATUS_OK)
        return strcmp(slash != NULL ? slash + 1 : folder, name) == 0;
    const bool is_named = strcmp(package->name, name) == 0;
    package_free(package);
    return is_named;
}

/* A watching server sees the whole package go at once: first it is renamed, then removed. */
static int remove_package(const char *folder, struct error *err)
{
    char hidden[PATH_MAX];
    const char *slash = strrchr(folder, '/');
    const int parent = slash != NULL ? (int)(slash - folder) + 1 : 0;

    const int length = snprintf(hidden, sizeof hidden, "%.*s.removed-%s-%ld", parent, folder,
                                folder + parent, (long)getpid());
    if (length < 0 || (size_t)length >= sizeof hidden)
        return error_set(err, STATUS_INVALID, "the path '%.64s...' is too long", folder);
    if (rename(folder, hidden) != 0)
        return error_set_errno(err, errno, "cannot rename '%s'", folder);
    return folder_remove(hidden, err);
}

int model_uninstall(const char *models_dir, const char *name, struct error *err)
{
    struct found_packages found = {0};
    const char *folder = NULL;

    int status = package_scan(models_dir, &found, err);
    for (int i = 0; i < found.count && status == STATUS_OK && folder == NULL; i++)
        if (is_package_named(found.items[i].folder, name))
            folder = found.items[i].folder;
    if (status == STATUS_OK && folder == NULL)
        status =
            error_set(err, STATUS_NOT_FOUND, "there is no model '%.64s' in '%s'", name, models_dir);
    else if (status == STATUS_OK)
        status = remove_package(folder, err);
    package_scan_free(&found);
    return status;
}
