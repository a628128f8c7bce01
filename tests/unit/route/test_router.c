/* SPDX-License-Identifier: MIT */
/* Routing: which pattern takes which path, what the router answers itself, and what it refuses to be built of. */
#include "http_test.h"

#include <weir/router.h>

#include "route/router.h"

/* A string as an argument of a handler. */
#define TEXT(literal) ((char[]){literal})

static struct weir_router *router;
static char calls[512]; /* who ran, in order */

static int setup(void **state)
{
    (void)state;
    calls[0] = '\0';
    return weir_router_create(NULL, &router);
}

static int teardown(void **state)
{
    (void)state;
    weir_router_destroy(router);
    router = NULL;
    return 0;
}

static void note(const char *text)
{
    size_t len = strlen(calls);

    snprintf(calls + len, sizeof(calls) - len, "%s ", text);
}

/* Says which pattern was taken, and the values of the names it may have. */
static int tell(struct weir_req *req, void *arg)
{
    static const char *const names[] = {"a", "b", "rest"};
    char text[256];
    size_t len = 0;
    struct weir_view route = weir_req_route(req);

    (void)arg;
    len += (size_t)snprintf(text, sizeof(text), "%.*s", (int)route.len, (const char *)route.data);
    for (size_t i = 0; i < COUNT(names); i++) {
        struct weir_view value = weir_req_param(req, names[i]);

        if (!weir_view_is_absent(value)) {
            len += (size_t)snprintf(text + len, sizeof(text) - len, " %s=%.*s", names[i],
                                    (int)value.len, (const char *)value.data);
        }
    }
    return weir_reply_bytes(req, 200, NULL, NULL, weir_bytes(text, len));
}

static void add(const char *method, const char *pattern)
{
    assert_int_equal(weir_router_add(router, method, pattern, tell, NULL, NULL), 0);
}

/* The status, and the whole trace for those who want more. */
static int ask(const char *method, const char *target)
{
    struct scene scene = {
        .handler = weir_router_handle, .arg = router, .opts = {.method = method, .target = target}};

    play(&scene);
    return scene.result.status;
}

static const char *ask_for(const char *method, const char *target)
{
    ask(method, target);
    return scene_trace;
}

static char told[256];

/* As `tell`, into memory that outlives the transport. */
static int remember(struct weir_req *req, void *arg)
{
    struct weir_view route = weir_req_route(req);
    size_t len =
        (size_t)snprintf(told, sizeof(told), "%.*s", (int)route.len, (const char *)route.data);
    static const char *const names[] = {"a", "b", "rest"};

    (void)arg;
    for (size_t i = 0; i < COUNT(names); i++) {
        struct weir_view value = weir_req_param(req, names[i]);

        if (!weir_view_is_absent(value)) {
            len += (size_t)snprintf(told + len, sizeof(told) - len, " %s=%.*s", names[i],
                                    (int)value.len, (const char *)value.data);
        }
    }
    return weir_reply_empty(req, 200, NULL);
}

static void put(const char *method, const char *pattern)
{
    assert_int_equal(weir_router_add(router, method, pattern, remember, NULL, NULL), 0);
}

static void expect(const char *method, const char *target, const char *text)
{
    told[0] = '\0';
    assert_int_equal(ask(method, target), 200);
    assert_string_equal(told, text);
}

/* ---- which route ---- */

static void literals_parameters_wildcards(void **state)
{
    (void)state;
    put("GET", "/");
    put("GET", "/a");
    put("GET", "/a/");
    put("GET", "/a/:a");
    put("GET", "/a/:a/b/:b");
    put("GET", "/a/fixed");
    put("GET", "/a/*rest");
    expect("GET", "/", "/");
    expect("GET", "/a", "/a");
    expect("GET", "/a?q=1/2", "/a");
    expect("GET", "/a/", "/a/");
    expect("GET", "/a/x", "/a/:a a=x");
    expect("GET", "/a/fixed", "/a/fixed");
    expect("GET", "/a/fixe", "/a/:a a=fixe");
    expect("GET", "/a/x/b/y", "/a/:a/b/:b a=x b=y");
    expect("GET", "/a/x/b", "/a/*rest rest=x/b");
    expect("GET", "/a/x/b/", "/a/*rest rest=x/b/");
    expect("GET", "/a//", "/a/*rest rest=/");
    expect("GET", "http://h/a/x", "/a/:a a=x");
    assert_int_equal(ask("GET", "/b"), 404);
    assert_int_equal(ask("GET", "//a"), 404);
}

