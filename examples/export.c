/* SPDX-License-Identifier: MIT */
/*
 * A table of an SQLite database as CSV (RFC 4180), row by row: the memory is the same for ten rows and for ten million.
 * SQLite blocks, so the handler is a blocking one: it runs on a thread of a pool and is a plain loop. A client that reads
 * slowly makes it wait in the emit, and so slows the query down; one that leaves stops the query, also in the middle of a
 * long step. If SQLite fails after the first byte has gone, the client sees an abort, never an end.
 *
 *     curl -OJ http://127.0.0.1:8000/export.csv
 *     curl http://127.0.0.1:8000/export.csv?table=orders
 *     curl http://127.0.0.1:8000/stats
 *
 * NULL is an empty field, a BLOB is written in hex, a REAL with as many digits as it takes to read the same number back. A
 * reader holds a read lock for as long as it reads: a database that is written meanwhile should be in WAL mode.
 */
#include <weir/weir.h>

#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "common.h"
#include "orders.h"

#define GATHER_BYTES ((size_t)32768) /* one emit's worth */
#define GATHER_MS 50                 /* what a slow query has found leaves after that */
#define VALUE_BYTES (1 << 20)        /* a larger value is an error: SQLite holds it whole */
#define WAIT_MS 10000                /* for a thread; then 503 */

struct app {
    const char *database;
    uint64_t rows, exports; /* of the demo; at once */
    struct weir_router *router;
    atomic_uint_fast64_t running, complete, stopped, failed;
    atomic_uint_fast64_t emitted; /* rows, of all exports */
};

struct export
{
    struct app *app;
    struct weir_sink *out;
    sqlite3 *db;
    sqlite3_stmt *table; /* stands at the one row that names the table, until the end: see run() */
    sqlite3_stmt *rows;
    int step; /* what SQLite said last */
    uint64_t count, told;
    int64_t emitted_ms;
    size_t len;
    char gathered[GATHER_BYTES];
};

/* ---- writing CSV ---- */

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits while the client does not read: here the query stands still. */
static int flush(struct export *export)
{
    int r = weir_emit_bytes(export->out, weir_bytes(export->gathered, export->len), -1);

    export->len = 0;
    export->emitted_ms = now_ms();
    atomic_fetch_add(&export->app->emitted, export->count - export->told);
    export->told = export->count;
    return r;
}

static int put(struct export *export, const char *bytes, size_t len)
{
    int r = 0;

    while (r == 0 && len > 0) {
        size_t part = GATHER_BYTES - export->len;

        part = len < part ? len : part;
        memcpy(export->gathered + export->len, bytes, part);
        export->len += part;
        bytes += part;
        len -= part;
        if (export->len == GATHER_BYTES) {
            r = flush(export);
        }
    }
    return r;
}

static bool needs_quotes(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == ',' || text[i] == '"' || text[i] == '\r' || text[i] == '\n') {
            return true;
        }
    }
    return false;
}

static int put_text(struct export *export, const char *text, size_t len)
{
    const char *end = text + len, *quote;
    int r;

    if (!needs_quotes(text, len)) {
        return put(export, text, len);
    }
    r = put(export, "\"", 1);
    while (r == 0 && (quote = memchr(text, '"', (size_t)(end - text))) != NULL) {
        r = put(export, text, (size_t)(quote + 1 - text));
        if (r == 0) {
            r = put(export, "\"", 1);
        }
        text = quote + 1;
    }
    if (r == 0) {
        r = put(export, text, (size_t)(end - text));
    }
    return r < 0 ? r : put(export, "\"", 1);
}

