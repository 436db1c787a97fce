/* See loss.h. */
#include "nn/train/loss.h"

#include <math.h>

static double row_loss(const float *logits, int label, int classes, float smoothing, int n,
                       float *gradient, int *best)
{
    double total = 0, loss = 0, off = smoothing / classes, on = 1 - smoothing + off;
    *best = 0;
    for (int c = 1; c < classes; c++)
        if (logits[c] > logits[*best])
            *best = c;
    for (int c = 0; c < classes; c++)
        total += exp((double)logits[c] - logits[*best]);
    for (int c = 0; c < classes; c++) {
        double log_probability = (double)logits[c] - logits[*best] - log(total);
        double target = c == label ? on : off;
        loss -= target * log_probability;
        gradient[c] = (float)((exp(log_probability) - target) / n);
    }
    return loss;
}

struct loss loss_softmax(const float *logits, const int32_t *labels, int n, int classes,
                         float smoothing, float *gradient)
{
    struct loss loss = {0};
    for (int i = 0; i < n; i++) {
        int best;
        int64_t at = (int64_t)i * classes;
        loss.mean +=
            row_loss(logits + at, labels[i], classes, smoothing, n, gradient + at, &best) / n;
        loss.correct += best == labels[i];
    }
    return loss;
}
