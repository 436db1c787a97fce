/* How the model set changes: packages are found, loaded in parallel, put into service, replaced and
 * retired. See model_set_private.h for the locks. */
#include "models/model_set_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "models/package_scan.h"

enum { LOADERS_MAX = 8 };

/* --- Telling */

static void meter(struct model_set *set, const struct model *model)
{
    const struct model_package *package = model_package(model);
    const bool active = model_state(model) == MODEL_ACTIVE;

    if (set->metrics == NULL || model_state(model) == MODEL_FAILED)
        return;
    metric_set(metrics_labelled(set->metrics, METRIC_GAUGE, "ocelli_model_active",
                                "Whether the model version is in service.", "model", package->name,
                                "version", package->version),
               active);
    metric_set(metrics_labelled(set->metrics, METRIC_GAUGE, "ocelli_model_weights_bytes",
                                "Memory of the weights as laid out for running.", "model",
                                package->name, "version", package->version),
               active ? (double)engine_memory(model_engine(model)) : 0);
}

void model_set_tell(struct model_set *set, struct model *model)
{
    meter(set, model);
    if (set->changed != NULL)
        set->changed(set->context, model);
}

static void meter_load(struct model_set *set, const struct model *model, int64_t began_ns)
{
    if (set->metrics == NULL)
        return;
    const char *name = model_package(model)->name;
    if (model_state(model) == MODEL_FAILED)
        metric_add(
            metrics_labelled(set->metrics, METRIC_COUNTER, "ocelli_model_load_failures_total",
                             "Packages that could not be loaded.", "model", name, NULL, NULL),
            1);
    else
        metric_observe(metrics_labelled(set->metrics, METRIC_HISTOGRAM, "ocelli_model_load_seconds",
                                        "Reading and compiling a network.", "model", name, NULL,
                                        NULL),
                       (double)(clock_monotonic_ns() - began_ns) * 1e-9);
}

/* --- Taking models into service and out of it; all want scan_lock */

static bool is_same_version(const struct model *a, const struct model *b)
{
    return strcmp(model_package(a)->name, model_package(b)->name) == 0 &&
           strcmp(model_package(a)->version, model_package(b)->version) == 0;
}

/* Wants lock too. */
static bool is_draining_still(const struct model_set *set, const struct model *model)
{
    const struct model *other = set->draining;
    while (other != NULL && !is_same_version(other, model))
        other = other->next_draining;
    return other != NULL;
}

/* The slot that serves this name already, other than `except`; NULL when none. Wants lock too. */
static const struct slot *slot_serving(const struct model_set *set, const char *name,
                                       const struct slot *except)
{
    for (int i = 0; i < set->slot_count; i++) {
        const struct slot *slot = set->slots[i];
        const struct model *model = slot->active != NULL ? slot->active : slot->waiting;
        if (slot != except && model != NULL && strcmp(model_package(model)->name, name) == 0)
            return slot;
    }
    return NULL;
}

/* Takes the slot's active model out of it, into the list of draining ones when somebody will drain
 * it. The reference goes to the caller. Wants lock too. */
static struct model *withdraw(struct model_set *set, struct slot *slot)
{
    struct model *model = slot->active;
    if (model == NULL)
        return NULL;
    slot->active = NULL;
    model_set_state(model, MODEL_DRAINING);
    if (set->changed != NULL) {
        model->next_draining = set->draining;
        set->draining = model_retain(model);
    }
    return model;
}

/* Tells of a withdrawn model and lets go of it; NULL is fine. */
static void dismiss(struct model_set *set, struct model *model)
{
    if (model == NULL)
        return;
    model_set_tell(set, model);
    model_release(model);
}

void model_set_retire(struct model_set *set, struct slot *slot)
{
    pthread_mutex_lock(&set->lock);
    struct model *old = withdraw(set, slot);
    pthread_mutex_unlock(&set->lock);
    dismiss(set, old);
}

/* Puts a failed model into its slot's place for one, of which it takes the reference. */
static void put_failed(struct model_set *set, struct slot *slot, struct model *model)
{
    pthread_mutex_lock(&set->lock);
    struct model *old = slot->failed;
    slot->failed = model_retain(model);
    pthread_mutex_unlock(&set->lock);
    model_release(old);
    model_set_tell(set, model);
    model_release(model);
}

