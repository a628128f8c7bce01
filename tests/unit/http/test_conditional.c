/* SPDX-License-Identifier: MIT */
/* Preconditions: RFC 9110 13 as a table, and what a handler sees of it. */
#include "http_test.h"

#include <weir/files.h>

#include "http/conditional.h"

#define NOW 784200000
#define AT 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT */
#define SAME "Sun, 06 Nov 1994 08:49:37 GMT"
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define AFTER "Sun, 06 Nov 1994 08:49:38 GMT"

struct row {
    const char *fields[4][2];
    const char *etag;
    int64_t last_modified;
    int get, put; /* the status to answer a GET and a PUT with */
};

#define ONE(name, value) \
    {                    \
        {                \
            name, value  \
        }                \
    }
#define TWO(name, value, other, more) \
    {                                 \
        {name, value},                \
        {                             \
            other, more               \
        }                             \
    }

static const struct row rows[] = {
    {{{NULL, NULL}}, "\"a\"", AT, 0, 0},
    /* If-None-Match: weak comparison; 304 for GET, 412 for others */
    {ONE("If-None-Match", "\"a\""), "\"a\"", AT, 304, 412},
    {ONE("If-None-Match", "W/\"a\""), "\"a\"", AT, 304, 412},
    {ONE("If-None-Match", "\"a\""), "W/\"a\"", AT, 304, 412},
    {ONE("If-None-Match", "W/\"a\""), "W/\"a\"", AT, 304, 412},
    {ONE("If-None-Match", "\"b\""), "\"a\"", AT, 0, 0},
    {ONE("If-None-Match", "*"), "\"a\"", AT, 304, 412},
    {ONE("If-None-Match", "*"), NULL, -1, 304, 412},
    {ONE("If-None-Match", "\"b\", \"a\""), "\"a\"", AT, 304, 412},
    {ONE("If-None-Match", "\"b\",,W/\"a\" ,"), "\"a\"", AT, 304, 412},
    {ONE("If-None-Match", "\"x,y\", \"a\""), "\"a\"", AT, 304, 412},
    {ONE("If-None-Match", "\"x,\"a\""), "\"a\"", AT, 0, 0},
    {TWO("If-None-Match", "\"b\"", "if-none-match", "\"a\""), "\"a\"", AT, 304, 412},
    {ONE("If-None-Match", "\"a\""), NULL, AT, 0, 0},
    {ONE("If-None-Match", ""), "\"a\"", AT, 0, 0},
    {ONE("If-None-Match", "a"), "\"a\"", AT, 0, 0},
    {ONE("If-None-Match", "\"a"), "\"a\"", AT, 0, 0},
    {ONE("If-None-Match", "w/\"a\""), "\"a\"", AT, 0, 0},
    {ONE("If-None-Match", "\"A\""), "\"a\"", AT, 0, 0},
    {ONE("If-None-Match", "\"\""), "\"\"", AT, 304, 412},
    {ONE("If-None-Match", "\"a\" \"b\""), "\"b\"", AT, 0, 0},
    /* If-Modified-Since: of GET and HEAD alone, and only without If-None-Match */
    {ONE("If-Modified-Since", SAME), "\"a\"", AT, 304, 0},
    {ONE("If-Modified-Since", AFTER), "\"a\"", AT, 304, 0},
    {ONE("If-Modified-Since", BEFORE), "\"a\"", AT, 0, 0},
    {ONE("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT"), NULL, AT, 304, 0},
    {ONE("If-Modified-Since", "Sun Nov  6 08:49:37 1994"), NULL, AT, 304, 0},
    {ONE("If-Modified-Since", "yesterday"), "\"a\"", AT, 0, 0},
    {ONE("If-Modified-Since", SAME ", " SAME), "\"a\"", AT, 0, 0},
    {TWO("If-Modified-Since", SAME, "If-Modified-Since", SAME), "\"a\"", AT, 0, 0},
    {ONE("If-Modified-Since", SAME), "\"a\"", -1, 0, 0},
    {TWO("If-None-Match", "\"b\"", "If-Modified-Since", SAME), "\"a\"", AT, 0, 0},
    {TWO("If-None-Match", "\"a\"", "If-Modified-Since", BEFORE), "\"a\"", AT, 304, 412},
    {TWO("If-None-Match", "rubbish", "If-Modified-Since", SAME), "\"a\"", AT, 0, 0},
    /* If-Match: strong comparison */
    {ONE("If-Match", "\"a\""), "\"a\"", AT, 0, 0},
    {ONE("If-Match", "W/\"a\""), "\"a\"", AT, 412, 412},
    {ONE("If-Match", "\"a\""), "W/\"a\"", AT, 412, 412},
    {ONE("If-Match", "\"b\""), "\"a\"", AT, 412, 412},
    {ONE("If-Match", "\"b\", \"a\""), "\"a\"", AT, 0, 0},
    {TWO("If-Match", "\"b\"", "If-Match", "\"a\""), "\"a\"", AT, 0, 0},
    {ONE("If-Match", "*"), "\"a\"", AT, 0, 0},
    {ONE("If-Match", "*"), NULL, -1, 0, 0},
    {ONE("If-Match", "\"a\""), NULL, AT, 412, 412},
    {ONE("If-Match", ""), "\"a\"", AT, 412, 412},
    /* If-Unmodified-Since: only without If-Match */
    {ONE("If-Unmodified-Since", SAME), "\"a\"", AT, 0, 0},
    {ONE("If-Unmodified-Since", AFTER), "\"a\"", AT, 0, 0},
    {ONE("If-Unmodified-Since", BEFORE), "\"a\"", AT, 412, 412},
    {ONE("If-Unmodified-Since", BEFORE), "\"a\"", -1, 0, 0},
    {ONE("If-Unmodified-Since", "x"), "\"a\"", AT, 0, 0},
    {TWO("If-Match", "\"a\"", "If-Unmodified-Since", BEFORE), "\"a\"", AT, 0, 0},
    {TWO("If-Match", "\"b\"", "If-Unmodified-Since", SAME), "\"a\"", AT, 412, 412},
    /* the order of 13.2.2 */
    {TWO("If-Match", "\"b\"", "If-None-Match", "\"a\""), "\"a\"", AT, 412, 412},
    {TWO("If-Match", "\"a\"", "If-None-Match", "\"a\""), "\"a\"", AT, 304, 412},
    {TWO("If-Match", "\"a\"", "If-Modified-Since", SAME), "\"a\"", AT, 304, 0},
    {TWO("If-Unmodified-Since", BEFORE, "If-None-Match", "\"a\""), "\"a\"", AT, 412, 412},
    {TWO("If-Unmodified-Since", SAME, "If-None-Match", "\"a\""), "\"a\"", AT, 304, 412},
};

