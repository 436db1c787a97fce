/* Calibration: a reliability table and the error that summarises it. */
#include "stats/calibration.h"

#include <math.h>

/* Bin i holds the confidences in (i/15, (i+1)/15]; 0 itself goes into the first. */
int calibration_bin(double confidence)
{
    int bin = (int)ceil(confidence * CALIBRATION_BINS) - 1;
    return bin < 0 ? 0 : bin >= CALIBRATION_BINS ? CALIBRATION_BINS - 1 : bin;
}

void calibration_add(struct calibration *calibration, double confidence, int correct)
{
    /* Rounding may leave a softmax a hair above 1; a NaN says nothing and counts as no confidence.
     */
    confidence = confidence > 0 ? fmin(confidence, 1) : 0;
    int bin = calibration_bin(confidence);
    calibration->count[bin]++;
    calibration->correct[bin] += correct != 0;
    calibration->confidence[bin] += confidence;
}

void calibration_merge(struct calibration *into, const struct calibration *from)
{
    for (int bin = 0; bin < CALIBRATION_BINS; bin++) {
        into->count[bin] += from->count[bin];
        into->correct[bin] += from->correct[bin];
        into->confidence[bin] += from->confidence[bin];
    }
}

double calibration_ece(const struct calibration *calibration)
{
    int64_t total = 0;
    double gaps = 0;
    for (int bin = 0; bin < CALIBRATION_BINS; bin++) {
        total += calibration->count[bin];
        gaps += fabs((double)calibration->correct[bin] - calibration->confidence[bin]);
    }
    return total > 0 ? gaps / (double)total : NAN;
}
