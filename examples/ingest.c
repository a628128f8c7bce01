/* SPDX-License-Identifier: MIT */
/*
 * NDJSON uploads of any size into an SQLite database, line by line, in constant memory. SQLite blocks, so the handler is a
 * blocking one: a plain loop on a thread of a pool, which reads lines in batches. While SQLite writes nothing is read, so a
 * slow database slows the uploader down.
 *
 *     curl -T events.ndjson http://127.0.0.1:8000/ingest -X POST
 *     gzip -c events.ndjson | curl -T - -H 'Content-Encoding: gzip' http://127.0.0.1:8000/ingest -X POST
 *     curl http://127.0.0.1:8000/stats
 *
 * All or nothing: the lines go into a temporary table first, one that only this upload sees and that vanishes with it, and
 * are moved at the verified end of the body, in one transaction. So an upload that breaks off, a bad line, or the death of
 * this program leaves the database as it was; and as it is locked for the move only, an uploader who takes an hour keeps
 * nobody waiting. A whole upload is stored even if its client has left without waiting for the answer.
 *
 * Each line is a JSON object, in UTF-8; empty lines count as lines and are skipped. What is refused is answered in JSON:
 * 400 with the number of the first bad line, 413 for a line over 65534 bytes or a body over its limit.
 */
#include <weir/weir.h>

#include <inttypes.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>

#include "common.h"

#define BATCH_LINES 1024
#define BATCH_BYTES ((size_t)262144)
#define BATCH_MS 200       /* a bad line of a slow upload is told of after that */
#define LOCK_WAIT_MS 30000 /* for another upload's move; then 503 */
#define WAIT_MS 10000      /* for a thread; then 503 */

struct app {
    const char *database;
    struct weir_body_limit_opts limit;
    uint64_t uploads, pause_ms; /* at once; after each batch */
    struct weir_router *router;
    atomic_uint_fast64_t running, stored, refused, broken;
    atomic_uint_fast64_t lines; /* read so far, of all uploads */
};

struct upload {
    struct app *app;
    sqlite3 *db;
    sqlite3_stmt *stage;
    uint64_t lines, records, bytes;
    sqlite3_int64 id;
    const char *fault; /* of the last line; NULL: none. Static */
    int fault_status;
};

/* ---- SQLite ---- */

static const char make_tables[] =
    "PRAGMA journal_mode = WAL;" /* who reads the database does not wait for a move */
    "CREATE TABLE IF NOT EXISTS uploads (id INTEGER PRIMARY KEY,"
    " at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, records INTEGER NOT NULL, bytes INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS records (id INTEGER PRIMARY KEY,"
    " upload INTEGER NOT NULL REFERENCES uploads, line INTEGER NOT NULL, record TEXT NOT NULL);";

static const char begin_upload[] =
    "PRAGMA temp_store = FILE; PRAGMA journal_size_limit = 16777216; BEGIN;"
    "CREATE TEMP TABLE staged (line INTEGER PRIMARY KEY, record TEXT NOT NULL);";

static const char stage_line[] =
    "INSERT INTO temp.staged SELECT ?1, ?2"
    " WHERE CASE WHEN json_valid(?2) THEN json_type(?2) = 'object' END";

static const char add_upload[] = "INSERT INTO main.uploads (records, bytes) VALUES (?1, ?2)";

static const char move_records[] = "INSERT INTO main.records (upload, line, record)"
                                   " SELECT ?1, line, record FROM temp.staged ORDER BY line";

/* A failure of SQLite, told of, as one of the library's codes. */
static int failed(sqlite3 *db, const char *what)
{
    int code = sqlite3_errcode(db);

    fprintf(stderr, "ingest: %s: %s\n", what, sqlite3_errmsg(db));
    switch (code & 0xff) {
    case SQLITE_BUSY:
        return WEIR_EBUSY; /* others hold the lock: 503 */
    case SQLITE_NOMEM:
        return WEIR_ENOMEM;
    default:
        return WEIR_EIO;
    }
}

