/* What the two halves of `ocelli models` share: models.c (the command, and looking) and
 * models_change.c (making, adding, removing). */
#ifndef CMD_MODELS_ACTIONS_H
#define CMD_MODELS_ACTIONS_H

#include "base/json.h"
#include "cmd/settings.h"
#include "models/model_set.h"

struct models_values {
    bool json, probabilities, replace;
    int64_t batch, threads, classes, input, seed;
    const char *out, *name, *version, *labels, *preprocess;
};

/* Each an action: `argument` is the word behind its name. */
int models_new(const struct config *config, const char *argument,
               const struct models_values *values, struct error *err);
int models_add(const struct config *config, const char *argument,
               const struct models_values *values, struct error *err);
int models_remove(const struct config *config, const char *argument,
                  const struct models_values *values, struct error *err);

/* Prints one line of JSON and drops the reference; NULL is reported as out of memory. */
int models_print_json(json_t *json, struct error *err);

#endif
