/* Who may come in: the API key, the rate limit per client, and no writing from other web sites. */
#ifndef HTTP_ACCESS_H
#define HTTP_ACCESS_H

#include <stdint.h>

#include "http/route.h"

struct access;

/* An empty key asks for none; a rate of 0 is no limit. */
int access_create(const char *api_key, int64_t rate_per_minute, struct access **out,
                  struct error *err);
void access_free(struct access *access);

enum access_verdict { ACCESS_GRANTED, ACCESS_NO_KEY, ACCESS_TOO_MANY, ACCESS_CROSS_SITE };

/* `route` is NULL for a path that nobody has (only the rate counts). On ACCESS_TOO_MANY,
 * *retry_after is in seconds. Thread-safe. */
enum access_verdict access_check(struct access *access, const struct request *request,
                                 const struct route *route, int64_t now_ns, int *retry_after,
                                 struct error *err);

#endif