static void a_wildcard_takes_an_empty_rest(void **state)
{
    (void)state;
    put("GET", "/files/*rest");
    expect("GET", "/files/", "/files/*rest rest=");
    expect("GET", "/files/a%2Fb", "/files/*rest rest=a%2Fb");
    assert_int_equal(ask("GET", "/files"), 404);
}

static void the_winner_that_leads_nowhere(void **state)
{
    (void)state;
    put("GET", "/u/me/posts");
    put("GET", "/u/:a/likes");
    put("POST", "/u/:a/posts");
    expect("GET", "/u/me/likes", "/u/:a/likes a=me");
    expect("POST", "/u/me/posts", "/u/:a/posts a=me");
    expect("GET", "/u/me/posts", "/u/me/posts");
}

static void escapes_in_literals(void **state)
{
    (void)state;
    put("GET", "/caf\xc3\xa9/a b");
    put("GET", "/abc");
    put("GET", "/abd");
    expect("GET", "/caf%C3%A9/a%20b", "/caf\xc3\xa9/a b");
    expect("GET", "/%61bc", "/abc");
    expect("GET", "/ab%64", "/abd");
    assert_int_equal(ask("GET", "/ab%6"), 404);
    assert_int_equal(ask("GET", "/abc%00"), 404);
}

static void dot_segments(void **state)
{
    (void)state;
    put("GET", "/*rest");
    assert_int_equal(ask("GET", "/a/../b"), 400);
    assert_int_equal(ask("GET", "/a/.%2e"), 400);
    assert_int_equal(ask("GET", "/%2e/b"), 400);
    assert_int_equal(ask("GET", "/.."), 400);
    expect("GET", "/.../a.b", "/*rest rest=.../a.b");
    expect("GET", "/.well-known/x", "/*rest rest=.well-known/x");
}

static void deep_paths(void **state)
{
    static char target[4096];
    size_t len = 0;

    (void)state;
    put("GET", "/:a/*rest");
    put("GET", "/x");
    while (len < 4000) {
        target[len++] = '/';
        target[len++] = 'x';
    }
    target[len] = '\0';
    assert_int_equal(ask("GET", target), 200);
}

static int look(struct weir_req *req, void *arg)
{
    char buffer[8];
    struct weir_view value = weir_str("untouched");
    uint64_t number = 7;

    (void)arg;
    assert_int_equal(weir_req_param_decode(req, "a", buffer, sizeof(buffer), &value), 0);
    assert_true(weir_view_equal(value, weir_str("x y/z")));
    assert_int_equal(weir_req_param_decode(req, "a", buffer, 4, &value), WEIR_ELIMIT);
    assert_int_equal(weir_req_param_decode(req, "none", buffer, 8, &value), WEIR_ENOTFOUND);
    assert_int_equal(weir_req_param_u64(req, "b", &number), 0);
    assert_int_equal(number, 42);
    assert_int_equal(weir_req_param_u64(req, "a", &number), WEIR_EINVAL);
    assert_int_equal(weir_req_param_u64(req, "none", &number), WEIR_ENOTFOUND);
    assert_int_equal(number, 42);
    assert_int_equal(weir__percent_decode(weir_str("a%0g"), buffer, 8, &value), WEIR_EINVAL);
    assert_int_equal(weir__percent_decode(weir_str("a%"), buffer, 8, &value), WEIR_EINVAL);
    assert_int_equal(weir__percent_decode(weir_str("%00"), buffer, 8, &value), WEIR_EINVAL);
    weir_req_drop_head(req);
    assert_true(weir_view_is_absent(weir_req_param(req, "a")));
    assert_true(weir_view_equal(weir_req_route(req), weir_str("/v/:a/:b")));
    return weir_reply_empty(req, 204, NULL);
}

static void values_by_kind(void **state)
{
    (void)state;
    assert_int_equal(weir_router_add(router, "GET", "/v/:a/:b", look, NULL, NULL), 0);
    assert_int_equal(ask("GET", "/v/x%20y%2Fz/42"), 204);
}

