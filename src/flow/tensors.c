/* The tensor store: see tensors.h.
 *
 * A hash table of entries, one an image, under one mutex. The first thread that wants an image puts
 * in an entry that is LOADING and leaves the lock to fetch and decode; others that want it pick the
 * next image that nobody has begun, so two threads with the same batch share its decoding; only
 * when all is begun do they wait. Entries that are READY leave in least recently used order. A
 * failure that may pass is not kept. */
#include "flow/tensors.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

enum { WANTED_MAX = 32, TENSOR_ALIGNMENT = 64 };

struct tensor_ref {
    atomic_int references;
    struct preprocess preprocess;
    float *data;
};

struct entry {
    char image_id[ID_TEXT_SIZE];
    bool loading;
    int status; /* 0, or the image's own fault */
    struct error error;
    struct tensor_ref *tensors[WANTED_MAX];
    int tensor_count;
    struct entry *chain;         /* next in its bucket */
    struct entry *older, *newer; /* by last use; only READY entries are in this list */
};

struct tensors {
    const struct config *config;
    struct objects *objects;
    struct metric *decoded, *reused, *failed;
    pthread_mutex_t lock;
    pthread_cond_t loaded;
    struct preprocess wanted[WANTED_MAX];
    int wanted_count;
    struct entry **buckets;
    size_t bucket_count; /* a power of two */
    size_t entry_count, entry_max;
    struct entry *oldest, *newest;
};

const float *tensor_ref_data(const struct tensor_ref *tensor)
{
    return tensor->data;
}

void tensor_release(struct tensor_ref *tensor)
{
    if (tensor == NULL || atomic_fetch_sub(&tensor->references, 1) != 1)
        return;
    free(tensor->data);
    free(tensor);
}

int tensors_create(const struct config *config, struct objects *objects, struct metrics *metrics,
                   struct tensors **out, struct error *err)
{
    struct tensors *tensors = calloc(1, sizeof *tensors);
    if (tensors == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the tensor store");
    tensors->config = config;
    tensors->objects = objects;
    tensors->entry_max = (size_t)config->tensor_cache_images;
    tensors->bucket_count = 64;
    while (tensors->bucket_count < tensors->entry_max)
        tensors->bucket_count *= 2;
    tensors->buckets = calloc(tensors->bucket_count, sizeof *tensors->buckets);
    if (tensors->buckets == NULL) {
        free(tensors);
        return error_set(err, STATUS_NO_MEMORY, "no memory for the tensor store");
    }
    pthread_mutex_init(&tensors->lock, NULL);
    pthread_cond_init(&tensors->loaded, NULL);
    const char *name = "ocelli_image_decodes_total";
    const char *help = "Images the models asked for, by how they were served";
    tensors->decoded =
        metrics_labelled(metrics, METRIC_COUNTER, name, help, "result", "decoded", NULL, NULL);
    tensors->reused =
        metrics_labelled(metrics, METRIC_COUNTER, name, help, "result", "reused", NULL, NULL);
    tensors->failed =
        metrics_labelled(metrics, METRIC_COUNTER, name, help, "result", "failed", NULL, NULL);
    *out = tensors;
    return STATUS_OK;
}

static void entry_free(struct entry *entry)
{
    for (int i = 0; i < entry->tensor_count; i++)
        tensor_release(entry->tensors[i]);
    free(entry);
}

void tensors_free(struct tensors *tensors)
{
    if (tensors == NULL)
        return;
    for (size_t i = 0; i < tensors->bucket_count; i++)
        for (struct entry *entry = tensors->buckets[i], *next; entry != NULL; entry = next) {
            next = entry->chain;
            entry_free(entry);
        }
    pthread_cond_destroy(&tensors->loaded);
    pthread_mutex_destroy(&tensors->lock);
    free(tensors->buckets);
    free(tensors);
}

int tensors_wanted(struct tensors *tensors, const struct preprocess *list, int count,
                   struct error *err)
{
    if (count > WANTED_MAX - 1)
        return error_set(err, STATUS_TOO_LARGE,
                         "the running models have %d different preprocesses; at most %d fit", count,
                         WANTED_MAX - 1);
    pthread_mutex_lock(&tensors->lock);
    if (count > 0)
        memcpy(tensors->wanted, list, (size_t)count * sizeof *list);
    tensors->wanted_count = count;
    pthread_mutex_unlock(&tensors->lock);
    return STATUS_OK;
}

/* --- The table; all with the lock held
 * ----------------------------------------------------------------------- */

static struct entry **bucket_of(struct tensors *tensors, const char *image_id)
{
    const uint64_t hash = fnv1a(image_id, strlen(image_id));
    return &tensors->buckets[hash & (tensors->bucket_count - 1)];
}

static struct entry *find(struct tensors *tensors, const char *image_id)
{
    struct entry *entry = *bucket_of(tensors, image_id);
    while (entry != NULL && strcmp(entry->image_id, image_id) != 0)
        entry = entry->chain;
    return entry;
}

static void list_remove(struct tensors *tensors, struct entry *entry)
{
    *(entry->older != NULL ? &entry->older->newer : &tensors->oldest) = entry->newer;
    *(entry->newer != NULL ? &entry->newer->older : &tensors->newest) = entry->older;
    entry->older = entry->newer = NULL;
}

static void list_append(struct tensors *tensors, struct entry *entry)
{
    entry->older = tensors->newest;
    *(tensors->newest != NULL ? &tensors->newest->newer : &tensors->oldest) = entry;
    tensors->newest = entry;
}

/* Takes an entry that is in no list out of the table and frees it. */
static void drop(struct tensors *tensors, struct entry *entry)
{
    struct entry **link = bucket_of(tensors, entry->image_id);
    while (*link != entry)
        link = &(*link)->chain;
    *link = entry->chain;
    tensors->entry_count--;
    entry_free(entry);
}

/* A LOADING entry for this image: its own one again, or a fresh one. NULL when memory is out. */
static struct entry *begin(struct tensors *tensors, struct entry *entry, const char *image_id)
{
    if (entry != NULL) {
        list_remove(tensors, entry);
        entry->loading = true;
        return entry;
    }
    while (tensors->entry_count >= tensors->entry_max && tensors->oldest != NULL) {
        struct entry *oldest = tensors->oldest;
        list_remove(tensors, oldest);
        drop(tensors, oldest);
    }
    entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        return NULL;
    memcpy(entry->image_id, image_id, sizeof entry->image_id);
    entry->loading = true;
    struct entry **bucket = bucket_of(tensors, image_id);
    entry->chain = *bucket;
    *bucket = entry;
    tensors->entry_count++;
    return entry;
}

static struct tensor_ref *entry_tensor(const struct entry *entry,
                                       const struct preprocess *preprocess)
{
    for (int i = 0; i < entry->tensor_count; i++)
        if (preprocess_equal(&entry->tensors[i]->preprocess, preprocess))
            return entry->tensors[i];
    return NULL;
}

/* --- Loading; without the lock
 * ------------------------------------------------------------------------------- */

static int make_tensor(const struct preprocess *preprocess, const struct image *image,
                       struct tensor_ref **out, struct error *err)
{
    size_t size = preprocess_count(preprocess) * sizeof(float);
    size = (size + TENSOR_ALIGNMENT - 1) / TENSOR_ALIGNMENT * TENSOR_ALIGNMENT;
    struct tensor_ref *tensor = calloc(1, sizeof *tensor);
    float *data = aligned_alloc(TENSOR_ALIGNMENT, size);