static int open_database(const char *path, sqlite3 **ret)
{
    if (sqlite3_open_v2(path, ret, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK) {
        return failed(*ret, path);
    }
    sqlite3_busy_timeout(*ret, LOCK_WAIT_MS);
    return 0;
}

static int begin(struct upload *upload)
{
    int r = open_database(upload->app->database, &upload->db);

    if (r == 0 &&
        (sqlite3_exec(upload->db, begin_upload, NULL, NULL, NULL) != SQLITE_OK ||
         sqlite3_prepare_v2(upload->db, stage_line, -1, &upload->stage, NULL) != SQLITE_OK)) {
        r = failed(upload->db, "begin");
    }
    return r;
}

/* Runs a statement with two numbers. */
static int run(sqlite3 *db, const char *sql, sqlite3_int64 first, sqlite3_int64 second)
{
    sqlite3_stmt *statement = NULL;
    int r = 0;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK) {
        sqlite3_bind_int64(statement, 1, first);
        if (sqlite3_bind_parameter_count(statement) > 1) {
            sqlite3_bind_int64(statement, 2, second);
        }
    }
    if (statement == NULL || sqlite3_step(statement) != SQLITE_DONE) {
        r = failed(db, "store");
    }
    sqlite3_finalize(statement);
    return r;
}

