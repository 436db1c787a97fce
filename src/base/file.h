/* Whole files, read at once and written so that a crash leaves the old content or the new, never a
 * mixture. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Reads a regular file of at most size_max bytes; the caller frees *bytes. A NUL follows the last
 * byte. */
int file_read(const char *path, size_t size_max, uint8_t **bytes, size_t *size, struct error *err);

/* Writes path.tmp-<pid>-<n>, syncs it when `durable`, renames it over `path`, syncs the folder when
 * `durable`. On failure the temporary is gone and the old file untouched. Folders must exist. */
int file_write_atomic(const char *path, const void *bytes, size_t size, bool durable,
                      struct error *err);

/* mkdir -p with mode 0755. When `durable`, each folder made is synced into its parent. */
int folder_make(const char *path, bool durable, struct error *err);
/* Removes a folder and all below it (never following links). Absent is success. */
int folder_remove(const char *path, struct error *err);
int folder_sync(const char *path, struct error *err);
bool file_exists(const char *path);

#endif
