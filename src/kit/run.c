/* SPDX-License-Identifier: MIT */
/* The life of a test: a loop, one request, and what is left when all is over. */
#include "kit/kit.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "rt/loop.h"
#include "rt/relay.h"

#define BEGIN_US INT64_C(1000000)
#define DEFAULT_WINDOW 65536
#define DEFAULT_KEEP ((size_t)1 << 20)
#define LIMIT_MS INT64_C(3600000)
#define REAL_LIMIT_MS INT64_C(10000)

static int64_t own_clock(void *arg)
{
    return *(int64_t *)arg;
}

static int64_t since_begin_ms(struct weir_test *test)
{
    return (weir__loop_clock_us(test->loop) - test->begun_us) / 1000;
}

static void limit_passed(struct weir__timer *timer)
{
    struct weir_test *test = weir_list_entry(timer, struct weir_test, limit);

    test->result.gave_up = true;
    weir__memory_gone(test->memory, WEIR_REASON_RESET);
}

static int run_handler(struct weir_req *req, void *arg)
{
    struct weir_test *test = arg;

    test->result.returned = test->handler(req, test->arg);
    test->result.returned_ms = since_begin_ms(test);
    return test->result.returned;
}

/* ---- the outcome ---- */

static void conclude(struct weir_test *test)
{
    struct weir_test_result *result = &test->result;
    struct weir__memory_result memory;
    struct weir_stall *stall = &memory.stall;

    weir__memory_result(test->memory, &memory);
    result->over_ms = since_begin_ms(test);
    result->status = memory.status;
    result->informs = memory.informs;
    result->queued_peak = memory.queued_peak;
    result->request_bytes = memory.delivered;
    result->unread_bytes = memory.sent - memory.delivered;
    result->kept_bytes = memory.delivered - memory.released;
    result->body_canceled = memory.cancelled;
    if (memory.ended) {
        result->outcome = WEIR_TEST_COMPLETE;
    } else if (memory.gone == WEIR_REASON_FIN || memory.gone == WEIR_REASON_RESET) {
        result->outcome = WEIR_TEST_LEFT;
        result->reason = memory.gone;
    } else {
        result->outcome = WEIR_TEST_ABORTED;
        result->reason = memory.gone != WEIR_REASON_NONE ? memory.gone : memory.abort_reason;
    }
    result->times = (struct weir_test_times){
        .moving_us = stall->moving_us,
        .source_us = stall->wait_source_us,
        .client_us = stall->stream_window_us + stall->conn_window_us + stall->socket_us,
        .shaped_us = stall->shaped_us,
        .held_us = stall->held_us,
        .wall_us = stall->wall_us,
    };
}

/* ---- the run ---- */

static int64_t clock_of(int64_t given, int64_t otherwise)
{
    return given < 0 ? 0 : given == 0 ? otherwise : given;
}

static int make_memory(struct weir_test *test, const struct weir_test_opts *opts)
{
    uint64_t unknown = test->has_body ? WEIR_LENGTH_UNKNOWN : 0;
    struct weir__memory_opts memory = {
        .method = opts->method,
        .target = opts->target,
        .authority = opts->authority != NULL ? opts->authority : "test",
        .peer = opts->peer != NULL ? opts->peer : "192.0.2.1:1",
        .body_length = opts->declared_length > 0 ? opts->declared_length : unknown,
        .http10 = opts->http10,
        .expect_continue = opts->expect_continue,
        .receive_window = opts->receive_window,
        .socket = test->pace == WEIR_TEST_ANY ? 0 : test->window,
        .leave_at = opts->leave_after_bytes,
        .leave_exactly = opts->leave_after_bytes > 0,
        .leave_reason = opts->leave_with_fin ? WEIR_REASON_FIN : WEIR_REASON_RESET,
        .limits =
            {
                .read_gap_ms = clock_of(opts->body_gap_ms, 30000),
                .write_stall_ms = clock_of(opts->client_stall_ms, 60000),
                .min_rate = opts->min_rate == 0            ? 256
                            : opts->min_rate == UINT64_MAX ? 0
                                                           : opts->min_rate,
            },
        .tap = &weir__test_tap,
        .tap_arg = test,
    };
    static const char *const none[] = {NULL};
    int r = weir__test_fields(opts->fields != NULL ? opts->fields : none, &memory.fields);

    return r < 0 ? r : weir__memory_create(test->loop, &memory, &test->memory);
}

