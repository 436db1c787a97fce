/* The running set: the models this process serves, loaded from folders that are watched, so that
 * dropping a package in adds a model and removing it takes it away, without a restart.
 *
 * States: loading -> active -> draining -> gone, or failed (reported, skipped, tried again when its
 * files change). A draining model takes no new images but finishes those it owes; whoever consumes
 * for it calls model_drained when nothing is left. A package whose files change is loaded beside
 * the one in service and takes its place when it loads; when it does not, the old one goes on. Two
 * of the same name and version never overlap: the new one becomes active when the old one has
 * drained.
 *
 * A folder that appears or changes while the set is watched is loaded once two looks in a row see
 * the same files, so that a package still being copied is left alone.
 *
 * Precision `auto` where the CPU has bf16: the network starts in fp32 unless its check is known
 * already, so that a start never waits for one. The watching thread then compiles it in bf16 too,
 * compares the answers, remembers the verdict in DATA_DIR/precision.json (by the network's hash,
 * the CPU and this program's version), and on success model_engine changes over. From the next
 * start on it is bf16 at once. */
#ifndef MODELS_MODEL_SET_H
#define MODELS_MODEL_SET_H

#include "base/config.h"
#include "base/metrics.h"
#include "models/package.h"
#include "nn/exec/engine.h"

enum model_state { MODEL_LOADING, MODEL_ACTIVE, MODEL_DRAINING, MODEL_FAILED };
const char *model_state_name(enum model_state state);

/* One loaded model version; reference-counted, immutable but for its state and its engine. All
 * pointers handed out are valid while the model is retained. */
struct model;
/* Never NULL; of a package that could not be read only the folder and its name are known. */
const struct model_package *model_package(const struct model *model);
/* NULL unless it is active or draining. It may change once, from fp32 to bf16 as told above: make a
 * new session then; those of the earlier engine stay good. */
struct engine *model_engine(const struct model *model);
enum model_state model_state(const struct model *model);
const char *
model_failure(const struct model *model); /* the sentence of MODEL_FAILED; "" otherwise */
/* "bf16, checked on 64 images: same answers" or why not: what `auto` decided, for people. */
const char *model_precision_note(const struct model *model);
struct model *model_retain(struct model *model);
void model_release(struct model *model);
/* Runs n images, input [n, 3, h, w] as preprocess_run makes them, to probabilities [n,
 * label_count]. The session must be of an engine of this model. */
int model_run(const struct model *model, struct engine_session *session, int n, const float *input,
              float *probabilities, struct error *err);

struct model_set;

/* Opens every package below the folders of config->models_dir (a package, or a folder of packages;
 * several separated by ':'), in parallel when several. A broken package is MODEL_FAILED, a folder
 * that is not there is empty; neither is an error. The check behind precision `auto` runs the
 * package's network on 64 images, drawn from `models_dir/../samples` and filled up with ones made
 * by a fixed seed, and wants the same top-1 in at least 99.5 % of them; where fp32 itself holds the
 * two classes within 0.05 of each other there is no answer to change. `metrics` may be NULL; it
 * must outlive the set, the config need not. */
int model_set_open(const struct config *config, struct metrics *metrics, struct model_set **out,
                   struct error *err);
/* Stops watching, if it does, and lets go of all models. */
void model_set_close(struct model_set *set);

/* Looks at the folders again and applies what changed. Called by the set's own thread every
 * models_scan_seconds once watched, and by whoever cannot wait for that. */
int model_set_scan(struct model_set *set, struct error *err);
/* Runs the precision checks that are owed, now, on the calling thread. For commands that measure;
 * the watching thread does it by itself. */
int model_set_check_precision(struct model_set *set, struct error *err);
/* `changed` is called after a model became active, draining or failed, or changed its engine, one
 * call at a time, on the thread that noticed (the watching one, or one in model_set_scan, _load or
 * _unload). It may call model_set_find, model_set_list and model_drained, nothing else of the set.
 * Once model_set_on_change returns, the callback set before is not running and never runs again.
 * Without a callback nobody drains: models go at once, and those that were draining go when it is
 * taken away. */
void model_set_on_change(struct model_set *set, void (*changed)(void *context, struct model *model),
                         void *context);
int model_set_watch(struct model_set *set, struct error *err); /* starts the thread */
void model_set_unwatch(struct model_set *set); /* ends it; nothing when it is not running */

/* All models, sorted by name; the caller releases each and frees the array. */
int model_set_list(struct model_set *set, struct model ***out, int *count, struct error *err);
/* The active model of that name, retained; NULL when none. */
struct model *model_set_find(struct model_set *set, const char *name);
/* The consumer of a draining model is done: the model leaves the set and its memory goes with its
 * last reference. */
void model_drained(struct model_set *set, struct model *model);
/* Stops serving a model without touching its files, until model_set_load; both by name.
 * STATUS_NOT_FOUND. Loading also takes a package at once that scanning would still be waiting for,
 * or that failed before; STATUS_INVALID with its sentence when it fails again. */
int model_set_unload(struct model_set *set, const char *name, struct error *err);
int model_set_load(struct model_set *set, const char *name, struct error *err);

#endif
