/* struct preprocess as model.yaml spells it; private to this folder. */
#ifndef MODELS_PACKAGE_PREPROCESS_H
#define MODELS_PACKAGE_PREPROCESS_H

#include "base/json.h"
#include "image/preprocess.h"

/* Reads a preset's name or a mapping and checks the result. STATUS_INVALID naming the field. */
int preprocess_from_json(const json_t *json, struct preprocess *out, struct error *err);
/* The mapping with every field that plays a part. The caller json_decref()s; NULL when out of
 * memory. */
json_t *preprocess_to_json(const struct preprocess *preprocess);

#endif
