/* Pages and their assets, from inside the program. */
#include <string.h>

#include "api/api.h"
#include "api/assets.h"

static void handle_asset(struct request *request, struct response *response, void *context)
{
    const char *path = request_path(request);
    const struct asset *asset = assets;
    struct error err = {0};

    (void)context;
    while (asset->path != NULL && strcmp(asset->path, path) != 0)
        asset++;
    if (asset->path != NULL) {
        response_static(response, asset->content_type, "gzip", asset->bytes,
                        (size_t)(asset->end - asset->bytes));
        return;
    }
    error_set(&err, STATUS_NOT_FOUND, "there is no page '%.128s'", path);
    response_error(response, &err);
}

const struct route api_web_routes[] = {
    {"GET", "/docs", handle_asset, SCOPE_READ, ROUTE_OPEN | ROUTE_HIDDEN, 0, "pages",
     "The API, to read and try", NULL, NULL, NULL},
    {"GET", "/assets/{name...}", handle_asset, SCOPE_READ, ROUTE_OPEN | ROUTE_HIDDEN, 0, "pages",
     "What pages are made of", NULL, NULL, NULL},
    {NULL},
};
