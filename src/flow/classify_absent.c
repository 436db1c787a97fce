/* Models that an earlier process served and this one does not: their folder went while nothing ran,
 * or the process died while they drained. Nobody will read for their groups again, so what they owe
 * is written off: otherwise their backlog would only grow until uploads are refused, topics would
 * never be pruned, and images that wait for their answers would wait for ever.
 *
 * The order makes it safe to die in between: the images first, the groups, which say that there is
 * something to do, last. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "flow/classify_private.h"
#include "flow/comparison.h"

enum { SETTLE_A_WRITE_MAX = 200 };

/* --- Images that wait for a model that is gone */

struct settle {
    struct bus *bus;
    char after[ID_TEXT_SIZE]; /* the last image of the write before */
    char (*ids)[ID_TEXT_SIZE];
    int count;
};

static int find_waiting(struct sql_tx *tx, struct settle *settle, struct error *err)
{
    static const char text[] =
        "SELECT image_id FROM images WHERE processing_status IN ('pending', 'processing') "
        "AND image_id > $1 AND EXISTS (SELECT 1 FROM json_each(images.expected_models) AS expected "
        "WHERE NOT EXISTS (SELECT 1 FROM models WHERE "
        "models.name || '@' || models.version = expected.value "
        "AND models.state IN ('active', 'draining'))) ORDER BY image_id LIMIT $2";
    struct sql_rows *rows = NULL;
    int more;

    settle->count = 0;
    const int status = sql_query(
        tx, text, SQL_PARAMS(sql_text(settle->after), sql_integer(SETTLE_A_WRITE_MAX)), &rows, err);
    if (status != STATUS_OK)
        return status;
    while ((more = sql_rows_next(rows, err)) == 1)
        snprintf(settle->ids[settle->count++], ID_TEXT_SIZE, "%s", sql_rows_text(rows, 0));
    sql_rows_free(rows);
    return more;
}

static int settle_some(struct sql_tx *tx, void *context, struct error *err)
{
    struct settle *settle = context;

    int status = find_waiting(tx, settle, err);
    for (int i = 0; status == STATUS_OK && i < settle->count; i++)
        status = comparison_update(tx, settle->bus, settle->ids[i], err);
    return status;
}

static int settle_images(struct classify *classify, struct error *err)
{
    struct settle settle = {.bus = classify->bus, .ids = calloc(SETTLE_A_WRITE_MAX, ID_TEXT_SIZE)};
    int status;

    if (settle.ids == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory to settle images of gone models");
    do {
        status = sql_write(classify->sql, settle_some, &settle, err);
        if (status == STATUS_OK && settle.count > 0)
            memcpy(settle.after, settle.ids[settle.count - 1], sizeof settle.after);
    } while (status == STATUS_OK && settle.count > 0);
    free(settle.ids);
    return status;
}

/* --- Groups without a lane */

static bool is_served(struct classify *classify, const char *group)
{
    pthread_mutex_lock(&classify->lock);
    const struct lane *lane = classify->lanes;
    while (lane != NULL && strcmp(lane->group, group) != 0)
        lane = lane->next;
    pthread_mutex_unlock(&classify->lock);
    return lane != NULL;
}

/* The names of such groups, as a JSON array. */
static int find_groups(struct classify *classify, json_t **out, struct error *err)
{
    json_t *topics, *topic, *group, *found = json_array();
    size_t i, j;

    const int status = bus_describe(classify->bus, &topics, err);
    if (status != STATUS_OK || found == NULL) {
        json_decref(found);
        return status != STATUS_OK ? status : error_set(err, STATUS_NO_MEMORY, "no memory");
    }
    json_array_foreach (topics, i, topic) {
        const char *name = json_string_value(json_object_get(topic, "topic"));
        if (name == NULL || strcmp(name, classify->config->topic_images) != 0)
            continue;
        json_array_foreach (json_object_get(topic, "groups"), j, group) {
            json_t *text = json_object_get(group, "group");
            if (json_is_string(text) &&
                strncmp(json_string_value(text), LANE_GROUP_PREFIX, strlen(LANE_GROUP_PREFIX)) ==
                    0 &&
                !is_served(classify, json_string_value(text)))
                json_array_append(found, text);
        }
    }
    json_decref(topics);
    *out = found;
    return STATUS_OK;
}

int classify_forget_absent(struct classify *classify, struct error *err)
{
    json_t *groups, *group;
    size_t i;

    /* Without any model this is more likely a mistake in a setting than the end of all of them. */
    if (classify->lanes == NULL)
        return STATUS_OK;
    int status = find_groups(classify, &groups, err);
    if (status != STATUS_OK)
        return status;
    if (json_array_size(groups) > 0)
        status = settle_images(classify, err);
    json_array_foreach (groups, i, group) {
        if (status != STATUS_OK)
            break;
        log_warning("classify", "%s serves no more; images that waited for it do so no longer",
                    json_string_value(group) + strlen(LANE_GROUP_PREFIX));
        status = bus_group_remove(classify->bus, json_string_value(group), err);
    }
    json_decref(groups);
    return status;
}
