/* SPDX-License-Identifier: MIT */
/* A run while the n-th allocation and all after it fail, for each n: an error or an honest record, and nothing left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <weir/test.h>

#include "base/alloc.h"

static int echo(struct weir_req *req, void *arg)
{
    struct weir_sink *out = NULL;
    struct weir_chunk *chunk;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &out);

    (void)arg;
    while (r >= 0 && (r = weir_next(weir_req_body(req), -1, &chunk)) > 0) {
        r = weir_emit_take(out, chunk, -1);
    }
    if (r == 0) {
        r = weir_end(out, NULL);
    }
    weir_sink_destroy(out);
    return r;
}

static void test_every_allocation_fails_once(void **state)
{
    static const char *const lines[] = {"A: b", NULL};
    static const struct weir_test_step steps[] = {
        {.act = WEIR_TEST_BODY, .bytes = 3000},
        {.at_ms = 5, .act = WEIR_TEST_BODY, .text = "more"},
        {.at_ms = 9, .act = WEIR_TEST_BODY_END, .trailers = lines},
    };
    struct weir_test_opts opts = {.method = "POST",
                                  .fields = lines,
                                  .steps = steps,
                                  .step_count = 3,
                                  .bytes_per_ms = 700,
                                  .window_bytes = 1000};
    bool complete = false;

    (void)state;
    for (int64_t n = 1; !complete; n++) {
        int64_t live = weir__alloc_live();
        struct weir_test *test = NULL;
        struct weir_test_result result;
        int r;

        assert_true(n < 500);
        weir__alloc_fail_at(n);
        r = weir_test_run(echo, NULL, &opts, &test);
        weir__alloc_fail_at(0);
        if (r == 0) {
            weir_test_result(test, &result);
            complete = result.outcome == WEIR_TEST_COMPLETE && result.status == 200;
            assert_true(!complete || result.body_bytes == 3004);
            weir_test_destroy(test);
        } else {
            assert_true(r == WEIR_ENOMEM || r == WEIR_EIO);
            assert_null(test);
        }
        assert_int_equal(weir__alloc_live(), live);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation_fails_once)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