/* The one moment at which the upload comes into being. */
static int store(struct upload *upload)
{
    int r =
        run(upload->db, add_upload, (sqlite3_int64)upload->records, (sqlite3_int64)upload->bytes);

    if (r == 0) {
        upload->id = sqlite3_last_insert_rowid(upload->db);
        r = run(upload->db, move_records, upload->id, 0);
    }
    if (r == 0 && sqlite3_exec(upload->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
        r = failed(upload->db, "commit");
    }
    return r;
}

/* What was not stored is rolled back. */
static void end(struct upload *upload)
{
    sqlite3_finalize(upload->stage);
    sqlite3_close(upload->db);
}

/* ---- lines ---- */

/* The length of the UTF-8 character at the front (RFC 3629 4), 0 if there is none. */
static size_t character(const uint8_t *at, size_t left)
{
    uint8_t low = 0x80, high = 0xbf;
    size_t len;

    if (at[0] < 0x80) {
        return 1;
    }
    len = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (at[0] < 0xc2 || at[0] > 0xf4 || len > left) {
        return 0;
    }
    low = at[0] == 0xe0 ? 0xa0 : at[0] == 0xf0 ? 0x90 : low;
    high = at[0] == 0xed ? 0x9f : at[0] == 0xf4 ? 0x8f : high;
    for (size_t i = 1; i < len; i++) {
        if (at[i] < low || at[i] > high) {
            return 0;
        }
        low = 0x80;
        high = 0xbf;
    }
    return len;
}

/* SQLite looks at neither: it takes the text up to a NUL for the whole, and any bytes for characters. */
static bool is_text(struct weir_view text)
{
    size_t len = 1;

    for (size_t at = 0; at < text.len && len > 0; at += len) {
        len = text.data[at] != 0 ? character(text.data + at, text.len - at) : 0;
    }
    return len > 0;
}

static int refuse(struct upload *upload, int status, const char *fault)
{
    upload->fault_status = status;
    upload->fault = fault;
    return 0;
}

/* Returns 0, also for a bad line, which upload->fault then tells. */
static int take_line(struct upload *upload, struct weir_view text)
{
    sqlite3_stmt *stage = upload->stage;
    int stepped;

    upload->lines++;
    if (text.len == 0) {
        return 0;
    }
    if (!is_text(text)) {
        return refuse(upload, 400, "not UTF-8 text");
    }
    sqlite3_bind_int64(stage, 1, (sqlite3_int64)upload->lines);
    sqlite3_bind_text(stage, 2, (const char *)text.data, (int)text.len, SQLITE_STATIC);
    stepped = sqlite3_step(stage);
    if (stepped != SQLITE_DONE) {
        return failed(upload->db, "stage");
    }
    sqlite3_reset(stage);
    if (sqlite3_changes(upload->db) == 0) {
        return refuse(upload, 400, "not a JSON object");
    }
    upload->records++;
    return 0;
}

static int take_batch(struct upload *upload, struct weir_chunk *const *lines, size_t count)
{
    uint64_t before = upload->lines;
    int r = 0;

    for (size_t i = 0; i < count && r == 0 && upload->fault == NULL; i++) {
        upload->bytes += weir_chunk_len(lines[i]);
        r = take_line(upload, weir_line_text(lines[i]));
    }
    atomic_fetch_add(&upload->app->lines, upload->lines - before);
    return r;
}

/* Reads to the verified end, to the first bad line, or to a failure. */
static int take_lines(struct upload *upload, struct weir_batch *batches)
{
    struct weir_chunk *const *lines;
    struct weir_error error;
    size_t count;
    int r;

    while ((r = weir_batch_next(batches, -1, &lines, &count)) == 1) {
        r = take_batch(upload, lines, count);
        if (r < 0 || upload->fault != NULL) {
            return r;
        }
        if (upload->app->pause_ms > 0) {
            sqlite3_sleep((int)upload->app->pause_ms);
        }
    }
    weir_batch_error(batches, &error);
    if (r == WEIR_ELIMIT && strcmp(error.where, "lines: too long") == 0) {
        upload->lines++;
        return refuse(upload, 413, "over 65534 bytes");
    }
    return r;
}

/* The body as batches of lines, gzip and the like undone. */
static int open_lines(struct weir_req *req, const struct app *app, struct weir_batch **ret)
{
    struct weir_decode_opts decode = {.max_bytes = app->limit.max_bytes};
    struct weir_batch_opts batch = {
        .max_items = BATCH_LINES, .max_bytes = BATCH_BYTES, .max_delay_ms = BATCH_MS};
    struct weir_source *source = NULL;
    int r = weir_req_decoded_body(req, &decode, &source);

    if (r == 0) {
        r = weir_lines_create_take(source, WEIR_LINE_MAX, &source);
    }
    return r < 0 ? r : weir_batch_create_take(source, &batch, ret);
}

/* ---- requests ---- */

static int reply_fault(struct weir_req *req, const struct upload *upload)
{
    char text[128];
    int len = snprintf(text, sizeof(text), "{\"error\":\"%s\",\"line\":%" PRIu64 "}\n",
                       upload->fault, upload->lines);

    return weir_reply_json(req, upload->fault_status, weir_bytes(text, (size_t)len));
}

static int reply_stored(struct weir_req *req, const struct upload *upload)
{
    char text[160];
    int len = snprintf(text, sizeof(text),
                       "{\"upload\":%" PRId64 ",\"records\":%" PRIu64 ",\"lines\":%" PRIu64
                       ",\"bytes\":%" PRIu64 "}\n",
                       (int64_t)upload->id, upload->records, upload->lines, upload->bytes);

    return weir_reply_json(req, 201, weir_bytes(text, (size_t)len));
}

static int receive(struct weir_req *req, struct upload *upload)
{
    struct weir_batch *batches = NULL;
    int r = open_lines(req, upload->app, &batches);

    if (r == 0) {
        r = begin(upload);
    }
    if (r == 0) {
        r = take_lines(upload, batches);
    }
    if (r == 0 && upload->fault == NULL) {
        r = store(upload);
    }
    weir_batch_destroy(batches);
    end(upload);
    return r;
}

static int ingest(struct weir_req *req, void *arg)
{
    struct app *app = arg;
    struct upload upload = {.app = app};
    int r;

    atomic_fetch_add(&app->running, 1);
    r = receive(req, &upload);
    atomic_fetch_sub(&app->running, 1);
    if (r < 0) {
        atomic_fetch_add(r == WEIR_ELIMIT || r == WEIR_EUNSUPPORTED ? &app->refused : &app->broken,
                         1);
        return r; /* its status, if the client is there to read one: 413, 408, 503 ... */
    }
    if (upload.fault != NULL) {
        atomic_fetch_add(&app->refused, 1);
        return reply_fault(req, &upload);
    }
    atomic_fetch_add(&app->stored, 1);
    return reply_stored(req, &upload);
}

static int stats(struct weir_req *req, void *arg)
{
    struct app *app = arg;
    char text[256];
    int len = snprintf(text, sizeof(text),
                       "{\"running\":%" PRIu64 ",\"stored\":%" PRIu64 ",\"refused\":%" PRIu64
                       ",\"broken\":%" PRIu64 ",\"lines\":%" PRIu64 "}\n",
                       (uint64_t)atomic_load(&app->running), (uint64_t)atomic_load(&app->stored),
                       (uint64_t)atomic_load(&app->refused), (uint64_t)atomic_load(&app->broken),
                       (uint64_t)atomic_load(&app->lines));

    return weir_reply_json(req, 200, weir_bytes(text, (size_t)len));
}

/* ---- the program ---- */

static int start(void *arg)
{
    struct app *app = arg;
    sqlite3 *db = NULL;
    int r = weir_blocking_config(&(struct weir_blocking_opts){.threads = (unsigned)app->uploads});

    if (r == 0) {
        r = open_database(app->database, &db);
    }
    if (r == 0 && sqlite3_exec(db, make_tables, NULL, NULL, NULL) != SQLITE_OK) {
        r = failed(db, app->database);
    }
    sqlite3_close(db);
    return r;
}

static int take_database(void *arg, struct weir_view value)
{
    ((struct app *)arg)->database = (const char *)value.data; /* of the command line: it stays */
    return value.len > 0 ? 0 : WEIR_EINVAL;
}

static int take_max_body(void *arg, struct weir_view value)
{
    return example_number(value, 1, INT64_MAX, &((struct app *)arg)->limit.max_bytes);
}

static int take_uploads(void *arg, struct weir_view value)
{
    return example_number(value, 1, 1024, &((struct app *)arg)->uploads);
}

static int take_pause(void *arg, struct weir_view value)
{
    return example_number(value, 0, 60000, &((struct app *)arg)->pause_ms);
}

static const struct example_option options[] = {
    {"--database", "FILE         where the records go [records.db]; made if there is none",
     take_database},
    {"--max-body", "N            bytes of an upload, also when unpacked [1073741824]",
     take_max_body},
    {"--uploads", "N             at once, a thread each [16]; others wait 10 s, then get a 503",
     take_uploads},
    {"--pause-ms", "N            after each batch of lines, as a slow disk would [0]", take_pause},
    {0},
};

static int handle(struct weir_req *req, void *arg)
{
    return weir_router_handle(req, ((struct app *)arg)->router);
}

int main(int argc, char **argv)
{
    struct app app = {.database = "records.db", .limit = {(uint64_t)1 << 30}, .uploads = 16};
    const struct weir_middleware limit = {weir_mw_body_limit, &app.limit};
    int r = weir_router_create(NULL, &app.router);

    if (r == 0) {
        r = weir_router_add(app.router, "POST", "/ingest", ingest, &app,
                            &(struct weir_route_opts){.middleware = &limit,
                                                      .middleware_count = 1,
                                                      .blocking = true,
                                                      .pool_wait_ms = WAIT_MS});
    }
    if (r == 0) {
        r = weir_router_add(app.router, "GET", "/stats", stats, &app, NULL);
    }
    if (r < 0) {
        fprintf(stderr, "ingest: %s\n", weir_strerror(r));
    } else {
        r = example_main(argc, argv,
                         &(struct example){
                             .name = "ingest",
                             .about = "POST NDJSON to /ingest, into an SQLite database; /stats",
                             .handler = handle,
                             .arg = &app,
                             .options = options,
                             .start = start,
                         });
    }
    weir_router_destroy(app.router);
    return r < 0 ? 1 : r;
}
