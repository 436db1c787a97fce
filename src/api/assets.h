/* The files of web/ inside the program, gzip-compressed; the table is made by tools/embed. */
#ifndef API_ASSETS_H
#define API_ASSETS_H

#include <stddef.h>

struct asset {
    const char *path; /* as served; NULL ends the table */
    const char *content_type;
    const unsigned char *bytes, *end;
};

extern const struct asset assets[];

#endif
