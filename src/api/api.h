/* The faces of the platform: every route handler's context, and the one table of routes. */
#ifndef API_API_H
#define API_API_H

#include <stdatomic.h>

#include "base/config.h"
#include "base/metrics.h"
#include "data/bus.h"
#include "data/cache.h"
#include "data/objects.h"
#include "data/sql.h"
#include "flow/classify.h"
#include "flow/ingest.h"
#include "flow/live.h"
#include "http/route.h"
#include "models/model_set.h"

/* What handlers may use; all borrowed. NULL where the process does not run that role. */
struct api {
    const struct config *config;
    struct metrics *metrics;
    struct sql *sql;
    struct bus *bus;
    struct objects *objects;
    struct cache *cache;
    struct ingest *ingest;
    struct live *live;
    struct model_set *models;  /* NULL without role classify */
    struct classify *classify; /* NULL without role classify */
    json_t *openapi;           /* owned: the document, made by api_open */
    int64_t started_us;
    atomic_int waiting; /* uploads that wait for their answers */
    atomic_bool ready;  /* false while starting and once stopping: /readyz */
};

enum { API_TABLES_MAX = 8 };

/* Makes the OpenAPI document and lists the route tables (each with `api` as its context) for
 * server_start. */
int api_open(struct api *api, struct route_table tables[API_TABLES_MAX], int *count,
             struct error *err);
void api_close(struct api *api);

/* Each face's rows, in its own file; ended by a NULL method. */
extern const struct route api_upload_routes[]; /* upload.c: /upload, /upload/batch */
extern const struct route api_rest_routes[];   /* rest.c: the fixed paths */
extern const struct route api_images_routes[]; /* images.c: /images... */
extern const struct route api_system_routes[]; /* system.c: health, models, topics, events, live */
extern const struct route api_web_routes[];    /* web.c: pages and embedded assets */

/* JSON Schemas shared by the routes' descriptions: components.schemas. */
extern const char api_components[];

#endif
