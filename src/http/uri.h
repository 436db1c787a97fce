/* The target of a request ("/a%20b/c?x=1") taken apart and percent-decoded once, with everything
 * refused that no handler should have to think of. RFC 3986; the query as browsers send forms. */
#ifndef HTTP_URI_H
#define HTTP_URI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"

struct pair {
    const char *name;
    const char *value;
};

enum { URI_SEGMENTS_MAX = 32, URI_QUERY_MAX = 128 };

/* All texts are in the arena, NUL-terminated valid UTF-8 without control characters. */
struct uri {
    const char *path;      /* decoded, "/" at least */
    const char **segments; /* decoded one by one: "/a/b/" is "a", "b", ""; "/" is "" */
    int segment_count;
    struct pair *query; /* in order; the value of "?x" is "" */
    int query_count;
};

/* STATUS_INVALID for a broken escape, a control character, text that is not UTF-8, a "." or ".."
 * among the segments (also behind an escaped slash), or too many of anything. */
int uri_parse(struct arena *arena, const char *target, struct uri *uri, struct error *err);

/* Decodes text[0..length) into the arena; a plus is a blank when `plus_is_space`. */
int uri_decode(struct arena *arena, const char *text, size_t length, bool plus_is_space,
               const char **out, struct error *err);

#endif
