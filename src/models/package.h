/* Model packages on disk: a folder with model.yaml and model.onnx. docs/models.md has the format
 * for people.
 *
 *   name: resnet50            [a-z0-9_-]{1,64}; the folder's name by custom
 *   version: "1"              a line of text, "1" when absent; a new one is a new row of answers
 *   architecture: resnet50    free text; optional
 *   labels: [airplane, ...]   one per output, in order; or labels_file: labels.txt, one a line
 *   preprocess: cifar10       a preset's name, or a mapping as below
 *   output: logits            or probabilities; optional
 *   precision: auto           or fp32, or bf16 (fp32 where the CPU lacks it); optional
 *   licence, description, data, made_with, metrics, anything else: kept and shown as they are
 *
 * The mapping has struct preprocess's fields: fit (stretch, shorter, none), kernel (bilinear,
 * bicubic), antialias, shorter_side, width, height, order (rgb, bgr), scale, mean, std. Those left
 * out are as in the preset that its field `preset` names, raw01 when it names none. */
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

/* The two files, and the bound on the second: what a protobuf message can be. */
#define PACKAGE_DESCRIPTION_FILE "model.yaml"
#define PACKAGE_NETWORK_FILE     "model.onnx"
enum { PACKAGE_NETWORK_BYTES_MAX = 2147483647 };

/* Reads and checks DIR/model.yaml (the network itself is not opened). The error names file, line or
 * field. The caller owns *out. */
int package_load(const char *folder, struct model_package **out, struct error *err);
void package_free(struct model_package *package);

/* Whether `name` may name a model; STATUS_INVALID saying what may. */
int package_check_name(const char *name, struct error *err);

/* What `ocelli models add`, `train` and `models new` write. Texts are copied; extra (may be NULL)
 * is an object whose members follow the fixed fields (made_with, metrics, licence, ...). */
struct package_text {
    const char *name, *version, *architecture;
    const char *const *labels;
    int label_count;
    const char *preprocess;                  /* a preset's name; NULL for own_preprocess */
    const struct preprocess *own_preprocess; /* written as a mapping */
    bool output_is_probabilities;
    const json_t *extra;
};
/* Checks the text as package_load would and writes FOLDER/model.yaml atomically (the folder is made
 * when absent). */
int package_write(const char *folder, const struct package_text *text, struct error *err);

#endif
