/* A source of images: one after another, with the true class where it is known. Implementations: a
 * folder of image files, a list of them, and CIFAR-10's official binary files. */
#ifndef SOURCES_SOURCE_H
#define SOURCES_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct source_image {
    uint8_t *bytes; /* an image file's content; owned: free() */
    size_t size;
    char name[256];  /* file name, without folders */
    char label[129]; /* "" when unknown */
};

struct source;

/* Files below `path` (recursively, hidden ones and links to folders left out) whose content is an
 * image, in the order of their paths, or shuffled by `seed` when it is not 0. When `labelled`, a
 * file's folder names its class. STATUS_NOT_FOUND when there is no image. */
int source_open_folder(const char *path, int labelled, uint64_t seed, struct source **out,
                       struct error *err);
/* The official binary version: `path` holds data_batch_1..5.bin and test_batch.bin (3,073 bytes a
 * record; Krizhevsky 2009). Reads the test batch when `test`, else the training batches; each image
 * becomes a PNG. */
int source_open_cifar10(const char *path, int test, uint64_t seed, struct source **out,
                        struct error *err);

/* Files named by a list that outlives the source, below `root`, in its order; those that are not
 * there are left out. STATUS_NOT_FOUND when none is there. */
struct source_listed {
    const char *path;
    const char *label;
};
int source_open_list(const char *root, const struct source_listed *files, size_t count,
                     struct source **out, struct error *err);

/* 1 with an image, 0 after the last, or a negative status for one that could not be read: the next
 * call goes on with the one after. */
int source_next(struct source *source, struct source_image *image, struct error *err);
void source_image_free(struct source_image *image);
int64_t source_count(const struct source *source);    /* images in all */
const char *source_kind(const struct source *source); /* "folder", "cifar10", "list" */
void source_close(struct source *source);

/* The ten classes in the order of CIFAR-10's label bytes. */
extern const char *const cifar10_classes[10];

#endif
