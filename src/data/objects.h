/* Objects: image bytes by key, `raw-images/YYYY/MM/DD/<uuid>.<ext>`. Two implementations: a folder
 * (embedded) and S3. */
#ifndef DATA_OBJECTS_H
#define DATA_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"
#include "base/metrics.h"

struct objects;

/* <data_dir>/objects/<key>. Opening removes temporary files that a crash left; STATUS_BUSY when
 * another process has the folder open. After a sync that failed, puts are refused (STATUS_CLOSED).
 */
int objects_open_folder(const struct config *config, struct metrics *metrics, struct objects **out,
                        struct error *err);
void objects_close(struct objects *objects);

/* Durable when it returns: file written, synced, renamed, folders synced. Replaces an object of
 * that key. STATUS_NO_SPACE when the disk is full or less than disk_free_bytes_min is left.
 * Concurrent puts share folder syncs. */
int objects_put(struct objects *objects, const char *key, const void *bytes, size_t size,
                struct error *err);
/* The caller frees *bytes. STATUS_NOT_FOUND; STATUS_TOO_LARGE over size_max. */
int objects_get(struct objects *objects, const char *key, size_t size_max, uint8_t **bytes,
                size_t *size, struct error *err);
int objects_delete(struct objects *objects, const char *key,
                   struct error *err); /* absent is success */
/* Calls visit(key, size, modified, context) for every key with that prefix; stops when it returns
 * non-zero, which is no error. In no particular order. */
int objects_visit(struct objects *objects, const char *prefix,
                  int (*visit)(const char *key, uint64_t size, int64_t modified_us, void *context),
                  void *context, struct error *err);
/* Whether puts would be taken now, and the sentence when not (disk full). */
int objects_health(struct objects *objects, struct error *err);
const char *objects_engine(const struct objects *objects);

/* Writes "raw-images/2024/01/15/<uuid>.jpg" for a moment. Keys are refused that are absolute, have
 * "..", empty or hidden parts, or characters outside [A-Za-z0-9._/-]. */
int objects_key(char *key, size_t key_size, int64_t utc_us, const char *id, const char *extension,
                struct error *err);
bool objects_key_valid(const char *key);

#endif
