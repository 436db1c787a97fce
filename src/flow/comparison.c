/* An image's comparison: see comparison.h. The consensus is the majority vote, ties going to the
 * class with the most confidence behind it: a proxy for the truth, not the truth. */
#include "flow/comparison.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "flow/message.h"

/* What the answers come to: indices of answers; -1 without any. */
struct findings {
    int consensus, fastest, most_confident;
    bool agreement;
};

static void copy(char *field, size_t size, const char *text)
{
    snprintf(field, size, "%s", text);
}

/* --- Reading what is known
 * ------------------------------------------------------------------------------------ */

/* Settled: every model the image was promised has answered or failed, or serves no more. */
static int read_image(struct sql_tx *tx, struct comparison *comparison, struct error *err)
{
    static const char text[] =
        "SELECT processing_status, source, label, minio_path, original_filename, failure_reason, "
        "NOT EXISTS (SELECT 1 FROM json_each(images.expected_models) AS expected JOIN models "
        "ON models.name || '@' || models.version = expected.value "
        "AND models.state IN ('active', 'draining') "
        "WHERE NOT EXISTS (SELECT 1 FROM predictions AS p WHERE p.image_id = images.image_id "
        "AND p.model_name = models.name AND p.model_version = models.version) "
        "AND NOT EXISTS (SELECT 1 FROM prediction_failures AS f "
        "WHERE f.image_id = images.image_id "
        "AND f.model_name = models.name AND f.model_version = models.version)) "
        "FROM images WHERE image_id = $1";
    struct image_state *image = &comparison->image;
    struct sql_rows *rows = NULL;

    int status = sql_query(tx, text, SQL_PARAMS(sql_text(comparison->image_id)), &rows, err);
    if (status != STATUS_OK)
        return status;
    const int got = sql_rows_next(rows, err);
    if (got == 1) {
        copy(image->status, sizeof image->status, sql_rows_text(rows, 0));
        copy(image->source, sizeof image->source, sql_rows_text(rows, 1));
        copy(image->label, sizeof image->label, sql_rows_text(rows, 2));
        copy(image->path, sizeof image->path, sql_rows_text(rows, 3));
        copy(image->filename, sizeof image->filename, sql_rows_text(rows, 4));
        copy(image->failure_reason, sizeof image->failure_reason, sql_rows_text(rows, 5));
        image->settled = sql_rows_integer(rows, 6) != 0;
    } else {
        status = got == 0 ? error_set(err, STATUS_NOT_FOUND, "there is no image '%s'",
                                      comparison->image_id)
                          : got;
    }
    sql_rows_free(rows);
    return status;
}

static int read_answers(struct sql_tx *tx, struct comparison *comparison, struct error *err)
{
    static const char text[] =
        "SELECT model_name, model_version, prediction_class, confidence, inference_time_ms "
        "FROM predictions WHERE image_id = $1 ORDER BY model_name, model_version";
    struct sql_rows *rows = NULL;
    int more = 0;

    comparison->answer_count = 0;
    const int status = sql_query(tx, text, SQL_PARAMS(sql_text(comparison->image_id)), &rows, err);
    if (status != STATUS_OK)
        return status;
    while (comparison->answer_count < ANSWERS_MAX && (more = sql_rows_next(rows, err)) == 1) {
        struct answer *answer = &comparison->answers[comparison->answer_count++];
        copy(answer->model_name, sizeof answer->model_name, sql_rows_text(rows, 0));
        copy(answer->model_version, sizeof answer->model_version, sql_rows_text(rows, 1));
        copy(answer->prediction_class, sizeof answer->prediction_class, sql_rows_text(rows, 2));
        answer->confidence = sql_rows_real(rows, 3);
        answer->time_ms = sql_rows_real(rows, 4);
    }
    sql_rows_free(rows);
    return more < 0 ? more : STATUS_OK;
}

/* A failure does not stand beside the answer that a replayed message brought after all. */
static int forget_overcome(struct sql_tx *tx, const char *image_id, struct error *err)
{
    static const char text[] =
        "DELETE FROM prediction_failures WHERE image_id = $1 AND EXISTS (SELECT 1 FROM predictions "
        "AS p WHERE p.image_id = $1 AND p.model_name = prediction_failures.model_name "
        "AND p.model_version = prediction_failures.model_version)";
    return sql_exec(tx, text, SQL_PARAMS(sql_text(image_id)), NULL, err);
}

