/* See train_log.h. */
#include "models/train_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

enum { LOG_BYTES_MAX = 16 << 20, NAME_SIZE = 128 };

/* "AMD EPYC, 2 cores" as far as the system tells. */
static void machine_name(char name[NAME_SIZE])
{
    char line[256], model[96] = "unknown processor";
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "model name : %95[^\n]", model) == 1)
            break;
    }
    if (file != NULL)
        fclose(file);
    snprintf(name, NAME_SIZE, "%s, %ld cores", model, sysconf(_SC_NPROCESSORS_ONLN));
}

static json_t *describe(const struct train_job *job, bool bf16)
{
    char machine[NAME_SIZE], started[TIMESTAMP_TEXT_MAX];
    machine_name(machine);
    timestamp_format(clock_utc_us(), started);
    return json_pack(
        "{s:s*, s:s*, s:s*, s:s, s:s, s:s, s:i, s:i, s:f, s:i, s:f, s:i, s:f, s:f, s:f, s:f, s:f, "
        "s:f, s:i, "
        "s:i, s:I, s:I, s:i, s:s, s:[]}",
        "architecture", job->architecture, "command", job->command, "init", job->init, "machine",
        machine, "started", started, "preprocess", job->preset, "input", job->input, "small_input",
        job->small_input, "small_share", job->small_share, "epochs", job->epochs, "minutes",
        job->minutes, "batch", job->batch, "learning_rate", job->learning_rate, "warmup",
        job->warmup, "momentum", job->momentum, "weight_decay", job->weight_decay,
        "label_smoothing", job->label_smoothing, "average_decay", job->average_decay, "cutout",
        job->cutout, "pad", job->pad, "validation", (json_int_t)job->validation, "seed",
        (json_int_t)job->seed, "threads", job->threads, "precision", bf16 ? "bf16" : "fp32", "log");
}

int train_log_start(struct train_log *log, const char *path, const struct train_job *job, bool bf16,
                    struct error *err)
{
    log->best = -1;
    log->path = strdup(path);
    log->json = describe(job, bf16);
    if (log->path == NULL || log->json == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a training log");
    return STATUS_OK;
}

static void take_best(struct train_log *log)
{
    size_t index;
    json_t *epoch;
    json_array_foreach (json_object_get(log->json, "log"), index, epoch) {
        double validation = json_number_value(json_object_get(epoch, "validation"));
        if (validation > log->best)
            log->best = validation;
    }
}

int train_log_resume(struct train_log *log, const char *path, struct error *err)
{
    uint8_t *bytes;
    size_t size;
    json_t *old;
    int status = file_read(path, LOG_BYTES_MAX, &bytes, &size, err);

    if (status != STATUS_OK)
        return status;
    status = json_read((const char *)bytes, size, &old, err);
    free(bytes);
    if (status != STATUS_OK)
        return error_wrap(err, "'%s'", path);
    json_t *epochs = json_object_get(old, "log");
    if (json_is_array(epochs))
        json_object_set(log->json, "log", epochs);
    const char *started = json_string_value(json_object_get(old, "started"));
    if (started != NULL)
        json_object_set_new(log->json, "started", json_string(started));
    log->seconds_before = json_number_value(json_object_get(old, "seconds"));
    json_decref(old);
    take_best(log);
    return STATUS_OK;
}

int train_log_epoch(struct train_log *log, const struct train_log_epoch *epoch, struct error *err)
{
    json_t *entry =
        json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "steps", (json_int_t)epoch->steps, "loss",
                  epoch->loss, "accuracy", epoch->accuracy, "validation", epoch->validation,
                  "learning_rate", epoch->learning_rate, "seconds", epoch->seconds);
    if (entry == NULL || json_array_append_new(json_object_get(log->json, "log"), entry) != 0)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a training log");
    if (epoch->validation > log->best)
        log->best = epoch->validation;
    return STATUS_OK;
}

int train_log_save(struct train_log *log, double seconds, uint64_t steps, struct error *err)
{
    json_object_set_new(log->json, "seconds", json_real(seconds));
    json_object_set_new(log->json, "steps", json_integer((json_int_t)steps));
    json_object_set_new(log->json, "best_validation", json_real(log->best));
    char *text = json_dumps(log->json, JSON_INDENT(2));
    if (text == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a training log");
    int status = file_write_atomic(log->path, text, strlen(text), true, err);
    free(text);
    return status;
}

void train_log_free(struct train_log *log)
{
    json_decref(log->json);
    free(log->path);
}
