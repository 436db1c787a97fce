/* The running set: the models this process serves, loaded from folders that are watched, so that
 * dropping a package in adds a model and removing it takes it away, without a restart.
 *
 * States: loading -> active -> draining -> gone, or failed (reported, skipped, tried again when its
 * files change). A draining model takes no new images but finishes those it owes; whoever consumes
 * for it calls model_drained when nothing is left. */
#ifndef MODELS_MODEL_SET_H
#define MODELS_MODEL_SET_H

#include "base/config.h"
#include "base/metrics.h"
#include "models/package.h"
#include "nn/exec/engine.h"

enum model_state { MODEL_LOADING, MODEL_ACTIVE, MODEL_DRAINING, MODEL_FAILED };
const char *model_state_name(enum model_state state);

/* One loaded model version; reference-counted, immutable but for its state. */
struct model;
const struct model_package *model_package(const struct model *model);
struct engine *model_engine(const struct model *model); /* NULL unless it is active or draining */
enum model_state model_state(const struct model *model);
const char *
model_failure(const struct model *model); /* the sentence of MODEL_FAILED; "" otherwise */
/* "bf16, checked on 64 images: same answers" or why not: what `auto` decided, for people. */
const char *model_precision_note(const struct model *model);
struct model *model_retain(struct model *model);
void model_release(struct model *model);
/* Runs n images, input [n, 3, h, w] as preprocess_run makes them, to probabilities [n,
 * label_count]. The session must be of this model's engine. */
int model_run(const struct model *model, struct engine_session *session, int n, const float *input,
              float *probabilities, struct error *err);

struct model_set;

/* Opens every package below the folders of config->models_dir (a package, or a folder of packages),
 * in parallel when several. A broken package is MODEL_FAILED, not an error. `precision` auto: bf16
 * where the CPU has it and the package's network, run on up to 64 sample images drawn from
 * `models_dir/../samples` or made by a fixed seed, gives the same top-1 in at least 99.5 % of them;
 * else fp32. */
int model_set_open(const struct config *config, struct metrics *metrics, struct model_set **out,
                   struct error *err);
void model_set_close(struct model_set *set);

/* Looks at the folders again and applies what changed. Called by the set's own thread every
 * models_scan_seconds once watched, and by POST /models/{name}/load. */
int model_set_scan(struct model_set *set, struct error *err);
/* `changed` is called (on the scanning thread) after a model became active, draining or failed. Set
 * before model_set_watch. NULL ends it; returns only when no call is in progress any more. */
void model_set_on_change(struct model_set *set, void (*changed)(void *context, struct model *model),
                         void *context);
int model_set_watch(struct model_set *set, struct error *err); /* starts the thread */

/* All models, sorted by name; the caller releases each and frees the array. */
int model_set_list(struct model_set *set, struct model ***out, int *count, struct error *err);
/* The active model of that name, retained; NULL when none. */
struct model *model_set_find(struct model_set *set, const char *name);
/* The consumer of a draining model is done: the model leaves the set and its memory goes with its
 * last reference. */
void model_drained(struct model_set *set, struct model *model);
/* Stops serving a model without touching its files, until model_set_load; both by name.
 * STATUS_NOT_FOUND. */
int model_set_unload(struct model_set *set, const char *name, struct error *err);
int model_set_load(struct model_set *set, const char *name, struct error *err);

#endif