    if (tensor == NULL || data == NULL) {
        free(tensor);
        free(data);
        return error_set(err, STATUS_NO_MEMORY, "no memory for a tensor of %zu bytes", size);
    }
    atomic_init(&tensor->references, 1);
    tensor->preprocess = *preprocess;
    tensor->data = data;
    const int status = preprocess_run(preprocess, image, data, err);
    if (status != STATUS_OK) {
        tensor_release(tensor);
        return status;
    }
    *out = tensor;
    return STATUS_OK;
}

struct load {
    struct preprocess wanted[WANTED_MAX]; /* the first is the caller's own */
    int wanted_count;
    struct tensor_ref *tensors[WANTED_MAX];
    int tensor_count;
    int own_status; /* of the caller's own tensor, once the image is decoded */
    struct error own_error;
};

/* Fails only when the image cannot be had at all. A description that does not fit this picture
 * leaves its tensor out, and is told of when it is the caller's. */
static int load_image(const struct tensors *tensors, const struct image_message *message,
                      struct load *load, struct error *err)
{
    const struct image_limits limits = {
        .bytes_max = (size_t)tensors->config->upload_bytes_max,
        .pixels_max = tensors->config->upload_pixels_max,
    };
    struct image_target target = {1, 1};
    struct image *image = NULL;
    uint8_t *bytes = NULL;
    size_t size;

