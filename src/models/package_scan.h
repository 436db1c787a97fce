/* Finding packages below the folders of models, and noticing that they changed; private to this
 * folder. */
#ifndef MODELS_PACKAGE_SCAN_H
#define MODELS_PACKAGE_SCAN_H

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

/* Appends `top` when it is a package, that is, has a model.yaml, else the packages among its
 * folders whose names do not begin with '.'. A folder that is not there has none. On failure what
 * was found stays in *out. */
int package_scan(const char *top, struct found_packages *out, struct error *err);
void package_scan_sort(struct found_packages *found); /* by folder */
void package_scan_free(struct found_packages *found);

#endif
