/* Folders whose entries are on disk: for files that are renamed into them and must outlive a loss
 * of power. Private to src/data. All functions are thread-safe.
 *
 * Use: enter the folder, rename a synced file into durable_folder_fd, settle, leave. */
#ifndef DATA_DURABLE_FOLDERS_H
#define DATA_DURABLE_FOLDERS_H

#include <stdbool.h>

#include "base/error.h"
#include "base/metrics.h"

struct durable_folders; /* all folders below one root, which exists */
struct durable_folder;

int durable_folders_open(const char *root, struct metrics *metrics, struct durable_folders **out,
                         struct error *err);
void durable_folders_close(
    struct durable_folders *folders); /* NULL is fine; nobody may be inside */

/* The folder of that path below the root ("" is the root itself), made when it is not there. Its
 * entry, and those of all above it, are on disk when this returns. Ended by durable_folder_leave.
 */
int durable_folder_enter(struct durable_folders *folders, const char *path,
                         struct durable_folder **out, struct error *err);
void durable_folder_leave(struct durable_folders *folders, struct durable_folder *folder);
int durable_folder_fd(const struct durable_folder *folder);

/* Returns when everything renamed into the folder before the call is on disk. */
int durable_folder_settle(struct durable_folders *folders, struct durable_folder *folder,
                          struct error *err);

/* A sync has failed, here or, by durable_folders_fail, of a file: nothing settles from then on. */
bool durable_folders_failed(const struct durable_folders *folders);
void durable_folders_fail(struct durable_folders *folders);

#endif
