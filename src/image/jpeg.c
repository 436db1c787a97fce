/* JPEG (ITU-T T.81) through libjpeg-turbo.
 *
 * The probe walks the marker segments itself up to the frame header. The decoder turns libjpeg's
 * error callbacks into statuses: errors leave by longjmp, and so do those warnings that mean
 * damaged or missing picture data, for which libjpeg would otherwise make up grey blocks. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "image/codec.h"
#include "image/exif.h"

enum {
    MARKER_START_OF_FRAME_0 = 0xC0, /* ..0xCF, but for the three below */
    MARKER_HUFFMAN_TABLES = 0xC4,
    MARKER_EXTENSION = 0xC8,
    MARKER_ARITHMETIC_TABLES = 0xCC,
    MARKER_RESTART_0 = 0xD0, /* ..0xD7 */
    MARKER_START_OF_IMAGE = 0xD8,
    MARKER_END_OF_IMAGE = 0xD9,
    MARKER_START_OF_SCAN = 0xDA,
    MARKER_APP_1 = 0xE1,
    MARKER_TEMPORARY = 0x01,
};

/* A progressive file of a few bytes a scan could otherwise keep a core busy for hours; encoders
 * write about ten scans. */
enum { SCANS_MAX = 64 };

/* A scaled inverse DCT is a coarser filter than the resizing that follows. With three times the
 * pixels needed, what it did differently is about a level of 255 on sharp photographs. */
enum { REDUCTION_MARGIN = 3 };

bool jpeg_recognise(const uint8_t *bytes, size_t size)
{
    return size >= 3 && bytes[0] == 0xFF && bytes[1] == MARKER_START_OF_IMAGE && bytes[2] == 0xFF;
}

static bool is_start_of_frame(int marker)
{
    return marker >= MARKER_START_OF_FRAME_0 && marker <= MARKER_START_OF_FRAME_0 + 15 &&
           marker != MARKER_HUFFMAN_TABLES && marker != MARKER_EXTENSION &&
           marker != MARKER_ARITHMETIC_TABLES;
}

static bool is_bare(int marker)
{
    return (marker >= MARKER_RESTART_0 && marker < MARKER_START_OF_IMAGE) ||
           marker == MARKER_TEMPORARY || marker == 0;
}

/* Advances *offset past the next marker, skipping stray bytes as libjpeg does, and returns it; -1
 * at the end of the data. */
static int next_marker(const uint8_t *bytes, size_t size, size_t *offset)
{
    size_t at = *offset;

    while (at < size && bytes[at] != 0xFF)
        at++;
    while (at < size && bytes[at] == 0xFF)
        at++;
    if (at >= size)
        return -1;
    *offset = at + 1;
    return bytes[at];
}

/* The body of the frame header: precision, height, width, components. */
static int read_frame_header(int marker, const uint8_t *body, size_t size, struct image_info *info,
                             struct error *err)
{
    /* Of the sixteen processes: baseline, extended and progressive, with Huffman (0..2) or
     * arithmetic (9, 10) coding. The others are lossless or hierarchical. */
    static const unsigned supported = 1u << 0 | 1u << 1 | 1u << 2 | 1u << 9 | 1u << 10;
    const int process = marker - MARKER_START_OF_FRAME_0;

    if (size < 6)
        return error_set(err, STATUS_CORRUPT, "the JPEG frame header is too short");
    if ((supported >> process & 1) == 0)
        return error_set(err, STATUS_UNSUPPORTED,
                         "lossless and hierarchical JPEG (SOF%d) cannot be decoded", process);
    info->bit_depth = body[0];
    info->height = (int)read_be16(body + 1);
    info->width = (int)read_be16(body + 3);
    info->channels = body[5];
    if (info->bit_depth != 8)
        return error_set(err, STATUS_UNSUPPORTED, "JPEG of %d bits a sample cannot be decoded",
                         info->bit_depth);
    if (info->channels != 1 && info->channels != 3 && info->channels != 4)
        return error_set(err, STATUS_UNSUPPORTED, "JPEG of %d components cannot be decoded",
                         info->channels);
    return STATUS_OK;
}

