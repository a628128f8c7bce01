/* SPDX-License-Identifier: MIT */
/* Routes whose handlers block: the handler on a thread, its middleware in the fiber, and what takes no thread at all. */
#include "http_test.h"

#include <weir/blocking.h>
#include <weir/router.h>

#include <pthread.h>
#include <semaphore.h>

#include "rt/fiber.h"
#include "rt/relay.h"

#define TEXT(literal) ((char[]){literal})

static struct weir_router *router;
static struct weir_blocking_pool *pool;
static pthread_t loop_thread;
static char calls[256]; /* who ran, in order; its writers take turns */

static int setup(void **state)
{
    (void)state;
    loop_thread = pthread_self();
    scene_may_keep = 0;
    calls[0] = '\0';
    assert_int_equal(
        weir_blocking_pool_create(
            &(struct weir_blocking_opts){.threads = 1, .max_queued = WEIR_BLOCKING_NO_QUEUE},
            &pool),
        0);
    return weir_router_create(NULL, &router);
}

static int teardown(void **state)
{
    (void)state;
    weir_router_destroy(router);
    weir_blocking_pool_destroy(pool);
    weir__relay_stop();
    return 0;
}

/* Adds "name@thread" or "name@fiber". */
static void note(const char *name)
{
    bool in_fiber =
        pthread_equal(pthread_self(), loop_thread) != 0 && weir__fiber_current() != NULL;
    size_t len = strlen(calls);

    snprintf(calls + len, sizeof(calls) - len, "%s@%s ", name, in_fiber ? "fiber" : "thread");
}

static int noted(struct weir_req *req, void *arg)
{
    note(arg);
    return weir_reply_text(req, 200, "%s\n", "done");
}

static struct weir_answer answer; /* of the last request, as the outermost middleware saw it */

static int noting(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    char text[32];
    int r;

    note(arg);
    r = weir_chain_run(next, req);
    snprintf(text, sizeof(text), "-%s", (const char *)arg);
    note(text);
    weir_req_answer(req, &answer);
    return r;
}

static int ask_for(const char *method, const char *target, struct scene *scene)
{
    *scene = (struct scene){
        .handler = weir_router_handle, .arg = router, .opts = {.method = method, .target = target}};
    calls[0] = '\0';
    play(scene);
    return scene->result.status;
}

static int ask(const char *method, const char *target)
{
    struct scene scene;

    return ask_for(method, target, &scene);
}

/* ---- where what runs ---- */

static void the_handler_alone_is_on_a_thread(void **state)
{
    struct weir_middleware outer[] = {{noting, TEXT("A")}};
    struct weir_middleware inner[] = {{noting, TEXT("B")}, {noting, TEXT("C")}};

    (void)state;
    weir_router_destroy(router);
    assert_int_equal(
        weir_router_create(&(struct weir_router_opts){.middleware = outer, .middleware_count = 1},
                           &router),
        0);
    assert_int_equal(weir_router_add(router, "GET", "/slow", noted, TEXT("h"),
                                     &(struct weir_route_opts){.middleware = inner,
                                                               .middleware_count = 2,
                                                               .blocking = true,
                                                               .pool = pool}),
                     0);
    assert_int_equal(weir_router_add(router, "GET", "/quick", noted, TEXT("q"), NULL), 0);
    assert_int_equal(ask("GET", "/slow"), 200);
    assert_string_equal(calls, "A@fiber B@fiber C@fiber h@thread -C@fiber -B@fiber -A@fiber ");
    assert_int_equal(answer.outcome, WEIR_OUTCOME_COMPLETE);
    assert_int_equal(answer.body_sent, 5);
    assert_int_equal(ask("GET", "/quick"), 200);
    assert_string_equal(calls, "A@fiber q@fiber -A@fiber ");
}

/* Without a pool of the route's it is the process's own, and that one has been started only now. */
static void the_process_has_a_pool_of_its_own(void **state)
{
    (void)state;
    assert_int_equal(weir_blocking_config(NULL), 0);
    scene_may_keep = 2; /* the pool */
    assert_int_equal(weir_router_add(router, "GET", "/", noted, TEXT("h"),
                                     &(struct weir_route_opts){.blocking = true}),
                     0);
    assert_int_equal(ask("PUT", "/"), 405);
    assert_int_equal(weir_blocking_config(NULL), 0);
    assert_int_equal(ask("GET", "/"), 200);
    assert_string_equal(calls, "h@thread ");
    assert_int_equal(weir_blocking_config(NULL), WEIR_ESTATE);
}