static struct weir_fields *fields_of(const char *const fields[4][2])
{
    struct weir_fields *made = NULL;

    assert_int_equal(weir_fields_create(&made), 0);
    for (size_t i = 0; i < 4 && fields[i][0] != NULL; i++) {
        assert_int_equal(weir_fields_add(made, weir_str(fields[i][0]), weir_str(fields[i][1])), 0);
    }
    return made;
}

static void preconditions(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct weir_fields *fields = fields_of(rows[i].fields);
        struct weir_view etag = weir_str(rows[i].etag);
        int get = weir__conditional_status(fields, true, etag, rows[i].last_modified, NOW);
        int put = weir__conditional_status(fields, false, etag, rows[i].last_modified, NOW);

        weir_fields_destroy(fields);
        if (get != rows[i].get || put != rows[i].put) {
            fail_msg("row %zu (%s: %s): %d %d", i, rows[i].fields[0][0], rows[i].fields[0][1], get,
                     put);
        }
    }
}

static void a_range_on_condition(void **state)
{
    static const struct {
        const char *fields[4][2];
        const char *etag;
        int64_t last_modified, now;
        bool allowed;
    } cases[] = {
        {{{NULL, NULL}}, "\"a\"", AT, NOW, true},
        {ONE("If-Range", "\"a\""), "\"a\"", AT, NOW, true},
        {ONE("If-Range", "\"b\""), "\"a\"", AT, NOW, false},
        {ONE("If-Range", "W/\"a\""), "\"a\"", AT, NOW, false},
        {ONE("If-Range", "\"a\""), "W/\"a\"", AT, NOW, false},
        {ONE("If-Range", "W/\"a\""), "W/\"a\"", AT, NOW, false},
        {ONE("If-Range", "\"a\", \"b\""), "\"a\"", AT, NOW, false},
        {ONE("If-Range", "*"), "\"a\"", AT, NOW, false},
        {ONE("If-Range", ""), "\"a\"", AT, NOW, false},
        {ONE("If-Range", "\"a\""), NULL, AT, NOW, false},
        {TWO("If-Range", "\"a\"", "If-Range", "\"a\""), "\"a\"", AT, NOW, false},
        {ONE("If-Range", SAME), "\"a\"", AT, NOW, true},
        {ONE("If-Range", BEFORE), "\"a\"", AT, NOW, false},
        {ONE("If-Range", AFTER), "\"a\"", AT, NOW, false},
        {ONE("If-Range", SAME), "\"a\"", -1, NOW, false},
        {ONE("If-Range", SAME), "\"a\"", AT, AT, false}, /* its second is not over: weak */
        {ONE("If-Range", SAME), "\"a\"", AT, AT + 1, true},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct weir_fields *fields = fields_of(cases[i].fields);
        bool allowed = weir__conditional_allows_range(fields, weir_str(cases[i].etag),
                                                      cases[i].last_modified, cases[i].now);

        weir_fields_destroy(fields);
        if (allowed != cases[i].allowed) {
            fail_msg("case %zu: %d", i, (int)allowed);
        }
    }
}