int jpeg_probe(const uint8_t *bytes, size_t size, struct image_info *info, struct error *err)
{
    size_t offset = 2;

    for (;;) {
        const int marker = next_marker(bytes, size, &offset);
        if (marker >= 0 && is_bare(marker))
            continue;
        if (marker == MARKER_START_OF_IMAGE || marker == MARKER_END_OF_IMAGE ||
            marker == MARKER_START_OF_SCAN)
            return error_set(err, STATUS_CORRUPT, "the JPEG has no frame header");
        if (marker < 0 || size - offset < 2)
            return error_set(err, STATUS_CORRUPT, "the JPEG ends before its frame header");
        const size_t length = read_be16(bytes + offset);
        if (length < 2 || length > size - offset)
            return error_set(err, STATUS_CORRUPT, "the JPEG is cut off or broken in its header");
        const uint8_t *body = bytes + offset + 2;
        if (is_start_of_frame(marker))
            return read_frame_header(marker, body, length - 2, info, err);
        if (marker == MARKER_APP_1 && length >= 8 && memcmp(body, "Exif\0", 5) == 0)
            info->orientation = exif_orientation(body, length - 2);
        offset += length;
    }
}

/* One decompression. Owned by jpeg_decode, outside the function that calls setjmp, so that all of
 * it is defined after a longjmp. */
struct jpeg_reading {
    struct jpeg_decompress_struct decompress;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    int status;
    struct error *err;
    struct image *image;
    uint8_t *cmyk; /* one row, for four-component files */
};

static struct jpeg_reading *reading_of(j_common_ptr common)
{
    return common->client_data;
}

_Noreturn static void fail(struct jpeg_reading *reading, enum status status, const char *reason)
{
    reading->status = error_set(reading->err, status, "the JPEG cannot be decoded: %s", reason);
    longjmp(reading->failed, 1);
}

static enum status status_of_code(int code)
{
    switch (code) {
    case JERR_OUT_OF_MEMORY:
        return STATUS_NO_MEMORY;
    case JERR_NO_BACKING_STORE:
        return STATUS_TOO_LARGE; /* over max_memory_to_use */
    case JERR_SOF_UNSUPPORTED:
    case JERR_NOT_COMPILED:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_CCIR601_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
        return STATUS_UNSUPPORTED;
    default:
        return STATUS_CORRUPT;
    }
}

static void on_error(j_common_ptr common)
{
    struct jpeg_reading *reading = reading_of(common);
    char reason[JMSG_LENGTH_MAX];

    reading->errors.format_message(common, reason);
    fail(reading, status_of_code(reading->errors.msg_code), reason);
}

static bool is_damage(int warning_code)
{
    switch (warning_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
    case JWRN_BOGUS_PROGRESSION:
        return true;
    default: /* odd version numbers, stray bytes between segments: nothing that changes pixels */
        return false;
    }
}

static void on_message(j_common_ptr common, int level)
{
    if (level < 0 && is_damage(reading_of(common)->errors.msg_code))
        on_error(common);
}

static void on_output(j_common_ptr common)
{
    (void)common;
}

static void on_progress(j_common_ptr common)
{
    if (((j_decompress_ptr)common)->input_scan_number > SCANS_MAX)
        fail(reading_of(common), STATUS_TOO_LARGE, "it has too many progressive scans");
}

/* The largest reduction that leaves REDUCTION_MARGIN times the target in both directions. */
static unsigned reduction_for(const struct image_info *info, const struct image_target *target)
{
    if (target == NULL)
        return 1;
    for (unsigned reduction = 8; reduction > 1; reduction /= 2) {
        const unsigned divisor = reduction * REDUCTION_MARGIN;
        if ((unsigned)info->width / divisor >= (unsigned)target->width &&
            (unsigned)info->height / divisor >= (unsigned)target->height)
            return reduction;
    }
    return 1;
}

