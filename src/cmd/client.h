/* A client of a running server, for the subcommands that talk to one. Not thread-safe: one a
 * thread. */
#ifndef CMD_CLIENT_H
#define CMD_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "base/json.h"

struct client;

/* `url` is where the server is ("http://host:8000"), NULL for the address in the settings; the
 * settings' API key goes with every request. Nothing is sent yet. */
int client_open(const struct config *config, const char *url, struct client **out,
                struct error *err);
void client_close(struct client *client); /* NULL is fine */
const char *client_url(const struct client *client);

/* `path` begins with '/' and is escaped already. The caller json_decref()s *out. An answer that is
 * no success gives the status whose HTTP code it has (see response_error in http/http.h) and the
 * sentence in its `detail`; STATUS_UNAVAILABLE when nobody answers at the address. */
int client_get(struct client *client, const char *path, json_t **out, struct error *err);
int client_post(struct client *client, const char *path, const json_t *body, json_t **out,
                struct error *err);
/* A piece of a path or query, escaped; the caller frees with client_escaped_free. NULL when memory
 * is out. */
char *client_escape(struct client *client, const char *text);
void client_escaped_free(char *text);

struct client_image {
    const uint8_t *bytes;
    size_t size;
    const char *name;   /* the file's */
    const char *source; /* NULL or "" for the server's default, "upload" */
    const char *label;  /* NULL or "" when the true class is unknown */
};

/* POST /upload. After STATUS_BUSY or STATUS_NO_SPACE (the server took nothing: try the same again)
 * *retry_after_s is what the server asked for, at least 1. */
int client_upload(struct client *client, const struct client_image *image, int64_t *retry_after_s,
                  struct error *err);
/* Whether the last request that failed had not even reached a server: nothing was done by it. */
bool client_never_connected(const struct client *client);

#endif
