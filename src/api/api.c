/* The faces put together: see api.h. */
#include "api/api.h"

int api_open(struct api *api, struct route_table tables[API_TABLES_MAX], int *count,
             struct error *err)
{
    const struct route *const faces[] = {api_upload_routes, api_rest_routes, api_images_routes,
                                         api_system_routes, api_web_routes};

    *count = 0;
    for (size_t i = 0; i < sizeof faces / sizeof *faces; i++)
        tables[(*count)++] = (struct route_table){.routes = faces[i], .context = api};
    return openapi_document(tables, *count, api_components, OCELLI_VERSION, &api->openapi, err);
}

void api_close(struct api *api)
{
    json_decref(api->openapi);
    api->openapi = NULL;
}
