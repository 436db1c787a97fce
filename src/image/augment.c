/* See augment.h. */
#include "image/augment.h"

#include <stddef.h>

/* What is drawn for one picture. */
struct draw {
    int top, left; /* of the crop, in the picture; may lie outside */
    bool flip;
    int cut_top, cut_bottom, cut_left, cut_right; /* in the result */
};

/* Where a crop begins when the picture is `spare` longer than it: up to `pad` pixels outside. */
static int offset(int spare, int pad, struct rng *rng)
{
    return rng != NULL ? (int)rng_below(rng, (uint32_t)(spare + 2 * pad + 1)) - pad : spare / 2;
}

/* `height` and `width` are the crop's; the spares what the picture has beyond them. */
static struct draw draw(const struct augment *augment, int height, int width, int spare_height,
                        int spare_width, struct rng *rng)
{
    struct draw drawn = {
        .top = offset(spare_height, augment->pad, rng),
        .left = offset(spare_width, augment->pad, rng),
    };
    if (rng == NULL)
        return drawn;
    drawn.flip = augment->flip && rng_below(rng, 2) == 1;
    if (augment->cutout > 0) {
        drawn.cut_top = (int)rng_below(rng, (uint32_t)height) - augment->cutout / 2;
        drawn.cut_left = (int)rng_below(rng, (uint32_t)width) - augment->cutout / 2;
        drawn.cut_bottom = drawn.cut_top + augment->cutout;
        drawn.cut_right = drawn.cut_left + augment->cutout;
    }
    return drawn;
}

/* ... 2 1 | 0 1 2 ... n-1 | n-2 n-3 ... */
static int reflect(int at, int count)
{
    if (at < 0)
        at = -at;
    return at < count ? at : 2 * (count - 1) - at;
}

void augment_run(const struct augment *augment, const uint8_t *pixels, int height, int width,
                 struct rng *rng, float *out)
{
    const int rows = augment->size > 0 ? augment->size : height;
    const int columns = augment->size > 0 ? augment->size : width;
    const struct draw drawn = draw(augment, rows, columns, height - rows, width - columns, rng);
    const ptrdiff_t plane = (ptrdiff_t)rows * columns;

    for (int y = 0; y < rows; y++) {
        const uint8_t *row = pixels + (ptrdiff_t)reflect(y + drawn.top, height) * width * 3;
        bool cut_row = y >= drawn.cut_top && y < drawn.cut_bottom;
        float *to = out + (ptrdiff_t)y * columns;
        for (int x = 0; x < columns; x++, to++) {
            int from = reflect((drawn.flip ? columns - 1 - x : x) + drawn.left, width);
            bool cut = cut_row && x >= drawn.cut_left && x < drawn.cut_right;
            for (int c = 0; c < 3; c++)
                to[c * plane] =
                    cut ? 0.0f
                        : ((float)row[from * 3 + c] * augment->scale - augment->mean[c]) /
                              augment->std[c];
        }
    }
}
