/* SPDX-License-Identifier: MIT */
/* The bandwidth of uploads: how fast a body is read, what the client notices of it, and whose clocks run meanwhile. */
#include "route_test.h"

#include <weir/guards.h>
#include <weir/select.h>

static char key_field[] = "X-Key";

static struct weir_bandwidth *bandwidth_of(uint64_t stream, uint64_t key, uint64_t burst)
{
    struct weir_bandwidth_opts opts = {.stream_bytes_per_s = stream,
                                       .key_bytes_per_s = key,
                                       .burst_bytes = burst,
                                       .key = weir_limit_key_field,
                                       .key_arg = key_field};
    struct weir_bandwidth *bandwidth;

    assert_int_equal(weir_bandwidth_create(&opts, &bandwidth), 0);
    return bandwidth;
}

static int read_it(struct weir_req *req, void *arg)
{
    uint64_t bytes = 0;
    int r = read_pattern(weir_req_body(req), &bytes);

    if (arg != NULL) {
        *(uint64_t *)arg = bytes;
    }
    return r < 0 ? r : weir_reply_empty(req, 204, NULL);
}

static int echo(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink);

    (void)arg;
    return r < 0 ? r : weir_pipe(weir_req_body(req), sink, NULL, NULL);
}

/* A client that has all of its body ready from the first moment on; `declared` or not. */
static void upload(struct scene *scene, const struct weir_middleware *items, size_t count,
                   uint64_t bytes, bool declared)
{
    const struct weir__memory_step steps[] = {{.act = WEIR__MEMORY_SEND, .bytes = bytes},
                                              {.act = WEIR__MEMORY_SEND_END}};

    scene->opts.body_length = declared ? bytes : WEIR_LENGTH_UNKNOWN;
    scene->steps = steps;
    scene->count = COUNT(steps);
    play_with(scene, items, count);
    scene->steps = NULL;
}

static void a_rate_per_upload(void **state)
{
    struct weir_bandwidth *bandwidth = bandwidth_of(10000, 0, 1000);
    struct weir_middleware items[] = {{weir_mw_upload_bandwidth, bandwidth}};

    (void)state;
    for (int declared = 0; declared < 2; declared++) {
        uint64_t bytes = 0;
        struct scene scene = {.handler = read_it, .arg = &bytes, .opts = {.receive_window = 2000}};

        upload(&scene, items, 1, 11000, declared == 1);
        assert_int_equal(scene.result.status, 204);
        assert_int_equal(bytes, 11000);
        /* 1,000 at once, 10,000 in a second; an end that is not declared costs one piece more. */
        assert_int_equal(scene.ended_ms, declared == 1 ? 1000 : 1010);
        assert_int_equal(answer.stall.shaped_us, declared == 1 ? 1000000 : 1010000);
        /* The client's window holds it back, and nothing is read ahead: no more than one piece is in memory. */
        assert_in_range(scene.result.parked_peak, 1, 2000);
        assert_in_range(scene.budget_peak, 0, 8192);
    }
    weir_bandwidth_destroy(bandwidth);
}

/* What was read at each moment never exceeds what the rate allows. */
static int read_and_look(struct weir_req *req, void *arg)
{
    struct weir_chunk *chunk;
    uint64_t bytes = 0;
    int r;

    (void)arg;
    while ((r = weir_next(weir_req_body(req), -1, &chunk)) > 0) {
        bytes += weir_chunk_len(chunk);
        weir_chunk_unref(chunk);
        assert_in_range(bytes, 1, 500 + (uint64_t)(scene_us - 1000000) * 30000 / 1000000 + 300);
    }
    return r < 0 ? r : weir_reply_empty(req, 204, NULL);
}