/* ---- methods ---- */

static void other_methods(void **state)
{
    (void)state;
    add("GET", "/x");
    add("PUT", "/x");
    add("POST", "/y");
    add("*", "/any");
    assert_string_equal(
        ask_for("DELETE", "/x"),
        "0 begin 405 length=19\n  Allow: GET, PUT, HEAD, OPTIONS\n"
        "  Content-Type: text/plain; charset=utf-8\n0 body 19\n0 end\n0 finished\n");
    assert_string_equal(ask_for("OPTIONS", "/y"), "0 begin 204 none\n  Allow: POST, OPTIONS\n"
                                                  "0 end\n0 finished\n");
    assert_string_equal(ask_for("HEAD", "/x"), "0 begin 200 none\n0 end\n0 finished\n");
    assert_string_equal(ask_for("OPTIONS", "*"),
                        "0 begin 204 none\n  Allow: GET, PUT, POST, HEAD, OPTIONS\n0 end\n"
                        "0 finished\n");
    assert_int_equal(ask("HEAD", "/y"), 405);
    assert_int_equal(ask("BREW", "/any"), 200);
    assert_int_equal(ask("OPTIONS", "/any"), 200);
    assert_int_equal(ask("OPTIONS", "/none"), 404);
}

static void allow_has_the_methods_of_all_patterns(void **state)
{
    (void)state;
    add("GET", "/u/me");
    add("POST", "/u/:a");
    assert_string_equal(ask_for("OPTIONS", "/u/me"),
                        "0 begin 204 none\n  Allow: GET, POST, HEAD, OPTIONS\n0 end\n0 finished\n");
}

static void a_head_of_its_own(void **state)
{
    (void)state;
    put("GET", "/x");
    assert_int_equal(weir_router_add(router, "HEAD", "/x", weir_router_handle, router, NULL), 0);
    add("OPTIONS", "/x");
    assert_int_equal(ask("OPTIONS", "/x"), 200);
}

/* ---- what cannot be ---- */

static void refused(const char *method, const char *pattern, int code, const char *text)
{
    struct weir_router *fresh = NULL;

    assert_int_equal(weir_router_create(NULL, &fresh), 0);
    assert_int_equal(weir_router_add(fresh, "GET", "/a/:id", tell, NULL, NULL), 0);
    assert_string_equal(weir_router_error(fresh), "");
    assert_int_equal(weir_router_add(fresh, method, pattern, tell, NULL, NULL), code);
    assert_string_equal(weir_router_error(fresh), text);
    weir_router_destroy(fresh);
}

static void conflicts_and_nonsense(void **state)
{
    (void)state;
    refused("GET", "/a/:name", WEIR_EBUSY,
            "GET \"/a/:name\" conflicts with \"/a/:id\", which is there already");
    refused("GET", "a", WEIR_EINVAL, "pattern \"a\" does not begin with a slash");
    refused("GET", "/a?b", WEIR_EINVAL,
            "pattern \"/a?b\" has a byte that no decoded path has, at offset 2");
    refused("GET", "/*a/b", WEIR_EINVAL,
            "pattern \"/*a/b\": the wildcard \"*a\" must be the last segment");
    refused("GET", "/:", WEIR_EINVAL,
            "pattern \"/:\": \"\" is no name (letters, digits, underscores)");
    refused("GET", "/:a-b", WEIR_EINVAL,
            "pattern \"/:a-b\": \"a-b\" is no name (letters, digits, underscores)");
    refused("GET", "/:a/:a", WEIR_EINVAL, "pattern \"/:a/:a\" has \"a\" twice");
    refused("GET", "/a/../b", WEIR_EINVAL, "pattern \"/a/../b\" has a dot segment");
    refused("G T", "/x", WEIR_EINVAL, "\"G T\" is no method");
    refused(
        "GET",
        "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/24/25/26/27/28/29/30/31/32/33",
        WEIR_ELIMIT,
        "pattern \"/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/24/25/26/27/28/29/30/31/"
        "32/33\" has more than 32 segments");
    refused(
        "GET", "/:a/:b/:c/:d/:e/:f/:g/:h/:i/:j/:k/:l/:m/:n/:o/:p/:q", WEIR_ELIMIT,
        "pattern \"/:a/:b/:c/:d/:e/:f/:g/:h/:i/:j/:k/:l/:m/:n/:o/:p/:q\" has more than 16 parameters");
    assert_int_equal(weir_router_add(router, "GET", NULL, tell, NULL, NULL), WEIR_EINVAL);
    assert_int_equal(weir_router_add(router, "GET", "/x", NULL, NULL, NULL), WEIR_EINVAL);
    /* Other names in another pattern, or another method, are no conflict. */
    add("GET", "/a/:id");
    add("GET", "/a/:name/x");
    add("PUT", "/a/:name");
}