/* SQLite itself writes 15 digits, which are not always the same number. */
static int put_real(struct export *export, double value)
{
    char text[40];
    int len = 0;

    for (int digits = 15; digits <= 17; digits++) {
        len = snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    if (strpbrk(text, ".en") == NULL) {
        len += snprintf(text + len, sizeof(text) - (size_t)len, ".0");
    }
    return put(export, text, (size_t)len);
}

static int put_hex(struct export *export, const uint8_t *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    int r = 0;

    for (size_t i = 0; i < len && r == 0; i++) {
        char pair[2] = {digits[bytes[i] >> 4], digits[bytes[i] & 15]};

        r = put(export, pair, 2);
    }
    return r;
}

static int put_value(struct export *export, int column)
{
    sqlite3_stmt *rows = export->rows;
    const void *bytes;

    switch (sqlite3_column_type(rows, column)) {
    case SQLITE_NULL:
        return 0;
    case SQLITE_FLOAT:
        return put_real(export, sqlite3_column_double(rows, column));
    case SQLITE_BLOB:
        bytes = sqlite3_column_blob(rows, column);
        return put_hex(export, bytes, (size_t)sqlite3_column_bytes(rows, column));
    default:
        bytes = sqlite3_column_text(rows, column);
        return bytes == NULL ? WEIR_ENOMEM
                             : put_text(export, bytes, (size_t)sqlite3_column_bytes(rows, column));
    }
}

/* A record of one empty field is written with quotes: an empty line is what readers skip. */
static int end_record(struct export *export, bool is_blank)
{
    return is_blank ? put(export, "\"\"\r\n", 4) : put(export, "\r\n", 2);
}

static int put_heading(struct export *export, int columns)
{
    const char *name = "";
    int r = 0;

    for (int i = 0; i < columns && r == 0; i++) {
        name = sqlite3_column_name(export->rows, i);
        if (name == NULL) {
            return WEIR_ENOMEM;
        }
        if (i > 0) {
            r = put(export, ",", 1);
        }
        if (r == 0) {
            r = put_text(export, name, strlen(name));
        }
    }
    return r < 0 ? r : end_record(export, columns == 1 && name[0] == '\0');
}

static int put_row(struct export *export, int columns)
{
    int r = 0;

    for (int i = 0; i < columns && r == 0; i++) {
        if (i > 0) {
            r = put(export, ",", 1);
        }
        if (r == 0) {
            r = put_value(export, i);
        }
    }
    if (r == 0) {
        r = end_record(export, columns == 1 && sqlite3_column_bytes(export->rows, 0) == 0);
    }
    export->count++;
    if (r == 0 && now_ms() - export->emitted_ms >= GATHER_MS) {
        r = flush(export);
    }
    return r;
}

/* ---- the query ---- */

/* A failure of SQLite as one of the library's codes. */
static int code_of(int sqlite)
{
    switch (sqlite & 0xff) {
    case SQLITE_INTERRUPT:
        return WEIR_ECANCELED;
    case SQLITE_BUSY:
        return WEIR_EBUSY; /* a writer has it: 503 */
    case SQLITE_NOMEM:
        return WEIR_ENOMEM;
    default:
        return WEIR_EIO;
    }
}

static int put_table(struct weir_sink *out, void *arg)
{
    struct export *export = arg;
    int columns = sqlite3_column_count(export->rows);
    int r;

    export->out = out;
    export->emitted_ms = now_ms();
    r = put_heading(export, columns);
    while (r == 0 && export->step == SQLITE_ROW) {
        r = put_row(export, columns);
        if (r == 0) {
            export->step = sqlite3_step(export->rows);
        }
    }
    if (r == 0 && export->step != SQLITE_DONE) {
        r = code_of(
            export->step); /* the reply is aborted: what has been sent is not the whole table */
    }
    return r < 0 ? r : flush(export);
}

/* "attachment; filename="orders.csv"", of a table's name only what every system takes as it is. */
static void attachment(const char *table, char *text, size_t size)
{
    size_t len = (size_t)snprintf(text, size, "attachment; filename=\"");

    for (; *table != '\0' && len < size - sizeof(".csv\""); table++) {
        char lower = (char)(*table | 0x20);
        bool is_safe = (lower >= 'a' && lower <= 'z') || (*table >= '0' && *table <= '9') ||
                       *table == '-' || *table == '_';

        text[len++] = is_safe ? *table : '_';
    }
    snprintf(text + len, size - len, ".csv\"");
}

static int begin_reply(struct weir_req *req, struct export *export, const char *table)
{
    struct weir_fields *fields = NULL;
    char text[160];
    int r = weir_fields_create(&fields);

    attachment(table, text, sizeof(text));
    if (r == 0) {
        r = weir_fields_add(fields, weir_str("Content-Type"), weir_str("text/csv; charset=utf-8"));
    }
    if (r == 0) {
        r = weir_fields_add(fields, weir_str("Content-Disposition"), weir_str(text));
    }
    if (r == 0) {
        r = weir_reply_stream(req, 200, fields, WEIR_LENGTH_UNKNOWN, put_table, export);
    }
    weir_fields_destroy(fields);
    return r;
}

static int open_database(struct export *export)
{
    int failed = sqlite3_open_v2(export->app->database, &export->db, SQLITE_OPEN_READONLY, NULL);

    if (export->db != NULL) {
        sqlite3_busy_timeout(export->db, 2000);
        sqlite3_limit(export->db, SQLITE_LIMIT_LENGTH, VALUE_BYTES);
    }
    return failed ? code_of(failed) : 0;
}

/* No text of the client's becomes SQL: its name is looked for, and what is found is quoted. */
static int find_table(struct export *export, struct weir_view name)
{
    static const char find[] =
        "SELECT name FROM sqlite_schema WHERE name = ?1 "
        "AND type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    int failed = sqlite3_prepare_v2(export->db, find, -1, &export->table, NULL);

    if (!failed) {
        failed = sqlite3_bind_text(export->table, 1, (const char *)name.data, (int)name.len,
                                   SQLITE_TRANSIENT);
    }
    if (!failed) {
        failed = sqlite3_step(export->table);
    }
    return failed == SQLITE_ROW ? 0 : failed == SQLITE_DONE ? WEIR_ENOTFOUND : code_of(failed);
}

static int select_rows(struct export *export, const char *table)
{
    char *sql = sqlite3_mprintf("SELECT * FROM \"%w\"", table);
    int failed =
        sql == NULL ? SQLITE_NOMEM : sqlite3_prepare_v2(export->db, sql, -1, &export->rows, NULL);

    sqlite3_free(sql);
    return failed ? code_of(failed) : 0;
}

/* On the loop, the moment the client leaves. */
static void stop_query(void *db)
{
    sqlite3_interrupt(db);
}

/*
 * SQLite forgets an interrupt that comes while no statement runs. The one that found the table still does, so none is lost,
 * not even one that comes before the first step; and both see the same state of the database.
 */
static int run(struct weir_req *req, struct export *export)
{
    const char *table = (const char *)sqlite3_column_text(export->table, 0);
    int r = table != NULL ? weir_on_disconnect(req, stop_query, export->db) : WEIR_ENOMEM;

    if (r < 0) {
        return r;
    }
    r = select_rows(export, table);
    if (r == 0 && !weir_view_equal(weir_req_method(req), weir_str("HEAD"))) {
        export->step = sqlite3_step(export->rows); /* what fails here can still be a 500 */
        if (export->step != SQLITE_ROW && export->step != SQLITE_DONE) {
            r = code_of(export->step);
        }
    }
    if (r == 0) {
        r = begin_reply(req, export, table);
    }
    weir_off_disconnect(req);
    return r;
}

static void tell(struct weir_req *req, struct export *export, int r)
{
    const char *table = (const char *)sqlite3_column_text(export->table, 0);
    const char *outcome = "complete", *why = "";

    if (r == 0) {
        atomic_fetch_add(&export->app->complete, 1);
    } else if (weir_req_gone(req, NULL)) {
        atomic_fetch_add(&export->app->stopped, 1);
        outcome = "stopped: the client left";
    } else {
        atomic_fetch_add(&export->app->failed, 1);
        outcome = "failed: ";
        why = sqlite3_errcode(export->db) != SQLITE_OK ? sqlite3_errmsg(export->db)
                                                       : weir_strerror(r);
    }
    fprintf(stderr, "export: %s: %" PRIu64 " rows, %s%s\n", table, export->count, outcome, why);
}

static int export_csv(struct weir_req *req, void *arg)
{
    struct app *app = arg;
    struct export *export = calloc(1, sizeof(*export));
    struct weir_form *query = NULL;
    struct weir_view name;
    int r = export != NULL ? weir_form_parse(weir_req_query(req), NULL, &query) : WEIR_ENOMEM;

    if (r < 0) {
        free(export);
        return r;
    }
    atomic_fetch_add(&app->running, 1);
    export->app = app;
    export->step = SQLITE_DONE;
    name = weir_form_get(query, "table");
    r = open_database(export);
    if (r == 0) {
        r = find_table(export, weir_view_is_absent(name) ? weir_str("orders") : name);
    }
    if (r == 0) {
        r = run(req, export);
        tell(req, export, r);
    }
    sqlite3_finalize(export->rows);
    sqlite3_finalize(export->table);
    sqlite3_close(export->db);
    weir_form_destroy(query);
    free(export);
    atomic_fetch_sub(&app->running, 1);
    return r;
}

static int stats(struct weir_req *req, void *arg)
{
    struct app *app = arg;
    char text[256];
    int len = snprintf(text, sizeof(text),
                       "{\"running\":%" PRIu64 ",\"complete\":%" PRIu64 ",\"stopped\":%" PRIu64
                       ",\"failed\":%" PRIu64 ",\"rows\":%" PRIu64 "}\n",
                       (uint64_t)atomic_load(&app->running), (uint64_t)atomic_load(&app->complete),
                       (uint64_t)atomic_load(&app->stopped), (uint64_t)atomic_load(&app->failed),
                       (uint64_t)atomic_load(&app->emitted));

    return weir_reply_json(req, 200, weir_bytes(text, (size_t)len));
}

/* ---- the program ---- */

static int start(void *arg)
{
    struct app *app = arg;
    struct stat found;
    int r = weir_blocking_config(&(struct weir_blocking_opts){.threads = (unsigned)app->exports});

    if (r == 0 && stat(app->database, &found) != 0 && errno == ENOENT) {
        r = orders_make(app->database, app->rows);
    }
    return r;
}

static int take_database(void *arg, struct weir_view value)
{
    ((struct app *)arg)->database = (const char *)value.data; /* of the command line: it stays */
    return value.len > 0 ? 0 : WEIR_EINVAL;
}

static int take_rows(void *arg, struct weir_view value)
{
    return example_number(value, 0, UINT32_MAX, &((struct app *)arg)->rows);
}

static int take_exports(void *arg, struct weir_view value)
{
    return example_number(value, 1, 1024, &((struct app *)arg)->exports);
}

static const struct example_option options[] = {
    {"--database", "FILE         what to export [orders.db]; made if there is none", take_database},
    {"--rows", "N                of a database that is made [1000000]", take_rows},
    {"--exports", "N             at once, a thread each [16]; others wait 10 s, then get a 503",
     take_exports},
    {0},
};

static int handle(struct weir_req *req, void *arg)
{
    return weir_router_handle(req, ((struct app *)arg)->router);
}

int main(int argc, char **argv)
{
    struct app app = {.database = "orders.db", .rows = 1000000, .exports = 16};
    int r = weir_router_create(NULL, &app.router);

    if (r == 0) {
        r = weir_router_add(app.router, "GET", "/export.csv", export_csv, &app,
                            &(struct weir_route_opts){.blocking = true, .pool_wait_ms = WAIT_MS});
    }
    if (r == 0) {
        r = weir_router_add(app.router, "GET", "/stats", stats, &app, NULL);
    }
    if (r < 0) {
        fprintf(stderr, "export: %s\n", weir_strerror(r));
    } else {
        r = example_main(
            argc, argv,
            &(struct example){
                .name = "export",
                .about = "GET /export.csv, a table as CSV; /stats; query: table [orders]",
                .handler = handle,
                .arg = &app,
                .options = options,
                .start = start,
            });
    }
    weir_router_destroy(app.router);
    return r < 0 ? 1 : r;
}
