/* Objects in a folder. See objects.h.
 *
 * A put writes a file under <data_dir>/objects/.tmp, syncs it, renames it to its key and syncs the
 * folder it is in; then, and only then, is the object certain to outlive a loss of power. Parts of
 * keys never begin with a dot, so no key names a temporary file.
 *
 * What makes folders durable, and shares their syncs between concurrent puts, is durable_folders.h.
 *
 * A sync that fails is not tried again: the kernel may have dropped what it could not write and
 * report success the next time. From then on puts are refused. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "data/durable_folders.h"
#include "data/objects_driver.h"

struct folder_objects {
    struct objects base;
    char *root;
    int root_fd, temporary_fd; /* the latter also holds the lock of the folder */
    uint64_t free_bytes_min;
    atomic_ullong serial; /* of temporary files */
    struct durable_folders *folders;
    struct metric *puts, *put_seconds, *bytes, *refused_full, *refused_failed;
};

/* --- whether puts are taken --- */

static int check_failed(struct folder_objects *store, struct error *err)
{
    if (!durable_folders_failed(store->folders))
        return STATUS_OK;
    return error_set(err, STATUS_CLOSED,
                     "'%s' takes no more objects: a sync to disk failed; check the disk, then "
                     "restart",
                     store->root);
}

static int check_space(struct folder_objects *store, uint64_t size, struct error *err)
{
    struct statvfs disk;

    if (fstatvfs(store->root_fd, &disk) != 0)
        return error_set_errno(err, errno, "cannot ask for the free space of '%s'", store->root);
    const uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (free_bytes >= size && free_bytes - size >= store->free_bytes_min)
        return STATUS_OK;
    return error_set(err, STATUS_NO_SPACE,
                     "the disk of '%s' has %llu MiB left and %llu MiB are kept free; free some "
                     "space and it goes on",
                     store->root, (unsigned long long)(free_bytes >> 20),
                     (unsigned long long)(store->free_bytes_min >> 20));
}

static int folder_health(struct objects *base, struct error *err)
{
    struct folder_objects *store = (struct folder_objects *)base;
    const int status = check_failed(store, err);
    return status != STATUS_OK ? status : check_space(store, 0, err);
}

/* --- putting --- */

static int write_all(int fd, const uint8_t *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        const ssize_t put = write(fd, bytes + done, size - done);
        if (put < 0 && errno != EINTR)
            return -1;
        if (put > 0)
            done += (size_t)put;
    }
    return 0;
}

