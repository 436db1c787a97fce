/* training.json: what was trained how, and an entry for each epoch. Private to this folder. */
#ifndef MODELS_TRAIN_LOG_H
#define MODELS_TRAIN_LOG_H

#include "base/json.h"
#include "models/train_job.h"

struct train_log {
    json_t *json;
    char *path;
    double best;           /* of the epochs' accuracy on held-out pictures; -1 without any */
    double seconds_before; /* spent by earlier sessions */
};

struct train_log_epoch {
    int64_t steps; /* taken when it ended */
    double loss, accuracy, validation, learning_rate, seconds;
};

/* Zero-initialise *log; free it also after a failure. Writes nothing yet. */
int train_log_start(struct train_log *log, const char *path, const struct train_job *job, bool bf16,
                    struct error *err);
/* Takes over the epochs and the time of an earlier session's file. */
int train_log_resume(struct train_log *log, const char *path, struct error *err);
int train_log_epoch(struct train_log *log, const struct train_log_epoch *epoch, struct error *err);
int train_log_save(struct train_log *log, double seconds, uint64_t steps, struct error *err);
void train_log_free(struct train_log *log);

#endif