static void what_is_an_entity_tag(void **state)
{
    static const char *const good[] = {"\"\"", "\"a\"", "W/\"a\"", "\"!#\x80\xff\"", "\"a,b\""};
    static const char *const bad[] = {
        "",        "a",       "\"",     "\"a",    "a\"",    "W/",       "W/a",    "w/\"a\"",
        "\"a b\"", "\"a\"\"", " \"a\"", "\"a\" ", "W\"a\"", "\"\x7f\"", "\"\t\"", "\"a\"x"};

    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_true(weir__etag_is_valid(weir_str(good[i])));
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(weir__etag_is_valid(weir_str(bad[i])));
    }
}

/* ---- in a handler ---- */

static int versioned(struct weir_req *req, void *arg)
{
    int status = weir_req_is_fresh(req, weir_str("\"v1\""), AT);

    assert_int_equal(weir_req_is_fresh(req, weir_str("v1"), AT), WEIR_EINVAL);
    *(int *)arg = status;
    return status > 0 ? weir_reply_empty(req, status, NULL) : weir_reply_text(req, 200, "v1");
}

static void a_handler_asks(void **state)
{
    static const struct {
        const char *method, *name, *value, *trace;
    } cases[] = {
        {"GET", "If-None-Match", "\"v1\"", "0 begin 304 none\n0 end\n0 finished\n"},
        {"HEAD", "If-None-Match", "\"v1\"", "0 begin 304 none\n0 end\n0 finished\n"},
        {"PUT", "If-None-Match", "\"v1\"", "0 begin 412 length=0\n0 end\n0 finished\n"},
        {"PUT", "If-Match", "\"v0\"", "0 begin 412 length=0\n0 end\n0 finished\n"},
        {"GET", "If-None-Match", "\"v2\"",
         "0 begin 200 length=2\n  Content-Type: text/plain; charset=utf-8\n0 body 2\n0 end\n"
         "0 finished\n"},
        {"OPTIONS", "If-Match", "\"v0\"",
         "0 begin 200 length=2\n  Content-Type: text/plain; charset=utf-8\n0 body 2\n0 end\n"
         "0 finished\n"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *const lines[][2] = {{cases[i].name, cases[i].value}, {NULL, NULL}};
        int status = -1;
        struct scene scene = {.handler = versioned,
                              .arg = &status,
                              .lines = lines,
                              .opts = {.method = cases[i].method}};

        play(&scene);
        assert_string_equal(scene_trace, cases[i].trace);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preconditions),
        cmocka_unit_test(a_range_on_condition),
        cmocka_unit_test(what_is_an_entity_tag),
        cmocka_unit_test(a_handler_asks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