/* Puts a loaded model into service and takes its reference. The new one is told of before the old
 * one it replaces, so that no image finds neither. */
static void put_loaded(struct model_set *set, struct slot *slot, struct model *model)
{
    struct error err = {0};

    pthread_mutex_lock(&set->lock);
    const struct slot *rival = slot_serving(set, model_package(model)->name, slot);
    if (rival != NULL) {
        error_set(&err, STATUS_EXISTS, "%s: the name '%s' is taken by %s", slot->folder,
                  model_package(model)->name, rival->folder);
        pthread_mutex_unlock(&set->lock);
        model_fail(model, &err);
        put_failed(set, slot, model);
        return;
    }
    struct model *old = withdraw(set, slot);
    struct model *failed = slot->failed;
    struct model *outdated = slot->waiting;
    const bool must_wait = is_draining_still(set, model);
    slot->failed = NULL;
    slot->waiting = must_wait ? model : NULL;
    if (!must_wait) {
        model_set_state(model, MODEL_ACTIVE);
        slot->active = model_retain(model);
    }
    pthread_mutex_unlock(&set->lock);
    model_release(failed);
    model_release(outdated);
    if (!must_wait) {
        model_set_tell(set, model);
        model_release(model);
    }
    dismiss(set, old);
}

/* Puts into service what waited for its predecessor to drain. */
static void put_waiting(struct model_set *set)
{
    for (int i = 0; i < set->slot_count; i++) {
        struct slot *slot = set->slots[i];
        pthread_mutex_lock(&set->lock);
        struct model *model = slot->waiting;
        const bool ready = model != NULL && !is_draining_still(set, model);
        if (ready)
            slot->waiting = NULL;
        pthread_mutex_unlock(&set->lock);
        if (ready)
            put_loaded(set, slot, model);
    }
}

/* --- Loading */

struct loading {
    struct model_set *set;
    struct slot **slots;
    int count;
    atomic_int next;
};

/* The loaded or failed model is left in slot->loading; NULL there when memory was out. */
static void load_slot(struct model_set *set, struct slot *slot)
{
    const int64_t began_ns = clock_monotonic_ns();
    struct model *model = model_read(slot->folder);

    if (model == NULL)
        return;
    pthread_mutex_lock(&set->lock);
    slot->loading = model;
    snprintf(slot->name, sizeof slot->name, "%s", model_package(model)->name);
    pthread_mutex_unlock(&set->lock);
    if (model_state(model) == MODEL_LOADING)
        model_compile(model, &set->options);
    meter_load(set, model, began_ns);
}

static void *loading_thread(void *argument)
{
    struct loading *loading = argument;

    for (int i; (i = atomic_fetch_add(&loading->next, 1)) < loading->count;)
        load_slot(loading->set, loading->slots[i]);
    return NULL;
}

/* Runs load_slot on all, on as many threads as there are cores; the calling one is one of them, so
 * it works without any other too. */
static void load_in_parallel(struct loading *loading)
{
    pthread_t threads[LOADERS_MAX];
    int started = 0;
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);

    while (started < LOADERS_MAX && started + 1 < loading->count && started + 1 < cores &&
           pthread_create(&threads[started], NULL, loading_thread, loading) == 0)
        started++;
    loading_thread(loading);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

