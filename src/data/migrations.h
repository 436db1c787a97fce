/* The schema, one MIGRATION(version, text) a version: what brings a database from the version
 * before to this one. Included by schema.c once for each engine, with these defined to how the
 * engine spells them; no include guard, on purpose. A migration that has been released is never
 * changed.
 *
 *   ROW_ID     a key that counts upwards by itself     REAL8   a floating point number of 8 bytes
 *   TIMESTAMP  a moment in UTC                         JSON    a JSON text
 *   CLUSTERED  ends a CREATE TABLE whose rows live in the index of the primary key
 *
 * Who writes what (all of it through src/data/sql.h):
 *
 *   images                flow/ingest (the row, with its message, in one transaction); flow/record
 *                         (processing_status, processed_at, failure_reason, label)
 *   predictions           flow/record. One row an (image, model, version): a message delivered
 *                         again conflicts and changes nothing, roll-ups included
 *   prediction_failures   flow/record. A model's answer that could not be had, and why
 *   model_comparisons     flow/record, again with each prediction of the image
 *   models                flow/classify: which models there are and whether they run
 *   model_totals, model_classes, model_hours, model_times, model_confusion, model_calibration,
 *   model_pairs, model_pair_classes
 *                         flow/record, in the transaction of the predictions they count. They count
 *                         since the last clearing, also predictions deleted for their age
 *   model_metrics         mlops (hourly aggregation, experiments)
 *   system_events         schema_event
 *   bus_*                 data/bus_sql
 *
 * There are no foreign keys: stages meet by messages, which may outlive what they speak of. */

MIGRATION(
    1, "CREATE TABLE images ("
       "  image_id TEXT PRIMARY KEY,"
       "  original_filename TEXT,"
       "  minio_path TEXT NOT NULL," /* the object's key */
       "  upload_timestamp " TIMESTAMP " NOT NULL,"
       "  file_size_bytes BIGINT NOT NULL,"
       "  width INTEGER NOT NULL,"
       "  height INTEGER NOT NULL,"
       "  format TEXT NOT NULL," /* JPEG, PNG, WEBP */
       "  source TEXT NOT NULL,"
       "  processing_status TEXT NOT NULL DEFAULT 'pending'"
       "    CHECK (processing_status IN ('pending', 'processing', 'completed', 'failed')),"
       "  processed_at " TIMESTAMP ","
       "  failure_reason TEXT,"
       "  metadata " JSON ","
       "  label TEXT,"                /* the true class; NULL while unknown */
       "  sha256 TEXT,"               /* of the object, in hexadecimal */
       "  expected_models " JSON ");" /* [\"name@version\"]: active when it was accepted */
       /* Newest first and page by page: WHERE (upload_timestamp, image_id) < ($1, $2) ORDER BY
        * upload_timestamp DESC, image_id DESC; the others likewise after an equality. */
       "CREATE INDEX images_by_time ON images (upload_timestamp, image_id);"
       "CREATE INDEX images_by_status ON images (processing_status, upload_timestamp, image_id);"
       "CREATE INDEX images_by_source ON images (source, upload_timestamp, image_id);"
       "CREATE INDEX images_by_label ON images (label, upload_timestamp, image_id)"
       "  WHERE label IS NOT NULL;"

       "CREATE TABLE predictions ("
       "  prediction_id " ROW_ID ","
       "  image_id TEXT NOT NULL,"
       "  image_path TEXT,"
       "  model_name TEXT NOT NULL,"
       "  model_version TEXT NOT NULL,"
       "  prediction_class TEXT NOT NULL,"
       "  confidence " REAL8 " NOT NULL CHECK (confidence >= 0 AND confidence <= 1),"
       "  inference_time_ms " REAL8 " NOT NULL CHECK (inference_time_ms >= 0),"
       "  batch_size INTEGER," /* images that were run together */
       "  top_k " JSON ","     /* [{\"label\", \"confidence\"}], most likely first */
       "  created_at " TIMESTAMP " NOT NULL,"
       "  image_size_bytes BIGINT,"
       "  image_width INTEGER,"
       "  image_height INTEGER,"
       "  UNIQUE (image_id, model_name, model_version));"
       "CREATE INDEX predictions_by_time ON predictions (created_at, prediction_id);"
       "CREATE INDEX predictions_by_model ON predictions (model_name, created_at, prediction_id);"

       "CREATE TABLE prediction_failures ("
       "  image_id TEXT NOT NULL,"
       "  model_name TEXT NOT NULL,"
       "  model_version TEXT NOT NULL,"
       "  reason TEXT NOT NULL,"
       "  created_at " TIMESTAMP " NOT NULL,"
       "  PRIMARY KEY (image_id, model_name, model_version))" CLUSTERED ";"

       "CREATE TABLE model_comparisons ("
       "  image_id TEXT PRIMARY KEY,"
       "  models " JSON " NOT NULL," /* each model's prediction, confidence and time */
       "  model_count INTEGER NOT NULL,"
       "  agreement INTEGER," /* 1: all say the same, 0: they do not */
       "  consensus_prediction TEXT,"
       "  fastest_model TEXT,"
       "  most_confident_model TEXT,"
       "  comparison_timestamp " TIMESTAMP " NOT NULL);"
       "CREATE INDEX model_comparisons_by_time"
       "  ON model_comparisons (comparison_timestamp, image_id);"
       "CREATE INDEX model_comparisons_disagreeing"
       "  ON model_comparisons (comparison_timestamp, image_id) WHERE agreement = 0;"

       "CREATE TABLE models ("
       "  name TEXT NOT NULL,"
       "  version TEXT NOT NULL,"
       "  state TEXT NOT NULL," /* active, draining, failed, removed, ... */
       "  architecture TEXT,"
       "  labels " JSON "," /* [\"airplane\", ...] */
       "  failure TEXT,"    /* why it does not run */
       "  loaded_at " TIMESTAMP ","
       "  PRIMARY KEY (name, version))" CLUSTERED ";"

       "CREATE TABLE model_metrics ("
       "  metric_id " ROW_ID ","
       "  model_name TEXT NOT NULL,"
       "  metric_name TEXT NOT NULL,"
       "  metric_value " REAL8 " NOT NULL,"
       "  measured_at " TIMESTAMP " NOT NULL,"
       "  experiment_id TEXT,"
       "  run_id TEXT);"
       "CREATE INDEX model_metrics_by_name ON model_metrics (model_name, metric_name, measured_at);"

       "CREATE TABLE system_events ("
       "  event_id " ROW_ID ","
       "  event_type TEXT NOT NULL,"
       "  event_data " JSON ","
       "  severity TEXT NOT NULL DEFAULT 'info'"
       "    CHECK (severity IN ('debug', 'info', 'warning', 'error')),"
       "  created_at " TIMESTAMP " NOT NULL,"
       "  service_name TEXT);"
       "CREATE INDEX system_events_by_time ON system_events (created_at, event_id);"
       "CREATE INDEX system_events_by_type ON system_events (event_type, created_at);")

