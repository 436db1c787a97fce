/* Objects: keys, and the calls handed on to the implementation. See objects.h. */
#include "data/objects.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "data/objects_driver.h"

enum { KEY_LENGTH_MAX = 1024 };

/* --- keys --- */

bool objects_key_valid(const char *key)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-";
    const size_t length = strlen(key);

    if (length == 0 || length > KEY_LENGTH_MAX || strspn(key, allowed) != length)
        return false;
    /* Every part has a name and does not begin with a dot; that covers "..", "a//b", "/a", "a/". */
    for (const char *part = key; part != NULL;) {
        if (*part == '/' || *part == '.' || *part == '\0')
            return false;
        part = strchr(part, '/');
        if (part != NULL)
            part++;
    }
    return true;
}

static int check_key(const char *key, struct error *err)
{
    if (objects_key_valid(key))
        return STATUS_OK;
    return error_set(err, STATUS_INVALID, "'%.80s' is no key for an object", key);
}

int objects_key(char *key, size_t key_size, int64_t utc_us, const char *id, const char *extension,
                struct error *err)
{
    int year, month, day;

    timestamp_day(utc_us, &year, &month, &day);
    const int length =
        snprintf(key, key_size, "raw-images/%04d/%02d/%02d/%s.%s", year, month, day, id, extension);
    if (length < 0 || (size_t)length >= key_size)
        return error_set(err, STATUS_INVALID, "the key of image '%.40s' does not fit", id);
    return check_key(key, err);
}

/* --- handed on --- */

void objects_close(struct objects *objects)
{
    if (objects != NULL)
        objects->driver->close(objects);
}

int objects_put(struct objects *objects, const char *key, const void *bytes, size_t size,
                struct error *err)
{
    const int status = check_key(key, err);
    return status != STATUS_OK ? status : objects->driver->put(objects, key, bytes, size, err);
}

int objects_get(struct objects *objects, const char *key, size_t size_max, uint8_t **bytes,
                size_t *size, struct error *err)
{
    const int status = check_key(key, err);
    return status != STATUS_OK ? status
                               : objects->driver->get(objects, key, size_max, bytes, size, err);
}

int objects_delete(struct objects *objects, const char *key, struct error *err)
{
    const int status = check_key(key, err);
    return status != STATUS_OK ? status : objects->driver->remove(objects, key, err);
}

int objects_visit(struct objects *objects, const char *prefix,
                  int (*visit)(const char *key, uint64_t size, int64_t modified_us, void *context),
                  void *context, struct error *err)
{
    return objects->driver->visit(objects, prefix, visit, context, err);
}

int objects_health(struct objects *objects, struct error *err)
{
    return objects->driver->health(objects, err);
}

const char *objects_engine(const struct objects *objects)
{
    return objects->driver->engine;
}
