/* Finding packages and noticing that they changed: see package_scan.h. */
#include "models/package_scan.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "models/package.h"

/* What distinguishes one state of a file from another. Plain integers without padding, since it is
 * hashed as bytes. */
struct file_mark {
    uint64_t name_hash;
    int64_t size, seconds, nanoseconds;
    uint64_t inode;
};

/* The stamp of a package's files; 0 when it has no model.yaml or is no folder. Files' hashes are
 * summed, so their order does not matter. */
static uint64_t stamp_of(const char *folder)
{
    uint64_t stamp = 0;
    bool is_package = false;
    struct stat info;

    DIR *directory = opendir(folder);
    if (directory == NULL)
        return 0;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (fstatat(dirfd(directory), entry->d_name, &info, 0) != 0 || !S_ISREG(info.st_mode))
            continue;
        is_package |= strcmp(entry->d_name, PACKAGE_DESCRIPTION_FILE) == 0;
        const struct file_mark mark = {
            .name_hash = fnv1a(entry->d_name, strlen(entry->d_name)),
            .size = info.st_size,
            .seconds = info.st_mtim.tv_sec,
            .nanoseconds = info.st_mtim.tv_nsec,
            .inode = info.st_ino,
        };
        stamp += fnv1a(&mark, sizeof mark);
    }
    closedir(directory);
    if (!is_package)
        return 0;
    return stamp != 0 ? stamp : 1;
}

static int add_package(struct found_packages *found, const char *folder, uint64_t stamp,
                       struct error *err)
{
    if (found->count == FOUND_PACKAGES_MAX)
        return error_set(err, STATUS_TOO_LARGE, "there are more than %d model packages",
                         FOUND_PACKAGES_MAX);
    if (found->count == found->capacity) {
        const int capacity = found->capacity == 0 ? 16 : found->capacity * 2;
        struct found_package *larger = realloc(found->items, (size_t)capacity * sizeof *larger);
        if (larger == NULL)
            return error_set(err, STATUS_NO_MEMORY, "no memory to list model packages");
        found->items = larger;
        found->capacity = capacity;
    }
    char *copy = strdup(folder);
    if (copy == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to list model packages");
    found->items[found->count++] = (struct found_package){copy, stamp};
    return STATUS_OK;
}

static int scan_one(const char *top, struct found_packages *out, struct error *err)
{
    char path[PATH_MAX];
    int status = STATUS_OK;

    const uint64_t own_stamp = stamp_of(top);
    if (own_stamp != 0)
        return add_package(out, top, own_stamp, err);
    DIR *directory = opendir(top);
    if (directory == NULL && (errno == ENOENT || errno == ENOTDIR))
        return STATUS_OK;
    if (directory == NULL)
        return error_set_errno(err, errno, "cannot list the folder of models '%s'", top);
    while (status == STATUS_OK) {
        const struct dirent *entry = readdir(directory);
        if (entry == NULL)
            break;
        const int length = snprintf(path, sizeof path, "%s/%s", top, entry->d_name);
        if (entry->d_name[0] == '.' || length < 0 || (size_t)length >= sizeof path)
            continue;
        const uint64_t stamp = stamp_of(path);
        if (stamp != 0)
            status = add_package(out, path, stamp, err);
    }
    closedir(directory);
    return status;
}

static int compare_folders(const void *a, const void *b)
{
    return strcmp(((const struct found_package *)a)->folder,
                  ((const struct found_package *)b)->folder);
}

/* Copies the folder that a list begins with, without slashes at its end; returns the rest of the
 * list. *fits tells whether there was room; an empty name is one that does not fit. */
static const char *take_folder(const char *list, char *path, size_t size, bool *fits)
{
    const size_t whole = strcspn(list, ":");
    size_t length = whole;

    while (length > 1 && list[length - 1] == '/')
        length--;
    *fits = length > 0 && length < size;
    snprintf(path, size, "%.*s", *fits ? (int)length : 0, list);
    return list + whole + (list[whole] == ':');
}

int package_scan(const char *models_dir, struct found_packages *out, struct error *err)
{
    char path[PATH_MAX];
    bool fits;
    int status = STATUS_OK;

    for (const char *rest = models_dir; *rest != '\0' && status == STATUS_OK;) {
        rest = take_folder(rest, path, sizeof path, &fits);
        if (fits)
            status = scan_one(path, out, err);
    }
    if (out->count > 0)
        qsort(out->items, (size_t)out->count, sizeof *out->items, compare_folders);
    return status;
}

void package_scan_first(const char *models_dir, char *path, size_t size)
{
    bool fits;
    take_folder(models_dir, path, size, &fits);
}

void package_scan_free(struct found_packages *found)
{
    for (int i = 0; i < found->count; i++)
        free(found->items[i].folder);
    free(found->items);
    *found = (struct found_packages){0};
}
