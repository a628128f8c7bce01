/* SPDX-License-Identifier: MIT */
/* Parity: routes, what stands around a handler, and what the library serves by itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <weir/guards.h>
#include <weir/router.h>
#include <weir/rt.h>
#include <weir/telemetry.h>
#include <weir/web.h>

#include "base/cleanup.h"
#include "parity.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
/* A string as an argument, which nobody writes to. */
#define NAME(text) ((void *)(text))
#define CHAIN(items, handler, arg)              \
    {                                           \
        (items), COUNT(items), (handler), (arg) \
    }

/* ---- order ---- */

static int around(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    int r;

    parity_note(req, "%s before", (const char *)arg);
    r = weir_chain_run(next, req);
    parity_note(req, "%s after: %s", (const char *)arg, parity_name(r));
    return r;
}

static int turns_away(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    (void)next;
    (void)arg;
    return weir_reply_text(req, 401, "who?\n");
}

/* A filter that adds a line with its name. */
struct naming {
    struct weir_reply_filter filter; /* first: it is found by it */
    const char *name;
    struct weir_req *req;
};

static int add_name(struct weir_reply_filter *filter, struct weir_reply *reply,
                    struct weir_sink **ret)
{
    struct naming *naming = (struct naming *)filter;
    struct weir_fields *fields;
    int r = weir_reply_edit(reply, &fields);

    parity_note(naming->req, "%s filters %d", naming->name, weir_reply_status(reply));
    if (r == 0) {
        r = weir_fields_add(fields, weir_str("X-Through"), weir_str(naming->name));
    }
    return r < 0 ? r : weir_reply_next(reply, ret);
}

static int names(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct naming naming = {{.begin = add_name}, arg, req};

    weir_req_filter_reply(req, &naming.filter);
    return weir_chain_run(next, req);
}

static int text(struct weir_req *req, void *arg)
{
    parity_note(req, "the handler");
    return weir_reply_text(req, 200, "%s\n", arg != NULL ? (const char *)arg : "hello");
}

static int streams(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    for (int i = 0; r == 0 && i < 3; i++) {
        r = weir_emit_bytes(out, weir_str("piece\n"), -1);
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    parity_note(req, "the handler has ended");
    return r;
}

static int fails(struct weir_req *req, void *arg)
{
    (void)req;
    (void)arg;
    return WEIR_EREFUSED;
}

static const struct weir_middleware ordered[] = {{around, NAME("outer")},
                                                 {names, NAME("first")},
                                                 {around, NAME("inner")},
                                                 {names, NAME("second")}};
static const struct weir_middleware cut_short[] = {
    {around, NAME("outer")}, {names, NAME("first")}, {turns_away, NULL}, {around, NAME("never")}};
static struct weir_chain order_text = CHAIN(ordered, text, NULL),
                         order_stream = CHAIN(ordered, streams, NULL),
                         order_fails = CHAIN(ordered, fails, NULL),
                         order_cut = CHAIN(cut_short, text, NULL);

/* ---- a router ---- */

static struct weir_router *router;

static int item(struct weir_req *req, void *arg)
{
    struct weir_view route = weir_req_route(req), id = weir_req_param(req, "id");
    struct weir_view rest = weir_req_param(req, "rest");

    parity_note(req, "route %.*s", (int)route.len, (const char *)route.data);
    parity_note(req, "id %.*s, rest %.*s", (int)id.len, id.len > 0 ? (const char *)id.data : "",
                (int)rest.len, rest.len > 0 ? (const char *)rest.data : "");
    return weir_reply_text(req, 200, "%s\n", (const char *)arg);
}

static int routed(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_router_handle(req, router);
}

static void make_router(void)
{
    static const struct weir_middleware all[] = {{around, NAME("router")}};
    static const struct weir_middleware some[] = {{around, NAME("route")}};

    assert_int_equal(
        weir_router_create(&(struct weir_router_opts){.middleware = all, .middleware_count = 1},
                           &router),
        0);
    assert_int_equal(
        weir_router_add(router, "GET", "/items/:id", item, NAME("get"),
                        &(struct weir_route_opts){.middleware = some, .middleware_count = 1}),
        0);
    assert_int_equal(weir_router_add(router, "PUT", "/items/:id", item, NAME("put"), NULL), 0);
    assert_int_equal(weir_router_add(router, "GET", "/items/special", item, NAME("special"), NULL),
                     0);
    assert_int_equal(weir_router_add(router, "*", "/any/*rest", item, NAME("any"), NULL), 0);
}

static void drop_router(void)
{
    weir_router_destroy(router);
    router = NULL;
}

/* ---- guards ---- */

static struct weir_concurrency *slots;
static struct weir_rate_limit *rate;

static int guarded_slots(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    (void)arg;
    return weir_mw_concurrency(req, next, slots);
}

static int guarded_rate(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    (void)arg;
    return weir_mw_rate_limit(req, next, rate);
}

/* Streams until the other request has been answered. */
static int holds(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("begun, "), -1);
    }
    parity_note(req, "holds %zu", weir_concurrency_used(slots));
    if (r == 0 && weir_view_equal(weir_req_target(req), weir_str("/long"))) {
        r = parity_await("turned away");
    }
    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("ended\n"), -1);
    }
    return r < 0 ? r : weir_end(out, NULL);
}

