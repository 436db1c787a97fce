/* Putting packages into a folder of models and taking them out, so that a server that watches the
 * folder never sees a half: everything is made in a hidden folder beside the target, tried, synced
 * and renamed. */
#ifndef MODELS_INSTALL_H
#define MODELS_INSTALL_H

#include "models/package.h"

struct install_request {
    const char *models_dir; /* made when absent */
    const char *source;     /* a file, or an http, https or file URL */
    /* What goes into model.yaml. Without labels, `label_text` is a file with one a line, or the
     * labels themselves separated by commas. */
    struct package_text text;
    const char *label_text;
    bool replace; /* a package of that name that is there already */
};

/* The package is MODELS_DIR/NAME. The network must load and fit preprocessing and labels.
 * STATUS_EXISTS when the folder is there and may not be replaced, STATUS_TOO_LARGE for networks
 * above 2 GB; on any failure nothing is left behind. */
int model_install(const struct install_request *request, struct error *err);

/* Removes the package of that name (or, when broken, that folder) below models_dir (several
 * separated by ':'). STATUS_NOT_FOUND. */
int model_uninstall(const char *models_dir, const char *name, struct error *err);

/* The labels of `text` as for install_request; the caller frees with install_labels_free. */
int install_labels_read(const char *text, char ***labels, int *count, struct error *err);
void install_labels_free(char **labels, int count);

#endif
