/* Softmax cross-entropy with label smoothing (Szegedy et al., "Rethinking the Inception
 * Architecture", 2016, section 7). */
#ifndef NN_TRAIN_LOSS_H
#define NN_TRAIN_LOSS_H

#include <stdint.h>

struct loss {
    double mean; /* over the rows */
    int correct; /* rows whose largest logit is the label's */
};

/* logits [n, classes] -> the loss, and its gradient in `gradient` (the mean's, so divided by n). */
struct loss loss_softmax(const float *logits, const int32_t *labels, int n, int classes,
                         float smoothing, float *gradient);

#endif
