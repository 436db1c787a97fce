/* A folder of image files as a source: the tree is listed once, when it is opened, and what each
 * file is, is told by its first bytes; a file is read when its turn comes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "image/image.h"
#include "sources/source_driver.h"

enum {
    DEPTH_MAX = 32,
    FILES_MAX = 100000000,
    HEAD_SIZE = 4096,
    FILE_BYTES_MAX = 64 << 20, /* more than any server takes by default; it says so itself */
};

struct folder_source {
    struct source source;
    char *top;
    char **paths;
    uint32_t path_count, path_capacity;
    uint32_t *order;
    uint32_t at;
    int labelled;
};

/* --- Listing ---------------------------------------------------------------------------------- */

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Whether the first bytes are an image's. A header that goes on behind them looks cut here, and one
 * that is broken is the receiver's to refuse: both count as images. */
static bool looks_like_image(const char *path)
{
    uint8_t head[HEAD_SIZE];
    struct image_info info;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    const ssize_t size = read(fd, head, sizeof head);
    close(fd);
    if (size <= 0)
        return false;
    const int status = image_probe(head, (size_t)size, NULL, &info, NULL);
    return status == STATUS_OK || status == STATUS_CORRUPT || status == STATUS_TOO_LARGE;
}

/* Takes `path`, also when it fails. */
static int keep_path(struct folder_source *folder, char *path, struct error *err)
{
    if (folder->path_count == folder->path_capacity) {
        const uint32_t capacity = folder->path_capacity == 0 ? 256 : 2 * folder->path_capacity;
        char **paths =
            capacity <= 2u * FILES_MAX ? realloc(folder->paths, capacity * sizeof *paths) : NULL;
        if (paths == NULL) {
            free(path);
            return error_set(err, STATUS_NO_MEMORY, "no memory to list the files of '%s'",
                             folder->top);
        }
        folder->paths = paths;
        folder->path_capacity = capacity;
    }
    folder->paths[folder->path_count++] = path;
    return STATUS_OK;
}

static int list_folder(struct folder_source *folder, const char *path, int depth,
                       struct error *err);

/* Takes `path`. Files that cannot be looked at are left out, as those that are no images. */
static int list_entry(struct folder_source *folder, char *path, int depth, struct error *err)
{
    struct stat link_info, info;
    int status = STATUS_OK;

    if (lstat(path, &link_info) == 0 && stat(path, &info) == 0) {
        if (S_ISDIR(link_info.st_mode))
            status = list_folder(folder, path, depth + 1, err);
        else if (S_ISREG(info.st_mode) && looks_like_image(path))
            return keep_path(folder, path, err);
    }
    free(path);
    return status;
}

static int list_folder(struct folder_source *folder, const char *path, int depth, struct error *err)
{
    int status = STATUS_OK;
    const struct dirent *entry;

    if (depth > DEPTH_MAX)
        return error_set(err, STATUS_TOO_LARGE, "'%s' is more than %d folders deep", path,
                         DEPTH_MAX);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return error_set_errno(err, errno, "cannot open the folder '%s'", path);
    while (status == STATUS_OK && (entry = readdir(directory)) != NULL) {
        char *below = NULL;
        if (entry->d_name[0] == '.')
            continue;
        if (asprintf(&below, "%s/%s", path, entry->d_name) < 0)
            status = error_set(err, STATUS_NO_MEMORY, "no memory to list '%s'", path);
        else
            status = list_entry(folder, below, depth, err);
    }
    closedir(directory);
    return status;
}

/* --- Reading ---------------------------------------------------------------------------------- */

/* The folder a file lies in names its class, but for the folder that was asked for. */
static void label_from_path(const struct folder_source *folder, const char *path,
                            struct source_image *image)
{
    const char *below = path + strlen(folder->top) + 1;
    const char *name = strrchr(below, '/');

    if (name == NULL)
        return;
    const char *label = name;
    while (label > below && label[-1] != '/')
        label--;
    snprintf(image->label, sizeof image->label, "%.*s", (int)(name - label), label);
}

static int folder_next(struct source *source, struct source_image *image, struct error *err)
{
    struct folder_source *folder = (struct folder_source *)source;

    if (folder->at == folder->path_count)
        return 0;
    const char *path = folder->paths[folder->order[folder->at++]];
    snprintf(image->name, sizeof image->name, "%s", strrchr(path, '/') + 1);
    if (folder->labelled)
        label_from_path(folder, path, image);
    const int status = file_read(path, FILE_BYTES_MAX, &image->bytes, &image->size, err);
    return status == STATUS_OK ? 1 : status;
}

static void folder_close(struct source *source)
{
    struct folder_source *folder = (struct folder_source *)source;

    for (uint32_t i = 0; i < folder->path_count; i++)
        free(folder->paths[i]);
    free(folder->paths);
    free(folder->order);
    free(folder->top);
    free(folder);
}

static const struct source_driver folder_driver = {"folder", folder_next, folder_close};

/* Without the slashes at its end, which paths below it would repeat. */
static char *copy_top(const char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    return strndup(path, length);
}

int source_open_folder(const char *path, int labelled, uint64_t seed, struct source **out,
                       struct error *err)
{
    struct folder_source *folder = calloc(1, sizeof *folder);
    int status;

    if (folder == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to open '%s'", path);
    folder->source.driver = &folder_driver;
    folder->labelled = labelled;
    folder->top = copy_top(path);
    status = folder->top != NULL ? list_folder(folder, folder->top, 0, err)
                                 : error_set(err, STATUS_NO_MEMORY, "no memory to open '%s'", path);
    if (status == STATUS_OK && folder->path_count == 0)
        status = error_set(err, STATUS_NOT_FOUND,
                           "there is no JPEG, PNG or WebP image in '%s' or below it", path);
    if (status != STATUS_OK)
        goto failed;
    qsort(folder->paths, folder->path_count, sizeof *folder->paths, compare_paths);
    folder->order = source_order(folder->path_count, seed);
    if (folder->order == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory for %u files", folder->path_count);
        goto failed;
    }
    folder->source.count = folder->path_count;
    *out = &folder->source;
    return STATUS_OK;
failed:
    folder_close(&folder->source);
    return status;
}
