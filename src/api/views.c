/* What the faces show: see views.h. Images and predictions; statistics are in views_stats.c. */
#include "api/views.h"

#include <string.h>

#include "api/query.h"
#include "base/clock.h"
#include "base/id.h"

#define PREDICTION_COLUMNS                                                                         \
    "p.image_id, p.image_path, p.model_name, p.model_version, p.prediction_class, p.confidence, "  \
    "p.inference_time_ms, p.batch_size, p.top_k AS top_k_json, p.created_at"

#define COMPARISON_COLUMNS                                                                         \
    "c.image_id, c.models AS models_json, c.model_count, c.agreement AS agreement_bool, "          \
    "c.consensus_prediction, c.fastest_model, c.most_confident_model, c.comparison_timestamp"

static int check_id(const char *image_id, struct error *err)
{
    return id_valid(image_id)
               ? STATUS_OK
               : error_set(err, STATUS_INVALID, "'%.64s' is not an image id (a UUID)", image_id);
}

/* Adds the rows of one query as a member. */
static int add_rows(struct sql *sql, json_t *object, const char *member, const char *text,
                    const char *image_id, struct error *err)
{
    json_t *rows;
    const int status = query_json(sql, text, SQL_PARAMS(sql_text(image_id)), &rows, err);
    if (status == STATUS_OK)
        json_object_set_new(object, member, rows);
    return status;
}

int view_image(struct sql *sql, const char *image_id, json_t **out, struct error *err)
{
    static const char image[] =
        "SELECT image_id, original_filename, minio_path, upload_timestamp, file_size_bytes, width, "
        "height, format, source, processing_status AS status, processed_at, metadata AS "
        "metadata_json, label, failure_reason, sha256, expected_models AS expected_models_json "
        "FROM images WHERE image_id = $1";
    static const char predictions[] = "SELECT " PREDICTION_COLUMNS " FROM predictions p "
                                      "WHERE p.image_id = $1 "
                                      "ORDER BY p.model_name, p.model_version";
    static const char failures[] = "SELECT model_name, model_version, reason, created_at "
                                   "FROM prediction_failures WHERE image_id = $1 "
                                   "ORDER BY model_name, model_version";
    static const char comparison[] =
        "SELECT " COMPARISON_COLUMNS " FROM model_comparisons c WHERE c.image_id = $1";
    json_t *object = NULL, *rows = NULL;

    int status = check_id(image_id, err);
    if (status == STATUS_OK)
        status = query_json_one(sql, image, SQL_PARAMS(sql_text(image_id)),
                                "there is no such image", &object, err);
    if (status == STATUS_OK)
        status = add_rows(sql, object, "predictions", predictions, image_id, err);
    if (status == STATUS_OK)
        status = add_rows(sql, object, "failures", failures, image_id, err);
    if (status == STATUS_OK)
        status = query_json(sql, comparison, SQL_PARAMS(sql_text(image_id)), &rows, err);
    if (status != STATUS_OK) {
        json_decref(object);
        return status;
    }
    json_object_set_new(
        object, "count",
        json_integer((json_int_t)json_array_size(json_object_get(object, "predictions"))));
    json_object_set(object, "comparison",
                    json_array_size(rows) > 0 ? json_array_get(rows, 0) : json_null());
    json_decref(rows);
    *out = object;
    return STATUS_OK;
}

int view_recent_predictions(struct sql *sql, int64_t limit, json_t **out, struct error *err)
{
    static const char text[] =
        "SELECT image_id, image_path, model_name, model_version, prediction_class, confidence, "
        "inference_time_ms, created_at, original_filename, source "
        "FROM recent_predictions ORDER BY created_at DESC, prediction_id DESC LIMIT $1";
    json_t *rows;

    const int status = query_json(sql, text, SQL_PARAMS(sql_integer(limit)), &rows, err);
    if (status == STATUS_OK)
        *out = json_pack("{s:I, s:o}", "count", (json_int_t)json_array_size(rows), "predictions",
                         rows);
    return status;
}

int view_comparison(struct sql *sql, const char *image_id, json_t **out, struct error *err)
{
    static const char text[] =
        "SELECT " COMPARISON_COLUMNS ", i.label, i.processing_status AS status, i.source, "
        "i.original_filename FROM model_comparisons c JOIN images i ON i.image_id = c.image_id "
        "WHERE c.image_id = $1";

    const int status = check_id(image_id, err);
    return status != STATUS_OK
               ? status
               : query_json_one(sql, text, SQL_PARAMS(sql_text(image_id)),
                                "there is no such image, or no model has answered yet", out, err);
}

int view_performance(struct sql *sql, int64_t hours, json_t **out, struct error *err)
{
    static const char text[] = "SELECT hour, model_name, avg_confidence, avg_time_ms, "
                               "prediction_count FROM model_performance_comparison "
                               "WHERE hour >= $1 ORDER BY hour DESC, model_name";
    char since[TIMESTAMP_TEXT_MAX];
    json_t *rows;

    const int status =
        query_json(sql, text, SQL_PARAMS(sql_timestamp(clock_utc_us() - hours * 3600000000, since)),
                   &rows, err);
    if (status == STATUS_OK)
        *out = json_pack("{s:I, s:o}", "hours", (json_int_t)hours, "rows", rows);
    return status;
}
