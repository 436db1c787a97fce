/* From a finished training to a model package: model.yaml beside the model.onnx that train_job_run
 * left in its output folder. */
#ifndef MODELS_TRAIN_PACKAGE_H
#define MODELS_TRAIN_PACKAGE_H

#include "models/train_job.h"

struct train_package {
    const char *name, *version; /* see package.h */
    const char *licence;        /* of the weights; NULL for none */
    const char *data; /* what they were trained on, for people; NULL for the folder's path */
};

/* Writes OUT/model.yaml: labels are the class folders of the job's data in the order of their
 * names, `made_with` is what training.json says of the job, `metrics` the accuracy on the held-out
 * pictures. */
int train_package_write(const struct train_job *job, const struct train_package *package,
                        struct error *err);

#endif