/* Loads the slots that are due. Wants scan_lock. */
static int load_due(struct model_set *set, struct error *err)
{
    struct loading loading = {.set = set};
    int status = STATUS_OK;

    loading.slots = calloc((size_t)set->slot_count + 1, sizeof *loading.slots);
    if (loading.slots == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to load models");
    for (int i = 0; i < set->slot_count; i++)
        if (set->slots[i]->due)
            loading.slots[loading.count++] = set->slots[i];
    load_in_parallel(&loading);
    for (int i = 0; i < loading.count; i++) {
        struct slot *slot = loading.slots[i];
        pthread_mutex_lock(&set->lock);
        struct model *model = slot->loading;
        slot->loading = NULL;
        pthread_mutex_unlock(&set->lock);
        if (model == NULL) {
            status = error_set(err, STATUS_NO_MEMORY, "no memory to load '%s'", slot->folder);
            continue;
        }
        slot->stamp_taken = slot->stamp_seen;
        if (model_state(model) == MODEL_FAILED)
            put_failed(set, slot, model);
        else
            put_loaded(set, slot, model);
    }
    free(loading.slots);
    return status;
}

/* --- Scanning */

void slot_free(struct slot *slot)
{
    model_release(slot->loading);
    model_release(slot->waiting);
    model_release(slot->active);
    model_release(slot->failed);
    free(slot->folder);
    free(slot);
}

static const char *base_name(const char *folder)
{
    const char *slash = strrchr(folder, '/');
    return slash != NULL ? slash + 1 : folder;
}

static struct slot *find_slot(const struct model_set *set, const char *folder)
{
    for (int i = 0; i < set->slot_count; i++)
        if (strcmp(set->slots[i]->folder, folder) == 0)
            return set->slots[i];
    return NULL;
}

static struct slot *add_slot(struct model_set *set, const char *folder, struct error *err)
{
    struct slot *slot = calloc(1, sizeof *slot);
    char *copy = strdup(folder);

    pthread_mutex_lock(&set->lock);
    if (set->slot_count == set->slot_capacity) {
        const int capacity = set->slot_capacity == 0 ? 16 : set->slot_capacity * 2;
        struct slot **larger = realloc(set->slots, (size_t)capacity * sizeof *larger);
        if (larger != NULL) {
            set->slots = larger;
            set->slot_capacity = capacity;
        }
    }
    const bool has_room = set->slot_count < set->slot_capacity;
    if (slot != NULL && copy != NULL && has_room) {
        slot->folder = copy;
        snprintf(slot->name, sizeof slot->name, "%s", base_name(folder));
        set->slots[set->slot_count++] = slot;
        pthread_mutex_unlock(&set->lock);
        return slot;
    }
    pthread_mutex_unlock(&set->lock);
    free(slot);
    free(copy);
    error_set(err, STATUS_NO_MEMORY, "no memory for the model in '%s'", folder);
    return NULL;
}

bool slot_is_called(const struct slot *slot, const char *name)
{
    return strcmp(slot->name, name) == 0 || strcmp(base_name(slot->folder), name) == 0;
}

static int note_found(struct model_set *set, const struct found_package *found,
                      const struct haste *haste, struct error *err)
{
    struct slot *slot = find_slot(set, found->folder);
    if (slot == NULL && (slot = add_slot(set, found->folder, err)) == NULL)
        return STATUS_NO_MEMORY;
    const bool at_rest = slot->stamp_seen == found->stamp;
    const bool at_once =
        haste->now_all || (haste->now_name != NULL && slot_is_called(slot, haste->now_name));
    slot->present = true;
    slot->stamp_seen = found->stamp;
    slot->due = !slot->held && slot->stamp_taken != found->stamp && (at_rest || at_once);
    return STATUS_OK;
}

/* Removes the slots whose folders are gone. A name that becomes free may let another package in
 * that failed for it, so those are tried again. */
static void remove_absent(struct model_set *set)
{
    bool removed = false;

    for (int i = set->slot_count; i-- > 0;) {
        struct slot *slot = set->slots[i];
        if (slot->present)
            continue;
        model_set_retire(set, slot);
        pthread_mutex_lock(&set->lock);
        set->slots[i] = set->slots[--set->slot_count];
        pthread_mutex_unlock(&set->lock);
        slot_free(slot);
        removed = true;
    }
    for (int i = 0; i < set->slot_count && removed; i++)
        if (set->slots[i]->failed != NULL)
            set->slots[i]->stamp_taken = 0;
}

int model_set_look(struct model_set *set, const struct haste *haste, struct error *err)
{
    struct found_packages found = {0};

    int status = package_scan(set->models_dir, &found, err);
    if (status != STATUS_OK)
        goto done;
    for (int i = 0; i < set->slot_count; i++)
        set->slots[i]->present = set->slots[i]->due = false;
    for (int i = 0; i < found.count && status == STATUS_OK; i++)
        status = note_found(set, &found.items[i], haste, err);
    if (status != STATUS_OK)
        goto done;
    remove_absent(set);
    put_waiting(set);
    status = load_due(set, err);
done:
    package_scan_free(&found);
    return status;
}