static void never_faster_than_that(void **state)
{
    struct weir_bandwidth *bandwidth = bandwidth_of(30000, 0, 500);
    struct weir_middleware items[] = {{weir_mw_upload_bandwidth, bandwidth}};
    /* In pieces, with a rest, and at last far too much. */
    const struct weir__memory_step steps[] = {
        {.at_ms = 0, .act = WEIR__MEMORY_SEND, .bytes = 700},
        {.at_ms = 1, .act = WEIR__MEMORY_SEND, .bytes = 1},
        {.at_ms = 2, .act = WEIR__MEMORY_SEND, .bytes = 30},
        {.at_ms = 500, .act = WEIR__MEMORY_SEND, .bytes = 40000},
        {.at_ms = 600, .act = WEIR__MEMORY_SEND_END},
    };
    struct scene scene = {.handler = read_and_look,
                          .steps = steps,
                          .count = COUNT(steps),
                          .opts = {.body_length = WEIR_LENGTH_UNKNOWN}};

    (void)state;
    play_with(&scene, items, 1);
    assert_int_equal(scene.result.status, 204);
    assert_in_range(scene.ended_ms, 500 + 1300, 500 + 1340);
    weir_bandwidth_destroy(bandwidth);
}

static void bodies_that_move_in_the_kernel(void **state)
{
    struct weir_bandwidth *bandwidth = bandwidth_of(100000, 0, 1000);
    struct weir_middleware items[] = {{weir_mw_upload_bandwidth, bandwidth}};

    (void)state;
    for (int fds = 0; fds < 2; fds++) {
        struct scene scene = {.handler = echo,
                              .opts = {.method = "POST", .use_fds = fds == 1, .socket = 1 << 20}};

        upload(&scene, items, 1, 51000, true);
        assert_true(scene.result.ended);
        assert_true(scene.result.pattern);
        assert_int_equal(scene.result.taken, 51000);
        assert_int_equal(scene.ended_ms, 500);
    }
    weir_bandwidth_destroy(bandwidth);
}

/* Three uploads at once, two of them of one key. */
static void play_three(const struct weir_chain *chain, struct weir_stall *ret)
{
    static const char *const who[] = {"X-Key: a", "X-Key: a", "X-Key: b"};
    const struct weir__memory_step steps[] = {{.act = WEIR__MEMORY_SEND, .bytes = 10000},
                                              {.act = WEIR__MEMORY_SEND_END}};
    struct weir__memory *memories[3];
    struct weir__memory_result result;
    int64_t us = 1000000;
    struct weir__loop *loop;

    assert_int_equal(weir__loop_create(scene_clock, &us, &loop), 0);
    for (size_t i = 0; i < 3; i++) {
        struct weir__memory_opts opts = {.fields = fields_of(&who[i], 1), .body_length = 10000};

        assert_int_equal(weir__memory_create(loop, &opts, &memories[i]), 0);
        assert_int_equal(weir__memory_script(memories[i], steps, COUNT(steps)), 0);
        assert_int_equal(
            weir__memory_request(memories[i], weir_chain_handle, (void *)(uintptr_t)chain), 0);
    }
    weir__loop_run_until_idle(loop);
    for (size_t i = 0; i < 3; i++) {
        weir__memory_result(memories[i], &result);
        assert_true(result.ended);
        ret[i] = result.stall;
        weir__memory_destroy(memories[i]);
    }
    weir__loop_destroy(loop);
}

static void a_rate_shared_by_a_key(void **state)
{
    struct weir_bandwidth *bandwidth = bandwidth_of(0, 10000, 100);
    struct weir_middleware items[] = {{weir_mw_upload_bandwidth, bandwidth}};
    struct weir_chain chain = {items, 1, read_it, NULL};
    struct weir_stall stalls[3];

    (void)state;
    play_three(&chain, stalls);
    /* Two share ten thousand a second, in turns; the third has them for itself. */
    assert_in_range(stalls[0].wall_us, 1970000, 2000000);
    assert_in_range(stalls[1].wall_us, 1970000, 2000000);
    assert_in_range(stalls[2].wall_us, 980000, 1000000);
    weir_bandwidth_destroy(bandwidth);
}

