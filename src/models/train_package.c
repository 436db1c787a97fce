/* See train_package.h. */
#include "models/train_package.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "models/package.h"

enum { TRAINING_SIZE_MAX = 16 << 20 };

struct class_list {
    char **names; /* owned */
    int count;
};

static void class_list_free(struct class_list *list)
{
    for (int i = 0; i < list->count; i++)
        free(list->names[i]);
    free(list->names);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_class(struct class_list *list, const char *name, struct error *err)
{
    char **names = realloc(list->names, ((size_t)list->count + 1) * sizeof *names);
    if (names == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the classes");
    list->names = names;
    names[list->count] = strdup(name);
    if (names[list->count] == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the classes");
    list->count++;
    return STATUS_OK;
}

static bool is_folder(const char *parent, const char *name)
{
    char path[PATH_MAX];
    struct stat info;
    const int length = snprintf(path, sizeof path, "%s/%s", parent, name);
    return length > 0 && (size_t)length < sizeof path && stat(path, &info) == 0 &&
           S_ISDIR(info.st_mode);
}

static int list_classes(const char *data, struct class_list *list, struct error *err)
{
    char train[PATH_MAX];
    int status = STATUS_OK;

    snprintf(train, sizeof train, "%s/train", data);
    const char *folder = file_exists(train) ? train : data;
    DIR *entries = opendir(folder);
    if (entries == NULL)
        return error_set_errno(err, errno, "cannot list '%s'", folder);
    for (struct dirent *entry; status == STATUS_OK && (entry = readdir(entries)) != NULL;)
        if (entry->d_name[0] != '.' && is_folder(folder, entry->d_name))
            status = add_class(list, entry->d_name, err);
    closedir(entries);
    if (status == STATUS_OK && list->count > 0)
        qsort(list->names, (size_t)list->count, sizeof *list->names, compare_names);
    return status;
}

static int read_training(const char *out, json_t **training, struct error *err)
{
    char path[PATH_MAX];
    uint8_t *text = NULL;
    size_t size;

    snprintf(path, sizeof path, "%s/training.json", out);
    int status = file_read(path, TRAINING_SIZE_MAX, &text, &size, err);
    if (status == STATUS_OK)
        status = json_read((const char *)text, size, training, err);
    free(text);
    return status;
}

/* Copies members that say how the model came to be; the log of epochs stays in training.json. */
static json_t *made_with(const json_t *training)
{
    static const char *const members[] = {"command",   "machine", "seed",    "threads",
                                          "precision", "epochs",  "minutes", "batch",
                                          "seconds",   "steps",   "started"};
    json_t *object = json_object();

    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        json_t *value = json_object_get(training, members[i]);
        if (value != NULL)
            json_object_set(object, members[i], value);
    }
    return object;
}

static json_t *extra_members(const struct train_job *job, const struct train_package *package,
                             const json_t *training)
{
    json_t *validation = json_object_get(training, "best_validation");
    json_t *extra = json_object();

    if (package->licence != NULL)
        json_object_set_new(extra, "licence", json_string(package->licence));
    json_object_set_new(extra, "data",
                        json_string(package->data != NULL ? package->data : job->data));
    json_object_set_new(extra, "made_with", made_with(training));
    json_object_set_new(extra, "metrics",
                        json_pack("{s:O, s:I}", "validation_accuracy",
                                  validation != NULL ? validation : json_null(),
                                  "validation_images", (json_int_t)job->validation));
    return extra;
}

int train_package_write(const struct train_job *job, const struct train_package *package,
                        struct error *err)
{
    struct class_list classes = {0};
    json_t *training = NULL, *extra = NULL;

    int status = list_classes(job->data, &classes, err);
    if (status == STATUS_OK)
        status = read_training(job->out, &training, err);
    if (status == STATUS_OK) {
        const char *architecture = json_string_value(json_object_get(training, "architecture"));
        extra = extra_members(job, package, training);
        const struct package_text text = {
            .name = package->name,
            .version = package->version,
            .architecture = architecture != NULL ? architecture : "unknown",
            .labels = (const char *const *)classes.names,
            .label_count = classes.count,
            .preprocess = job->preset,
            .extra = extra,
        };
        status = package_write(job->out, &text, err);
    }
    json_decref(extra);
    json_decref(training);
    class_list_free(&classes);
    return status;
}
