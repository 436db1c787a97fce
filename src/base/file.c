/* Whole files: see file.h. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_exactly(int fd, const char *path, uint8_t *bytes, size_t size, struct error *err)
{
    for (size_t done = 0; done < size;) {
        const ssize_t got = read(fd, bytes + done, size - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set_errno(err, errno, "cannot read '%s'", path);
        if (got == 0)
            return error_set(err, STATUS_CORRUPT, "'%s' became shorter while it was read", path);
        done += (size_t)got;
    }
    return STATUS_OK;
}

int file_read(const char *path, size_t size_max, uint8_t **bytes, size_t *size, struct error *err)
{
    struct stat info;
    uint8_t *content = NULL;
    int status;

    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, errno, "cannot open '%s'", path);
    if (fstat(fd, &info) != 0) {
        status = error_set_errno(err, errno, "cannot look at '%s'", path);
        goto done;
    }
    if (!S_ISREG(info.st_mode)) {
        status = error_set(err, STATUS_INVALID, "'%s' is not a regular file", path);
        goto done;
    }
    if ((uint64_t)info.st_size > size_max) {
        status = error_set(err, STATUS_TOO_LARGE, "'%s' has %lld bytes; at most %zu are allowed",
                           path, (long long)info.st_size, size_max);
        goto done;
    }
    content = malloc((size_t)info.st_size + 1);
    if (content == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory to read '%s'", path);
        goto done;
    }
    status = read_exactly(fd, path, content, (size_t)info.st_size, err);
    if (status != STATUS_OK)
        goto done;
    content[info.st_size] = '\0';
    *bytes = content;
    *size = (size_t)info.st_size;
    content = NULL;
done:
    free(content);
    close(fd);
    return status;
}

static int write_exactly(int fd, const char *path, const uint8_t *bytes, size_t size,
                         struct error *err)
{
    for (size_t done = 0; done < size;) {
        const ssize_t put = write(fd, bytes + done, size - done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return error_set_errno(err, errno, "cannot write '%s'", path);
        done += (size_t)put;
    }
    return STATUS_OK;
}

/* The folder part of a path: "a/b" gives "a", "b" gives ".", "/b" gives "/". */
static int parent_of(const char *path, char parent[PATH_MAX], struct error *err)
{
    const char *slash = strrchr(path, '/');
    const size_t length = slash == NULL ? 0 : (size_t)(slash - path);

    if (length >= PATH_MAX)
        return error_set(err, STATUS_INVALID, "the path '%.64s...' is too long", path);
    if (slash == NULL) {
        memcpy(parent, ".", 2);
    } else if (length == 0) {
        memcpy(parent, "/", 2);
    } else {
        memcpy(parent, path, length);
        parent[length] = '\0';
    }
    return STATUS_OK;
}

int folder_sync(const char *path, struct error *err)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, errno, "cannot open the folder '%s'", path);
    const int failed = fsync(fd);
    const int reason = errno;
    close(fd);
    if (failed)
        return error_set_errno(err, reason, "cannot sync the folder '%s'", path);
    return STATUS_OK;
}

static int write_and_sync(const char *path, const void *bytes, size_t size, bool durable,
                          struct error *err)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return error_set_errno(err, errno, "cannot create '%s'", path);
    int status = write_exactly(fd, path, bytes, size, err);
    if (status == STATUS_OK && durable && fsync(fd) != 0)
        status = error_set_errno(err, errno, "cannot sync '%s'", path);
    if (close(fd) != 0 && status == STATUS_OK)
        status = error_set_errno(err, errno, "cannot close '%s'", path);
    return status;
}

int file_write_atomic(const char *path, const void *bytes, size_t size, bool durable,
                      struct error *err)
{
    static atomic_uint serial;
    char temporary[PATH_MAX], parent[PATH_MAX];

    const int length = snprintf(temporary, sizeof temporary, "%s.tmp-%ld-%u", path, (long)getpid(),
                                atomic_fetch_add(&serial, 1));
    if (length < 0 || (size_t)length >= sizeof temporary)
        return error_set(err, STATUS_INVALID, "the path '%.64s...' is too long", path);
    int status = parent_of(path, parent, err);
    if (status != STATUS_OK)
        return status;
    status = write_and_sync(temporary, bytes, size, durable, err);
    if (status == STATUS_OK && rename(temporary, path) != 0)
        status = error_set_errno(err, errno, "cannot rename '%s' to '%s'", temporary, path);
    if (status != STATUS_OK) {
        unlink(temporary);
        return status;
    }
    return durable ? folder_sync(parent, err) : STATUS_OK;
}

static int make_one_folder(const char *path, bool durable, struct error *err)
{
    char parent[PATH_MAX];

    if (mkdir(path, 0755) != 0) {
        struct stat info;
        const int reason = errno;
        if (reason == EEXIST && stat(path, &info) == 0 && S_ISDIR(info.st_mode))
            return STATUS_OK;
        return error_set_errno(err, reason, "cannot make the folder '%s'", path);
    }
    if (!durable)
        return STATUS_OK;
    const int status = parent_of(path, parent, err);
    return status != STATUS_OK ? status : folder_sync(parent, err);
}

int folder_make(const char *path, bool durable, struct error *err)
{
    char partial[PATH_MAX];
    const size_t length = strlen(path);

    if (length == 0 || length >= sizeof partial)
        return error_set(err, STATUS_INVALID, "'%.64s' cannot name a folder", path);
    memcpy(partial, path, length + 1);
    for (char *at = partial + 1; *at != '\0'; at++) {
        if (*at != '/' || at[-1] == '/')
            continue;
        *at = '\0';
        const int status = make_one_folder(partial, durable, err);
        if (status != STATUS_OK)
            return status;
        *at = '/';
    }
    return make_one_folder(partial, durable, err);
}

static int remove_below(int folder_fd, const char *path, struct error *err);

static int remove_entry(int folder_fd, const char *path, const char *name, struct error *err)
{
    struct stat info;

    if (fstatat(folder_fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? STATUS_OK
                               : error_set_errno(err, errno, "cannot look at '%s/%s'", path, name);
    if (S_ISDIR(info.st_mode)) {
        const int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            return error_set_errno(err, errno, "cannot open '%s/%s'", path, name);
        const int status = remove_below(fd, path, err);
        if (status != STATUS_OK)
            return status;
    }
    if (unlinkat(folder_fd, name, S_ISDIR(info.st_mode) ? AT_REMOVEDIR : 0) != 0 && errno != ENOENT)
        return error_set_errno(err, errno, "cannot remove '%s/%s'", path, name);
    return STATUS_OK;
}

/* Empties the folder; takes over folder_fd. */
static int remove_below(int folder_fd, const char *path, struct error *err)
{
    int status = STATUS_OK;
    DIR *folder = fdopendir(folder_fd);

    if (folder == NULL) {
        status = error_set_errno(err, errno, "cannot list '%s'", path);
        close(folder_fd);
        return status;
    }
    for (struct dirent *entry; status == STATUS_OK && (entry = readdir(folder)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = remove_entry(folder_fd, path, entry->d_name, err);
    closedir(folder);
    return status;
}

int folder_remove(const char *path, struct error *err)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? STATUS_OK : error_set_errno(err, errno, "cannot open '%s'", path);
    const int status = remove_below(fd, path, err);
    if (status != STATUS_OK)
        return status;
    if (rmdir(path) != 0)
        return error_set_errno(err, errno, "cannot remove '%s'", path);
    return STATUS_OK;
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}
