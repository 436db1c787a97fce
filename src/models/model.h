/* One model of the set, as the set makes and changes it; private to this folder. */
#ifndef MODELS_MODEL_H
#define MODELS_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "models/model_set.h"
#include "models/precision_check.h"

struct model {
    atomic_int references;
    atomic_int state; /* an enum model_state */
    struct model_package *package;
    /* What it runs as: first what loading gave it, later perhaps what the precision check gave it.
     * Both are kept, since sessions of the first may live as long as the model. */
    struct compiled {
        struct engine *engine; /* owned; the second may be the first again */
        char note[192];
    } compiled[2];
    atomic_int current; /* index into compiled; -1 before it is compiled */
    char network_hash[SHA256_TEXT_SIZE];
    int batch_max;
    bool check_owed;             /* runs in fp32 for want of a verdict; the set's business */
    struct model *next_draining; /* the set's list */
    char failure[ERROR_MESSAGE_MAX];
};

struct model_options {
    enum precision precision; /* the configured one; auto leaves it to the package */
    int batch_max;
    struct precision_verdicts *verdicts;
    const char *samples; /* folder of images for the check; may be absent */
};

/* Reads FOLDER/model.yaml: a model in MODEL_LOADING, or in MODEL_FAILED with a package that has
 * only its folder's name. NULL only when memory is out. The caller owns the one reference. */
struct model *model_read(const char *folder);
/* Loads and compiles a loading model's network. Leaves it loading, for the set to make active, or
 * failed. */
void model_compile(struct model *model, const struct model_options *options);
void model_set_state(struct model *model, enum model_state state);
/* Marks it failed; keeps err's sentence. */
void model_fail(struct model *model, const struct error *err);
/* The check that is owed, see model_set.h: takes seconds; STATUS_CLOSED as soon as *stop is set.
 * Any other outcome is told by the note alone. */
int model_check_precision(struct model *model, const struct model_options *options,
                          const atomic_bool *stop, struct error *err);

#endif