static void too_many_methods(void **state)
{
    char name[8];

    (void)state;
    for (int i = 0; i < WEIR_ROUTE_METHODS; i++) {
        snprintf(name, sizeof(name), "M%d", i);
        add(name, "/x");
    }
    assert_int_equal(weir_router_add(router, "MORE", "/x", tell, NULL, NULL), WEIR_ELIMIT);
    assert_int_equal(ask("OPTIONS", "*"), 204);
    assert_int_equal(ask("OPTIONS", "/x"), 204);
    assert_int_equal(ask("M30", "/x"), 200);
}

/* ---- middleware and mounting ---- */

static int noting(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    char text[32];
    int r;

    note(arg);
    r = weir_chain_run(next, req);
    snprintf(text, sizeof(text), "-%s", (const char *)arg);
    note(text);
    return r;
}

static int noted_handler(struct weir_req *req, void *arg)
{
    note(arg);
    return weir_reply_empty(req, 200, NULL);
}

static int own_404(struct weir_req *req, void *arg)
{
    note("404");
    return weir_reply_text(req, 404, "%s", (const char *)arg);
}

static void middleware_order(void **state)
{
    struct weir_middleware outer[] = {{noting, TEXT("A")}, {noting, TEXT("B")}};
    struct weir_middleware inner[] = {{noting, TEXT("C")}};
    struct weir_middleware single[] = {{noting, TEXT("D")}};
    struct weir_router *child = NULL;

    (void)state;
    weir_router_destroy(router);
    assert_int_equal(weir_router_create(&(struct weir_router_opts){outer, 2, NULL, NULL}, &router),
                     0);
    assert_int_equal(
        weir_router_create(&(struct weir_router_opts){inner, 1, own_404, TEXT("x")}, &child), 0);
    assert_int_equal(weir_router_add(child, "GET", "/", noted_handler, TEXT("root"), NULL), 0);
    assert_int_equal(
        weir_router_add(child, "GET", "/h/:a", noted_handler, TEXT("h"),
                        &(struct weir_route_opts){.middleware = single, .middleware_count = 1}),
        0);
    assert_int_equal(weir_router_add(router, "GET", "/top", noted_handler, TEXT("top"), NULL), 0);
    assert_int_equal(weir_router_mount_take(router, "/api/:v", child), 0);

    assert_int_equal(ask("GET", "/api/1/h/2"), 200);
    assert_string_equal(calls, "A B C D h -D -C -B -A ");
    calls[0] = '\0';
    assert_int_equal(ask("GET", "/api/1"), 200);
    assert_string_equal(calls, "A B C root -C -B -A ");
    calls[0] = '\0';
    assert_int_equal(ask("GET", "/top"), 200);
    assert_string_equal(calls, "A B top -B -A ");
    calls[0] = '\0';
    assert_int_equal(ask("GET", "/none"), 404);
    assert_string_equal(calls, "A B -B -A ");
    calls[0] = '\0';
    assert_int_equal(ask("GET", "/api/1/none"), 404);
    assert_string_equal(calls, "A B C 404 -C -B -A ");
    calls[0] = '\0';
    assert_int_equal(ask("PUT", "/api/1/h/2"), 405);
    assert_string_equal(calls, "A B C -C -B -A ");
}

