/* Ingest: the first stage. An image comes in from anywhere; when ingest_submit returns success it
 * is durable (object, row and message), and everything after happens without its caller. */
#ifndef FLOW_INGEST_H
#define FLOW_INGEST_H

#include "base/config.h"
#include "base/metrics.h"
#include "data/bus.h"
#include "data/objects.h"
#include "data/sql.h"
#include "flow/message.h"
#include "image/image.h"

struct ingest;

/* All arguments are borrowed and must outlive it. */
int ingest_create(const struct config *config, struct sql *sql, struct bus *bus,
                  struct objects *objects, struct metrics *metrics, struct ingest **out,
                  struct error *err);
void ingest_free(struct ingest *ingest);

struct ingest_image {
    const uint8_t *bytes;
    size_t size;
    const char *image_id; /* a fresh UUID the caller made (to wait for it), or NULL */
    const char *filename; /* as the user named it; NULL when it has no name */
    const char *source;   /* "upload", "webcam", "cifar10", "folder", ... */
    const char *label;    /* the true class; NULL when unknown */
    const char *metadata; /* a JSON object's text, or NULL */
};

/* Probes, stores and announces one image; *accepted says what was stored. STATUS_INVALID (empty),
 * STATUS_UNSUPPORTED (not an image we read), STATUS_CORRUPT, STATUS_TOO_LARGE: the image's fault.
 * STATUS_BUSY: the backlog is full, try later. STATUS_NO_SPACE: the disk is full. Thread-safe. */
int ingest_submit(struct ingest *ingest, const struct ingest_image *image,
                  struct image_message *accepted, struct error *err);

/* One image of many, and what became of it. */
struct ingest_item {
    struct ingest_image image;
    struct image_message accepted; /* when status is 0 */
    int status;
    struct error error;
};

/* Submits several images at once, so that they share their syncs: many times faster than one after
 * the other. Returns when each has its outcome. Thread-safe. */
void ingest_submit_many(struct ingest *ingest, struct ingest_item *items, int count);

#endif
