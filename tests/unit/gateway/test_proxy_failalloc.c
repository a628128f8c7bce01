/* SPDX-License-Identifier: MIT */
/* Every allocation of a proxied exchange fails once, with all that follow: whole, an error of ours, or visibly broken. */
#include "proxy_test.h"

#define HEAD(at, status, length)                                                          \
    {                                                                                     \
        .at_ms = (at), .act = WEIR__MEMORY_SEND_HEAD, .code = (status), .bytes = (length) \
    }

static const struct weir__memory_step client[] = {
    {.at_ms = 1, .act = WEIR__MEMORY_SEND, .bytes = 3000},
    {.at_ms = 5, .act = WEIR__MEMORY_SEND_END},
    {.at_ms = 60, .act = WEIR__MEMORY_SOCKET, .bytes = 90000}};
static const struct weir__memory_step upstream[] = {
    HEAD(10, 103, 0),
    HEAD(20, 200, 80100),
    {.at_ms = 30, .act = WEIR__MEMORY_SEND, .bytes = 100},
    {.at_ms = 40, .act = WEIR__MEMORY_SEND, .bytes = 80000}};

static void fail_each(struct passage *passage)
{
    static struct passage undisturbed;
    unsigned same = 0;

    pass(passage);
    assert_true(passage->result.ended);
    undisturbed = *passage;
    for (int64_t at = 1; same < 8; at++) {
        assert_true(at < 10000);
        passage->fail_at = at;
        pass(passage);
        if (passage->started < 0) {
            continue;
        }
        same = strcmp(passage->trace, undisturbed.trace) == 0 ? same + 1 : 0;
        assert_true(passage->result.ended != passage->result.aborted);
        if (passage->result.ended && passage->result.status == 200) {
            assert_int_equal(passage->result.taken, 80100);
            assert_true(passage->result.pattern);
        } else if (passage->result.ended) {
            assert_true(passage->result.status >= 500);
        }
    }
}

static void an_exchange(void **state)
{
    (void)state;
    for (int variant = 0; variant < 8; variant++) {
        bool fds = variant & 1;
        bool uploads = variant & 2;
        bool stale = variant & 4;
        static const struct weir__memory_step fin[] = {{.at_ms = 7, .act = WEIR__MEMORY_FIN}};
        static struct passage passage;
        struct upstream good = {
            .opts.use_fds = fds, .take_ms = 2, .steps = upstream, .count = COUNT(upstream)};

        passage = (struct passage){
            .opts = {.method = uploads ? "POST" : "GET",
                     .body_length = uploads ? WEIR_LENGTH_UNKNOWN : 0,
                     .use_fds = fds,
                     .socket = 50,
                     .limits = {.write_stall_ms = 1000, .read_gap_ms = 1000}},
            .steps = client,
            .count = COUNT(client),
            .client = {.head_timeout_ms = 1000, .first_byte_ms = 1000, .idle_timeout_ms = 1000},
            .fields = {"Accept", "*/*", "Cookie", "a"}};
        if (stale && !uploads) {
            passage.upstreams[0] =
                (struct upstream){.reused = true, .steps = fin, .count = COUNT(fin)};
            passage.upstreams[1] = good;
        } else {
            passage.upstreams[0] = good;
        }
        fail_each(&passage);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_exchange)};

    return cmocka_run_group_tests_name("gateway proxy failalloc", tests, NULL, NULL);
}
