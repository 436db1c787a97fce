/* The passes of a resize, written for reading: see resize_pass.h. */
#include "image/resize_pass.h"

static uint8_t clip_to_byte(int32_t sum)
{
    const int32_t value = sum >> RESIZE_FRACTION_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

void resize_rows_plain(const struct resize_axis *axis, const uint8_t *source, size_t source_stride,
                       uint8_t *target, size_t target_stride, int rows)
{
    const int32_t half = 1 << (RESIZE_FRACTION_BITS - 1);

    for (int y = 0; y < rows; y++, source += source_stride, target += target_stride) {
        for (int x = 0; x < axis->size; x++) {
            const int32_t *coefficients = axis->coefficients + (size_t)x * (size_t)axis->taps;
            const uint8_t *from = source + 3 * (size_t)axis->starts[x];
            int32_t red = half, green = half, blue = half;
            for (int k = 0; k < axis->counts[x]; k++, from += 3) {
                red += from[0] * coefficients[k];
                green += from[1] * coefficients[k];
                blue += from[2] * coefficients[k];
            }
            target[3 * x + 0] = clip_to_byte(red);
            target[3 * x + 1] = clip_to_byte(green);
            target[3 * x + 2] = clip_to_byte(blue);
        }
    }
}

void resize_column_plain(const struct resize_axis *axis, int row, const uint8_t *source,
                         size_t source_stride, uint8_t *target, size_t bytes)
{
    const int32_t *coefficients = axis->coefficients + (size_t)row * (size_t)axis->taps;
    const uint8_t *first = source + (size_t)axis->starts[row] * source_stride;

    for (size_t i = 0; i < bytes; i++) {
        int32_t sum = 1 << (RESIZE_FRACTION_BITS - 1);
        for (int k = 0; k < axis->counts[row]; k++)
            sum += first[(size_t)k * source_stride + i] * coefficients[k];
        target[i] = clip_to_byte(sum);
    }
}