/* Writes and syncs a temporary file; its name is left in `name`. On failure it is gone. */
static int write_temporary(struct folder_objects *store, const void *bytes, size_t size,
                           char name[32], struct error *err)
{
    snprintf(name, 32, "%llu", (unsigned long long)atomic_fetch_add(&store->serial, 1));
    const int fd = openat(store->temporary_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return error_set_errno(err, errno, "cannot create a file in '%s'", store->root);
    int status = STATUS_OK;
    if (write_all(fd, bytes, size) != 0) {
        status = error_set_errno(err, errno, "cannot write a file in '%s'", store->root);
    } else if (fsync(fd) != 0) {
        /* Space that ran out this late costs only this file. */
        if (errno != ENOSPC && errno != EDQUOT)
            durable_folders_fail(store->folders);
        status = error_set_errno(err, errno, "cannot sync a file in '%s'", store->root);
    }
    if (close(fd) != 0 && status == STATUS_OK)
        status = error_set_errno(err, errno, "cannot close a file in '%s'", store->root);
    if (status != STATUS_OK)
        unlinkat(store->temporary_fd, name, 0);
    return status;
}

/* "a/b/c.jpg" is in "a/b", "c.jpg" in "". Keys are bounded, so it fits. Returns the name. */
static const char *split_key(const char *key, char folder[PATH_MAX])
{
    const char *slash = strrchr(key, '/');
    const size_t length = slash == NULL ? 0 : (size_t)(slash - key);

    assert(length < PATH_MAX);
    memcpy(folder, key, length);
    folder[length] = '\0';
    return slash == NULL ? key : slash + 1;
}

static int put_file(struct folder_objects *store, const char *key, const void *bytes, size_t size,
                    struct error *err)
{
    char path[PATH_MAX], temporary[32];
    const char *name = split_key(key, path);
    struct durable_folder *folder;

    int status = durable_folder_enter(store->folders, path, &folder, err);
    if (status != STATUS_OK)
        return status;
    status = write_temporary(store, bytes, size, temporary, err);
    if (status == STATUS_OK &&
        renameat(store->temporary_fd, temporary, durable_folder_fd(folder), name) != 0) {
        status = error_set_errno(err, errno, "cannot put the object '%s' in its place", key);
        unlinkat(store->temporary_fd, temporary, 0);
    }
    if (status == STATUS_OK)
        status = durable_folder_settle(store->folders, folder, err);
    durable_folder_leave(store->folders, folder);
    return status;
}

static int folder_put(struct objects *base, const char *key, const void *bytes, size_t size,
                      struct error *err)
{
    struct folder_objects *store = (struct folder_objects *)base;
    const int64_t begin = clock_monotonic_ns();
    int status = check_failed(store, err);

    if (status == STATUS_OK)
        status = check_space(store, size, err);
    if (status == STATUS_OK)
        status = put_file(store, key, bytes, size, err);
    if (status == STATUS_OK) {
        metric_add(store->puts, 1);
        metric_add(store->bytes, (double)size);
        metric_observe(store->put_seconds, (double)(clock_monotonic_ns() - begin) * 1e-9);
    } else {
        metric_add(status == STATUS_NO_SPACE ? store->refused_full : store->refused_failed, 1);
    }
    return status;
}

/* --- getting, deleting, visiting --- */

static int object_path(const struct folder_objects *store, const char *key, char path[PATH_MAX],
                       struct error *err)
{
    const int length = snprintf(path, PATH_MAX, "%s/%s", store->root, key);
    if (length < 0 || length >= PATH_MAX)
        return error_set(err, STATUS_INVALID, "the path of the object '%.80s...' is too long", key);
    return STATUS_OK;
}

static int folder_get(struct objects *base, const char *key, size_t size_max, uint8_t **bytes,
                      size_t *size, struct error *err)
{
    char path[PATH_MAX];
    int status = object_path((struct folder_objects *)base, key, path, err);

    if (status == STATUS_OK)
        status = file_read(path, size_max, bytes, size, err);
    /* A folder in that place is no object. */
    if (status == STATUS_NOT_FOUND || status == STATUS_INVALID)
        return error_set(err, STATUS_NOT_FOUND, "there is no object '%s'", key);
    return status;
}

static int folder_delete(struct objects *base, const char *key, struct error *err)
{
    struct folder_objects *store = (struct folder_objects *)base;

    if (unlinkat(store->root_fd, key, 0) != 0 && errno != ENOENT && errno != ENOTDIR)
        return error_set_errno(err, errno, "cannot delete the object '%s'", key);
    return STATUS_OK;
}

struct visit {
    const char *prefix;
    int (*visit)(const char *key, uint64_t size, int64_t modified_us, void *context);
    void *context;
    char key[PATH_MAX]; /* of the entry being looked at */
    bool stopped;
};

static int visit_below(struct visit *visit, int fd, size_t length, struct error *err);

/* Whether keys that begin with the `length` bytes of visit->key can have the prefix. */
static bool may_match(const struct visit *visit, size_t length)
{
    const size_t prefix_length = strlen(visit->prefix);
    return strncmp(visit->key, visit->prefix, length < prefix_length ? length : prefix_length) == 0;
}

/* One entry, whose key is the first `length` bytes of visit->key. */
static int visit_entry(struct visit *visit, int folder_fd, const char *name, size_t length,
                       struct error *err)
{
    struct stat info;

    if (fstatat(folder_fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? STATUS_OK /* deleted meanwhile */
                               : error_set_errno(err, errno, "cannot look at '%s'", visit->key);
    if (S_ISDIR(info.st_mode)) {
        const int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            return error_set_errno(err, errno, "cannot open '%s'", visit->key);
        visit->key[length] = '/';
        return visit_below(visit, fd, length + 1, err);
    }
    if (!S_ISREG(info.st_mode) || length < strlen(visit->prefix) || !may_match(visit, length))
        return STATUS_OK;
    const int64_t modified_us =
        (int64_t)info.st_mtim.tv_sec * 1000000 + info.st_mtim.tv_nsec / 1000;
    visit->stopped =
        visit->visit(visit->key, (uint64_t)info.st_size, modified_us, visit->context) != 0;
    return STATUS_OK;
}

/* Everything in a folder, whose keys begin with the first `length` bytes of visit->key. Takes over
 * fd. */
static int visit_below(struct visit *visit, int fd, size_t length, struct error *err)
{
    DIR *folder = fdopendir(fd);
    int status = STATUS_OK;

    if (folder == NULL) {
        status = error_set_errno(err, errno, "cannot list a folder of objects");
        close(fd);
        return status;
    }
    for (struct dirent *entry;
         status == STATUS_OK && !visit->stopped && (entry = readdir(folder)) != NULL;) {
        const size_t name_length = strlen(entry->d_name);
        if (entry->d_name[0] == '.' || length + name_length + 2 > sizeof visit->key)
            continue;
        memcpy(visit->key + length, entry->d_name, name_length + 1);
        if (may_match(visit, length + name_length))
            status = visit_entry(visit, fd, entry->d_name, length + name_length, err);
    }
    closedir(folder);
    return status;
}

static int folder_visit(struct objects *base, const char *prefix,
                        int (*visit)(const char *key, uint64_t size, int64_t modified_us,
                                     void *context),
                        void *context, struct error *err)
{
    struct folder_objects *store = (struct folder_objects *)base;
    struct visit walk = {.prefix = prefix, .visit = visit, .context = context};
    const int fd = openat(store->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return error_set_errno(err, errno, "cannot open '%s'", store->root);
    return visit_below(&walk, fd, 0, err);
}

/* --- opening and closing --- */

static void folder_close(struct objects *base)
{
    struct folder_objects *store = (struct folder_objects *)base;

    durable_folders_close(store->folders);
    if (store->temporary_fd >= 0)
        close(store->temporary_fd); /* and with it the lock */
    if (store->root_fd >= 0)
        close(store->root_fd);
    free(store->root);
    free(store);
}

/* Takes the folder for this process, then drops what a crash left half written. */
static int claim_temporaries(struct folder_objects *store, struct error *err)
{
    if (mkdirat(store->root_fd, ".tmp", 0755) != 0 && errno != EEXIST)
        return error_set_errno(err, errno, "cannot make '%s/.tmp'", store->root);
    store->temporary_fd = openat(store->root_fd, ".tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->temporary_fd < 0)
        return error_set_errno(err, errno, "cannot open '%s/.tmp'", store->root);
    if (flock(store->temporary_fd, LOCK_EX | LOCK_NB) != 0)
        return error_set(err, STATUS_BUSY,
                         "the folder '%s' is in use by another ocelli; stop it, or choose another "
                         "folder with --data-dir",
                         store->root);
    const int fd = openat(store->temporary_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (folder == NULL) {
        const int reason = errno;
        if (fd >= 0)
            close(fd);
        return error_set_errno(err, reason, "cannot list '%s/.tmp'", store->root);
    }
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (entry->d_name[0] != '.')
            unlinkat(store->temporary_fd, entry->d_name, 0);
    closedir(folder);
    return STATUS_OK;
}

static void look_up_metrics(struct folder_objects *store, struct metrics *metrics)
{
    const char *refused_help = "Objects that were not taken, by reason";
    store->puts = metrics_get(metrics, METRIC_COUNTER, "ocelli_objects_puts_total",
                              "Objects made durable", "");
    store->bytes = metrics_get(metrics, METRIC_COUNTER, "ocelli_objects_put_bytes_total",
                               "Bytes of objects made durable", "");
    store->put_seconds =
        metrics_get(metrics, METRIC_HISTOGRAM, "ocelli_objects_put_duration_seconds",
                    "Time until an object was durable", "");
    store->refused_full = metrics_get(metrics, METRIC_COUNTER, "ocelli_objects_refused_total",
                                      refused_help, "reason=\"disk_full\"");
    store->refused_failed = metrics_get(metrics, METRIC_COUNTER, "ocelli_objects_refused_total",
                                        refused_help, "reason=\"failed\"");
}

static const struct objects_driver folder_driver = {
    .engine = "folder",
    .close = folder_close,
    .put = folder_put,
    .get = folder_get,
    .remove = folder_delete,
    .visit = folder_visit,
    .health = folder_health,
};

int objects_open_folder(const struct config *config, struct metrics *metrics, struct objects **out,
                        struct error *err)
{
    struct folder_objects *store = calloc(1, sizeof *store);

    if (store == NULL || asprintf(&store->root, "%s/objects", config->data_dir) < 0) {
        free(store);
        return error_set(err, STATUS_NO_MEMORY, "no memory for the folder of objects");
    }
    store->base.driver = &folder_driver;
    store->root_fd = store->temporary_fd = -1;
    store->free_bytes_min = (uint64_t)config->disk_free_bytes_min;
    look_up_metrics(store, metrics);
    int status = folder_make(store->root, true, err);
    if (status == STATUS_OK) {
        store->root_fd = open(store->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (store->root_fd < 0)
            status = error_set_errno(err, errno, "cannot open '%s'", store->root);
    }
    if (status == STATUS_OK)
        status = claim_temporaries(store, err);
    if (status == STATUS_OK)
        status = durable_folders_open(store->root, metrics, &store->folders, err);
    if (status != STATUS_OK) {
        folder_close(&store->base);
        return status;
    }
    *out = &store->base;
    return STATUS_OK;
}
