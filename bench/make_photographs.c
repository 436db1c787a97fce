/* Makes photographs to upload: JPEG, 4:2:0, quality 85. Sums of smooth noise whose strength grows
 * with its wavelength, as in pictures of nature (Field, "Relations between the statistics of
 * natural images", 1987), so that they cost a decoder what a camera's pictures cost: a flat or
 * a white-noise picture would not. The same arguments give the same files.
 *
 * Usage: make_photographs FOLDER WIDTH HEIGHT COUNT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include "base/file.h"
#include "base/rng.h"

enum { SIDE_MAX = 8192, COUNT_MAX = 9999, WAVELENGTH_MAX = 256, QUALITY = 85 };

/* Of the finest noise, in levels of 255; each octave above is as much stronger as it is longer, up
 * to STRENGTH_MAX. */
#define STRENGTH_FINEST 1.8f
#define STRENGTH_MAX    28.0f

static float mix(float a, float b, float share)
{
    return a + (b - a) * share * share * (3.0f - 2.0f * share);
}

/* Adds noise of one wavelength: random values on a grid, and a smooth step from one to the next. */
static int add_octave(float *channel, int width, int height, int wavelength, float strength,
                      struct rng *rng)
{
    const int columns = width / wavelength + 2, rows = height / wavelength + 2;
    float *grid = malloc((size_t)columns * (size_t)rows * sizeof *grid);

    if (grid == NULL)
        return -1;
    for (int i = 0; i < columns * rows; i++)
        grid[i] = strength * (float)rng_normal(rng);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            const float *at = grid + (y / wavelength) * columns + x / wavelength;
            const float right = (float)(x % wavelength) / (float)wavelength;
            const float down = (float)(y % wavelength) / (float)wavelength;
            channel[y * width + x] +=
                mix(mix(at[0], at[1], right), mix(at[columns], at[columns + 1], right), down);
        }
    free(grid);
    return 0;
}

/* The brightness has all octaves, the three colours differ in the longer ones alone. */
static int paint(float *planes, int width, int height, struct rng *rng)
{
    const size_t size = (size_t)width * (size_t)height;
    float *brightness = planes + 3 * size;

    memset(planes, 0, 4 * size * sizeof *planes);
    for (int wavelength = 1; wavelength <= WAVELENGTH_MAX; wavelength *= 2) {
        float strength = STRENGTH_FINEST * (float)wavelength;
        if (strength > STRENGTH_MAX)
            strength = STRENGTH_MAX;
        if (add_octave(brightness, width, height, wavelength, strength, rng) != 0)
            return -1;
        for (int c = 0; c < 3 && wavelength >= 8; c++)
            if (add_octave(planes + (size_t)c * size, width, height, wavelength, strength / 3.0f,
                           rng) != 0)
                return -1;
    }
    return 0;
}

static unsigned char level(float value)
{
    return (unsigned char)(value < 0.0f ? 0.0f : value > 255.0f ? 255.0f : value);
}

/* libjpeg ends the program on an error, with a sentence: here that will do. */
static void write_jpeg(FILE *file, const float *planes, unsigned char *row, int width, int height)
{
    const size_t size = (size_t)width * (size_t)height;
    struct jpeg_compress_struct compress;
    struct jpeg_error_mgr errors;

    compress.err = jpeg_std_error(&errors);
    jpeg_create_compress(&compress);
    jpeg_stdio_dest(&compress, file);
    compress.image_width = (JDIMENSION)width;
    compress.image_height = (JDIMENSION)height;
    compress.input_components = 3;
    compress.in_color_space = JCS_RGB;
    jpeg_set_defaults(&compress);
    jpeg_set_quality(&compress, QUALITY, TRUE);
    jpeg_start_compress(&compress, TRUE);
    while (compress.next_scanline < compress.image_height) {
        const size_t first = (size_t)compress.next_scanline * (size_t)width;
        for (int x = 0; x < 3 * width; x++) {
            const size_t at = first + (size_t)(x / 3);
            row[x] = level(128.0f + planes[3 * size + at] + planes[(size_t)(x % 3) * size + at]);
        }
        jpeg_write_scanlines(&compress, &row, 1);
    }
    jpeg_finish_compress(&compress);
    jpeg_destroy_compress(&compress);
}

static int make_all(const char *folder, int width, int height, int count)
{
    float *planes = malloc(4 * (size_t)width * (size_t)height * sizeof *planes);
    unsigned char *row = malloc(3 * (size_t)width);
    char path[4096];
    struct rng rng;
    int made = 0;

    rng_seed(&rng, 7);
    while (planes != NULL && row != NULL && made < count) {
        if (paint(planes, width, height, &rng) != 0 ||
            snprintf(path, sizeof path, "%s/%04d.jpg", folder, made) >= (int)sizeof path)
            break;
        FILE *file = fopen(path, "wb");
        if (file == NULL)
            break;
        write_jpeg(file, planes, row, width, height);
        if (fclose(file) != 0)
            break;
        made++;
    }
    free(row);
    free(planes);
    return made == count ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    int size[3] = {0}; /* width, height, count */

    for (int i = 0; i < 3 && argc == 5; i++)
        size[i] = (int)strtol(argv[2 + i], NULL, 10);
    if (size[0] < 1 || size[0] > SIDE_MAX || size[1] < 1 || size[1] > SIDE_MAX || size[2] < 1 ||
        size[2] > COUNT_MAX) {
        fprintf(stderr, "usage: make_photographs FOLDER WIDTH HEIGHT COUNT\n");
        return 2;
    }
    if (folder_make(argv[1], false, &err) != STATUS_OK) {
        fprintf(stderr, "make_photographs: %s\n", err.message);
        return 1;
    }
    if (make_all(argv[1], size[0], size[1], size[2]) == 0)
        return 0;
    perror("make_photographs");
    return 1;
}
