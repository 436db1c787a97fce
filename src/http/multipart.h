/* An incremental parser of multipart/form-data (RFC 7578 over RFC 2046): it is fed the body in
 * pieces of any size and gives back headers and spans of content; it never holds content itself. */
#ifndef HTTP_MULTIPART_H
#define HTTP_MULTIPART_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum {
    MULTIPART_BOUNDARY_MAX = 70, /* RFC 2046, section 5.1.1 */
    MULTIPART_HEADERS_MAX = 8192 /* bytes of one part's headers */
};

enum multipart_event {
    MULTIPART_MORE,     /* the input is used up; feed the next piece */
    MULTIPART_PART,     /* a part begins: read multipart_name and so on now */
    MULTIPART_DATA,     /* *data and *data_size are content of it, valid like the input */
    MULTIPART_PART_END, /* the part is complete */
    MULTIPART_END       /* the closing boundary; what follows it is ignored */
};

struct multipart;

/* `content_type` is the request's header. STATUS_UNSUPPORTED when it is not multipart/form-data,
 * STATUS_INVALID when its boundary is missing or breaks the rules. */
int multipart_create(const char *content_type, int part_count_max, struct multipart **out,
                     struct error *err);
void multipart_free(struct multipart *multipart);

/* Goes on in *input, of which *input_size bytes are left, and steps both forward over what it used.
 * Returns an event, or STATUS_CORRUPT for a broken body and STATUS_TOO_LARGE for too many parts or
 * headers; after a failure only multipart_free may follow. */
int multipart_next(struct multipart *multipart, const uint8_t **input, size_t *input_size,
                   const uint8_t **data, size_t *data_size, struct error *err);

/* Of the part that began last, valid until the next begins. Texts are UTF-8 without control
 * characters. */
const char *multipart_name(const struct multipart *multipart);
const char *multipart_filename(const struct multipart *multipart); /* without folders; or NULL */
const char *multipart_content_type(const struct multipart *multipart); /* or NULL */

#endif
