/* The files of a folder of images, with the class that their folder names; private to this folder.
 * The order is by path, so it is the same on every machine. */
#ifndef MODELS_IMAGE_FILES_H
#define MODELS_IMAGE_FILES_H

#include <stdint.h>

#include "base/error.h"

struct image_file {
    char *path;
    int class_index; /* of the folder it lies in; -1 directly below the top */
};

struct image_files {
    struct image_file *files;
    int64_t count, capacity;
    char **classes; /* names of the folders below the top, sorted */
    int class_count;
};

/* Lists the regular files below `folder`, directly and one folder down, names beginning with '.'
 * left out; they need not be images. At most 100,000 folders and 100,000,000 files. Zero-initialise
 * *out; free it also after a failure. */
int image_files_list(const char *folder, struct image_files *out, struct error *err);
/* Keeps at most `count` of them, chosen by the seed, in an order that the seed chooses too. */
void image_files_sample(struct image_files *files, int64_t count, uint64_t seed);
void image_files_free(struct image_files *files);

#endif