static void mounted_in_mounted(void **state)
{
    struct weir_middleware c[] = {{noting, TEXT("C")}};
    struct weir_middleware d[] = {{noting, TEXT("D")}};
    struct weir_router *middle = NULL;
    struct weir_router *deep = NULL;

    (void)state;
    assert_int_equal(weir_router_create(&(struct weir_router_opts){c, 1, NULL, NULL}, &middle), 0);
    assert_int_equal(weir_router_create(&(struct weir_router_opts){d, 1, NULL, NULL}, &deep), 0);
    assert_int_equal(weir_router_add(deep, "GET", "/x/:a", remember, NULL, NULL), 0);
    assert_int_equal(weir_router_mount_take(middle, "/deep", deep), 0);
    assert_int_equal(weir_router_mount_take(router, "/m", middle), 0);
    expect("GET", "/m/deep/x/1", "/m/deep/x/:a a=1");
    assert_string_equal(calls, "C D -D -C ");
    calls[0] = '\0';
    assert_int_equal(ask("GET", "/m/deep/y"), 404);
    assert_string_equal(calls, "C D -D -C ");
    calls[0] = '\0';
    assert_int_equal(ask("GET", "/m/y"), 404);
    assert_string_equal(calls, "C -C ");
}

static void mounting_that_fails(void **state)
{
    struct weir_router *child = NULL;

    (void)state;
    add("GET", "/a/b");
    assert_int_equal(weir_router_create(NULL, &child), 0);
    assert_int_equal(weir_router_add(child, "GET", "/b", tell, NULL, NULL), 0);
    assert_int_equal(weir_router_mount_take(router, "/a", child), WEIR_EBUSY);
    assert_string_equal(weir_router_error(router),
                        "GET \"/a/b\" conflicts with \"/a/b\", which is there already");
    assert_int_equal(weir_router_create(NULL, &child), 0);
    assert_int_equal(weir_router_mount_take(router, "/a/", child), WEIR_EINVAL);
    assert_int_equal(weir_router_mount_take(router, "/a", NULL), WEIR_EINVAL);
    assert_int_equal(weir_router_mount_take(router, "/a", router), WEIR_EINVAL);
}

static void building_while_allocations_fail(void **state)
{
    struct weir_middleware c[] = {{noting, TEXT("C")}};
    int64_t live = weir__alloc_live();
    int r = -1;

    (void)state;
    for (int64_t n = 1; r < 0 && n < 200; n++) {
        struct weir_router *top = NULL;
        struct weir_router *child = NULL;

        weir__alloc_fail_at(n);
        r = weir_router_create(&(struct weir_router_opts){c, 1, NULL, NULL}, &top);
        if (r == 0) {
            r = weir_router_create(&(struct weir_router_opts){c, 1, NULL, NULL}, &child);
        }
        if (r == 0) {
            r = weir_router_add(child, "GET", "/x/:a", tell, NULL,
                                &(struct weir_route_opts){.middleware = c, .middleware_count = 1});
        }
        if (r == 0) {
            r = weir_router_mount_take(top, "/m", weir_take(child));
        }
        weir__alloc_fail_at(0);
        assert_true(r == 0 || r == WEIR_ENOMEM);
        weir_router_destroy(child);
        weir_router_destroy(top);
        assert_int_equal(weir__alloc_live(), live);
    }
    assert_int_equal(r, 0);
}

static void finding_allocates_nothing(void **state)
{
    struct weir__match match;

    (void)state;
    add("GET", "/a/:a/b/*rest");
    weir__alloc_fail_at(1);
    weir__router_match(router, weir_str("GET"), weir_str("/a/x/b/y/z"), &match);
    weir__alloc_fail_at(0);
    assert_non_null(match.route);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(literals_parameters_wildcards),
        TEST(a_wildcard_takes_an_empty_rest),
        TEST(the_winner_that_leads_nowhere),
        TEST(escapes_in_literals),
        TEST(dot_segments),
        TEST(deep_paths),
        TEST(values_by_kind),
        TEST(other_methods),
        TEST(allow_has_the_methods_of_all_patterns),
        TEST(a_head_of_its_own),
        TEST(conflicts_and_nonsense),
        TEST(too_many_methods),
        TEST(middleware_order),
        TEST(mounted_in_mounted),
        TEST(mounting_that_fails),
        TEST(building_while_allocations_fail),
        TEST(finding_allocates_nothing),
#undef TEST
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
