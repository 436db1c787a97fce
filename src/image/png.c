/* PNG (ISO/IEC 15948) through libpng.
 *
 * The probe reads the fixed header chunk and, for the orientation, walks the chunk list. The
 * decoder lets libpng expand palettes and low depths, round 16 bits to 8 and lay alpha over white;
 * libpng leaves by longjmp on error. */
#include <setjmp.h>
#include <string.h>

#include <png.h>

#include "image/codec.h"
#include "image/exif.h"

enum {
    SIGNATURE_SIZE = 8,
    CHUNK_OVERHEAD = 12, /* length, type, checksum */
    HEADER_BODY_SIZE = 13,
    HEADER_END = SIGNATURE_SIZE + CHUNK_OVERHEAD + HEADER_BODY_SIZE,
    SIDE_MAX = 0x7FFFFFFF,
};

/* Memory and number of ancillary chunks; the ones kept (transparency) are far below. */
enum { CHUNK_BYTES_MAX = 1 << 20, CHUNKS_CACHED_MAX = 16 };

bool png_recognise(const uint8_t *bytes, size_t size)
{
    return size >= SIGNATURE_SIZE && memcmp(bytes, "\x89PNG\r\n\x1a\n", SIGNATURE_SIZE) == 0;
}

/* CRC-32 as in the PNG specification, annex D; bit by bit, since only the header's is checked here.
 */
static uint32_t crc32_of(const uint8_t *bytes, size_t size)
{
    uint32_t crc = 0xFFFFFFFF;

    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xEDB88320 : crc >> 1;
    }
    return ~crc;
}

/* Samples a pixel by colour type; 0 for types that do not exist or not with this depth. */
static int channels_of(int colour_type, int depth)
{
    static const struct {
        uint8_t channels;
        uint32_t depths; /* bit d set: depth d is allowed */
    } types[7] = {
        [PNG_COLOR_TYPE_GRAY] = {1, 1u << 1 | 1u << 2 | 1u << 4 | 1u << 8 | 1u << 16},
        [PNG_COLOR_TYPE_RGB] = {3, 1u << 8 | 1u << 16},
        [PNG_COLOR_TYPE_PALETTE] = {3, 1u << 1 | 1u << 2 | 1u << 4 | 1u << 8},
        [PNG_COLOR_TYPE_GRAY_ALPHA] = {2, 1u << 8 | 1u << 16},
        [PNG_COLOR_TYPE_RGB_ALPHA] = {4, 1u << 8 | 1u << 16},
    };

    if (colour_type > 6 || depth > 16 || (types[colour_type].depths >> depth & 1) == 0)
        return 0;
    return types[colour_type].channels;
}

static int read_header(const uint8_t *bytes, size_t size, struct image_info *info,
                       struct error *err)
{
    const uint8_t *type = bytes + SIGNATURE_SIZE + 4, *body = type + 4;

    if (size < HEADER_END)
        return error_set(err, STATUS_CORRUPT, "the PNG ends within its header");
    if (read_be32(type - 4) != HEADER_BODY_SIZE || memcmp(type, "IHDR", 4) != 0)
        return error_set(err, STATUS_CORRUPT, "the PNG does not begin with a header chunk");
    if (crc32_of(type, 4 + HEADER_BODY_SIZE) != read_be32(body + HEADER_BODY_SIZE))
        return error_set(err, STATUS_CORRUPT, "the PNG header's checksum is wrong");
    const uint32_t width = read_be32(body), height = read_be32(body + 4);
    if (width > SIDE_MAX || height > SIDE_MAX)
        return error_set(err, STATUS_CORRUPT, "the PNG header's sizes are out of range");
    info->width = (int)width;
    info->height = (int)height;
    info->bit_depth = body[8];
    info->channels = channels_of(body[9], body[8]);
    if (info->channels == 0 || body[10] != 0 || body[11] != 0 || body[12] > 1)
        return error_set(err, STATUS_CORRUPT, "the PNG header names an unknown pixel format");
    return STATUS_OK;
}

/* Looks through the chunks for eXIf, which may come before or after the pixels. */
static int find_orientation(const uint8_t *bytes, size_t size)
{
    size_t offset = HEADER_END;

    while (size - offset >= CHUNK_OVERHEAD) {
        const size_t length = read_be32(bytes + offset);
        const uint8_t *type = bytes + offset + 4;
        if (length > size - offset - CHUNK_OVERHEAD)
            break;
        if (memcmp(type, "eXIf", 4) == 0)
            return exif_orientation(type + 4, length);
        offset += CHUNK_OVERHEAD + length;
    }
    return 1;
}

