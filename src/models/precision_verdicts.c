/* What precision checks found, kept in a file: see precision_check.h. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "models/precision_check.h"

enum { FILE_BYTES_MAX = 1 << 20, VERDICTS_MAX = 1000 };

struct precision_verdicts {
    pthread_mutex_t lock; /* guards json and the file */
    json_t *json;
    char *path; /* NULL: in memory only */
    char cpu[96];
};

/* "model name" of the first CPU that the kernel lists. */
static void read_cpu_name(char *name, size_t size)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");

    snprintf(name, size, "unknown");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL)
            continue;
        colon += 1 + strspn(colon + 1, " ");
        snprintf(name, size, "%.*s", (int)strcspn(colon, "\n"), colon);
        break;
    }
    if (file != NULL)
        fclose(file);
}

/* What the file holds, when it can be read and is an object; else an empty object. */
static json_t *read_file(const char *path)
{
    uint8_t *text = NULL;
    size_t size = 0;
    json_t *json = NULL;

    if (path != NULL && file_read(path, FILE_BYTES_MAX, &text, &size, NULL) == STATUS_OK)
        json_read((const char *)text, size, &json, NULL);
    free(text);
    if (json_is_object(json))
        return json;
    json_decref(json);
    return json_object();
}

int precision_verdicts_open(const char *path, struct precision_verdicts **out, struct error *err)
{
    struct precision_verdicts *verdicts = calloc(1, sizeof *verdicts);

    if (verdicts != NULL) {
        verdicts->path = path != NULL ? strdup(path) : NULL;
        verdicts->json = read_file(path);
    }
    if (verdicts == NULL || verdicts->json == NULL || (path != NULL && verdicts->path == NULL)) {
        if (verdicts != NULL) {
            json_decref(verdicts->json);
            free(verdicts->path);
        }
        free(verdicts);
        return error_set(err, STATUS_NO_MEMORY, "no memory for the precision verdicts");
    }
    pthread_mutex_init(&verdicts->lock, NULL);
    read_cpu_name(verdicts->cpu, sizeof verdicts->cpu);
    *out = verdicts;
    return STATUS_OK;
}

void precision_verdicts_close(struct precision_verdicts *verdicts)
{
    if (verdicts == NULL)
        return;
    pthread_mutex_destroy(&verdicts->lock);
    json_decref(verdicts->json);
    free(verdicts->path);
    free(verdicts);
}

static bool is_member_text(const json_t *object, const char *name, const char *text)
{
    const char *value = json_string_value(json_object_get(object, name));
    return value != NULL && strcmp(value, text) == 0;
}

bool precision_verdicts_find(struct precision_verdicts *verdicts, const char *network_hash,
                             struct precision_verdict *out)
{
    pthread_mutex_lock(&verdicts->lock);
    const json_t *entry = json_object_get(verdicts->json, network_hash);
    const json_int_t images = json_integer_value(json_object_get(entry, "images"));
    const json_int_t changed = json_integer_value(json_object_get(entry, "changed"));
    const bool found = is_member_text(entry, "cpu", verdicts->cpu) &&
                       is_member_text(entry, "program", OCELLI_VERSION) && images > 0 &&
                       images <= 1000000 && changed >= 0 && changed <= images;
    if (found)
        *out = (struct precision_verdict){(int)images, (int)changed};
    pthread_mutex_unlock(&verdicts->lock);
    return found;
}

/* Wants the lock. */
static int write_file(const struct precision_verdicts *verdicts, struct error *err)
{
    struct buffer text = {0};

    int status = json_write(verdicts->json, &text, err);
    buffer_text(&text, "\n");
    if (status == STATUS_OK && !buffer_ok(&text))
        status = error_set(err, STATUS_NO_MEMORY, "no memory for the precision verdicts");
    if (status == STATUS_OK)
        status = file_write_atomic(verdicts->path, text.data, text.size, false, err);
    buffer_free(&text);
    return status;
}

void precision_verdicts_put(struct precision_verdicts *verdicts, const char *network_hash,
                            const struct precision_verdict *verdict)
{
    struct error err = {0};

    pthread_mutex_lock(&verdicts->lock);
    if (json_object_size(verdicts->json) >= VERDICTS_MAX)
        json_object_clear(verdicts->json);
    json_t *entry =
        json_pack("{s:s, s:s, s:i, s:i}", "cpu", verdicts->cpu, "program", OCELLI_VERSION, "images",
                  verdict->images, "changed", verdict->changed);
    int status = STATUS_OK;
    if (json_object_set_new(verdicts->json, network_hash, entry) != 0)
        status = error_set(&err, STATUS_NO_MEMORY, "no memory for the precision verdicts");
    else if (verdicts->path != NULL)
        status = write_file(verdicts, &err);
    pthread_mutex_unlock(&verdicts->lock);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        log_warning("models", "a precision check is not remembered: %s", err.message);
}