static int read_failures(struct sql_tx *tx, struct comparison *comparison, struct error *err)
{
    static const char text[] = "SELECT model_name || '@' || model_version, reason "
                               "FROM prediction_failures WHERE image_id = $1 ORDER BY 1";
    struct sql_rows *rows = NULL;
    int more = 0;

    comparison->failure_count = 0;
    const int status = sql_query(tx, text, SQL_PARAMS(sql_text(comparison->image_id)), &rows, err);
    if (status != STATUS_OK)
        return status;
    while (comparison->failure_count < ANSWERS_MAX && (more = sql_rows_next(rows, err)) == 1) {
        struct failure *failure = &comparison->failures[comparison->failure_count++];
        copy(failure->model, sizeof failure->model, sql_rows_text(rows, 0));
        copy(failure->reason, sizeof failure->reason, sql_rows_text(rows, 1));
    }
    sql_rows_free(rows);
    return more < 0 ? more : STATUS_OK;
}

int comparison_read(struct sql_tx *tx, const char *image_id, struct comparison *comparison,
                    struct error *err)
{
    copy(comparison->image_id, sizeof comparison->image_id, image_id);
    int status = read_image(tx, comparison, err);
    if (status == STATUS_OK)
        status = read_answers(tx, comparison, err);
    if (status == STATUS_OK)
        status = read_failures(tx, comparison, err);
    if (status != STATUS_OK || comparison->failure_count == 0)
        return status;
    status = forget_overcome(tx, image_id, err);
    return status == STATUS_OK ? read_failures(tx, comparison, err) : status;
}

/* --- Comparing
 * -----------------------------------------------------------------------------------------------
 */

/* Votes for one answer's class, and the confidence behind them. */
static int votes_for(const struct comparison *comparison, int answer, double *confidence)
{
    int votes = 0;
    *confidence = 0.0;
    for (int i = 0; i < comparison->answer_count; i++)
        if (strcmp(comparison->answers[i].prediction_class,
                   comparison->answers[answer].prediction_class) == 0) {
            votes++;
            *confidence += comparison->answers[i].confidence;
        }
    return votes;
}

static void compare(const struct comparison *comparison, struct findings *findings)
{
    int votes_best = 0;
    double confidence_best = 0.0;

    findings->consensus = findings->fastest = findings->most_confident = -1;
    for (int i = 0; i < comparison->answer_count; i++) {
        const struct answer *answer = &comparison->answers[i];
        double confidence;
        const int votes = votes_for(comparison, i, &confidence);
        if (votes > votes_best || (votes == votes_best && confidence > confidence_best)) {
            findings->consensus = i;
            votes_best = votes;
            confidence_best = confidence;
        }
        if (i == 0 || answer->time_ms < comparison->answers[findings->fastest].time_ms)
            findings->fastest = i;
        if (i == 0 || answer->confidence > comparison->answers[findings->most_confident].confidence)
            findings->most_confident = i;
    }
    findings->agreement = comparison->answer_count > 0 && votes_best == comparison->answer_count;
}

/* --- Writing
 * -------------------------------------------------------------------------------------------------
 */

static void write_models(const struct comparison *comparison, struct buffer *out)
{
    buffer_text(out, "[");
    for (int i = 0; i < comparison->answer_count; i++) {
        const struct answer *answer = &comparison->answers[i];
        buffer_text(out, i == 0 ? "{\"model_name\":" : ",{\"model_name\":");
        json_quote(out, answer->model_name);
        buffer_text(out, ",\"model_version\":");
        json_quote(out, answer->model_version);
        buffer_text(out, ",\"prediction_class\":");
        json_quote(out, answer->prediction_class);
        buffer_print(out, ",\"confidence\":%.6f,\"inference_time_ms\":%.3f}", answer->confidence,
                     answer->time_ms);
    }
    buffer_text(out, "]");
}

static void write_failures(const struct comparison *comparison, struct buffer *out)
{
    buffer_text(out, "[");
    for (int i = 0; i < comparison->failure_count; i++) {
        buffer_text(out, i == 0 ? "{\"model\":" : ",{\"model\":");
        json_quote(out, comparison->failures[i].model);
        buffer_text(out, ",\"reason\":");
        json_quote(out, comparison->failures[i].reason);
        buffer_text(out, "}");
    }
    buffer_text(out, "]");
}

static void write_member(struct buffer *out, const char *name, const char *text)
{
    buffer_print(out, ",\"%s\":", name);
    if (text == NULL || text[0] == '\0')
        buffer_text(out, "null");
    else
        json_quote(out, text);
}

static const char *consensus_class(const struct comparison *comparison,
                                   const struct findings *findings)
{
    return findings->consensus < 0 ? NULL
                                   : comparison->answers[findings->consensus].prediction_class;
}

static const char *answer_name(const struct comparison *comparison, int i)
{
    return i < 0 ? NULL : comparison->answers[i].model_name;
}

/* "failed" when nobody can read the image or nobody could answer, "completed" when all have spoken.
 */
static const char *status_after(const struct comparison *comparison)
{
    const struct image_state *image = &comparison->image;
    if (image->failure_reason[0] != '\0')
        return "failed";
    if (!image->settled)
        return "processing";
    return comparison->answer_count > 0 ? "completed" : "failed";
}

