/* CIFAR-10 in its official binary version (Krizhevsky, "Learning Multiple Layers of Features from
 * Tiny Images", 2009) as a source. A file is a run of records of 3,073 bytes: the label's index,
 * then 32x32 red, 32x32 green and 32x32 blue values, each row by row from the top. */
#include <errno.h>
#include <fcntl.h>
#include <png.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "sources/source_driver.h"

enum { SIDE = 32, PLANE = SIDE * SIDE, RECORD_SIZE = 1 + 3 * PLANE, FILES_MAX = 5 };
enum { RECORDS_MAX = 100000000 };

const char *const cifar10_classes[10] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                         "dog",      "frog",       "horse", "ship", "truck"};

struct batch_file {
    char name[32]; /* without ".bin" */
    int fd;
    uint32_t first, count; /* records */
};

struct cifar10_source {
    struct source source;
    struct batch_file files[FILES_MAX];
    int file_count;
    uint32_t record_count;
    uint32_t *order;
    uint32_t at;
};

/* --- A record as PNG -------------------------------------------------------------------------- */

static void to_rows(const uint8_t *planes, uint8_t *pixels)
{
    for (int i = 0; i < PLANE; i++)
        for (int channel = 0; channel < 3; channel++)
            pixels[3 * i + channel] = planes[channel * PLANE + i];
}

/* libpng's simplified interface: once for the size, once for the bytes. */
static int encode_png(const uint8_t *pixels, struct source_image *image, struct error *err)
{
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = SIDE,
                     .height = SIDE,
                     .format = PNG_FORMAT_RGB,
                     .flags = PNG_IMAGE_FLAG_FAST};
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);

    image->bytes = malloc(size);
    if (image->bytes == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a PNG");
    if (png_image_write_to_memory(&png, image->bytes, &size, 0, pixels, 0, NULL) == 0) {
        png_image_free(&png);
        return error_set(err, STATUS_INTERNAL, "libpng could not encode a PNG: %s", png.message);
    }
    image->size = size;
    return STATUS_OK;
}

static const struct batch_file *file_of(const struct cifar10_source *cifar10, uint32_t record)
{
    const struct batch_file *file = cifar10->files;
    while (record >= file->first + file->count)
        file++;
    return file;
}

static int cifar10_next(struct source *source, struct source_image *image, struct error *err)
{
    struct cifar10_source *cifar10 = (struct cifar10_source *)source;
    uint8_t record[RECORD_SIZE], pixels[3 * PLANE];

    if (cifar10->at == cifar10->record_count)
        return 0;
    const uint32_t index = cifar10->order[cifar10->at++];
    const struct batch_file *file = file_of(cifar10, index);
    const uint32_t within = index - file->first;
    const ssize_t got = pread(file->fd, record, sizeof record, (off_t)within * RECORD_SIZE);
    if (got != RECORD_SIZE)
        return error_set_errno(err, got < 0 ? errno : EIO, "cannot read record %u of '%s.bin'",
                               within, file->name);
    if (record[0] >= 10)
        return error_set(err, STATUS_CORRUPT, "record %u of '%s.bin' has the label %d, not 0 to 9",
                         within, file->name, record[0]);
    snprintf(image->name, sizeof image->name, "%s-%05u.png", file->name, within);
    snprintf(image->label, sizeof image->label, "%s", cifar10_classes[record[0]]);
    to_rows(record + 1, pixels);
    const int status = encode_png(pixels, image, err);
    return status == STATUS_OK ? 1 : status;
}

/* --- Opening ---------------------------------------------------------------------------------- */

static void cifar10_close(struct source *source)
{
    struct cifar10_source *cifar10 = (struct cifar10_source *)source;

    for (int i = 0; i < cifar10->file_count; i++)
        close(cifar10->files[i].fd);
    free(cifar10->order);
    free(cifar10);
}

static const struct source_driver cifar10_driver = {"cifar10", cifar10_next, cifar10_close};

static int open_batch(struct cifar10_source *cifar10, const char *folder, const char *name,
                      struct error *err)
{
    struct batch_file *file = &cifar10->files[cifar10->file_count];
    struct buffer path = {0};
    struct stat info;

    buffer_print(&path, "%s/%s.bin", folder, name);
    file->fd = buffer_ok(&path) ? open(path.data, O_RDONLY | O_CLOEXEC) : -1;
    const int reason = errno;
    buffer_free(&path);
    if (file->fd < 0)
        return error_set_errno(err, reason, "cannot open '%s/%s.bin' of CIFAR-10's binary version",
                               folder, name);
    cifar10->file_count++;
    if (fstat(file->fd, &info) != 0)
        return error_set_errno(err, errno, "cannot look at '%s/%s.bin'", folder, name);
    if (info.st_size == 0 || info.st_size % RECORD_SIZE != 0 ||
        info.st_size / RECORD_SIZE > RECORDS_MAX)
        return error_set(err, STATUS_CORRUPT,
                         "'%s/%s.bin' is no batch of CIFAR-10: %lld bytes are no whole number of "
                         "records of %d",
                         folder, name, (long long)info.st_size, RECORD_SIZE);
    snprintf(file->name, sizeof file->name, "%s", name);
    file->first = cifar10->record_count;
    file->count = (uint32_t)(info.st_size / RECORD_SIZE);
    cifar10->record_count += file->count;
    return STATUS_OK;
}

int source_open_cifar10(const char *path, int test, uint64_t seed, struct source **out,
                        struct error *err)
{
    struct cifar10_source *cifar10 = calloc(1, sizeof *cifar10);
    int status = STATUS_OK;

    if (cifar10 == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to open '%s'", path);
    cifar10->source.driver = &cifar10_driver;
    for (int i = 1; status == STATUS_OK && i <= (test ? 1 : FILES_MAX); i++) {
        char name[32];
        if (test)
            snprintf(name, sizeof name, "test_batch");
        else
            snprintf(name, sizeof name, "data_batch_%d", i);
        status = open_batch(cifar10, path, name, err);
    }
    if (status == STATUS_OK) {
        cifar10->order = source_order(cifar10->record_count, seed);
        if (cifar10->order == NULL)
            status =
                error_set(err, STATUS_NO_MEMORY, "no memory for %u images", cifar10->record_count);
    }
    if (status != STATUS_OK) {
        cifar10_close(&cifar10->source);
        return status;
    }
    cifar10->source.count = cifar10->record_count;
    *out = &cifar10->source;
    return STATUS_OK;
}
