/* Model packages on disk: a folder with model.yaml and model.onnx. docs/models.md has the format
 * for people.
 *
 *   name: resnet50                 [a-z0-9_-]{1,64}; the folder's name by custom
 *   version: "1"                   text; a new version is a new row of predictions
 *   architecture: resnet50         free text
 *   labels: [airplane, ...]        one per output, in order; or labels_file: labels.txt, a line
 * each preprocess: cifar10            a preset's name, or a mapping of struct preprocess's fields
 *   output: logits                 or probabilities
 *   precision: auto                optional: auto, fp32, bf16
 *   licence, description, data, made_with, metrics: kept and shown as they are
 */
#ifndef MODELS_PACKAGE_H
#define MODELS_PACKAGE_H

#include <stdbool.h>

#include "base/error.h"
#include "base/json.h"
#include "image/preprocess.h"
#include "nn/exec/engine.h"

struct model_package {
    char *folder; /* where it was read from */
    char *name;
    char *version;
    char *architecture;
    char **labels;
    int label_count;
    struct preprocess preprocess;
    bool output_is_probabilities;
    enum precision precision;
    json_t *description; /* the whole model.yaml as an object, for pages and APIs */
};

/* Reads and checks DIR/model.yaml (the network itself is not opened). The error names file, line or
 * field. The caller owns *out. */
int package_load(const char *folder, struct model_package **out, struct error *err);
void package_free(struct model_package *package);

/* What `ocelli models add`, `train` and `models new` write. Texts are copied; extra (may be NULL)
 * is an object whose members follow the fixed fields (made_with, metrics, licence, ...). */
struct package_text {
    const char *name, *version, *architecture;
    const char *const *labels;
    int label_count;
    const char *preprocess; /* a preset's name */
    bool output_is_probabilities;
    const json_t *extra;
};
/* Writes FOLDER/model.yaml atomically (the folder is made when absent). */
int package_write(const char *folder, const struct package_text *text, struct error *err);

#endif
