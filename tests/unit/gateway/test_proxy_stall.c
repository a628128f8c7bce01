/* SPDX-License-Identifier: MIT */
/* The clocks of both directions add up to the request's time, to the microsecond, and name who held it up. */
#include "proxy_test.h"

#define HEAD(at, status, length)                                                          \
    {                                                                                     \
        .at_ms = (at), .act = WEIR__MEMORY_SEND_HEAD, .code = (status), .bytes = (length) \
    }

/* Each window of the client alone holds the answer up from 20 to 70 ms. */
static void down(void **state)
{
    static const struct {
        enum weir__memory_act act;
        const char *name;
    } cases[] = {{WEIR__MEMORY_STREAM_WINDOW, "stream_window"},
                 {WEIR__MEMORY_CONN_WINDOW, "conn_window"},
                 {WEIR__MEMORY_SOCKET, "socket"}};
    static const struct weir__memory_step steps[] = {
        HEAD(10, 200, 1000),
        {.at_ms = 20, .act = WEIR__MEMORY_SEND, .bytes = 600},
        {.at_ms = 90, .act = WEIR__MEMORY_SEND, .bytes = 400}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct weir__memory_step client[] = {{.at_ms = 70, .act = cases[i].act, .bytes = 1000}};
        struct passage passage = {.steps = client,
                                  .count = COUNT(client),
                                  .upstreams = {{.steps = steps, .count = COUNT(steps)}}};

        passage.opts.stream_window = cases[i].act == WEIR__MEMORY_STREAM_WINDOW ? 100 : 0;
        passage.opts.conn_window = cases[i].act == WEIR__MEMORY_CONN_WINDOW ? 100 : 0;
        passage.opts.socket = cases[i].act == WEIR__MEMORY_SOCKET ? 100 : 0;
        pass(&passage);
        assert_true(passage.result.ended);
        assert_int_equal(passage.result.stall.wall_us, 90000);
        assert_int_equal(log_stall(passage.log, "down", cases[i].name), 50000);
        assert_int_equal(log_stall(passage.log, "down", "wait_upstream"), 40000);
        assert_int_equal(log_stall(passage.log, "up", "idle"), 90000);
    }
}

/* The request's body: 5 ms dialling, 15 ms waiting for the client, then each window of the upstream until 70 ms. */
static void up(void **state)
{
    static const struct {
        enum weir__memory_act act;
        const char *name;
    } cases[] = {{WEIR__MEMORY_STREAM_WINDOW, "stream_window"},
                 {WEIR__MEMORY_CONN_WINDOW, "conn_window"},
                 {WEIR__MEMORY_SOCKET, "socket"}};
    static const struct weir__memory_step client[] = {
        {.at_ms = 20, .act = WEIR__MEMORY_SEND, .bytes = 600},
        {.at_ms = 80, .act = WEIR__MEMORY_SEND_END}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct weir__memory_step steps[] = {{.at_ms = 70, .act = cases[i].act, .bytes = 1000},
                                            HEAD(100, 200, 0)};
        struct passage passage = {
            .opts = {.method = "POST", .body_length = WEIR_LENGTH_UNKNOWN},
            .steps = client,
            .count = COUNT(client),
            .upstreams = {{.take_ms = 5, .steps = steps, .count = COUNT(steps)}}};
        struct weir__memory_opts *opts = &passage.upstreams[0].opts;

        opts->stream_window = cases[i].act == WEIR__MEMORY_STREAM_WINDOW ? 100 : 0;
        opts->conn_window = cases[i].act == WEIR__MEMORY_CONN_WINDOW ? 100 : 0;
        opts->socket = cases[i].act == WEIR__MEMORY_SOCKET ? 100 : 0;
        pass(&passage);
        assert_true(passage.result.ended);
        assert_true(passage.upstreams[0].result.pattern);
        assert_int_equal(passage.upstreams[0].result.stall.wall_us, 75000);
        assert_int_equal(log_stall(passage.log, "up", cases[i].name), 50000);
        assert_int_equal(log_stall(passage.log, "up", "wait_upstream"), 25000);
        assert_int_equal(log_stall(passage.log, "up", "idle"), 25000);
        assert_int_equal(log_stall(passage.log, "down", "wait_upstream"), 100000);
    }
}

/* Whatever moves when: the sums hold (checked for every passage), and both sides' bytes are right. */
static void by_chance(void **state)
{
    uint64_t seed = 7;

    (void)state;
    for (int round = 0; round < 300; round++) {
        struct weir__memory_step client[8];
        struct weir__memory_step steps[9];
        uint64_t up_bytes = 0;
        uint64_t down_bytes = 0;
        bool fds = roll(&seed, 2);
        struct passage passage = {.opts = {.method = "POST",
                                           .body_length = WEIR_LENGTH_UNKNOWN,
                                           .use_fds = fds,
                                           .socket = 1 + roll(&seed, 500),
                                           .max_take = roll(&seed, 2) * 100},
                                  .steps = client,
                                  .count = COUNT(client),
                                  .upstreams = {{.opts = {.use_fds = fds,
                                                          .stream_window = 1 + roll(&seed, 500),
                                                          .max_read = roll(&seed, 2) * 77},
                                                 .take_ms = roll(&seed, 20),
                                                 .steps = steps,
                                                 .count = COUNT(steps)}}};

        steps[0] = (struct weir__memory_step)HEAD(roll(&seed, 100), 200, WEIR_LENGTH_UNKNOWN);
        for (unsigned i = 0; i < 6; i++) {
            client[i] = (struct weir__memory_step){
                .at_ms = roll(&seed, 200), .act = WEIR__MEMORY_SEND, .bytes = roll(&seed, 400)};
            steps[i + 1] = client[i];
            steps[i + 1].at_ms = 100 + roll(&seed, 200);
            steps[i + 1].bytes = roll(&seed, 3000);
            up_bytes += client[i].bytes;
            down_bytes += steps[i + 1].bytes;
        }
        client[6] = (struct weir__memory_step){.at_ms = 200, .act = WEIR__MEMORY_SEND_END};
        client[7] = (struct weir__memory_step){
            .at_ms = roll(&seed, 400), .act = WEIR__MEMORY_SOCKET, .bytes = 1000000};
        steps[7] = (struct weir__memory_step){.at_ms = 300, .act = WEIR__MEMORY_SEND_END};
        steps[8] = (struct weir__memory_step){
            .at_ms = roll(&seed, 250), .act = WEIR__MEMORY_STREAM_WINDOW, .bytes = 1000000};
        pass(&passage);
        assert_true(passage.result.ended && passage.result.pattern);
        assert_int_equal(passage.result.taken, down_bytes);
        assert_int_equal(passage.upstreams[0].result.taken, up_bytes);
        assert_true(passage.upstreams[0].result.pattern);
        assert_int_equal(passage.result.stall.wall_us, passage.ended_ms * 1000);
        log_stall(passage.log, "down", "moving");
        log_stall(passage.log, "up", "moving");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(down),
        cmocka_unit_test(up),
        cmocka_unit_test(by_chance),
    };

    return cmocka_run_group_tests_name("gateway proxy stall", tests, NULL, NULL);
}
