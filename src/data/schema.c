/* The schema: which migrations a database has had, and running those it lacks. See schema.h, and
 * migrations.h for the tables.
 *
 * Table schema_migrations(version, applied_at) has a row for each. */
#include "data/schema.h"

#include "base/clock.h"
#include "data/sql_driver.h"

struct migration {
    int version;
    const char *text;
};

#define MIGRATION(number, script) {.version = number, .text = script},

#define ROW_ID    "INTEGER PRIMARY KEY"
#define TIMESTAMP "TEXT"
#define JSON      "TEXT"
#define REAL8     "REAL"
#define CLUSTERED " WITHOUT ROWID"
static const struct migration migrations_sqlite[] = {
#include "data/migrations.h"
};
#undef ROW_ID
#undef TIMESTAMP
#undef JSON
#undef REAL8
#undef CLUSTERED

enum { VERSION_NEWEST = sizeof migrations_sqlite / sizeof migrations_sqlite[0] };

static const struct migration *const migrations_by_dialect[SQL_DIALECT_COUNT] = {
    [SQL_DIALECT_SQLITE] = migrations_sqlite,
};

int schema_version_newest(void)
{
    return VERSION_NEWEST;
}

static int read_version(struct sql_tx *tx, void *context, struct error *err)
{
    int *version = context;
    struct sql_rows *rows;
    bool exists;

    *version = 0;
    int status = tx->driver->table_exists(tx, "schema_migrations", &exists, err);
    if (status != STATUS_OK || !exists)
        return status;
    status = sql_query(tx, "SELECT COALESCE(MAX(version), 0) FROM schema_migrations", SQL_NO_PARAMS,
                       &rows, err);
    if (status != STATUS_OK)
        return status;
    status = sql_rows_next(rows, err);
    if (status == 1)
        *version = (int)sql_rows_integer(rows, 0);
    sql_rows_free(rows);
    return status < 0 ? status : STATUS_OK;
}

int schema_version(struct sql *sql, int *version, struct error *err)
{
    return sql_read(sql, read_version, version, err);
}

/* One migration, unless the database has had it: another process may have been faster. */
static int apply(struct sql_tx *tx, void *context, struct error *err)
{
    const struct migration *migration = context;
    char now[TIMESTAMP_TEXT_MAX];
    int version;
    int status = read_version(tx, &version, err);

    if (status != STATUS_OK || version >= migration->version)
        return status;
    if (version == 0) {
        status = tx->driver->script(tx,
                                    "CREATE TABLE IF NOT EXISTS schema_migrations ("
                                    "version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)",
                                    err);
        if (status != STATUS_OK)
            return status;
    }
    status = tx->driver->script(tx, migration->text, err);
    if (status != STATUS_OK)
        return status;
    timestamp_format(clock_utc_us(), now);
    return sql_exec(tx, "INSERT INTO schema_migrations (version, applied_at) VALUES ($1, $2)",
                    SQL_PARAMS(sql_integer(migration->version), sql_text(now)), NULL, err);
}

int schema_migrate(struct sql *sql, struct error *err)
{
    const struct migration *migrations = migrations_by_dialect[sql->driver->dialect];
    int version;
    int status = schema_version(sql, &version, err);

    if (status != STATUS_OK)
        return status;
    if (version > VERSION_NEWEST)
        return error_set(err, STATUS_UNSUPPORTED,
                         "the database is of version %d, newer than this program knows (%d); start "
                         "the program that made it, or a later one",
                         version, VERSION_NEWEST);
    for (; version < VERSION_NEWEST; version++) {
        struct migration migration = migrations[version];
        status = sql_write(sql, apply, &migration, err);
        if (status != STATUS_OK)
            return error_wrap(err, "bringing the database to version %d", migration.version);
    }
    return STATUS_OK;
}

struct event {
    const char *type, *severity, *service, *data;
};

static int insert_event(struct sql_tx *tx, void *context, struct error *err)
{
    const struct event *event = context;
    char now[TIMESTAMP_TEXT_MAX];

    return sql_exec(tx,
                    "INSERT INTO system_events (event_type, event_data, severity, created_at, "
                    "service_name) VALUES ($1, $2, $3, $4, $5)",
                    SQL_PARAMS(sql_text(event->type), sql_text(event->data),
                               sql_text(event->severity), sql_timestamp(clock_utc_us(), now),
                               sql_text(event->service)),
                    NULL, err);
}

int schema_event(struct sql *sql, const char *event_type, const char *severity,
                 const char *service_name, const char *data, struct error *err)
{
    struct event event = {event_type, severity, service_name, data};
    return sql_write(sql, insert_event, &event, err);
}
