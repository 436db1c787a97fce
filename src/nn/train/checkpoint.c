/* A trainer's whole state in a file.
 *
 *   offset 0   "OCTRAIN1"
 *          8   signature of the parameters (store_signature)
 *         16   steps taken
 *         24   n, the number of parameters including statistics
 *         32   n weights, n velocities, n averages, f32
 *        end   checksum of everything before it
 *
 * All in the machine's byte order: a checkpoint resumes a training on the machine, or its like;
 * what travels is the ONNX file. A file is valid when its length, signature and checksum are right.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "nn/train/trainer_private.h"

struct checkpoint_header {
    char magic[8];
    uint64_t signature, steps, count;
};

static const char checkpoint_magic[8] = {'O', 'C', 'T', 'R', 'A', 'I', 'N', '1'};

/* FNV-1a's scheme over 64-bit words: it must catch torn and damaged files, not forgers. */
static uint64_t checksum(const uint8_t *bytes, size_t size)
{
    uint64_t hash = 0xcbf29ce484222325u, word;
    for (; size >= sizeof word; bytes += sizeof word, size -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        hash = (hash ^ word) * 0x100000001b3u;
        hash ^= hash >> 32;
    }
    for (; size > 0; size--)
        hash = (hash ^ *bytes++) * 0x100000001b3u;
    return hash;
}

static size_t checkpoint_size(const struct store *store)
{
    return sizeof(struct checkpoint_header) +
           3 * (size_t)store->end[PARAMETER_STATISTIC] * sizeof(float) + sizeof(uint64_t);
}

int trainer_save(const struct trainer *trainer, const char *path, struct error *err)
{
    const struct store *store = trainer->store;
    size_t size = checkpoint_size(store);
    size_t array = (size_t)store->end[PARAMETER_STATISTIC] * sizeof(float);
    struct checkpoint_header header = {
        .signature = store_signature(store, trainer->graph),
        .steps = store->steps,
        .count = (uint64_t)store->end[PARAMETER_STATISTIC],
    };
    uint8_t *bytes = malloc(size), *to = bytes;

    if (bytes == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a checkpoint of %zu bytes", size);
    memcpy(header.magic, checkpoint_magic, sizeof header.magic);
    memcpy(to, &header, sizeof header);
    to += sizeof header;
    const float *const arrays[] = {store->weight, store->velocity, store->average};
    for (int i = 0; i < 3; i++, to += array)
        memcpy(to, arrays[i], array);
    uint64_t sum = checksum(bytes, size - sizeof sum);
    memcpy(to, &sum, sizeof sum);
    int status = file_write_atomic(path, bytes, size, true, err);
    free(bytes);
    return status;
}

static int check(const struct trainer *trainer, const char *path, const uint8_t *bytes, size_t size,
                 struct checkpoint_header *header, struct error *err)
{
    const struct store *store = trainer->store;
    uint64_t sum;

    if (size < sizeof *header + sizeof sum ||
        memcmp(bytes, checkpoint_magic, sizeof checkpoint_magic) != 0)
        return error_set(err, STATUS_CORRUPT, "'%s' is not a training checkpoint", path);
    memcpy(header, bytes, sizeof *header);
    if (header->signature != store_signature(store, trainer->graph) ||
        header->count != (uint64_t)store->end[PARAMETER_STATISTIC])
        return error_set(err, STATUS_INVALID, "checkpoint '%s' is of another architecture", path);
    if (size != checkpoint_size(store))
        return error_set(err, STATUS_CORRUPT, "checkpoint '%s' is cut short", path);
    memcpy(&sum, bytes + size - sizeof sum, sizeof sum);
    if (sum != checksum(bytes, size - sizeof sum))
        return error_set(err, STATUS_CORRUPT, "checkpoint '%s' is damaged", path);
    return STATUS_OK;
}

int trainer_load(struct trainer *trainer, const char *path, struct error *err)
{
    struct store *store = trainer->store;
    size_t array = (size_t)store->end[PARAMETER_STATISTIC] * sizeof(float), size;
    struct checkpoint_header header;
    uint8_t *bytes;
    int status = file_read(path, checkpoint_size(store) + 1, &bytes, &size, err);

    if (status != STATUS_OK)
        return status;
    status = check(trainer, path, bytes, size, &header, err);
    if (status == STATUS_OK) {
        const uint8_t *from = bytes + sizeof header;
        float *const arrays[] = {store->weight, store->velocity, store->average};
        for (int i = 0; i < 3; i++, from += array)
            memcpy(arrays[i], from, array);
        store->steps = header.steps;
        trainer->fresh = trainer->averaged_fresh = false;
    }
    free(bytes);
    return status;
}
