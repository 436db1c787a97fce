/* Multipart bodies: whatever the bytes, and however they are cut, the parser reads no byte it was
 * not given, ends, and gives the same parts. The first byte of the input chooses the size of the
 * pieces.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/text.h"
#include "http/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool is_clean(const char *text)
{
    if (text == NULL)
        return true;
    for (const char *at = text; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20)
            return false;
    return text_is_utf8(text, strlen(text));
}

/* A hash over all parts and the way the body ended. */
static uint64_t read_in_pieces(const uint8_t *bytes, size_t size, size_t piece)
{
    struct multipart *multipart = NULL;
    const uint8_t *data = NULL;
    uint64_t hash = 1;
    int event = MULTIPART_MORE;

    must(multipart_create("multipart/form-data; boundary=b", 100, &multipart, NULL) == 0);
    for (size_t at = 0; at < size && event >= 0 && event != MULTIPART_END; at += piece) {
        size_t left = size - at < piece ? size - at : piece;
        uint8_t *copy = malloc(left);
        const uint8_t *input = copy;
        must(copy != NULL);
        memcpy(copy, bytes + at, left);
        do {
            size_t data_size = 0;
            event = multipart_next(multipart, &input, &left, &data, &data_size, NULL);
            for (size_t i = 0; event == MULTIPART_DATA && i < data_size; i++)
                hash = hash * 31 + data[i];
            if (event == MULTIPART_PART) {
                const char *filename = multipart_filename(multipart);
                must(multipart_name(multipart) != NULL);
                must(is_clean(multipart_name(multipart)) && is_clean(filename));
                must(is_clean(multipart_content_type(multipart)));
                must(filename == NULL || strpbrk(filename, "/\\") == NULL);
                hash =
                    hash * 33 + fnv1a(multipart_name(multipart), strlen(multipart_name(multipart)));
            } else if (event != MULTIPART_DATA && event != MULTIPART_MORE) {
                hash = hash * 37 + (uint64_t)event;
            }
        } while (event > MULTIPART_MORE && event != MULTIPART_END);
        must(event != MULTIPART_MORE || left == 0);
        free(copy);
    }
    multipart_free(multipart);
    return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return 0;
    const size_t piece = bytes[0] % 64 + 1u;
    must(read_in_pieces(bytes + 1, size - 1, size) == read_in_pieces(bytes + 1, size - 1, piece));
    return 0;
}
