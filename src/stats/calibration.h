/* Calibration: whether a confidence of 0.8 is right eight times in ten. */
#ifndef STATS_CALIBRATION_H
#define STATS_CALIBRATION_H

#include <stdint.h>

enum { CALIBRATION_BINS = 15 };

/* Equal-width bins over (0, 1] (Naeini et al. 2015). Zero-initialised is empty; add and merge
 * freely. */
struct calibration {
    int64_t count[CALIBRATION_BINS];
    int64_t correct[CALIBRATION_BINS];
    double confidence[CALIBRATION_BINS]; /* sums */
};

/* The bin of a confidence, 0 .. CALIBRATION_BINS-1. */
int calibration_bin(double confidence);
void calibration_add(struct calibration *calibration, double confidence, int correct);
void calibration_merge(struct calibration *into, const struct calibration *from);
/* Expected calibration error, 0 .. 1; NaN when empty. */
double calibration_ece(const struct calibration *calibration);

#endif
