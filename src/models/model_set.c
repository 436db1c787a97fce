/* The running set of models: opening, asking, watching; see model_set.h. */
#include "models/model_set.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "models/model_set_private.h"
#include "models/package_scan.h"

/* Of the watching thread: it gives way to those that serve. */
enum { WATCH_NICENESS = 10 };

/* --- Opening and closing */

/* For when nobody is left who would drain them. */
static void let_go_of_draining(struct model_set *set)
{
    pthread_mutex_lock(&set->lock);
    struct model *model = set->draining;
    set->draining = NULL;
    set->wake_now = true; /* their successors may be waiting */
    pthread_cond_signal(&set->wake);
    pthread_mutex_unlock(&set->lock);
    while (model != NULL) {
        struct model *next = model->next_draining;
        model_release(model);
        model = next;
    }
}

static int read_config(struct model_set *set, const struct config *config, struct error *err)
{
    char path[PATH_MAX], top[PATH_MAX];

    set->scan_seconds = config->models_scan_seconds;
    set->options.batch_max = (int)config->batch_max;
    set->options.samples = set->samples;
    const int status = precision_parse(config->precision, &set->options.precision, err);
    if (status != STATUS_OK)
        return status;
    set->models_dir = strdup(config->models_dir);
    if (set->models_dir == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the set of models");
    package_scan_first(set->models_dir, top, sizeof top);
    snprintf(set->samples, sizeof set->samples, "%s/../samples", top);
    const int length = snprintf(path, sizeof path, "%s/precision.json", config->data_dir);
    const bool is_kept = config->data_dir[0] != '\0' && length > 0 && (size_t)length < sizeof path;
    return precision_verdicts_open(is_kept ? path : NULL, &set->options.verdicts, err);
}

static void init_locks(struct model_set *set)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&set->scan_lock, NULL);
    pthread_mutex_init(&set->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&set->wake, &attributes);
    pthread_condattr_destroy(&attributes);
}