static void what_the_router_answers_takes_no_thread(void **state)
{
    struct scene scene;

    (void)state;
    assert_int_equal(weir_router_add(router, "GET", "/slow", noted, TEXT("h"),
                                     &(struct weir_route_opts){.blocking = true}),
                     0);
    assert_int_equal(ask("PUT", "/slow"), 405);
    assert_non_null(strstr(scene_trace, "Allow: GET, HEAD, OPTIONS"));
    assert_int_equal(ask("OPTIONS", "/slow"), 204);
    assert_int_equal(ask("GET", "/none"), 404);
    assert_string_equal(calls, "");
    assert_int_equal(weir_blocking_config(NULL), 0); /* it does not run yet */
    scene_may_keep = 2;                              /* the pool */
    assert_int_equal(ask_for("HEAD", "/slow", &scene), 200);
    assert_string_equal(calls, "h@thread ");
    assert_true(scene.result.ended);
    assert_int_equal(scene.result.taken, 0);
}

static void a_mounted_route_blocks_still(void **state)
{
    struct weir_router *child = NULL;

    (void)state;
    assert_int_equal(weir_router_create(NULL, &child), 0);
    assert_int_equal(weir_router_add(child, "GET", "/", noted, TEXT("slow"),
                                     &(struct weir_route_opts){.blocking = true, .pool = pool}),
                     0);
    assert_int_equal(weir_router_add(child, "GET", "/quick", noted, TEXT("quick"), NULL), 0);
    assert_int_equal(weir_router_mount_take(router, "/m", child), 0);
    assert_int_equal(ask("GET", "/m"), 200);
    assert_string_equal(calls, "slow@thread ");
    assert_int_equal(ask("GET", "/m/quick"), 200);
    assert_string_equal(calls, "quick@fiber ");
}

/* What a route tells its handler is there on the thread, too. */
static int tells(struct weir_req *req, void *arg)
{
    struct weir_view route = weir_req_route(req), name = weir_bytes(NULL, 0);
    uint64_t number = 0;
    char buffer[32];
    int r = weir_req_param_decode(req, "name", buffer, sizeof(buffer), &name);

    (void)arg;
    if (r == 0) {
        r = weir_req_param_u64(req, "n", &number);
    }
    snprintf(calls, sizeof(calls), "%d %.*s %.*s %d", r, (int)route.len, (const char *)route.data,
             (int)name.len, (const char *)name.data, (int)number);
    return weir_reply_empty(req, 204, NULL);
}

static void parameters_on_a_thread(void **state)
{
    (void)state;
    assert_int_equal(weir_router_add(router, "GET", "/:name/:n", tells, NULL,
                                     &(struct weir_route_opts){.blocking = true, .pool = pool}),
                     0);
    assert_int_equal(ask("GET", "/a%20b/17"), 204);
    assert_string_equal(calls, "0 /:name/:n a b 17");
}

static int fails(struct weir_req *req, void *arg)
{
    (void)req;
    return *(int *)arg;
}

static void its_code_becomes_a_status(void **state)
{
    int code = WEIR_ENOTFOUND;

    (void)state;
    assert_int_equal(weir_router_add(router, "GET", "/", fails, &code,
                                     &(struct weir_route_opts){.blocking = true, .pool = pool}),
                     0);
    assert_int_equal(ask("GET", "/"), 404);
    code = WEIR_EIO;
    assert_int_equal(ask("GET", "/"), 500);
}