static void make_slots(void)
{
    assert_int_equal(weir_concurrency_create(
                         &(struct weir_concurrency_opts){.max = 1, .retry_after_s = 7}, &slots),
                     0);
}

static void drop_slots(void)
{
    assert_int_equal(weir_concurrency_used(slots), 0);
    weir_concurrency_destroy(slots);
}

static void make_rate(void)
{
    assert_int_equal(
        weir_rate_limit_create(&(struct weir_rate_limit_opts){.requests = 1,
                                                              .period_ms = 3600000,
                                                              .burst = 2,
                                                              .key = weir_limit_key_field,
                                                              .key_arg = NAME("x-who")},
                               &rate),
        0);
}

static void drop_rate(void)
{
    weir_rate_limit_destroy(rate);
}

/* The time that is left is counted in seconds that pass. */
static void hide_retry(char *run)
{
    parity_hide(run, "retry-after");
}

static int knows(struct weir_req *req, struct weir_view secret, void *arg, const void **ret)
{
    (void)req;
    *ret = "alice";
    return weir_secret_equal(secret, weir_str(arg)) ? 0 : 401;
}

static int who(struct weir_req *req, void *arg)
{
    (void)arg;
    return weir_reply_text(req, 200, "%s\n", (const char *)weir_req_identity(req));
}

static int too_slow(struct weir_req *req, void *arg)
{
    int r = weir_sleep(weir_after_ms(20000));

    (void)arg;
    parity_note(req, "sleep: %s", parity_name(r));
    return r;
}

static int too_slow_in_a_stream(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *out = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    if (r == 0) {
        r = weir_emit_bytes(out, weir_str("some"), -1);
    }
    return r < 0 ? r : too_slow(req, arg);
}

static struct weir_bearer_opts bearer = {.check = knows, .arg = NAME("s3cret"), .realm = "parity"};
static struct weir_deadlines_opts soon = {.total_ms = 50};
static const struct weir_middleware slot_items[] = {{guarded_slots, NULL}},
                                    rate_items[] = {{guarded_rate, NULL}},
                                    bearer_items[] = {{weir_mw_bearer, &bearer}},
                                    soon_items[] = {{weir_mw_deadlines, &soon}};
static struct weir_chain slot_chain = CHAIN(slot_items, holds, NULL),
                         rate_chain = CHAIN(rate_items, text, NULL),
                         bearer_chain = CHAIN(bearer_items, who, NULL),
                         soon_chain = CHAIN(soon_items, too_slow, NULL),
                         soon_stream_chain = CHAIN(soon_items, too_slow_in_a_stream, NULL);

/* ---- what browsers look at ---- */

static const char *const origins[] = {"https://app.example"};
static struct weir_cors_opts cors = {.origins = origins, .origin_count = 1, .credentials = true};
static struct weir_request_id_opts trusting = {.trust_inbound = true};
static const struct weir_middleware web_items[] = {{weir_mw_cors, &cors}, {weir_mw_security, NULL}},
                                    id_items[] = {{weir_mw_request_id, &trusting}};
