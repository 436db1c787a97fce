/* Folders whose entries are on disk: see durable_folders.h.
 *
 * Syncing a folder covers every rename made in it before, so those who settle at the same time
 * share: each draws a ticket; whoever finds nobody syncing syncs for all tickets drawn so far, the
 * others wait until theirs is covered.
 *
 * That a folder exists does not mean its entry is on disk: the process that made it may have been
 * killed before it synced. So on first use in the life of this process every folder on the path is
 * synced. The few most recently used are then kept open.
 *
 * A sync that fails is not tried again: the kernel may have dropped what it could not write, and
 * report success the next time (Rebello et al., "Can Applications Recover from fsync Failures?",
 * USENIX ATC 2020). */
#include "data/durable_folders.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLDERS_KEPT = 16 };

struct durable_folder {
    struct durable_folder *next; /* most recently used first */
    int fd;
    /* Under the lock: */
    int users;
    uint64_t tickets; /* drawn */
    uint64_t synced;  /* tickets covered by a sync */
    bool syncing;
    pthread_cond_t sync_ended;
    char path[];
};

struct durable_folders {
    char *root;
    int root_fd;
    atomic_bool failed;
    struct metric *syncs;
    pthread_mutex_t making; /* one thread makes folders at a time; taken before `lock` */
    pthread_mutex_t lock;   /* guards all below */
    struct durable_folder *folders;
    int count;
};

static void folder_free(struct durable_folder *folder)
{
    close(folder->fd);
    pthread_cond_destroy(&folder->sync_ended);
    free(folder);
}

/* --- making --- */

/* Makes sure of one folder: that it exists, and that its entry in `parent_fd` is on disk. Returns
 * its descriptor, or -1 with `err` set. */
static int step_into(struct durable_folders *folders, int parent_fd, const char *name,
                     struct error *err)
{
    if (mkdirat(parent_fd, name, 0755) != 0 && errno != EEXIST) {
        error_set_errno(err, errno, "cannot make the folder '%s' in '%s'", name, folders->root);
        return -1;
    }
    if (fsync(parent_fd) != 0) {
        const int reason = errno;
        durable_folders_fail(folders);
        error_set_errno(err, reason, "cannot sync a folder in '%s'", folders->root);
        return -1;
    }
    const int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        error_set_errno(err, errno, "cannot open the folder '%s' in '%s'", name, folders->root);
    return fd;
}

