/* What the two halves of the model set share: model_set.c (opening, asking, watching) and
 * model_set_change.c (finding, loading, replacing).
 *
 * Every package folder has a slot. Two locks: `scan_lock` is held by whoever changes the set
 * (scanning, loading, unloading), for as long as that takes, and orders the callbacks; `lock`
 * guards the slots' contents for moments, so that finding a model never waits for one being loaded.
 * The second is taken inside the first, never the other way round. */
#ifndef MODELS_MODEL_SET_PRIVATE_H
#define MODELS_MODEL_SET_PRIVATE_H

#include <limits.h>
#include <pthread.h>

#include "models/model.h"

struct slot {
    char *folder;
    char name[256];       /* of the package as last read; the folder's until then */
    uint64_t stamp_seen;  /* of the files at the last look */
    uint64_t stamp_taken; /* of the files as last loaded, or found broken; 0 never */
    bool present, due;    /* at this look: the folder is there; it is to be loaded */
    bool held;            /* unloaded by hand */
    struct model *loading, *waiting, *active, *failed; /* each retained, or NULL */
};

struct model_set {
    char *models_dir;
    char samples[PATH_MAX + 16]; /* beside the first folder of models_dir */
    struct model_options options;
    struct metrics *metrics;
    int64_t scan_seconds;

    pthread_mutex_t scan_lock; /* guards slots' bookkeeping and the callback */
    void (*changed)(void *context, struct model *model);
    void *context;

    pthread_mutex_t lock;
    struct slot **slots;
    int slot_count, slot_capacity;
    struct model *draining; /* a list by next_draining; each retained */

    pthread_cond_t wake; /* with lock: the watching thread has something to do */
    bool watching, wake_now;
    atomic_bool stopping;
    pthread_t thread;
};

/* What is to be loaded now: all that is new (`now_all`), or called `now_name`; the rest once its
 * files stay the same from one look to the next. */
struct haste {
    bool now_all;
    const char *now_name;
};

/* All of these want scan_lock. */

/* Looks at the folders and applies what changed. When a folder cannot be listed nothing is changed:
 * its models are not gone. */
int model_set_look(struct model_set *set, const struct haste *haste, struct error *err);
/* Takes the slot's active model out of service. */
void model_set_retire(struct model_set *set, struct slot *slot);
/* Tells everyone that a model changed: metrics and callback. */
void model_set_tell(struct model_set *set, struct model *model);
/* Whether the slot's package or folder has this name. */
bool slot_is_called(const struct slot *slot, const char *name);
/* Drops its models; it must be in no set. */
void slot_free(struct slot *slot);

#endif