/* The roll-ups. A pair's models are name@version, the lesser text first. */
MIGRATION(2,
          "CREATE TABLE model_totals ("
          "  model_name TEXT NOT NULL,"
          "  model_version TEXT NOT NULL,"
          "  predictions BIGINT NOT NULL,"
          "  sum_confidence " REAL8 " NOT NULL,"
          "  sum_time_ms " REAL8 " NOT NULL,"
          "  min_time_ms " REAL8 " NOT NULL,"
          "  max_time_ms " REAL8 " NOT NULL,"
          "  labelled BIGINT NOT NULL DEFAULT 0," /* predictions of images whose class is known */
          "  correct BIGINT NOT NULL DEFAULT 0,"  /* of those */
          "  PRIMARY KEY (model_name, model_version))" CLUSTERED ";"

          "CREATE TABLE model_classes ("
          "  model_name TEXT NOT NULL,"
          "  model_version TEXT NOT NULL,"
          "  prediction_class TEXT NOT NULL,"
          "  count BIGINT NOT NULL,"
          "  PRIMARY KEY (model_name, model_version, prediction_class))" CLUSTERED ";"

          "CREATE TABLE model_hours ("
          "  hour " TIMESTAMP " NOT NULL,"
          "  model_name TEXT NOT NULL,"
          "  count BIGINT NOT NULL,"
          "  sum_confidence " REAL8 " NOT NULL,"
          "  sum_time_ms " REAL8 " NOT NULL,"
          "  PRIMARY KEY (hour, model_name))" CLUSTERED ";"

          "CREATE TABLE model_times ("
          "  model_name TEXT NOT NULL,"
          "  model_version TEXT NOT NULL,"
          "  bucket INTEGER NOT NULL," /* stats/histogram.h, of microseconds */
          "  count BIGINT NOT NULL,"
          "  PRIMARY KEY (model_name, model_version, bucket))" CLUSTERED ";"

          "CREATE TABLE model_confusion ("
          "  model_name TEXT NOT NULL,"
          "  model_version TEXT NOT NULL,"
          "  label TEXT NOT NULL,"
          "  prediction_class TEXT NOT NULL,"
          "  count BIGINT NOT NULL,"
          "  PRIMARY KEY (model_name, model_version, label, prediction_class))" CLUSTERED ";"

          "CREATE TABLE model_calibration ("
          "  model_name TEXT NOT NULL,"
          "  model_version TEXT NOT NULL,"
          "  bin INTEGER NOT NULL," /* stats/calibration.h */
          "  count BIGINT NOT NULL,"
          "  correct BIGINT NOT NULL,"
          "  sum_confidence " REAL8 " NOT NULL,"
          "  PRIMARY KEY (model_name, model_version, bin))" CLUSTERED ";"

          "CREATE TABLE model_pairs ("
          "  model_a TEXT NOT NULL,"
          "  model_b TEXT NOT NULL,"
          "  both_answered BIGINT NOT NULL,"
          "  agree BIGINT NOT NULL,"
          "  labelled BIGINT NOT NULL," /* the sum of the four below */
          "  both_right BIGINT NOT NULL,"
          "  a_right_only BIGINT NOT NULL,"
          "  b_right_only BIGINT NOT NULL,"
          "  both_wrong BIGINT NOT NULL,"
          "  PRIMARY KEY (model_a, model_b))" CLUSTERED ";"

          "CREATE TABLE model_pair_classes ("
          "  model_a TEXT NOT NULL,"
          "  model_b TEXT NOT NULL,"
          "  class_a TEXT NOT NULL,"
          "  class_b TEXT NOT NULL,"
          "  count BIGINT NOT NULL,"
          "  PRIMARY KEY (model_a, model_b, class_a, class_b))" CLUSTERED ";"

          /* All versions of a model together. */
          "CREATE VIEW model_stats AS SELECT model_name,"
          "  SUM(predictions) AS total_predictions,"
          "  SUM(sum_confidence) / SUM(predictions) AS avg_confidence,"
          "  SUM(sum_time_ms) / SUM(predictions) AS avg_time_ms,"
          "  MIN(min_time_ms) AS min_time_ms,"
          "  MAX(max_time_ms) AS max_time_ms,"
          "  (SELECT COUNT(DISTINCT prediction_class) FROM model_classes"
          "   WHERE model_classes.model_name = model_totals.model_name AND count > 0)"
          "   AS unique_classes,"
          "  SUM(labelled) AS labelled,"
          "  SUM(correct) AS correct"
          " FROM model_totals WHERE predictions > 0 GROUP BY model_name;"

          "CREATE VIEW model_performance_comparison AS SELECT hour, model_name,"
          "  sum_confidence / count AS avg_confidence,"
          "  sum_time_ms / count AS avg_time_ms,"
          "  count AS prediction_count"
          " FROM model_hours WHERE count > 0;"

          "CREATE VIEW recent_predictions AS SELECT"
          "  predictions.prediction_id, predictions.image_id, images.original_filename,"
          "  images.source, images.label, predictions.image_path, predictions.model_name,"
          "  predictions.model_version, predictions.prediction_class, predictions.confidence,"
          "  predictions.inference_time_ms, predictions.top_k, predictions.created_at"
          " FROM predictions LEFT JOIN images ON images.image_id = predictions.image_id"
          " ORDER BY predictions.created_at DESC, predictions.prediction_id DESC;")

/* Topics in the database: see bus_sql.h. */
MIGRATION(3, "CREATE TABLE bus_topics ("
             "  topic TEXT NOT NULL,"
             "  partition INTEGER NOT NULL,"
             "  next_offset BIGINT NOT NULL," /* of the next message; outlives the messages */
             "  messages BIGINT NOT NULL,"    /* how many there are now */
             "  PRIMARY KEY (topic, partition))" CLUSTERED ";"

             "CREATE TABLE bus_messages ("
             "  topic TEXT NOT NULL,"
             "  partition INTEGER NOT NULL,"
             "  message_offset BIGINT NOT NULL,"
             "  key TEXT,"
             "  value TEXT NOT NULL,"
             "  headers " JSON ","
             "  created_at " TIMESTAMP " NOT NULL,"
             "  PRIMARY KEY (topic, partition, message_offset))" CLUSTERED ";"

             "CREATE TABLE bus_offsets ("
             "  consumer_group TEXT NOT NULL,"
             "  topic TEXT NOT NULL,"
             "  partition INTEGER NOT NULL,"
             "  next_offset BIGINT NOT NULL," /* everything below is done */
             "  PRIMARY KEY (consumer_group, topic, partition))" CLUSTERED ";")