static int play(struct weir_test *test, const struct weir_test_opts *opts)
{
    int64_t limit_ms = opts->limit_ms > 0 ? opts->limit_ms
                       : opts->real_time  ? REAL_LIMIT_MS
                                          : LIMIT_MS;
    int r = make_memory(test, opts);

    if (r < 0) {
        return r;
    }
    test->begun_us = weir__loop_clock_us(test->loop);
    weir__timer_init(&test->limit, limit_passed);
    r = weir__timer_start(&test->loop->timers, &test->limit,
                          test->begun_us +
                              (limit_ms < INT64_MAX / 4000 ? limit_ms : INT64_MAX / 4000) * 1000);
    if (r == 0) {
        r = weir__memory_script(test->memory, test->steps, test->step_count);
    }
    if (r == 0) {
        r = weir__memory_request(test->memory, run_handler, test);
    }
    if (r == 0) {
        weir__loop_run_until_idle(test->loop);
        conclude(test);
        r = test->error;
    } else {
        weir__memory_destroy(test->memory); /* while there is a loop */
        test->memory = NULL;
    }
    weir__timer_remove(&test->loop->timers, &test->limit);
    weir__timer_remove(&test->loop->timers, &test->tick);
    return r;
}

int weir_test_run(weir_handler_fn *handler, void *arg, const struct weir_test_opts *given,
                  struct weir_test **ret)
{
    static const struct weir_test_opts defaults;
    const struct weir_test_opts *opts = given != NULL ? given : &defaults;
    WEIR_CLEANUP(weir_test_destroyp) struct weir_test *test = NULL;
    int r;

    if (handler == NULL || (opts->steps == NULL && opts->step_count > 0)) {
        return WEIR_EINVAL;
    }
    if (weir__loop_current() != NULL || weir__relay_here != NULL) {
        return WEIR_ESTATE;
    }
    test = weir_alloc0(sizeof(*test));
    if (test == NULL) {
        return WEIR_ENOMEM;
    }
    test->magic = WEIR__TEST_MAGIC;
    test->handler = handler;
    test->arg = arg;
    test->clock_us = BEGIN_US;
    test->pace = opts->bytes_per_ms > 0 ? opts->bytes_per_ms : WEIR_TEST_ANY;
    test->window = opts->window_bytes > 0 ? opts->window_bytes : DEFAULT_WINDOW;
    test->keep = opts->keep_bytes > 0 ? opts->keep_bytes : DEFAULT_KEEP;
    r = weir__test_script(test, opts);
    if (r < 0) {
        return r;
    }
    r = opts->real_time ? weir__loop_create(NULL, NULL, &test->loop)
                        : weir__loop_create(own_clock, &test->clock_us, &test->loop);
    if (r < 0) {
        return r;
    }
    r = play(test, opts);
    weir__loop_destroy(test->loop);
    test->loop = NULL;
    if (r < 0) {
        return r;
    }
    *ret = weir_take(test);
    return 0;
}

void weir_test_destroy(struct weir_test *test)
{
    if (test == NULL) {
        return;
    }
    weir_check(test, WEIR__TEST_MAGIC);
    weir__memory_abandon(test->memory); /* chunks that a handler has lost may turn up yet */
    weir_fields_destroy(test->request_trailers);
    weir_fields_destroy(test->fields);
    weir_fields_destroy(test->trailers);
    weir_free(test->steps);
    weir_free(test->calls);
    weir_free(test->body);
    weir_free(test->writes);
    test->magic = 0;
    weir_free(test);
}

void weir_test_destroyp(struct weir_test **test)
{
    weir_test_destroy(*test);
    *test = NULL;
}