static struct weir_chain web_chain = CHAIN(web_items, text, NULL),
                         id_chain = CHAIN(id_items, text, NULL);

/* ---- health and metrics ---- */

static int is_fine(void *arg)
{
    (void)arg;
    return 0;
}

static int is_down(void *arg)
{
    (void)arg;
    return WEIR_ECLOSED;
}

static const struct weir_health_check one_down[] = {
    {"disk", is_fine, NULL}, {"db", is_down, NULL}, {"queue", is_down, NULL}};
static struct weir_health ready = {one_down, 1}, not_ready = {one_down, 3};

static struct weir_metrics *metrics;

static void make_metrics(void)
{
    assert_int_equal(weir_metrics_create(NULL, &metrics), 0);
}

static void drop_metrics(void)
{
    weir_metrics_destroy(metrics);
}

static int counted(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    (void)arg;
    return weir_mw_metrics(req, next, metrics);
}

static int show_metrics(struct weir_req *req, void *arg)
{
    if (weir_view_equal(weir_req_target(req), weir_str("/metrics"))) {
        return weir_metrics_handle(req, metrics);
    }
    return streams(req, arg);
}

static const struct weir_middleware counted_items[] = {{counted, NULL}};
static struct weir_chain counted_chain = CHAIN(counted_items, show_metrics, NULL);

/* Whether a line of metrics has a time for its value. */
static bool is_timed(const char *line, size_t len)
{
    const char *seconds = memmem(line, len, "_seconds", 8);

    return line[0] != '#' && seconds != NULL && strncmp(seconds + 8, "_count", 6) != 0;
}

/* Times are times, the name of the protocol is the wire's, and the length of the text follows from these. Buckets are
 * many, and say nothing more; which stalls there were is chance. */
static void hide_times(char *run)
{
    char *to = run;

    parity_hide(run, "content-length");
    for (const char *from = run; *from != '\0';) {
        size_t len = strcspn(from, "\n");
        const char *version = memmem(from, len, "network_protocol_version=\"", 26);
        size_t keep = len;

        if (memmem(from, len, "_bucket{", 8) != NULL ||
            strncmp(from, "weir_stream_stall", 17) == 0) {
            from += len + 1;
            continue;
        }
        if (is_timed(from, len) || strncmp(from, "- returned", 10) == 0) {
            while (keep > 0 && from[keep - 1] != ' ') {
                keep--;
            }
        }
        if (version != NULL) {
            size_t before = (size_t)(version - from) + 26;
            size_t name = strcspn(version + 26, "\"");

            memmove(to, from, before);
            memmove(to + before, from + before + name, keep - before - name);
            to += keep - name;
        } else {
            memmove(to, from, keep);
            to += keep;
        }
        *to++ = '\n';
        from += len + 1;
    }
    *to = '\0';
}

static const struct parity_case order[] = {
    {.name = "middleware in order",
     .handler = weir_chain_handle,
     .arg = &order_text,
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "x-through: second\n"
               "x-through: first\n"
               "content-length: 6\n"
               "\n"
               "hello\n"
               "\n"
               "end\n"
               "- outer before\n"
               "- inner before\n"
               "- the handler\n"
               "- second filters 200\n"
               "- first filters 200\n"
               "- inner after: 0\n"
               "- outer after: 0\n"
               "- returned 0: 200 complete, received 0, sent 6\n"},
    {.name = "middleware around a stream",
     .handler = weir_chain_handle,
     .arg = &order_stream,
     .expect = "200\n"
               "x-through: second\n"
               "x-through: first\n"
               "\n"
               "piece\n"
               "piece\n"
               "piece\n"
               "\n"
               "end\n"
               "- outer before\n"
               "- inner before\n"
               "- second filters 200\n"
               "- first filters 200\n"
               "- the handler has ended\n"
               "- inner after: 0\n"
               "- outer after: 0\n"
               "- returned 0: 200 complete, received 0, sent 18\n"},
    {.name = "middleware around a failure",
     .handler = weir_chain_handle,
     .arg = &order_fails,
     .expect = "403\n"
               "content-type: text/plain; charset=utf-8\n"
               "x-through: second\n"
               "x-through: first\n"
               "content-length: 8\n"
               "\n"
               "refused\n"
               "\n"
               "end\n"
               "- outer before\n"
               "- inner before\n"
               "- second filters 403\n"
               "- first filters 403\n"
               "- inner after: WEIR_EREFUSED\n"
               "- outer after: WEIR_EREFUSED\n"
               "- returned WEIR_EREFUSED: 403 complete, received 0, sent 8\n"},
    {.name = "middleware that does not call on",
     .handler = weir_chain_handle,
     .arg = &order_cut,
     .expect = "401\n"
               "content-type: text/plain; charset=utf-8\n"
               "x-through: first\n"
               "content-length: 5\n"
               "\n"
               "who?\n"
               "\n"
               "end\n"
               "- outer before\n"
               "- first filters 401\n"
               "- outer after: 0\n"
               "- returned 0: 401 complete, received 0, sent 5\n"},
};