int png_probe(const uint8_t *bytes, size_t size, struct image_info *info, struct error *err)
{
    const int status = read_header(bytes, size, info, err);
    if (status == STATUS_OK)
        info->orientation = find_orientation(bytes, size);
    return status;
}

/* One reading of a file. Owned by png_decode, outside the function that calls setjmp, so that all
 * of it is defined after a longjmp. */
struct png_reading {
    png_structp png;
    png_infop png_info;
    const uint8_t *next; /* what libpng has not taken yet */
    size_t left;
    int status;
    struct error *err;
    struct image *image;
};

static void on_error(png_structp png, png_const_charp reason)
{
    struct png_reading *reading = png_get_error_ptr(png);

    reading->status =
        error_set(reading->err, STATUS_CORRUPT, "the PNG cannot be decoded: %s", reason);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp reason)
{
    (void)png;
    (void)reason;
}

static void on_read(png_structp png, png_bytep bytes, size_t size)
{
    struct png_reading *reading = png_get_io_ptr(png);

    if (size > reading->left)
        png_error(png, "the file ends too early");
    memcpy(bytes, reading->next, size);
    reading->next += size;
    reading->left -= size;
}

/* Metadata is skipped, not parsed; above all the compressed kinds, which can be bombs. */
static void skip_metadata(png_structp png)
{
    static const uint8_t names[] = "cHRM\0gAMA\0iCCP\0sBIT\0sRGB\0bKGD\0hIST\0pHYs\0sPLT\0tIME\0"
                                   "iTXt\0tEXt\0zTXt\0oFFs\0pCAL\0sCAL\0eXIf";

    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, names, (int)(sizeof names / 5));
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, 0);
}

/* Asks for 8-bit RGB whatever the file holds, and returns how many times the rows come by (7 when
 * interlaced). */
static int set_transforms(struct png_reading *reading)
{
    png_structp png = reading->png;
    const png_byte depth = png_get_bit_depth(png, reading->png_info);
    const png_byte type = png_get_color_type(png, reading->png_info);
    const bool has_key = png_get_valid(png, reading->png_info, PNG_INFO_tRNS) != 0;

    png_set_expand(png);
    png_set_scale_16(png);
    if ((type & PNG_COLOR_MASK_COLOR) == 0)
        png_set_gray_to_rgb(png);
    if ((type & PNG_COLOR_MASK_ALPHA) != 0 || has_key) {
        const png_uint_16 full = depth == 16 ? 0xFFFF : 0xFF;
        const png_color_16 white = {.red = full, .green = full, .blue = full, .gray = full};
        png_set_background_fixed(png, &white, PNG_BACKGROUND_GAMMA_SCREEN, 0, PNG_FP_1);
    }
    const int passes = png_set_interlace_handling(png);
    png_read_update_info(png, reading->png_info);
    return passes;
}

static int read_picture(struct png_reading *reading, const struct image_info *info)
{
    png_structp png = reading->png;

    if (setjmp(png_jmpbuf(png)) != 0)
        return reading->status;
    png_set_read_fn(png, reading, on_read);
    png_set_user_limits(png, (png_uint_32)info->width, (png_uint_32)info->height);
    png_set_chunk_malloc_max(png, CHUNK_BYTES_MAX);
    png_set_chunk_cache_max(png, CHUNKS_CACHED_MAX);
    skip_metadata(png);
    png_read_info(png, reading->png_info);
    const int passes = set_transforms(reading);
    reading->status = image_create(info->width, info->height, &reading->image, reading->err);
    if (reading->status != STATUS_OK)
        return reading->status;
    if (png_get_rowbytes(png, reading->png_info) != reading->image->stride)
        png_error(png, "its rows have an unexpected length");
    for (int pass = 0; pass < passes; pass++) {
        for (int y = 0; y < info->height; y++)
            png_read_row(png, reading->image->pixels + (size_t)y * reading->image->stride, NULL);
    }
    png_read_end(png, NULL); /* to the end chunk, which must be there */
    return STATUS_OK;
}

int png_decode(const uint8_t *bytes, size_t size, const struct image_info *info,
               const struct image_target *target, struct image **out, struct error *err)
{
    struct png_reading reading = {.next = bytes, .left = size, .err = err};
    int status;

    (void)target; /* rows are stored whole: there is nothing to gain */
    reading.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reading, on_error, on_warning);
    if (reading.png != NULL)
        reading.png_info = png_create_info_struct(reading.png);
    if (reading.png_info == NULL)
        status = error_set(err, STATUS_NO_MEMORY, "no memory to decode a PNG");
    else
        status = read_picture(&reading, info);
    png_destroy_read_struct(&reading.png, &reading.png_info, NULL);
    if (status == STATUS_OK)
        *out = reading.image;
    else
        image_release(reading.image);
    return status;
}
