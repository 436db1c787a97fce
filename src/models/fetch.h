/* Bringing a network's file here, from a file or an address; private to this folder. */
#ifndef MODELS_FETCH_H
#define MODELS_FETCH_H

#include <stddef.h>

#include "base/error.h"

/* Writes the content of `source`, a path or an http, https or file URL, to the new file `path` and
 * syncs it. At most size_max bytes (STATUS_TOO_LARGE); a server that falls silent for a minute is
 * given up. On failure the file may be there, incomplete. */
int fetch_file(const char *source, const char *path, size_t size_max, struct error *err);

#endif