int model_set_open(const struct config *config, struct metrics *metrics, struct model_set **out,
                   struct error *err)
{
    struct model_set *set = calloc(1, sizeof *set);
    if (set == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the set of models");
    init_locks(set);
    set->metrics = metrics;
    int status = read_config(set, config, err);
    if (status == STATUS_OK) {
        pthread_mutex_lock(&set->scan_lock);
        status = model_set_look(set, &(struct haste){.now_all = true}, err);
        pthread_mutex_unlock(&set->scan_lock);
    }
    if (status != STATUS_OK) {
        model_set_close(set);
        return status;
    }
    *out = set;
    return STATUS_OK;
}

void model_set_close(struct model_set *set)
{
    if (set == NULL)
        return;
    model_set_unwatch(set);
    let_go_of_draining(set);
    for (int i = 0; i < set->slot_count; i++)
        slot_free(set->slots[i]);
    free(set->slots);
    free(set->models_dir);
    precision_verdicts_close(set->options.verdicts);
    pthread_cond_destroy(&set->wake);
    pthread_mutex_destroy(&set->lock);
    pthread_mutex_destroy(&set->scan_lock);
    free(set);
}

int model_set_scan(struct model_set *set, struct error *err)
{
    pthread_mutex_lock(&set->scan_lock);
    const int status = model_set_look(set, &(struct haste){0}, err);
    pthread_mutex_unlock(&set->scan_lock);
    return status;
}

/* --- Asking */

void model_set_on_change(struct model_set *set, void (*changed)(void *context, struct model *model),
                         void *context)
{
    pthread_mutex_lock(&set->scan_lock);
    set->changed = changed;
    set->context = context;
    if (changed == NULL)
        let_go_of_draining(set);
    pthread_mutex_unlock(&set->scan_lock);
}

static int compare_models(const void *a, const void *b)
{
    const struct model *x = *(struct model *const *)a, *y = *(struct model *const *)b;
    const int order = strcmp(model_package(x)->name, model_package(y)->name);
    return order != 0 ? order : strcmp(model_package(x)->version, model_package(y)->version);
}

static void append_retained(struct model **list, int *count, struct model *model)
{
    if (model != NULL)
        list[(*count)++] = model_retain(model);
}

int model_set_list(struct model_set *set, struct model ***out, int *count, struct error *err)
{
    size_t most = 1;
    int listed = 0;

    pthread_mutex_lock(&set->lock);
    most += (size_t)set->slot_count * 4;
    for (struct model *model = set->draining; model != NULL; model = model->next_draining)
        most++;
    struct model **list = calloc(most, sizeof(struct model *));
    for (int i = 0; list != NULL && i < set->slot_count; i++) {
        append_retained(list, &listed, set->slots[i]->loading);
        append_retained(list, &listed, set->slots[i]->waiting);
        append_retained(list, &listed, set->slots[i]->active);
        append_retained(list, &listed, set->slots[i]->failed);
    }
    for (struct model *model = set->draining; list != NULL && model != NULL;
         model = model->next_draining)
        append_retained(list, &listed, model);
    pthread_mutex_unlock(&set->lock);
    if (list == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to list models");
    qsort(list, (size_t)listed, sizeof(struct model *), compare_models);
    *out = list;
    *count = listed;
    return STATUS_OK;
}

struct model *model_set_find(struct model_set *set, const char *name)
{
    struct model *found = NULL;

    pthread_mutex_lock(&set->lock);
    for (int i = 0; i < set->slot_count && found == NULL; i++) {
        struct model *model = set->slots[i]->active;
        if (model != NULL && strcmp(model_package(model)->name, name) == 0)
            found = model_retain(model);
    }
    pthread_mutex_unlock(&set->lock);
    return found;
}

void model_drained(struct model_set *set, struct model *model)
{
    pthread_mutex_lock(&set->lock);
    struct model **link = &set->draining;
    while (*link != NULL && *link != model)
        link = &(*link)->next_draining;
    const bool found = *link != NULL;
    if (found) {
        *link = model->next_draining;
        set->wake_now = true; /* its successor may be waiting */
        pthread_cond_signal(&set->wake);
    }
    pthread_mutex_unlock(&set->lock);
    if (found)
        model_release(model);
}

/* --- Unloading and loading by name */

int model_set_unload(struct model_set *set, const char *name, struct error *err)
{
    struct model *waiting = NULL;
    bool found = false;

    pthread_mutex_lock(&set->scan_lock);
    for (int i = 0; i < set->slot_count && !found; i++) {
        struct slot *slot = set->slots[i];
        if (strcmp(slot->name, name) != 0 || (slot->active == NULL && slot->waiting == NULL))
            continue;
        found = true;
        slot->held = true;
        pthread_mutex_lock(&set->lock);
        waiting = slot->waiting;
        slot->waiting = NULL;
        pthread_mutex_unlock(&set->lock);
        model_set_retire(set, slot);
    }
    pthread_mutex_unlock(&set->scan_lock);
    model_release(waiting);
    return found ? STATUS_OK : error_set(err, STATUS_NOT_FOUND, "no model '%.64s' is loaded", name);
}

int model_set_load(struct model_set *set, const char *name, struct error *err)
{
    pthread_mutex_lock(&set->scan_lock);
    for (int i = 0; i < set->slot_count; i++) {
        struct slot *slot = set->slots[i];
        if (!slot_is_called(slot, name))
            continue;
        if (slot->held || slot->failed != NULL)
            slot->stamp_taken = 0;
        slot->held = false;
    }
    int status = model_set_look(set, &(struct haste){.now_name = name}, err);
    const struct slot *found = NULL;
    for (int i = 0; i < set->slot_count && status == STATUS_OK; i++)
        if (slot_is_called(set->slots[i], name) && (found == NULL || found->failed != NULL))
            found = set->slots[i];
    if (status == STATUS_OK && found == NULL)
        status = error_set(err, STATUS_NOT_FOUND, "there is no package of a model '%.64s'", name);
    else if (status == STATUS_OK && found->failed != NULL)
        status = error_set(err, STATUS_INVALID, "%s", model_failure(found->failed));
    pthread_mutex_unlock(&set->scan_lock);
    return status;
}

/* --- Watching */

/* An active model whose precision is to be checked, retained; NULL when none. */
static struct model *take_unchecked(struct model_set *set)
{
    struct model *found = NULL;

    pthread_mutex_lock(&set->lock);
    for (int i = 0; i < set->slot_count && found == NULL; i++) {
        struct model *model = set->slots[i]->active;
        if (model != NULL && model->check_owed)
            found = model_retain(model);
    }
    if (found != NULL)
        found->check_owed = false;
    pthread_mutex_unlock(&set->lock);
    return found;
}

/* Checks one model; STATUS_NOT_FOUND when none is owed a check. `aloud`: into the log, for want of
 * somebody who asked. */
static int check_one(struct model_set *set, bool aloud, struct error *err)
{
    struct model *model = take_unchecked(set);
    if (model == NULL)
        return STATUS_NOT_FOUND;
    const int status = model_check_precision(model, &set->options, &set->stopping, err);
    if (status == STATUS_OK) {
        if (aloud)
            log_info("models", "%s runs in %s", model_package(model)->name,
                     model_precision_note(model));
        pthread_mutex_lock(&set->scan_lock);
        if (model_state(model) == MODEL_ACTIVE)
            model_set_tell(set, model);
        pthread_mutex_unlock(&set->scan_lock);
    } else {
        pthread_mutex_lock(&set->lock);
        model->check_owed = true;
        pthread_mutex_unlock(&set->lock);
    }
    model_release(model);
    return status;
}

int model_set_check_precision(struct model_set *set, struct error *err)
{
    int status;
    do
        status = check_one(set, false, err);
    while (status == STATUS_OK);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* Waits until the next look is due, or somebody wakes it. */
static void wait_for_work(struct model_set *set, int64_t until_ns)
{
    const struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
    int waited = 0;

    pthread_mutex_lock(&set->lock);
    while (!set->wake_now && !atomic_load(&set->stopping) && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&set->wake, &set->lock, &until);
    set->wake_now = false;
    pthread_mutex_unlock(&set->lock);
}

static void *watching_thread(void *argument)
{
    struct model_set *set = argument;
    struct error err = {0};
    char told[ERROR_MESSAGE_MAX] = "";

    /* On Linux the call counts for this thread alone. */
    setpriority(PRIO_PROCESS, (id_t)gettid(), WATCH_NICENESS);
    while (!atomic_load(&set->stopping)) {
        /* One check, then a look, so that a new package waits for one check at most. */
        if (check_one(set, true, &err) == STATUS_NOT_FOUND)
            wait_for_work(set, clock_monotonic_ns() + set->scan_seconds * 1000000000);
        if (atomic_load(&set->stopping))
            break;
        if (model_set_scan(set, &err) == STATUS_OK) {
            told[0] = '\0';
        } else if (strcmp(told, err.message) != 0) { /* the same trouble is told once */
            memcpy(told, err.message, sizeof told);
            log_warning("models", "looking for models: %s", err.message);
        }
    }
    return NULL;
}

int model_set_watch(struct model_set *set, struct error *err)
{
    if (set->watching)
        return STATUS_OK;
    atomic_store(&set->stopping, false);
    if (pthread_create(&set->thread, NULL, watching_thread, set) != 0)
        return error_set(err, STATUS_INTERNAL, "cannot start the thread that watches models");
    set->watching = true;
    return STATUS_OK;
}

void model_set_unwatch(struct model_set *set)
{
    if (!set->watching)
        return;
    pthread_mutex_lock(&set->lock);
    atomic_store(&set->stopping, true);
    pthread_cond_signal(&set->wake);
    pthread_mutex_unlock(&set->lock);
    pthread_join(set->thread, NULL);
    set->watching = false;
    atomic_store(&set->stopping, false);
}