#define ROUTED .handler = routed, .set_up = make_router, .tear_down = drop_router
static const struct parity_case routes[] = {
    {.name = "a route",
     ROUTED,
     .ask = {{.target = "/items/5%20b?x"}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 4\n"
               "\n"
               "get\n"
               "\n"
               "end\n"
               "- router before\n"
               "- route before\n"
               "- route /items/:id\n"
               "- id 5%20b, rest \n"
               "- route after: 0\n"
               "- router after: 0\n"
               "- returned 0: 200 complete, received 0, sent 4\n"},
    {.name = "a literal before a parameter",
     ROUTED,
     .ask = {{.target = "/items/special"}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 8\n"
               "\n"
               "special\n"
               "\n"
               "end\n"
               "- router before\n"
               "- route /items/special\n"
               "- id , rest \n"
               "- router after: 0\n"
               "- returned 0: 200 complete, received 0, sent 8\n"},
    {.name = "another method falls through",
     ROUTED,
     .ask = {{.method = "PUT", .target = "/items/special"}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 4\n"
               "\n"
               "put\n"
               "\n"
               "end\n"
               "- router before\n"
               "- route /items/:id\n"
               "- id special, rest \n"
               "- router after: 0\n"
               "- returned 0: 200 complete, received 0, sent 4\n"},
    {.name = "a wildcard",
     ROUTED,
     .ask = {{.method = "PATCH", .target = "/any/a/b/"}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 4\n"
               "\n"
               "any\n"
               "\n"
               "end\n"
               "- router before\n"
               "- route /any/*rest\n"
               "- id , rest a/b/\n"
               "- router after: 0\n"
               "- returned 0: 200 complete, received 0, sent 4\n"},
    {.name = "HEAD of a GET",
     ROUTED,
     .ask = {{.method = "HEAD", .target = "/items/5"}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 4\n"
               "\n"
               "end\n"
               "- router before\n"
               "- route before\n"
               "- route /items/:id\n"
               "- id 5, rest \n"
               "- route after: 0\n"
               "- router after: 0\n"
               "- returned 0: 200 complete, received 0, sent 0\n"},
    {.name = "OPTIONS of a path",
     ROUTED,
     .ask = {{.method = "OPTIONS", .target = "/items/5"}},
     .expect = "204\n"
               "allow: GET, PUT, HEAD, OPTIONS\n"
               "\n"
               "end\n"
               "- router before\n"
               "- router after: 0\n"
               "- returned 0: 204 complete, received 0, sent 0\n"},
    {.name = "no such method",
     ROUTED,
     .ask = {{.method = "DELETE", .target = "/items/5"}},
     .expect = "405\n"
               "allow: GET, PUT, HEAD, OPTIONS\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 19\n"
               "\n"
               "method not allowed\n"
               "\n"
               "end\n"
               "- router before\n"
               "- router after: 0\n"
               "- returned 0: 405 complete, received 0, sent 19\n"},
    {.name = "no such path",
     ROUTED,
     .ask = {{.target = "/nothing"}},
     .expect = "404\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 10\n"
               "\n"
               "not found\n"
               "\n"
               "end\n"
               "- router before\n"
               "- router after: 0\n"
               "- returned 0: 404 complete, received 0, sent 10\n"},
    {.name = "no path at all",
     ROUTED,
     .ask = {{.target = "/items/%2e%2e"}},
     .expect = "400\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 24\n"
               "\n"
               "dot segment in the path\n"
               "\n"
               "end\n"
               "- router before\n"
               "- router after: 0\n"
               "- returned 0: 400 complete, received 0, sent 24\n"},
};

static const struct parity_case guards[] = {
    {.name = "one at a time, until the stream ends",
     .handler = weir_chain_handle,
     .arg = &slot_chain,
     .set_up = make_slots,
     .tear_down = drop_slots,
     .asks = 3,
     .ask = {{.target = "/long"},
             {.target = "/second", .beside = "holds", .steps = {UNTIL_HEAD, MARK("turned away")}},
             {.target = "/third"}},
     .expect = "# 1\n"
               "200\n"
               "\n"
               "begun, ended\n"
               "\n"
               "end\n"
               "- holds 1\n"
               "- returned 0: 200 complete, received 0, sent 13\n"
               "# 2\n"
               "503\n"
               "retry-after: 7\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 26\n"
               "\n"
               "too many requests at once\n"
               "\n"
               "end\n"
               "- returned 0: 503 complete, received 0, sent 26\n"
               "# 3\n"
               "200\n"
               "\n"
               "begun, ended\n"
               "\n"
               "end\n"
               "- holds 1\n"
               "- returned 0: 200 complete, received 0, sent 13\n"},
    {.name = "two an hour",
     .handler = weir_chain_handle,
     .arg = &rate_chain,
     .per_wire = hide_retry,
     .set_up = make_rate,
     .tear_down = drop_rate,
     .asks = 4,
     .ask = {{.fields = {{"X-Who", "a"}}},
             {.fields = {{"X-Who", "a"}}},
             {.fields = {{"X-Who", "a"}}},
             {.fields = {{"X-Who", "b"}}}},
     .expect = "# 1\n"
               "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 6\n"
               "\n"
               "hello\n"
               "\n"
               "end\n"
               "- the handler\n"
               "- returned 0: 200 complete, received 0, sent 6\n"
               "# 2\n"
               "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 6\n"
               "\n"
               "hello\n"
               "\n"
               "end\n"
               "- the handler\n"
               "- returned 0: 200 complete, received 0, sent 6\n"
               "# 3\n"
               "429\n"
               "retry-after: ...\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 18\n"
               "\n"
               "too many requests\n"
               "\n"
               "end\n"
               "- returned 0: 429 complete, received 0, sent 18\n"
               "# 4\n"
               "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 6\n"
               "\n"
               "hello\n"
               "\n"
               "end\n"
               "- the handler\n"
               "- returned 0: 200 complete, received 0, sent 6\n"},
    {.name = "no token",
     .handler = weir_chain_handle,
     .arg = &bearer_chain,
     .expect = "401\n"
               "www-authenticate: Bearer realm=\"parity\"\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 13\n"
               "\n"
               "who are you?\n"
               "\n"
               "end\n"
               "- returned 0: 401 complete, received 0, sent 13\n"},
    {.name = "a wrong token",
     .handler = weir_chain_handle,
     .arg = &bearer_chain,
     .ask = {{.fields = {{"Authorization", "Bearer guess"}}}},
     .expect = "401\n"
               "www-authenticate: Bearer realm=\"parity\", error=\"invalid_token\"\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 13\n"
               "\n"
               "who are you?\n"
               "\n"
               "end\n"
               "- returned 0: 401 complete, received 0, sent 13\n"},
    {.name = "a token",
     .handler = weir_chain_handle,
     .arg = &bearer_chain,
     .ask = {{.fields = {{"Authorization", "Bearer s3cret"}}}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 6\n"
               "\n"
               "alice\n"
               "\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 6\n"},
    {.name = "a deadline before the head",
     .handler = weir_chain_handle,
     .arg = &soon_chain,
     .expect = "504\n"
               "content-type: text/plain; charset=utf-8\n"
               "content-length: 16\n"
               "\n"
               "deadline passed\n"
               "\n"
               "end\n"
               "- sleep: WEIR_ECANCELED\n"
               "- returned WEIR_ECANCELED: 504 complete, received 0, sent 16\n"},
    {.name = "a deadline in the stream",
     .handler = weir_chain_handle,
     .arg = &soon_stream_chain,
     .expect = "200\n"
               "\n"
               "some\n"
               "abort\n"
               "- sleep: WEIR_ECANCELED\n"
               "- returned WEIR_ECANCELED: 200 aborted, received 0, sent 4\n"
               "- because WEIR_ECANCELED of the handler, timeout\n"},
};

static const struct parity_case web[] = {
    {.name = "an allowed origin",
     .handler = weir_chain_handle,
     .arg = &web_chain,
     .ask = {{.fields = {{"Origin", "https://app.example"}}}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "x-content-type-options: nosniff\n"
               "x-frame-options: DENY\n"
               "referrer-policy: no-referrer\n"
               "vary: Origin\n"
               "access-control-allow-origin: https://app.example\n"
               "access-control-allow-credentials: true\n"
               "content-length: 6\n"
               "\n"
               "hello\n"
               "\n"
               "end\n"
               "- the handler\n"
               "- returned 0: 200 complete, received 0, sent 6\n"},
    {.name = "another origin",
     .handler = weir_chain_handle,
     .arg = &web_chain,
     .ask = {{.fields = {{"Origin", "https://evil.example"}}}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "x-content-type-options: nosniff\n"
               "x-frame-options: DENY\n"
               "referrer-policy: no-referrer\n"
               "vary: Origin\n"
               "content-length: 6\n"
               "\n"
               "hello\n"
               "\n"
               "end\n"
               "- the handler\n"
               "- returned 0: 200 complete, received 0, sent 6\n"},
    {.name = "a preflight",
     .handler = weir_chain_handle,
     .arg = &web_chain,
     .ask = {{.method = "OPTIONS",
              .fields = {{"Origin", "https://app.example"},
                         {"Access-Control-Request-Method", "PUT"},
                         {"Access-Control-Request-Headers", "x-a"}}}},
     .expect = "204\n"
               "vary: Origin\n"
               "access-control-allow-origin: https://app.example\n"
               "access-control-allow-credentials: true\n"
               "vary: Access-Control-Request-Method, Access-Control-Request-Headers\n"
               "access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE\n"
               "access-control-allow-headers: x-a\n"
               "access-control-max-age: 600\n"
               "\n"
               "end\n"
               "- returned 0: 204 complete, received 0, sent 0\n"},
    {.name = "a request's id",
     .handler = weir_chain_handle,
     .arg = &id_chain,
     .ask = {{.fields = {{"X-Request-ID", "abc-1"}}}},
     .expect = "200\n"
               "content-type: text/plain; charset=utf-8\n"
               "x-request-id: abc-1\n"
               "content-length: 6\n"
               "\n"
               "hello\n"
               "\n"
               "end\n"
               "- the handler\n"
               "- returned 0: 200 complete, received 0, sent 6\n"},
};

static const struct parity_case own[] = {
    {.name = "it lives",
     .handler = weir_health_live,
     .expect = "200\n"
               "cache-control: no-store\n"
               "content-type: application/json\n"
               "content-length: 16\n"
               "\n"
               "{\"status\":\"ok\"}\n"
               "\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 16\n"},
    {.name = "it is ready",
     .handler = weir_health_ready,
     .arg = &ready,
     .expect = "200\n"
               "cache-control: no-store\n"
               "content-type: application/json\n"
               "content-length: 16\n"
               "\n"
               "{\"status\":\"ok\"}\n"
               "\n"
               "end\n"
               "- returned 0: 200 complete, received 0, sent 16\n"},
    {.name = "it is not ready",
     .handler = weir_health_ready,
     .arg = &not_ready,
     .expect = "503\n"
               "cache-control: no-store\n"
               "content-type: application/json\n"
               "content-length: 49\n"
               "\n"
               "{\"status\":\"unavailable\",\"failed\":[\"db\",\"queue\"]}\n"
               "\n"
               "end\n"
               "- returned 0: 503 complete, received 0, sent 49\n"},
    {.name = "metrics",
     .handler = weir_chain_handle,
     .arg = &counted_chain,
     .set_up = make_metrics,
     .tear_down = drop_metrics,
     .per_wire = hide_times,
     .asks = 2,
     .ask = {{.target = "/"}, {.target = "/metrics"}},
     .expect =
         "# 1\n"
         "200\n"
         "\n"
         "piece\n"
         "piece\n"
         "piece\n"
         "\n"
         "end\n"
         "- the handler has ended\n"
         "- returned 0: 200 complete, received 0, sent \n"
         "# 2\n"
         "200\n"
         "content-type: text/plain; version=0.0.4; charset=utf-8\n"
         "\n"
         "# HELP http_server_request_duration_seconds Duration of requests, from their head to the end of the stream.\n"
         "# TYPE http_server_request_duration_seconds histogram\n"
         "http_server_request_duration_seconds_sum{http_request_method=\"GET\",http_route=\"\",http_response_status_code=\"200\",network_protocol_version=\"\",weir_exchange=\"stream\"} \n"
         "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_route=\"\",http_response_status_code=\"200\",network_protocol_version=\"\",weir_exchange=\"stream\"} 1\n"
         "# HELP http_server_active_requests Requests whose stream has not ended.\n"
         "# TYPE http_server_active_requests gauge\n"
         "http_server_active_requests{http_request_method=\"GET\"} 1\n"
         "# HELP http_server_request_body_size_bytes Bytes of request bodies that were read.\n"
         "# TYPE http_server_request_body_size_bytes histogram\n"
         "http_server_request_body_size_bytes_sum{http_request_method=\"GET\",http_route=\"\"} 0\n"
         "http_server_request_body_size_bytes_count{http_request_method=\"GET\",http_route=\"\"} 1\n"
         "# HELP http_server_response_body_size_bytes Bytes of response bodies that were sent.\n"
         "# TYPE http_server_response_body_size_bytes histogram\n"
         "http_server_response_body_size_bytes_sum{http_request_method=\"GET\",http_route=\"\"} 18\n"
         "http_server_response_body_size_bytes_count{http_request_method=\"GET\",http_route=\"\"} 1\n"
         "# HELP weir_time_to_first_byte_seconds From a request's head to its reply's.\n"
         "# TYPE weir_time_to_first_byte_seconds histogram\n"
         "weir_time_to_first_byte_seconds_sum{http_route=\"\"} \n"
         "weir_time_to_first_byte_seconds_count{http_route=\"\"} 1\n"
         "# HELP weir_streams_total Streams by how they ended.\n"
         "# TYPE weir_streams_total counter\n"
         "weir_streams_total{http_route=\"\",outcome=\"complete\"} 1\n"
         "# HELP weir_stream_stall_seconds_total Time of replies by what they waited for.\n"
         "# TYPE weir_stream_stall_seconds_total counter\n"
         "# HELP weir_bytes_total Bytes of bodies, booked when the stream has ended.\n"
         "# TYPE weir_bytes_total counter\n"
         "weir_bytes_total{http_route=\"\",io=\"tx\"} 18\n"
         "\n"
         "end\n"
         "- returned 0: 200 complete, received 0, sent \n"},
};

static void middleware_in_order(void **state)
{
    (void)state;
    parity_check(order, COUNT(order));
}

static void a_router_answers_alike(void **state)
{
    (void)state;
    parity_check(routes, COUNT(routes));
}

static void v14_guards_hold_until_the_end(void **state)
{
    (void)state;
    parity_check(guards, COUNT(guards));
}

static void what_browsers_look_at(void **state)
{
    (void)state;
    parity_check(web, COUNT(web));
}

static void health_and_metrics(void **state)
{
    (void)state;
    parity_check(own, COUNT(own));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(middleware_in_order),
        cmocka_unit_test(a_router_answers_alike),
        cmocka_unit_test(v14_guards_hold_until_the_end),
        cmocka_unit_test(what_browsers_look_at),
        cmocka_unit_test(health_and_metrics),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