static void one_object_for_both_directions(void **state)
{
    struct weir_bandwidth *bandwidth = bandwidth_of(0, 10000, 100);
    struct weir_middleware items[] = {{weir_mw_upload_bandwidth, bandwidth},
                                      {weir_mw_bandwidth, bandwidth}};
    struct weir_chain chain = {items, 2, echo, NULL};
    struct weir_stall stalls[3];

    (void)state;
    play_three(&chain, stalls);
    assert_in_range(stalls[0].wall_us, 3930000, 4010000);
    assert_in_range(stalls[1].wall_us, 3930000, 4010000);
    assert_in_range(stalls[2].wall_us, 1960000, 2010000);
    weir_bandwidth_destroy(bandwidth);
}

static void the_slower_of_two(void **state)
{
    struct weir_bandwidth *fast = bandwidth_of(50000, 0, 1000);
    struct weir_bandwidth *slow = bandwidth_of(10000, 0, 1000);

    (void)state;
    for (int turned = 0; turned < 2; turned++) {
        struct weir_middleware items[] = {{weir_mw_upload_bandwidth, turned ? slow : fast},
                                          {weir_mw_upload_bandwidth, turned ? fast : slow}};
        struct scene scene = {.handler = read_it};

        upload(&scene, items, 2, 11000, true);
        assert_int_equal(scene.result.status, 204);
        assert_in_range(scene.ended_ms, 1000, 1010);
    }
    weir_bandwidth_destroy(fast);
    weir_bandwidth_destroy(slow);
}

/* Half a second from piece to piece: no clock of the client's silence runs in it. */
static void our_own_pace_is_not_the_clients_silence(void **state)
{
    struct weir_bandwidth *bandwidth = bandwidth_of(2, 0, 1);
    struct weir_deadlines_opts deadlines = {.body_gap_ms = 100};
    struct weir_middleware items[] = {{weir_mw_deadlines, &deadlines},
                                      {weir_mw_upload_bandwidth, bandwidth}};
    const struct weir__memory_step silent[] = {{.act = WEIR__MEMORY_SEND, .bytes = 5}};
    struct scene scene = {
        .handler = read_it,
        .opts = {.limits = {.first_byte_ms = 100, .read_gap_ms = 100, .min_rate = 1000}}};
    uint64_t bytes = 0;

    (void)state;
    upload(&scene, items, 2, 101, true);
    assert_int_equal(scene.result.status, 204);
    assert_int_equal(scene.ended_ms, 50000);

    /* Its silence is one, though, from when it is waited for: the last byte came out at 2 s, the next would at 2.5 s. */
    scene.arg = &bytes;
    scene.steps = silent;
    scene.count = 1;
    scene.opts.body_length = 6;
    play_with(&scene, items, 2);
    assert_int_equal(bytes, 5);
    assert_int_equal(scene.result.status, 408);
    assert_int_equal(scene.ended_ms, 2600);
    weir_bandwidth_destroy(bandwidth);
}

static void a_client_that_leaves(void **state)
{
    struct weir_bandwidth *bandwidth = bandwidth_of(10, 0, 10);
    struct weir_middleware items[] = {{weir_mw_upload_bandwidth, bandwidth}};
    const struct weir__memory_step steps[] = {
        {.act = WEIR__MEMORY_SEND, .bytes = 1000},
        {.at_ms = 3210, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET}};
    uint64_t bytes = 0;
    struct scene scene = {.handler = read_it,
                          .arg = &bytes,
                          .steps = steps,
                          .count = 2,
                          .opts = {.body_length = 2000, .receive_window = 100}};

    (void)state;
    play_with(&scene, items, 1);
    assert_int_equal(scene.ended_ms, 3210);
    assert_int_equal(answer.outcome, WEIR_OUTCOME_CLIENT_GONE);
    assert_in_range(bytes, 40, 1000); /* what had arrived was delivered */
    weir_bandwidth_destroy(bandwidth);
}

static void deadlines_end_it(void **state)
{
    struct weir_bandwidth *bandwidth = bandwidth_of(10, 0, 10);
    struct weir_deadlines_opts deadlines = {.total_ms = 500};
    struct weir_middleware items[] = {{weir_mw_deadlines, &deadlines},
                                      {weir_mw_upload_bandwidth, bandwidth}};
    uint64_t bytes = 0;
    struct scene scene = {.handler = read_it, .arg = &bytes};

    (void)state;
    upload(&scene, items, 2, 1000, true);
    assert_int_equal(scene.result.status, 504);
    assert_int_equal(scene.ended_ms, 500);
    assert_in_range(bytes, 14, 15);
    weir_bandwidth_destroy(bandwidth);
}

