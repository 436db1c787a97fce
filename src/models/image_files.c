/* The files of a folder of images: see image_files.h. */
#include "models/image_files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/rng.h"

enum { CLASSES_MAX = 100000, FILES_MAX = 100000000 };

static int no_memory(struct error *err)
{
    return error_set(err, STATUS_NO_MEMORY, "no memory to list files");
}

static int add_file(struct image_files *files, const char *path, int class_index, struct error *err)
{
    if (files->count == FILES_MAX)
        return error_set(err, STATUS_TOO_LARGE, "there are more than %d files", FILES_MAX);
    if (files->count == files->capacity) {
        const int64_t capacity = files->capacity == 0 ? 256 : files->capacity * 2;
        struct image_file *larger = realloc(files->files, (size_t)capacity * sizeof *larger);
        if (larger == NULL)
            return no_memory(err);
        files->files = larger;
        files->capacity = capacity;
    }
    char *copy = strdup(path);
    if (copy == NULL)
        return no_memory(err);
    files->files[files->count++] = (struct image_file){copy, class_index};
    return STATUS_OK;
}

static int add_class(struct image_files *files, const char *name, struct error *err)
{
    if (files->class_count == CLASSES_MAX)
        return error_set(err, STATUS_TOO_LARGE, "there are more than %d folders", CLASSES_MAX);
    char **larger = realloc(files->classes, ((size_t)files->class_count + 1) * sizeof *larger);
    if (larger == NULL)
        return no_memory(err);
    files->classes = larger;
    char *copy = strdup(name);
    if (copy == NULL)
        return no_memory(err);
    files->classes[files->class_count++] = copy;
    return STATUS_OK;
}

enum entry_kind { ENTRY_OTHER, ENTRY_FILE, ENTRY_FOLDER };

/* What an entry is; links are followed. */
static enum entry_kind kind_of(const struct dirent *entry, const char *path)
{
    struct stat info;

    if (entry->d_name[0] == '.')
        return ENTRY_OTHER;
    if (entry->d_type == DT_REG)
        return ENTRY_FILE;
    if (entry->d_type == DT_DIR)
        return ENTRY_FOLDER;
    if (stat(path, &info) != 0)
        return ENTRY_OTHER;
    return S_ISREG(info.st_mode) ? ENTRY_FILE : S_ISDIR(info.st_mode) ? ENTRY_FOLDER : ENTRY_OTHER;
}

/* Lists one folder: files as of `class_index`; folders as classes, when at the top (-1). */
static int list_folder(const char *folder, int class_index, struct image_files *files,
                       struct error *err)
{
    char path[PATH_MAX];
    int status = STATUS_OK;

    DIR *directory = opendir(folder);
    if (directory == NULL)
        return error_set_errno(err, errno, "cannot list the folder '%s'", folder);
    while (status == STATUS_OK) {
        const struct dirent *entry = readdir(directory);
        if (entry == NULL)
            break;
        const int length = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (length < 0 || (size_t)length >= sizeof path) {
            status = error_set(err, STATUS_INVALID, "the path '%.64s...' is too long", path);
            break;
        }
        const enum entry_kind kind = kind_of(entry, path);
        if (kind == ENTRY_FILE)
            status = add_file(files, path, class_index, err);
        else if (kind == ENTRY_FOLDER && class_index < 0)
            status = add_class(files, entry->d_name, err);
    }
    closedir(directory);
    return status;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const struct image_file *)a)->path, ((const struct image_file *)b)->path);
}

int image_files_list(const char *folder, struct image_files *out, struct error *err)
{
    char path[PATH_MAX];

    int status = list_folder(folder, -1, out, err);
    if (out->class_count > 0)
        qsort(out->classes, (size_t)out->class_count, sizeof *out->classes, compare_texts);
    for (int i = 0; i < out->class_count && status == STATUS_OK; i++) {
        const int length = snprintf(path, sizeof path, "%s/%s", folder, out->classes[i]);
        if (length < 0 || (size_t)length >= sizeof path)
            status = error_set(err, STATUS_INVALID, "the path '%.64s...' is too long", path);
        else
            status = list_folder(path, i, out, err);
    }
    if (status == STATUS_OK && out->count > 0)
        qsort(out->files, (size_t)out->count, sizeof *out->files, compare_files);
    return status;
}

void image_files_sample(struct image_files *files, int64_t count, uint64_t seed)
{
    if (count > files->count)
        count = files->count;
    /* The first `count` steps of a Fisher-Yates shuffle. */
    struct rng rng;
    rng_seed(&rng, seed);
    for (int64_t i = 0; i < count; i++) {
        const int64_t other = i + rng_below(&rng, (uint32_t)(files->count - i));
        const struct image_file chosen = files->files[other];
        files->files[other] = files->files[i];
        files->files[i] = chosen;
    }
    for (int64_t i = count; i < files->count; i++)
        free(files->files[i].path);
    files->count = count;
}

void image_files_free(struct image_files *files)
{
    for (int64_t i = 0; i < files->count; i++)
        free(files->files[i].path);
    for (int i = 0; i < files->class_count; i++)
        free(files->classes[i]);
    free(files->files);
    free(files->classes);
    *files = (struct image_files){0};
}
