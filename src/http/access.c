/* Who may come in: see access.h. */
#include "http/access.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/hash.h"

/* The table of buckets is set-associative: a client's bucket is one of the eight of its set, and a
 * new client takes the one longest unused. Memory stays what it is, whoever knocks. */
enum { SETS = 512, WAYS = 8 };

struct bucket {
    uint64_t client; /* a hash; 0 is free */
    double tokens;
    int64_t filled_ns;
};

struct access {
    bool has_key;
    uint8_t key_digest[SHA256_SIZE];
    double rate_per_ns, tokens_max;
    pthread_mutex_t mutex; /* guards the buckets */
    struct bucket buckets[SETS][WAYS];
};

int access_create(const char *api_key, int64_t rate_per_minute, struct access **out,
                  struct error *err)
{
    struct access *access = calloc(1, sizeof *access);

    if (access == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the HTTP server");
    access->has_key = *api_key != '\0';
    sha256(api_key, strlen(api_key), access->key_digest);
    access->rate_per_ns = (double)rate_per_minute / 60e9;
    access->tokens_max = (double)rate_per_minute;
    pthread_mutex_init(&access->mutex, NULL);
    *out = access;
    return STATUS_OK;
}

void access_free(struct access *access)
{
    if (access == NULL)
        return;
    pthread_mutex_destroy(&access->mutex);
    OPENSSL_cleanse(access->key_digest, sizeof access->key_digest);
    free(access);
}

/* --- The rate */

/* A household or a host has a whole /64 of IPv6 addresses to itself, so that is what counts. */
static uint64_t hash_of_client(const char *client)
{
    struct in6_addr address;
    uint64_t hash;

    if (inet_pton(AF_INET6, client, &address) == 1)
        hash = fnv1a(&address, 8);
    else
        hash = fnv1a(client, strlen(client));
    return hash != 0 ? hash : 1;
}

static struct bucket *find_bucket(struct access *access, uint64_t client, int64_t now_ns)
{
    struct bucket *set = access->buckets[client % SETS], *oldest = &set[0];

    for (int i = 0; i < WAYS; i++) {
        if (set[i].client == client)
            return &set[i];
        if (set[i].filled_ns < oldest->filled_ns)
            oldest = &set[i];
    }
    *oldest = (struct bucket){client, access->tokens_max, now_ns};
    return oldest;
}

/* A token bucket that holds a minute's worth. True when a token was there. */
static bool take_token(struct access *access, const char *client, int64_t now_ns, int *retry_after)
{
    pthread_mutex_lock(&access->mutex);
    struct bucket *bucket = find_bucket(access, hash_of_client(client), now_ns);
    bucket->tokens += (double)(now_ns - bucket->filled_ns) * access->rate_per_ns;
    if (bucket->tokens > access->tokens_max)
        bucket->tokens = access->tokens_max;
    bucket->filled_ns = now_ns;
    const bool taken = bucket->tokens >= 1;
    if (taken)
        bucket->tokens -= 1;
    else
        *retry_after = (int)((1 - bucket->tokens) / (access->rate_per_ns * 1e9)) + 1;
    pthread_mutex_unlock(&access->mutex);
    return taken;
}

/* --- The key */

/* Digests are compared, so that neither the key's bytes nor its length show in the time taken. */
static bool has_key(const struct access *access, const struct request *request)
{
    const char *header = request_header(request, "Authorization");
    uint8_t digest[SHA256_SIZE];

    if (header == NULL || strncasecmp(header, "Bearer ", 7) != 0)
        return false;
    header += 7 + strspn(header + 7, " ");
    sha256(header, strlen(header), digest);
    return CRYPTO_memcmp(digest, access->key_digest, sizeof digest) == 0;
}

/* --- Other sites */

/* A page anywhere on the web can make its visitor's browser send a form to a server on the
 * visitor's own machine; the browser then says where the page is from. Programs send no Origin. */
static bool is_cross_site(const struct request *request)
{
    const char *method = request_method(request);
    const char *origin = request_header(request, "Origin"), *host = request_header(request, "Host");

    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || origin == NULL)
        return false;
    const char *authority = strstr(origin, "://");
    return authority == NULL || host == NULL || strcasecmp(authority + 3, host) != 0;
}

enum access_verdict access_check(struct access *access, const struct request *request,
                                 const struct route *route, int64_t now_ns, int *retry_after,
                                 struct error *err)
{
    const bool open = route != NULL && (route->flags & ROUTE_OPEN);

    if (access->rate_per_ns > 0 && !open &&
        !take_token(access, request_client(request), now_ns, retry_after)) {
        error_set(err, STATUS_BUSY, "more than %.0f requests a minute from %s", access->tokens_max,
                  request_client(request));
        return ACCESS_TOO_MANY;
    }
    if (route == NULL)
        return ACCESS_GRANTED;
    if (access->has_key && !open && !has_key(access, request)) {
        error_set(err, STATUS_DENIED, "send the API key as 'Authorization: Bearer KEY'");
        return ACCESS_NO_KEY;
    }
    /* Who has the key proved it was no form on a strange page. */
    if (!access->has_key && is_cross_site(request)) {
        error_set(err, STATUS_DENIED, "pages of other sites may not send this");
        return ACCESS_CROSS_SITE;
    }
    return ACCESS_GRANTED;
}