static int looks_and_waits(struct weir_req *req, void *arg)
{
    struct weir_source *body = weir_req_body(req);
    struct weir_case cases[] = {{.kind = WEIR_CASE_SOURCE, .source = body},
                                {.kind = WEIR_CASE_TIME, .at = 1050}};
    struct weir_chunk *chunk;
    size_t which;

    (void)arg;
    assert_int_equal(weir_next(body, -1, &chunk), 1); /* the burst */
    weir_chunk_unref(chunk);
    assert_int_equal(weir_next(body, 0, &chunk), WEIR_EAGAIN);
    assert_int_equal(weir_next(body, 1040, &chunk), WEIR_ETIMEDOUT);
    assert_int_equal(scene_ms(), 40);
    assert_int_equal(weir_select(cases, 2, -1, &which), 1);
    assert_int_equal(which, 1);
    assert_int_equal(weir_select(cases, 1, 0, &which), WEIR_EAGAIN);
    assert_int_equal(weir_select(cases, 1, -1, &which), 1);
    assert_int_equal(scene_ms(), 100); /* no try has cost anything */
    assert_int_equal(weir_next(body, 0, &chunk), 1);
    assert_int_equal(weir_chunk_len(chunk), 1);
    weir_chunk_unref(chunk);
    return weir_reply_empty(req, 204, NULL);
}

static void tries_deadlines_and_selects(void **state)
{
    struct weir_bandwidth *bandwidth = bandwidth_of(10, 0, 1);
    struct weir_middleware items[] = {{weir_mw_upload_bandwidth, bandwidth}};
    struct scene scene = {.handler = looks_and_waits,
                          .opts = {.limits = {.first_byte_ms = 20, .read_gap_ms = 20}}};

    (void)state;
    upload(&scene, items, 1, 10, true);
    assert_int_equal(scene.result.status, 204);
    weir_bandwidth_destroy(bandwidth);
}

static void without_a_body_nothing_is_paid(void **state)
{
    struct weir_bandwidth *bandwidth = bandwidth_of(1, 0, 1);
    struct weir_middleware items[] = {{weir_mw_upload_bandwidth, bandwidth}};
    struct scene scene = {.handler = read_it};

    (void)state;
    for (int i = 0; i < 3; i++) {
        play_with(&scene, items, 1);
        assert_int_equal(scene.result.status, 204);
        assert_int_equal(scene.ended_ms, 0);
    }
    weir_bandwidth_destroy(bandwidth);
}

static void while_allocations_fail(void **state)
{
    struct weir_bandwidth *bandwidth = bandwidth_of(1000, 0, 0);
    struct weir_middleware items[] = {{weir_mw_upload_bandwidth, bandwidth}};
    const struct weir__memory_step steps[] = {{.act = WEIR__MEMORY_SEND, .bytes = 500},
                                              {.act = WEIR__MEMORY_SEND_END}};
    struct scene scene = {.handler = read_it,
                          .steps = steps,
                          .count = COUNT(steps),
                          .opts = {.body_length = WEIR_LENGTH_UNKNOWN}};

    (void)state;
    survive(&scene, items, 1, 204);
    weir_bandwidth_destroy(bandwidth);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_per_upload),
        cmocka_unit_test(never_faster_than_that),
        cmocka_unit_test(bodies_that_move_in_the_kernel),
        cmocka_unit_test(a_rate_shared_by_a_key),
        cmocka_unit_test(one_object_for_both_directions),
        cmocka_unit_test(the_slower_of_two),
        cmocka_unit_test(our_own_pace_is_not_the_clients_silence),
        cmocka_unit_test(a_client_that_leaves),
        cmocka_unit_test(deadlines_end_it),
        cmocka_unit_test(tries_deadlines_and_selects),
        cmocka_unit_test(without_a_body_nothing_is_paid),
        cmocka_unit_test(while_allocations_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