/* All of a router on a thread: what needs the loop finds its way there. */
static void a_router_on_a_thread(void **state)
{
    struct weir_middleware around[] = {{noting, TEXT("A")}};
    struct weir_blocking blocking = {.handler = weir_router_handle, .pool = pool};
    struct scene scene = {.handler = weir_blocking_handler, .arg = &blocking};
    int code = WEIR_ENOTFOUND;

    (void)state;
    assert_int_equal(
        weir_router_add(router, "GET", "/", noted, TEXT("h"),
                        &(struct weir_route_opts){.middleware = around, .middleware_count = 1}),
        0);
    assert_int_equal(weir_router_add(router, "GET", "/fails", fails, &code, NULL), 0);
    blocking.arg = router;
    scene.opts.target = "/";
    play(&scene);
    assert_int_equal(scene.result.status, 200);
    assert_string_equal(calls, "A@thread h@thread -A@thread ");
    assert_int_equal(answer.outcome, WEIR_OUTCOME_COMPLETE);
    scene.opts.target = "/fails";
    play(&scene);
    assert_int_equal(scene.result.status, 404);
}

/* ---- a full pool ---- */

/* Keeps the pool's one thread in a library while the request goes on. */
struct occupied {
    struct weir_req *req;
    sem_t release;
};

static int sits(struct weir_req *req, void *arg)
{
    struct occupied *occupied = arg;

    (void)req;
    while (sem_wait(&occupied->release) != 0) {
    }
    return 0;
}

static int occupies(void *arg)
{
    struct occupied *occupied = arg;

    return weir_blocking(occupied->req,
                         &(struct weir_blocking){.handler = sits, .arg = occupied, .pool = pool});
}

static int with_the_thread_taken(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct occupied *occupied = arg;
    struct weir_scope *scope = NULL;
    int r;

    occupied->req = req;
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, occupies, occupied), 0);
    assert_int_equal(weir_yield(), 0); /* the child waits for its thread now */
    r = weir_chain_run(next, req);
    sem_post(&occupied->release);
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
    weir_req_answer(req, &answer);
    return r;
}

static void expect_busy(int64_t pool_wait_ms)
{
    struct occupied occupied = {.req = NULL};
    struct weir_middleware around[] = {{with_the_thread_taken, &occupied}};

    assert_int_equal(sem_init(&occupied.release, 0, 0), 0);
    assert_int_equal(weir_router_add(router, "GET", "/", noted, TEXT("h"),
                                     &(struct weir_route_opts){.middleware = around,
                                                               .middleware_count = 1,
                                                               .blocking = true,
                                                               .pool = pool,
                                                               .pool_wait_ms = pool_wait_ms}),
                     0);
    assert_int_equal(ask("GET", "/"), 503);
    assert_non_null(strstr(scene_trace, "Retry-After: 1"));
    assert_string_equal(calls, ""); /* the handler was not called */
    assert_int_equal(answer.status, 503);
    assert_int_equal(answer.outcome, WEIR_OUTCOME_COMPLETE);
    sem_destroy(&occupied.release);
}

static void a_full_pool_is_a_503_that_middleware_sees(void **state)
{
    (void)state;
    expect_busy(0);
}

static void a_request_waits_for_a_thread_so_long(void **state)
{
    (void)state;
    weir_blocking_pool_destroy(pool);
    assert_int_equal(weir_blocking_pool_create(
                         &(struct weir_blocking_opts){.threads = 1, .max_queued = 1}, &pool),
                     0);
    expect_busy(30);
    assert_true(scene_ms() >= 30);
}

/* ---- building ---- */

static void a_pool_is_for_handlers_that_block(void **state)
{
    (void)state;
    assert_int_equal(weir_router_add(router, "GET", "/a", noted, TEXT("h"),
                                     &(struct weir_route_opts){.pool = pool}),
                     WEIR_EINVAL);
    assert_string_equal(weir_router_error(router), "GET \"/a\" has a pool but is not blocking");
    assert_int_equal(weir_router_add(router, "GET", "/a", noted, TEXT("h"),
                                     &(struct weir_route_opts){.pool_wait_ms = 5}),
                     WEIR_EINVAL);
    assert_int_equal(ask("GET", "/a"), 404);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_handler_alone_is_on_a_thread),
        TEST(the_process_has_a_pool_of_its_own),
        TEST(what_the_router_answers_takes_no_thread),
        TEST(a_mounted_route_blocks_still),
        TEST(parameters_on_a_thread),
        TEST(its_code_becomes_a_status),
        TEST(a_router_on_a_thread),
        TEST(a_full_pool_is_a_503_that_middleware_sees),
        TEST(a_request_waits_for_a_thread_so_long),
        TEST(a_pool_is_for_handlers_that_block),
#undef TEST
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
