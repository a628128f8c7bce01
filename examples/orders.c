/* SPDX-License-Identifier: MIT */
/* Makes the demo database: the same rows each time, with everything in them that CSV has to quote. */
#include "orders.h"

#include <weir/err.h>

#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static const char make_orders[] =
    "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, placed TEXT NOT NULL, customer TEXT NOT NULL,"
    " product TEXT NOT NULL, quantity INTEGER NOT NULL, price REAL NOT NULL, note TEXT);";

static const char fill_orders[] =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)"
    "INSERT INTO orders SELECT i, datetime(1735689600 + i, 'unixepoch'),"
    " printf('C-%06d', i * 7919 % 1000000),"
    " CASE i % 4 WHEN 0 THEN 'Bolt, M8' WHEN 1 THEN 'Monitor 27\"' WHEN 2 THEN 'K\u00e4se' ELSE 'Lamp' END,"
    " 1 + i % 20, (99 + i * 31 % 99900) / 100.0,"
    " CASE i % 5 WHEN 0 THEN 'ring twice' || char(10) || 'or call' WHEN 1 THEN 'said \"thanks\"'"
    " WHEN 2 THEN '' WHEN 3 THEN 'second floor' END FROM n";

static int fill(sqlite3 *db, uint64_t rows)
{
    sqlite3_stmt *insert = NULL;
    int failed = sqlite3_exec(db, make_orders, NULL, NULL, NULL);

    if (!failed && rows > 0) {
        failed = sqlite3_prepare_v2(db, fill_orders, -1, &insert, NULL);
    }
    if (insert != NULL) {
        sqlite3_bind_int64(insert, 1, (sqlite3_int64)rows);
        failed = sqlite3_step(insert) != SQLITE_DONE;
        sqlite3_finalize(insert);
    }
    return failed ? WEIR_EIO : 0;
}

int orders_make(const char *database, uint64_t rows)
{
    char path[1024];
    sqlite3 *db = NULL;
    int r = WEIR_EIO;

    if (snprintf(path, sizeof(path), "%s.new", database) >= (int)sizeof(path)) {
        return WEIR_EINVAL;
    }
    remove(path);
    fprintf(stderr, "export: making %s with %" PRIu64 " rows\n", database, rows);
    if (sqlite3_open(path, &db) == SQLITE_OK) {
        r = fill(db, rows);
    }
    if (r < 0) {
        fprintf(stderr, "export: %s: %s\n", path, sqlite3_errmsg(db));
    }
    sqlite3_close(db);
    if (r == 0 && rename(path, database) != 0) {
        fprintf(stderr, "export: %s: %s\n", database, strerror(errno));
        r = WEIR_EIO;
    }
    return r;
}