static int write_row(struct sql_tx *tx, const struct comparison *comparison,
                     const struct findings *findings, struct error *err)
{
    static const char text[] =
        "INSERT INTO model_comparisons (image_id, models, model_count, agreement, "
        "consensus_prediction, fastest_model, most_confident_model, comparison_timestamp) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (image_id) DO UPDATE SET "
        "models = excluded.models, model_count = excluded.model_count, "
        "agreement = excluded.agreement, consensus_prediction = excluded.consensus_prediction, "
        "fastest_model = excluded.fastest_model, "
        "most_confident_model = excluded.most_confident_model, "
        "comparison_timestamp = excluded.comparison_timestamp";
    struct buffer models = {0};
    char now[TIMESTAMP_TEXT_MAX];

    write_models(comparison, &models);
    const int status =
        !buffer_ok(&models)
            ? error_set(err, STATUS_NO_MEMORY, "no memory for a comparison")
            : sql_exec(tx, text,
                       SQL_PARAMS(sql_text(comparison->image_id), sql_text(models.data),
                                  sql_integer(comparison->answer_count),
                                  sql_integer(findings->agreement),
                                  sql_text(consensus_class(comparison, findings)),
                                  sql_text(answer_name(comparison, findings->fastest)),
                                  sql_text(answer_name(comparison, findings->most_confident)),
                                  sql_timestamp(clock_utc_us(), now)),
                       NULL, err);
    buffer_free(&models);
    return status;
}

static int write_status(struct sql_tx *tx, const struct comparison *comparison, const char *status,
                        struct error *err)
{
    static const char text[] = "UPDATE images SET processing_status = $2, processed_at = $3 "
                               "WHERE image_id = $1";
    char now[TIMESTAMP_TEXT_MAX];
    const bool finished = strcmp(status, "processing") != 0;

    if (strcmp(status, comparison->image.status) == 0)
        return STATUS_OK;
    return sql_exec(tx, text,
                    SQL_PARAMS(sql_text(comparison->image_id), sql_text(status),
                               finished ? sql_timestamp(clock_utc_us(), now) : sql_null()),
                    NULL, err);
}

static int publish(struct sql_tx *tx, struct bus *bus, const struct comparison *comparison,
                   const struct findings *findings, const char *status, struct error *err)
{
    const struct image_state *image = &comparison->image;
    struct buffer out = {0};
    char now[TIMESTAMP_TEXT_MAX];

    buffer_print(&out, "{\"image_id\":\"%s\",\"status\":\"%s\",\"models\":", comparison->image_id,
                 status);
    write_models(comparison, &out);
    buffer_text(&out, ",\"failures\":");
    write_failures(comparison, &out);
    write_member(&out, "consensus_prediction", consensus_class(comparison, findings));
    buffer_print(&out, ",\"agreement\":%s", findings->agreement ? "true" : "false");
    write_member(&out, "fastest_model", answer_name(comparison, findings->fastest));
    write_member(&out, "most_confident_model", answer_name(comparison, findings->most_confident));
    write_member(&out, "label", image->label);
    write_member(&out, "source", image->source);
    write_member(&out, "minio_path", image->path);
    write_member(&out, "original_filename", image->filename);
    write_member(&out, "failure_reason", image->failure_reason);
    write_member(&out, "timestamp", timestamp_format(clock_utc_us(), now));
    buffer_text(&out, "}");
    const int published =
        buffer_ok(&out)
            ? bus_publish_in(bus, tx, TOPIC_COMPARISONS, comparison->image_id, out.data, NULL, err)
            : error_set(err, STATUS_NO_MEMORY, "no memory for a comparison");
    buffer_free(&out);
    return published;
}

int comparison_write(struct sql_tx *tx, struct bus *bus, const struct comparison *comparison,
                     struct error *err)
{
    const char *before = comparison->image.status;
    const char *after = status_after(comparison);
    /* What is finished stays as it is, but for a failure that a replayed message made good. */
    const bool was_finished = strcmp(before, "completed") == 0 ||
                              (strcmp(before, "failed") == 0 && strcmp(after, "completed") != 0);
    struct findings findings;
    int status = STATUS_OK;

    compare(comparison, &findings);
    if (comparison->answer_count > 0)
        status = write_row(tx, comparison, &findings, err);
    if (status == STATUS_OK && !was_finished)
        status = write_status(tx, comparison, after, err);
    if (status == STATUS_OK && !was_finished && strcmp(after, "processing") != 0)
        status = publish(tx, bus, comparison, &findings, after, err);
    return status;
}

int comparison_update(struct sql_tx *tx, struct bus *bus, const char *image_id, struct error *err)
{
    struct comparison *comparison = malloc(sizeof *comparison);

    if (comparison == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a comparison");
    int status = comparison_read(tx, image_id, comparison, err);
    if (status == STATUS_OK)
        status = comparison_write(tx, bus, comparison, err);
    free(comparison);
    return status;
}