    int status = objects_get(tensors->objects, message->path, limits.bytes_max, &bytes, &size, err);
    if (status != STATUS_OK)
        return status;
    for (int i = 0; i < load->wanted_count; i++)
        preprocess_widen_target(&load->wanted[i], &target);
    status = image_decode(bytes, size, &limits, &target, &image, err);
    for (int i = 0; status == STATUS_OK && i < load->wanted_count; i++) {
        const int made = make_tensor(&load->wanted[i], image, &load->tensors[load->tensor_count],
                                     i == 0 ? &load->own_error : NULL);
        load->tensor_count += made == STATUS_OK;
        if (i == 0)
            load->own_status = made;
    }
    image_release(image);
    free(bytes);
    return status;
}

/* Whether the failure is the image's own, so that trying again cannot help. */
static bool is_permanent(int status)
{
    return status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED || status == STATUS_INVALID ||
           status == STATUS_TOO_LARGE;
}

static void choose_wanted(const struct tensors *tensors, const struct preprocess *own,
                          struct load *load)
{
    load->wanted[0] = *own;
    load->wanted_count = 1;
    for (int i = 0; i < tensors->wanted_count; i++)
        if (!preprocess_equal(&tensors->wanted[i], own))
            load->wanted[load->wanted_count++] = tensors->wanted[i];
}

/* Loads one image outside the lock and leaves its entry READY, or gone after a failure that may
 * pass. A failure of the caller's own tensor alone is not the entry's. */
static int load_entry(struct tensors *tensors, struct entry *entry,
                      const struct preprocess *preprocess, const struct image_message *message,
                      struct error *err)
{
    struct load load = {0};
    struct error why = {0};

    choose_wanted(tensors, preprocess, &load);
    pthread_mutex_unlock(&tensors->lock);
    const int status = load_image(tensors, message, &load, &why);
    metric_add(status == STATUS_OK ? tensors->decoded : tensors->failed, 1);
    pthread_mutex_lock(&tensors->lock);
    for (int i = 0; i < entry->tensor_count; i++)
        tensor_release(entry->tensors[i]);
    memcpy(entry->tensors, load.tensors, sizeof entry->tensors);
    entry->tensor_count = load.tensor_count;
    entry->status = status;
    entry->error = why;
    entry->loading = false;
    if (status == STATUS_OK || is_permanent(status))
        list_append(tensors, entry);
    else
        drop(tensors, entry);
    pthread_cond_broadcast(&tensors->loaded);
    if (status == STATUS_OK && load.own_status == STATUS_OK)
        return STATUS_OK;
    *err = status != STATUS_OK ? why : load.own_error;
    return err->code;
}

/* --- Getting
 * -------------------------------------------------------------------------------------------------
 */

enum outcome { OUTCOME_DONE, OUTCOME_ABSENT, OUTCOME_LOADING };

/* Serves one image from the table when it is there. */
static enum outcome take(struct tensors *tensors, const struct preprocess *preprocess,
                         const char *image_id, struct tensor_ref **ref, int *status,
                         struct error *error)
{
    struct entry *entry = find(tensors, image_id);

    if (entry == NULL)
        return OUTCOME_ABSENT;
    if (entry->loading)
        return OUTCOME_LOADING;
    struct tensor_ref *tensor = entry_tensor(entry, preprocess);
    if (tensor == NULL && entry->status == STATUS_OK)
        return OUTCOME_ABSENT;
    list_remove(tensors, entry);
    list_append(tensors, entry);
    *status = entry->status;
    *error = entry->error;
    if (entry->status == STATUS_OK) {
        atomic_fetch_add(&tensor->references, 1);
        *ref = tensor;
        metric_add(tensors->reused, 1);
    }
    return OUTCOME_DONE;
}

/* Loads one image that is absent, and takes it. */
static void load_and_take(struct tensors *tensors, const struct preprocess *preprocess,
                          const struct image_message *message, struct tensor_ref **ref, int *status,
                          struct error *error)
{
    struct entry *entry = begin(tensors, find(tensors, message->image_id), message->image_id);
    if (entry == NULL) {
        *status = error_set(error, STATUS_NO_MEMORY, "no memory to decode an image");
        return;
    }
    *status = load_entry(tensors, entry, preprocess, message, error);
    if (*status == STATUS_OK) {
        *ref = entry_tensor(entry, preprocess);
        atomic_fetch_add(&(*ref)->references, 1);
    }
}

void tensors_get(struct tensors *tensors, const struct preprocess *preprocess,
                 const struct image_message *const *images, int count, struct tensor_ref **refs,
                 int *statuses, struct error *errors)
{
    enum { PENDING = 1 };
    for (int i = 0; i < count; i++) {
        refs[i] = NULL;
        statuses[i] = PENDING;
    }
    pthread_mutex_lock(&tensors->lock);
    for (;;) {
        int absent = -1, loading = 0;
        for (int i = 0; i < count; i++) {
            if (statuses[i] != PENDING)
                continue;
            const enum outcome outcome =
                take(tensors, preprocess, images[i]->image_id, &refs[i], &statuses[i], &errors[i]);
            if (outcome == OUTCOME_ABSENT && absent < 0)
                absent = i;
            loading += outcome == OUTCOME_LOADING;
        }
        if (absent >= 0)
            load_and_take(tensors, preprocess, images[absent], &refs[absent], &statuses[absent],
                          &errors[absent]);
        else if (loading > 0)
            pthread_cond_wait(&tensors->loaded, &tensors->lock);
        else
            break;
    }
    pthread_mutex_unlock(&tensors->lock);
}
