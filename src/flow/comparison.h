/* An image's comparison: what the models said side by side, who was fastest and most confident, and
 * whether everyone has answered. Private to record. */
#ifndef FLOW_COMPARISON_H
#define FLOW_COMPARISON_H

#include "data/bus.h"
#include "data/sql.h"
#include "flow/message.h"

enum { ANSWERS_MAX = 128 };

struct comparison {
    char image_id[ID_TEXT_SIZE];
    struct image_state {
        char status[16];
        char source[NAME_SIZE];
        char label[LABEL_SIZE]; /* "" when unknown */
        char path[OBJECT_KEY_SIZE];
        char filename[256];
        char failure_reason[ERROR_MESSAGE_MAX]; /* "" unless no model can read the image */
        bool settled; /* every expected model that still serves has answered or failed */
    } image;
    int answer_count;
    struct answer {
        char model_name[NAME_SIZE];
        char model_version[NAME_SIZE];
        char prediction_class[LABEL_SIZE];
        double confidence;
        double time_ms;
    } answers[ANSWERS_MAX]; /* by name, then version */
    int failure_count;
    struct failure {
        char model[2 * NAME_SIZE + 1]; /* name@version */
        char reason[ERROR_MESSAGE_MAX];
    } failures[ANSWERS_MAX];
};

/* Fills `comparison` from one image's row, predictions and failures; STATUS_NOT_FOUND when there is
 * no such image. */
int comparison_read(struct sql_tx *tx, const char *image_id, struct comparison *comparison,
                    struct error *err);
/* Compares, writes the comparison's row and the image's status, and, when that finishes the image,
 * publishes it. */
int comparison_write(struct sql_tx *tx, struct bus *bus, const struct comparison *comparison,
                     struct error *err);
/* Both. */
int comparison_update(struct sql_tx *tx, struct bus *bus, const char *image_id, struct error *err);

#endif
