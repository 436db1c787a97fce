/* A list of files with their classes as a source. */
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "sources/source_driver.h"

enum { FILE_BYTES_MAX = 64 << 20 };

struct list_source {
    struct source source;
    char *root;
    const struct source_listed *files;
    size_t file_count, at;
};

static bool path_of(const struct list_source *list, size_t i, char path[PATH_MAX])
{
    return snprintf(path, PATH_MAX, "%s/%s", list->root, list->files[i].path) < PATH_MAX;
}

static bool is_there(const struct list_source *list, size_t i)
{
    char path[PATH_MAX];
    return path_of(list, i, path) && file_exists(path);
}

static int list_next(struct source *source, struct source_image *image, struct error *err)
{
    struct list_source *list = (struct list_source *)source;
    char path[PATH_MAX];

    while (list->at < list->file_count && !is_there(list, list->at))
        list->at++;
    if (list->at == list->file_count)
        return 0;
    const struct source_listed *file = &list->files[list->at];
    path_of(list, list->at++, path);
    snprintf(image->name, sizeof image->name, "%s", strrchr(path, '/') + 1);
    snprintf(image->label, sizeof image->label, "%s", file->label);
    const int status = file_read(path, FILE_BYTES_MAX, &image->bytes, &image->size, err);
    return status == STATUS_OK ? 1 : status;
}

static void list_close(struct source *source)
{
    struct list_source *list = (struct list_source *)source;
    free(list->root);
    free(list);
}

static const struct source_driver list_driver = {"list", list_next, list_close};

int source_open_list(const char *root, const struct source_listed *files, size_t count,
                     struct source **out, struct error *err)
{
    struct list_source *list = calloc(1, sizeof *list);

    if (list != NULL)
        list->root = strdup(root);
    if (list == NULL || list->root == NULL) {
        free(list);
        return error_set(err, STATUS_NO_MEMORY, "no memory to open '%s'", root);
    }
    list->source.driver = &list_driver;
    list->files = files;
    list->file_count = count;
    for (size_t i = 0; i < count; i++)
        list->source.count += is_there(list, i);
    if (list->source.count == 0) {
        list_close(&list->source);
        return error_set(err, STATUS_NOT_FOUND, "none of the listed files is below '%s'", root);
    }
    *out = &list->source;
    return STATUS_OK;
}