/* One row of CMYK as Adobe and everyone since stores it: inverted, 255 meaning no ink. Then R = C *
 * K / 255, rounded, and so on. */
static void rgb_from_inverted_cmyk(const uint8_t *cmyk, uint8_t *rgb, int width)
{
    for (int x = 0; x < width; x++, cmyk += 4, rgb += 3) {
        for (int c = 0; c < 3; c++)
            rgb[c] = (uint8_t)((cmyk[c] * cmyk[3] + 127) / 255);
    }
}

static void read_rows(struct jpeg_reading *reading)
{
    j_decompress_ptr decompress = &reading->decompress;
    struct image *image = reading->image;

    while (decompress->output_scanline < decompress->output_height) {
        uint8_t *pixels = image->pixels + (size_t)decompress->output_scanline * image->stride;
        JSAMPROW row = reading->cmyk != NULL ? reading->cmyk : pixels;
        jpeg_read_scanlines(decompress, &row, 1);
        if (reading->cmyk != NULL)
            rgb_from_inverted_cmyk(reading->cmyk, pixels, image->width);
    }
    jpeg_finish_decompress(decompress); /* reads on to the end marker, which must be there */
}

static int create_output(struct jpeg_reading *reading)
{
    const j_decompress_ptr decompress = &reading->decompress;
    const double reduction = decompress->scale_denom;

    if (decompress->out_color_space == JCS_CMYK) {
        reading->cmyk = malloc((size_t)decompress->output_width * 4);
        if (reading->cmyk == NULL)
            return error_set(reading->err, STATUS_NO_MEMORY, "no memory to decode a CMYK JPEG");
    }
    const int status = image_create((int)decompress->output_width, (int)decompress->output_height,
                                    &reading->image, reading->err);
    if (status == STATUS_OK) {
        reading->image->content.width = decompress->image_width / reduction;
        reading->image->content.height = decompress->image_height / reduction;
    }
    return status;
}

static int read_picture(struct jpeg_reading *reading, const uint8_t *bytes, size_t size,
                        const struct image_info *info, const struct image_target *target)
{
    j_decompress_ptr decompress = &reading->decompress;

    if (setjmp(reading->failed) != 0)
        return reading->status;
    jpeg_create_decompress(decompress);
    decompress->progress = &reading->progress;
    /* Progressive files keep every coefficient: two bytes a sample, and room to work. */
    decompress->mem->max_memory_to_use = (long)info->width * info->height * 10 + (32L << 20);
    jpeg_mem_src(decompress, bytes, size);
    jpeg_read_header(decompress, TRUE);
    if ((int)decompress->image_width != info->width ||
        (int)decompress->image_height != info->height ||
        decompress->num_components != info->channels)
        fail(reading, STATUS_CORRUPT, "it has contradicting frame headers");
    decompress->out_color_space = info->channels == 4 ? JCS_CMYK : JCS_RGB;
    decompress->dct_method = JDCT_ISLOW;
    decompress->scale_num = 1;
    decompress->scale_denom = reduction_for(info, target);
    jpeg_start_decompress(decompress);
    reading->status = create_output(reading);
    if (reading->status == STATUS_OK)
        read_rows(reading);
    return reading->status;
}

int jpeg_decode(const uint8_t *bytes, size_t size, const struct image_info *info,
                const struct image_target *target, struct image **out, struct error *err)
{
    struct jpeg_reading reading = {.err = err};

    reading.decompress.err = jpeg_std_error(&reading.errors);
    reading.decompress.client_data = &reading;
    reading.errors.error_exit = on_error;
    reading.errors.emit_message = on_message;
    reading.errors.output_message = on_output;
    reading.progress.progress_monitor = on_progress;
    const int status = read_picture(&reading, bytes, size, info, target);
    jpeg_destroy_decompress(&reading.decompress);
    free(reading.cmyk);
    if (status == STATUS_OK)
        *out = reading.image;
    else
        image_release(reading.image);
    return status;
}
