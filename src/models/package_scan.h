/* Finding packages below the folders of models, and noticing that they changed; private to this
 * folder. */
#ifndef MODELS_PACKAGE_SCAN_H
#define MODELS_PACKAGE_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct found_package {
    char *folder;
    uint64_t stamp; /* of its files' names, sizes, times and inodes; never 0 */
};

struct found_packages {
    struct found_package *items;
    int count, capacity;
};

enum { FOUND_PACKAGES_MAX = 1000 };

/* Finds the packages of `models_dir`, sorted by folder: folders separated by ':', each a package
 * itself, that is, with a model.yaml, or holding some; names that begin with '.' are left out. One
 * that is not there has none. Zero-initialise *out; free it also after a failure. */
int package_scan(const char *models_dir, struct found_packages *out, struct error *err);
/* The first of the folders in `models_dir` into path[size]; "" when there is none, or no room. */
void package_scan_first(const char *models_dir, char *path, size_t size);
void package_scan_free(struct found_packages *found);

#endif
