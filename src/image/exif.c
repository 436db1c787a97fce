/* EXIF orientation (CIPA DC-008, section 4.6.4; the container is TIFF 6.0, section 2).
 *
 * The data is a TIFF file: byte order mark, the number 42, the offset of the first directory; a
 * directory is a 16-bit count and that many entries of 12 bytes: tag, type, count, value. The
 * orientation sits in the first directory, so nothing is followed further. */
#include "image/exif.h"

#include <stdbool.h>
#include <string.h>

#include "image/codec.h"

enum {
    TIFF_HEADER_SIZE = 8,
    TIFF_ENTRY_SIZE = 12,
    TIFF_TYPE_SHORT = 3,
    TAG_ORIENTATION = 0x0112,
    ORIENTATION_UPRIGHT = 1,
};

struct tiff {
    const uint8_t *bytes;
    size_t size;
    bool big_endian;
};

static uint32_t tiff_u16(const struct tiff *tiff, size_t offset)
{
    return tiff->big_endian ? read_be16(tiff->bytes + offset) : read_le16(tiff->bytes + offset);
}

static uint32_t tiff_u32(const struct tiff *tiff, size_t offset)
{
    return tiff->big_endian ? read_be32(tiff->bytes + offset) : read_le32(tiff->bytes + offset);
}

static bool tiff_open(const uint8_t *bytes, size_t size, struct tiff *tiff)
{
    static const uint8_t exif_marker[6] = {'E', 'x', 'i', 'f', 0, 0};

    if (size >= sizeof exif_marker && memcmp(bytes, exif_marker, sizeof exif_marker) == 0) {
        bytes += sizeof exif_marker;
        size -= sizeof exif_marker;
    }
    if (size < TIFF_HEADER_SIZE)
        return false;
    *tiff = (struct tiff){.bytes = bytes, .size = size, .big_endian = bytes[0] == 'M'};
    return (memcmp(bytes, "II", 2) == 0 || memcmp(bytes, "MM", 2) == 0) && tiff_u16(tiff, 2) == 42;
}

int exif_orientation(const uint8_t *bytes, size_t size)
{
    struct tiff tiff;

    if (!tiff_open(bytes, size, &tiff))
        return ORIENTATION_UPRIGHT;
    size_t offset = tiff_u32(&tiff, 4);
    if (offset > tiff.size - 2)
        return ORIENTATION_UPRIGHT;
    const uint32_t entries = tiff_u16(&tiff, offset);
    offset += 2;
    for (uint32_t i = 0; i < entries && tiff.size - offset >= TIFF_ENTRY_SIZE; i++) {
        if (tiff_u16(&tiff, offset) == TAG_ORIENTATION) {
            const uint32_t value = tiff_u16(&tiff, offset + 8);
            const bool valid = tiff_u16(&tiff, offset + 2) == TIFF_TYPE_SHORT &&
                               tiff_u32(&tiff, offset + 4) == 1 && value >= 1 && value <= 8;
            return valid ? (int)value : ORIENTATION_UPRIGHT;
        }
        offset += TIFF_ENTRY_SIZE;
    }
    return ORIENTATION_UPRIGHT;
}

/* How to read the stored pixels in the displayed picture's order: where its first pixel lies, and
 * the byte steps that go one displayed pixel to the right and one row down. */
struct walk {
    const uint8_t *first;
    ptrdiff_t right, down;
};

static struct walk walk_of(int orientation, const struct image *image)
{
    const ptrdiff_t pixel = 3, row = (ptrdiff_t)image->stride;
    const ptrdiff_t last_pixel = (image->width - 1) * pixel, last_row = (image->height - 1) * row;
    const uint8_t *origin = image->pixels;

    switch (orientation) {
    case 2: /* mirrored left to right */
        return (struct walk){origin + last_pixel, -pixel, row};
    case 3: /* upside down */
        return (struct walk){origin + last_row + last_pixel, -pixel, -row};
    case 4: /* mirrored top to bottom */
        return (struct walk){origin + last_row, pixel, -row};
    case 5: /* transposed */
        return (struct walk){origin, row, pixel};
    case 6: /* to be turned clockwise */
        return (struct walk){origin + last_row, -row, pixel};
    case 7: /* transposed over the other diagonal */
        return (struct walk){origin + last_row + last_pixel, -row, -pixel};
    case 8: /* to be turned counter-clockwise */
        return (struct walk){origin + last_pixel, row, -pixel};
    default:
        return (struct walk){origin, pixel, row};
    }
}

/* Where the content lies afterwards: mirrored and flipped in the stored picture, as the walk's
 * first pixel says, and then transposed. */
static struct image_box turned_box(int orientation, const struct image *source)
{
    const struct image_box box = source->content;
    const bool mirrored = orientation == 2 || orientation == 3 || orientation >= 7;
    const bool flipped =
        orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    const double x = mirrored ? source->width - box.x - box.width : box.x;
    const double y = flipped ? source->height - box.y - box.height : box.y;

    if (orientation >= 5)
        return (struct image_box){y, x, box.height, box.width};
    return (struct image_box){x, y, box.width, box.height};
}

int exif_apply(int orientation, struct image **image, struct error *err)
{
    const struct image *source = *image;
    const bool turned = orientation >= 5;
    struct image *upright;

    if (orientation == ORIENTATION_UPRIGHT)
        return STATUS_OK;
    const int status = image_create(turned ? source->height : source->width,
                                    turned ? source->width : source->height, &upright, err);
    if (status != STATUS_OK)
        return status;
    const struct walk walk = walk_of(orientation, source);
    for (int y = 0; y < upright->height; y++) {
        uint8_t *to = upright->pixels + (size_t)y * upright->stride;
        const uint8_t *from = walk.first + y * walk.down;
        for (int x = 0; x < upright->width; x++) {
            memcpy(to + 3 * x, from + x * walk.right, 3);
        }
    }
    upright->content = turned_box(orientation, source);
    image_release(*image);
    *image = upright;
    return STATUS_OK;
}
