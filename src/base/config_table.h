/* The settings, one row each: SETTING(kind, name, environment, default, low, high, help). Included
 * by config.h and config.c with SETTING defined to what they need; no include guard, on purpose. */

/* Where it listens and keeps its things */
SETTING(TEXT, listen, "OCELLI_LISTEN", "127.0.0.1", 0, 0,
        "address to listen on; others than loopback need authentication or --insecure-listen")
SETTING(INTEGER, port, "OCELLI_PORT", "8000", 0, 65535, "port to listen on; 0 takes any free one")
SETTING(FLAG, insecure_listen, "OCELLI_INSECURE_LISTEN", "false", 0, 0,
        "allow a non-loopback address without authentication")
SETTING(TEXT, data_dir, "OCELLI_DATA_DIR", "ocelli-data", 0, 0,
        "folder of the embedded database and the images")
SETTING(TEXT, models_dir, "OCELLI_MODELS_DIR", "models", 0, 0,
        "folder of model packages; several separated by ':'")
SETTING(TEXT, roles, "OCELLI_ROLES", "api,classify,record,schedule", 0, 0,
        "roles this process runs, separated by commas")
SETTING(TEXT, log_level, "OCELLI_LOG_LEVEL", "info", 0, 0, "debug, info, warning or error")
SETTING(FLAG, log_json, "OCELLI_LOG_JSON", "false", 0, 0, "write the log as JSON lines")

/* Bounds of what comes in */
SETTING(INTEGER, upload_bytes_max, "OCELLI_UPLOAD_BYTES_MAX", "10485760", 1024, 1073741824,
        "largest image in bytes")
SETTING(INTEGER, upload_pixels_max, "OCELLI_UPLOAD_PIXELS_MAX", "50000000", 1024, 2000000000,
        "largest image in pixels")
SETTING(INTEGER, batch_files_max, "OCELLI_BATCH_FILES_MAX", "10000", 1, 100000,
        "most files in one batch upload")
SETTING(INTEGER, batch_bytes_max, "OCELLI_BATCH_BYTES_MAX", "1073741824", 1024, 107374182400,
        "largest batch upload in bytes")
SETTING(INTEGER, bodies_bytes_max, "OCELLI_BODIES_BYTES_MAX", "536870912", 1048576, 1099511627776,
        "memory for all request bodies being received; more are answered 503")
SETTING(INTEGER, backlog_max, "OCELLI_BACKLOG_MAX", "100000", 1, 1000000000,
        "images waiting for the slowest model before uploads are answered 503")
SETTING(INTEGER, connections_max, "OCELLI_CONNECTIONS_MAX", "4096", 1, 1000000,
        "open HTTP connections")
SETTING(INTEGER, http_threads, "OCELLI_HTTP_THREADS", "32", 1, 1024,
        "threads that run request handlers")
SETTING(INTEGER, request_timeout_seconds, "OCELLI_REQUEST_TIMEOUT_SECONDS", "60", 1, 3600,
        "silence after which a connection is closed")
SETTING(INTEGER, wait_seconds_max, "OCELLI_WAIT_SECONDS_MAX", "60", 1, 600,
        "longest ?wait= of an upload")

/* Classifying */
SETTING(INTEGER, compute_threads, "OCELLI_COMPUTE_THREADS", "0", 0, 1024,
        "threads that run models; 0 is one a core")
SETTING(INTEGER, batch_max, "OCELLI_BATCH_MAX", "16", 1, 256, "most images a model takes at once")
SETTING(TEXT, precision, "OCELLI_PRECISION", "auto", 0, 0, "auto, fp32 or bf16")
SETTING(INTEGER, tensor_cache_images, "OCELLI_TENSOR_CACHE_IMAGES", "256", 1, 1000000,
        "decoded images kept for the models that have not seen them yet")
SETTING(INTEGER, attempts_max, "OCELLI_ATTEMPTS_MAX", "3", 1, 100,
        "failures of a message before it goes to the dead letters")
SETTING(INTEGER, models_scan_seconds, "OCELLI_MODELS_SCAN_SECONDS", "2", 1, 3600,
        "how often the folder of models is looked at")

/* Keeping */
SETTING(INTEGER, topic_retention_hours, "OCELLI_TOPIC_RETENTION_HOURS", "168", 1, 876000,
        "how long read messages stay in the embedded topics")
SETTING(INTEGER, disk_free_bytes_min, "OCELLI_DISK_FREE_BYTES_MIN", "67108864", 0, 1000000000000,
        "uploads are answered 507 while less than this is free")
SETTING(INTEGER, cache_bytes_max, "OCELLI_CACHE_BYTES_MAX", "67108864", 65536, 100000000000,
        "memory of the cache")
SETTING(INTEGER, sql_readers, "OCELLI_SQL_READERS", "4", 1, 256,
        "read-only connections to the embedded database")

/* Access */
SETTING(SECRET, api_key, "OCELLI_API_KEY", "", 0, 0,
        "key that clients send as 'Authorization: Bearer KEY'; empty asks for none")
SETTING(INTEGER, rate_limit_per_minute, "OCELLI_RATE_LIMIT_PER_MINUTE", "0", 0, 100000000,
        "requests a minute and client address; 0 is no limit")

/* The fixed topic names */
SETTING(TEXT, topic_images, "KAFKA_TOPIC_IMAGES", "images-input-stream", 0, 0,
        "topic of images to classify")
SETTING(TEXT, topic_predictions, "KAFKA_TOPIC_PREDICTIONS", "predictions-output-stream", 0, 0,
        "topic of predictions")