static int descend(struct durable_folders *folders, const char *path, int *out, struct error *err)
{
    struct error reason = {0};
    char name[PATH_MAX];
    int fd = openat(folders->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return error_set_errno(err, errno, "cannot open '%s'", folders->root);
    while (*path != '\0' && fd >= 0) {
        const size_t length = strcspn(path, "/");
        if (length >= sizeof name) {
            close(fd);
            return error_set(err, STATUS_INVALID, "a folder's name is too long");
        }
        memcpy(name, path, length);
        name[length] = '\0';
        path += length + (path[length] == '/');
        const int below = step_into(folders, fd, name, &reason);
        close(fd);
        fd = below;
    }
    if (fd < 0) {
        if (err != NULL)
            *err = reason;
        return reason.code;
    }
    *out = fd;
    return STATUS_OK;
}

/* --- the folders that are kept, with the lock held --- */

/* A folder that was removed under us is not the one its path names now. */
static bool is_gone(const struct durable_folder *folder)
{
    struct stat info;
    return fstat(folder->fd, &info) != 0 || info.st_nlink == 0;
}

/* Moves the folder of that path to the front and counts a user. */
static struct durable_folder *find(struct durable_folders *folders, const char *path)
{
    for (struct durable_folder **link = &folders->folders; *link != NULL; link = &(*link)->next) {
        struct durable_folder *folder = *link;
        if (strcmp(folder->path, path) != 0 || is_gone(folder))
            continue;
        *link = folder->next;
        folder->next = folders->folders;
        folders->folders = folder;
        folder->users++;
        return folder;
    }
    return NULL;
}

/* Drops the least recently used folder that nobody uses, when there are too many. */
static void evict(struct durable_folders *folders)
{
    struct durable_folder **oldest = NULL;

    if (folders->count <= FOLDERS_KEPT)
        return;
    for (struct durable_folder **link = &folders->folders; *link != NULL; link = &(*link)->next)
        if ((*link)->users == 0)
            oldest = link;
    if (oldest == NULL)
        return;
    struct durable_folder *folder = *oldest;
    *oldest = folder->next;
    folders->count--;
    folder_free(folder);
}

static struct durable_folder *find_locked(struct durable_folders *folders, const char *path)
{
    pthread_mutex_lock(&folders->lock);
    struct durable_folder *folder = find(folders, path);
    pthread_mutex_unlock(&folders->lock);
    return folder;
}

static int add(struct durable_folders *folders, const char *path, struct durable_folder **out,
               struct error *err)
{
    const size_t size = strlen(path) + 1;
    struct durable_folder *folder = calloc(1, sizeof *folder + size);

    if (folder == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the folder '%s'", path);
    const int status = descend(folders, path, &folder->fd, err);
    if (status != STATUS_OK) {
        free(folder);
        return status;
    }
    memcpy(folder->path, path, size);
    pthread_cond_init(&folder->sync_ended, NULL);
    folder->users = 1;
    pthread_mutex_lock(&folders->lock);
    folder->next = folders->folders;
    folders->folders = folder;
    folders->count++;
    evict(folders);
    pthread_mutex_unlock(&folders->lock);
    *out = folder;
    return STATUS_OK;
}

/* --- using --- */

int durable_folder_enter(struct durable_folders *folders, const char *path,
                         struct durable_folder **out, struct error *err)
{
    int status = STATUS_OK;

    *out = find_locked(folders, path);
    if (*out != NULL)
        return STATUS_OK;
    pthread_mutex_lock(&folders->making);
    *out = find_locked(folders, path); /* someone else may have been faster */
    if (*out == NULL)
        status = add(folders, path, out, err);
    pthread_mutex_unlock(&folders->making);
    return status;
}

void durable_folder_leave(struct durable_folders *folders, struct durable_folder *folder)
{
    pthread_mutex_lock(&folders->lock);
    folder->users--;
    evict(folders);
    pthread_mutex_unlock(&folders->lock);
}

int durable_folder_fd(const struct durable_folder *folder)
{
    return folder->fd;
}

int durable_folder_settle(struct durable_folders *folders, struct durable_folder *folder,
                          struct error *err)
{
    pthread_mutex_lock(&folders->lock);
    const uint64_t ticket = ++folder->tickets;
    while (folder->synced < ticket && !atomic_load(&folders->failed)) {
        if (folder->syncing) {
            pthread_cond_wait(&folder->sync_ended, &folders->lock);
            continue;
        }
        const uint64_t covered = folder->tickets;
        folder->syncing = true;
        pthread_mutex_unlock(&folders->lock);
        const bool synced = fsync(folder->fd) == 0;
        metric_add(folders->syncs, 1);
        pthread_mutex_lock(&folders->lock);
        folder->syncing = false;
        if (synced)
            folder->synced = covered;
        else
            durable_folders_fail(folders);
        pthread_cond_broadcast(&folder->sync_ended);
    }
    const bool settled = folder->synced >= ticket;
    pthread_mutex_unlock(&folders->lock);
    return settled ? STATUS_OK
                   : error_set(err, STATUS_IO, "cannot sync a folder in '%s'", folders->root);
}

bool durable_folders_failed(const struct durable_folders *folders)
{
    return atomic_load(&folders->failed);
}

void durable_folders_fail(struct durable_folders *folders)
{
    atomic_store(&folders->failed, true);
}

/* --- opening and closing --- */

int durable_folders_open(const char *root, struct metrics *metrics, struct durable_folders **out,
                         struct error *err)
{
    struct durable_folders *folders = calloc(1, sizeof *folders);

    if (folders != NULL)
        folders->root = strdup(root);
    if (folders == NULL || folders->root == NULL) {
        free(folders);
        return error_set(err, STATUS_NO_MEMORY, "no memory for the folders of '%s'", root);
    }
    folders->root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folders->root_fd < 0) {
        const int reason = errno;
        free(folders->root);
        free(folders);
        return error_set_errno(err, reason, "cannot open the folder '%s'", root);
    }
    pthread_mutex_init(&folders->making, NULL);
    pthread_mutex_init(&folders->lock, NULL);
    folders->syncs = metrics_get(metrics, METRIC_COUNTER, "ocelli_objects_folder_syncs_total",
                                 "Syncs of folders, each for one or more objects", "");
    *out = folders;
    return STATUS_OK;
}

void durable_folders_close(struct durable_folders *folders)
{
    if (folders == NULL)
        return;
    while (folders->folders != NULL) {
        struct durable_folder *folder = folders->folders;
        folders->folders = folder->next;
        folder_free(folder);
    }
    close(folders->root_fd);
    pthread_mutex_destroy(&folders->lock);
    pthread_mutex_destroy(&folders->making);
    free(folders->root);
    free(folders);
}
