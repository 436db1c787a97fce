/* Random changes to a training picture that leave its class as it is: a crop from the picture
 * extended by reflection, a horizontal flip, and a square cut out (DeVries and Taylor, "Improved
 * Regularization of Convolutional Neural Networks with Cutout", 2017). */
#ifndef IMAGE_AUGMENT_H
#define IMAGE_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"

struct augment {
    int size;      /* side of the square cropped; 0 for the picture's own height and width */
    int pad;       /* pixels of reflection on every side; less than the picture's sides */
    bool flip;     /* every other picture, at random */
    int cutout;    /* side of the square, its centre anywhere in the picture; 0 for none */
    float scale;   /* of 0..255, before mean and standard deviation */
    float mean[3]; /* of R, G, B; also what the square is filled with */
    float std[3];
};

/* One picture, pixels [height, width, 3], to out[3, height, width] or out[3, size, size]. With
 * `rng` NULL nothing is random: the centre is cropped. */
void augment_run(const struct augment *augment, const uint8_t *pixels, int height, int width,
                 struct rng *rng, float *out);

#endif
