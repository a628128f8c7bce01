/* SPDX-License-Identifier: MIT */
/* Bodies as a whole, bounded; their limits as the client sees them; chunks kept beyond their window. */
#include "../http/http_test.h"

#include <weir/body.h>
#include <weir/sources.h>

static const struct weir__memory_step three_parts[] = {
    {.at_ms = 10, .act = WEIR__MEMORY_SEND, .bytes = 100},
    {.at_ms = 20, .act = WEIR__MEMORY_SEND, .bytes = 1},
    {.at_ms = 30, .act = WEIR__MEMORY_SEND, .bytes = 99},
    {.at_ms = 30, .act = WEIR__MEMORY_SEND_END},
};

struct whole {
    size_t max;
    int64_t within_ms; /* 0: no deadline; < 0: without waiting */
    bool discard;
    int result; /* expected */
    size_t len;
    struct weir_error error; /* of the source, afterwards */
};

static int64_t until(int64_t ms)
{
    return ms > 0 ? weir_after_ms(ms) : ms < 0 ? 0 : -1;
}

static int reads_all(struct weir_req *req, void *arg)
{
    struct whole *whole = arg;
    struct weir_source *body = weir_req_body(req);
    WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *all = NULL;
    struct weir_chunk *chunk = NULL;
    int r = whole->discard ? weir_discard(body, whole->max, until(whole->within_ms))
                           : weir_read_all(body, whole->max, until(whole->within_ms), &all);

    assert_int_equal(r, whole->result);
    if (r == 0 && !whole->discard) {
        struct weir_view view = weir_chunk_view(all);

        assert_int_equal(view.len, whole->len);
        assert_non_null(view.data);
        for (size_t i = 0; i < view.len; i++) {
            assert_int_equal(view.data[i], weir__memory_byte(i));
        }
    } else {
        assert_null(all);
    }
    weir_source_error(body, &whole->error);
    assert_int_equal(whole->error.code, r);
    assert_int_equal(weir_next(body, -1, &chunk), r); /* for good */
    assert_null(chunk);
    return r < 0 ? r : weir_reply_empty(req, 200, NULL);
}

static void bodies_of_any_split(void **state)
{
    (void)state;
    for (size_t max = 0; max <= 200; max++) {
        for (int discard = 0; discard < 2; discard++) {
            struct whole whole = {.max = 200 + max, .len = 200, .discard = discard};
            struct scene scene = {
                .handler = reads_all,
                .arg = &whole,
                .steps = three_parts,
                .count = COUNT(three_parts),
                .opts = {.body_length = max % 2 ? 200 : WEIR_LENGTH_UNKNOWN,
                         .max_read = max,
                         .receive_window = max % 3 == 2 ? max : 0}}; /* a chunk kept: no end */

            play(&scene);
            assert_int_equal(scene.result.status, 200);
            assert_int_equal(scene.result.released, 200);
        }
    }
}

/* V6: the client reads a 413, by the declared and by the counted length, whoever limits. */
static void v6_a_limit_is_a_413_the_client_reads(void **state)
{
    (void)state;
    for (int declared = 0; declared < 2; declared++) {
        for (int discard = 0; discard < 2; discard++) {
            for (size_t max = 198; max <= 201; max++) {
                bool over = max < 200;
                struct whole whole = {
                    .max = max, .len = 200, .discard = discard, .result = over ? WEIR_ELIMIT : 0};
                struct scene scene = {.handler = reads_all,
                                      .arg = &whole,
                                      .steps = three_parts,
                                      .count = COUNT(three_parts),
                                      .opts = {.body_length = declared ? 200 : WEIR_LENGTH_UNKNOWN,
                                               .expect_continue = true}};

                play(&scene);
                assert_int_equal(scene.result.status, over ? 413 : 200);
                assert_true(scene.result.ended); /* whole, and the connection is not cancelled */
                assert_false(scene.result.cancelled);
                if (over) {
                    assert_int_equal(whole.error.reason, WEIR_REASON_LIMIT);
                    assert_int_equal(whole.error.side, WEIR_SIDE_SELF);
                    assert_int_equal(scene.result.delivered, declared ? 0 : max + 1);
                    assert_int_equal(scene.ended_ms, declared ? 0 : 30);
                }
                /* Who is refused by the declared length is not asked for the body. */
                assert_int_equal(strstr(scene_trace, "continue") == NULL, over && declared);
            }
        }
    }
}

static int limits_and_reads(struct weir_req *req, void *arg)
{
    struct whole *whole = arg;
    int r = weir_req_limit_body(req, whole->max);

    return r < 0 ? r : weir_discard(weir_req_body(req), UINT64_MAX, -1);
}

static void v6_a_limit_of_the_request_too(void **state)
{
    struct whole whole = {.max = 199};
    struct scene scene = {.handler = limits_and_reads,
                          .arg = &whole,
                          .steps = three_parts,
                          .count = COUNT(three_parts),
                          .opts = {.body_length = 200, .expect_continue = true, .keep = 64}};

    (void)state;
    expect_trace(&scene, "0 begin 413 length=24\n  Content-Type: text/plain; charset=utf-8\n"
                         "0 body 24\n0 end\n0 finished\n");
    scene.opts.body_length = WEIR_LENGTH_UNKNOWN;
    expect_trace(&scene, "0 continue\n30 begin 413 length=24\n"
                         "  Content-Type: text/plain; charset=utf-8\n"
                         "30 body 24\n30 end\n30 finished\n");
}

static void empty_bodies(void **state)
{
    static const struct weir__memory_step end = {.at_ms = 5, .act = WEIR__MEMORY_SEND_END};

    (void)state;
    for (size_t max = 0; max < 2; max++) {
        for (int known = 0; known < 2; known++) {
            struct whole whole = {.max = max};
            struct scene scene = {.handler = reads_all,
                                  .arg = &whole,
                                  .steps = &end,
                                  .count = 1,
                                  .opts = {.body_length = known ? 0 : WEIR_LENGTH_UNKNOWN}};

            play(&scene);
            assert_int_equal(scene.result.status, 200);
        }
    }
}

static int echoes_whole(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *all = NULL;
    int r = weir_read_all(weir_req_body(req), 1000, -1, &all);

    (void)arg;
    if (r == 0) {
        r = weir_stream_begin(req, 200, NULL, weir_chunk_len(all), &sink);
    }
    if (r == 0) {
        r = weir_emit(sink, all, -1);
    }
    return r < 0 ? r : weir_end(sink, NULL);
}

static void what_was_read_can_be_emitted(void **state)
{
    struct scene scene = {.handler = echoes_whole,
                          .steps = three_parts,
                          .count = COUNT(three_parts),
                          .opts = {.body_length = 200}};

    (void)state;
    play(&scene);
    assert_true(scene.result.pattern);
    assert_int_equal(scene.result.taken, 200);
    scene.steps = &three_parts[3];
    scene.count = 1;
    scene.opts.body_length = WEIR_LENGTH_UNKNOWN;
    play(&scene);
    assert_true(scene.result.ended); /* an empty chunk is emitted as nothing */
    assert_int_equal(scene.result.taken, 0);
}

static void deadlines(void **state)
{
    static const struct {
        int64_t within_ms, ended_ms;
        int result;
    } cases[] = {
        {29, 29, WEIR_ETIMEDOUT}, {31, 30, 0}, {-1, 0, WEIR_ETIMEDOUT}, {5, 5, WEIR_ETIMEDOUT}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int discard = 0; discard < 2; discard++) {
            struct whole whole = {.max = 1000,
                                  .len = 200,
                                  .discard = discard,
                                  .within_ms = cases[i].within_ms,
                                  .result = cases[i].result};
            struct scene scene = {.handler = reads_all,
                                  .arg = &whole,
                                  .steps = three_parts,
                                  .count = COUNT(three_parts),
                                  .opts = {.body_length = 200}};

            play(&scene);
            assert_int_equal(scene.result.status, cases[i].result < 0 ? 408 : 200);
            assert_int_equal(scene.ended_ms, cases[i].ended_ms);
            assert_int_equal(whole.error.reason,
                             cases[i].result < 0 ? WEIR_REASON_TIMEOUT : WEIR_REASON_NONE);
        }
    }
}

/* V16: an end that the framing did not prove is none, and its reason can be read. */
static void v16_ends_that_are_none(void **state)
{
    static const struct {
        struct weir__memory_step step;
        int result;
        enum weir_reason reason;
        int native, status;
    } cases[] = {
        {{.act = WEIR__MEMORY_FIN}, WEIR_ETRUNCATED, WEIR_REASON_TRUNCATED, 0, 400},
        {{.act = WEIR__MEMORY_SEND_ERROR, .code = WEIR_EPROTO},
         WEIR_EPROTO,
         WEIR_REASON_PROTOCOL,
         0,
         400},
        {{.act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET, .code = 104},
         WEIR_ERESET,
         WEIR_REASON_RESET,
         104,
         0},
        {{.act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_STALL},
         WEIR_ESTALLED,
         WEIR_REASON_STALL,
         0,
         0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct weir__memory_step steps[2] = {three_parts[0], cases[i].step};
        struct whole whole = {.max = 1000, .result = cases[i].result};
        struct scene scene = {.handler = reads_all,
                              .arg = &whole,
                              .steps = steps,
                              .count = 2,
                              .opts = {.body_length = 200, .half_close = true}};

        steps[1].at_ms = 50;
        play(&scene);
        assert_int_equal(whole.error.reason, cases[i].reason);
        assert_int_equal(whole.error.native, cases[i].native);
        assert_int_equal(scene.result.status, cases[i].status);
    }
}

static int reads_trailers(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *all = NULL;

    (void)arg;
    assert_int_equal(weir_read_all(weir_req_body(req), 100, -1, &all), 0);
    assert_true(
        weir_view_equal(weir_fields_get(weir_req_trailers(req), weir_str("x-sum")), weir_str("3")));
    return weir_reply_empty(req, 200, NULL);
}

static void trailers_after_the_end(void **state)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *trailers = NULL;
    struct weir__memory_step steps[2] = {three_parts[0],
                                         {.at_ms = 20, .act = WEIR__MEMORY_SEND_END}};
    struct scene scene = {.handler = reads_trailers,
                          .steps = steps,
                          .count = 2,
                          .opts = {.body_length = WEIR_LENGTH_UNKNOWN}};

    (void)state;
    assert_int_equal(weir_fields_create(&trailers), 0);
    assert_int_equal(weir_fields_add(trailers, weir_str("X-Sum"), weir_str("3")), 0);
    steps[1].fields = trailers;
    play(&scene);
    assert_int_equal(scene.result.status, 200);
}

/* ---- memory ---- */

#define LARGE ((size_t)3 << 20)

static void memory_grows_with_what_has_come(void **state)
{
    static const struct weir__memory_step little[] = {{.act = WEIR__MEMORY_SEND, .bytes = 5000},
                                                      {.at_ms = 9, .act = WEIR__MEMORY_FIN}};
    static const struct weir__memory_step large[] = {{.act = WEIR__MEMORY_SEND, .bytes = LARGE},
                                                     {.act = WEIR__MEMORY_SEND_END}};
    struct whole whole = {.max = LARGE, .result = WEIR_ETRUNCATED};
    struct scene scene = {.handler = reads_all,
                          .arg = &whole,
                          .steps = little,
                          .count = 2,
                          .opts = {.body_length = LARGE}};

    (void)state;
    play(&scene); /* a length that is only declared costs nothing */
    assert_in_range(scene.budget_peak, 5000, 40000);
    whole = (struct whole){.max = LARGE, .len = LARGE};
    scene.steps = large;
    for (int known = 0; known < 2; known++) {
        scene.opts.body_length = known ? LARGE : WEIR_LENGTH_UNKNOWN;
        scene.opts.receive_window = 70000; /* released as they are copied */
        play(&scene);
        assert_int_equal(scene.result.status, 200);
        assert_in_range(scene.budget_peak, LARGE, 2 * LARGE + 200000);
    }
    whole = (struct whole){.max = LARGE, .discard = true};
    play(&scene);
    assert_in_range(scene.budget_peak, 1, 200000);
}

static void memory_is_the_processs(void **state)
{
    static const struct weir__memory_step large[] = {{.act = WEIR__MEMORY_SEND, .bytes = LARGE},
                                                     {.act = WEIR__MEMORY_SEND_END}};
    struct weir__budget *budget = weir__budget_process();
    size_t limit = budget->limit;
    struct whole whole = {.max = LARGE, .result = WEIR_EBUDGET};
    struct scene scene = {.handler = reads_all,
                          .arg = &whole,
                          .steps = large,
                          .count = 2,
                          .opts = {.body_length = LARGE}};

    (void)state;
    weir__budget_set_limit(budget, weir__budget_used(budget) + (1 << 20));
    play(&scene);
    weir__budget_set_limit(budget, limit);
    assert_int_equal(scene.result.status, 503);
    assert_in_range(scene.budget_peak, 1, 1 << 20);
    assert_int_equal(whole.error.reason, WEIR_REASON_LIMIT);
}

static int reads_beside_another(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *all = NULL;

    (void)arg;
    weir_req_body(req)->busy = true; /* as if another fiber were inside */
    assert_int_equal(weir_read_all(weir_req_body(req), 1000, -1, &all), WEIR_EBUSY);
    assert_int_equal(weir_discard(weir_req_body(req), 1000, -1), WEIR_EBUSY);
    weir_req_body(req)->busy = false;
    assert_int_equal(weir_read_all(weir_req_body(req), 1000, -1, &all), 0);
    return weir_reply_empty(req, 200, NULL);
}

static void another_fiber_is_inside(void **state)
{
    struct scene scene = {.handler = reads_beside_another,
                          .steps = three_parts,
                          .count = COUNT(three_parts),
                          .opts = {.body_length = 200}};

    (void)state;
    play(&scene);
    assert_int_equal(scene.result.status, 200);
}

/* ---- detaching ---- */

enum keeping { KEEP, DETACH, DETACH_SLICE, DETACH_OTHER_REF };

static int keeps(struct weir_req *req, void *arg)
{
    enum keeping how = *(enum keeping *)arg;
    struct weir_chunk *kept[20], *slice, *other;
    size_t count = 0;
    uint64_t position = 0;
    int r;

    while ((r = weir_next(weir_req_body(req), weir_after_ms(100), &kept[count])) == 1) {
        struct weir_chunk *chunk = kept[count++];

        if (how == DETACH) {
            weir_chunk_detach(chunk);
            weir_chunk_detach(chunk);
        } else if (how == DETACH_SLICE) {
            assert_int_equal(weir_chunk_slice(chunk, 1, 2, &slice), 0);
            weir_chunk_detach(slice);
            weir_chunk_unref(slice);
        } else if (how == DETACH_OTHER_REF) {
            other = weir_chunk_ref(chunk);
            weir_chunk_detach(other);
            weir_chunk_unref(other);
        }
    }
    assert_int_equal(r, how == KEEP ? WEIR_ETIMEDOUT : 0); /* a body held back is a window shut */
    assert_int_equal(count, how == KEEP ? 1 : 3);
    for (size_t i = 0; i < count; i++) {
        struct weir_view view = weir_chunk_view(kept[i]); /* the bytes are there all the same */

        for (size_t k = 0; k < view.len; k++) {
            assert_int_equal(view.data[k], weir__memory_byte(position++));
        }
        assert_true(weir__budget_used(weir__budget_process()) >= count * 1024);
    }
    while (count > 0) {
        weir_chunk_unref(kept[--count]);
    }
    return weir_reply_empty(req, 200, NULL);
}

static void a_detached_chunk_holds_no_window(void **state)
{
    static const struct weir__memory_step steps[] = {{.act = WEIR__MEMORY_SEND, .bytes = 150},
                                                     {.act = WEIR__MEMORY_SEND_END}};

    (void)state;
    for (enum keeping how = KEEP; how <= DETACH_OTHER_REF; how++) {
        struct scene scene = {.handler = keeps,
                              .arg = &how,
                              .steps = steps,
                              .count = COUNT(steps),
                              .opts = {.body_length = 150, .receive_window = 50}};

        play(&scene);
        assert_int_equal(scene.result.status, 200);
        assert_int_equal(scene.result.released, how == KEEP ? 50 : 150);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_of_any_split),
        cmocka_unit_test(v6_a_limit_is_a_413_the_client_reads),
        cmocka_unit_test(v6_a_limit_of_the_request_too),
        cmocka_unit_test(empty_bodies),
        cmocka_unit_test(what_was_read_can_be_emitted),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(v16_ends_that_are_none),
        cmocka_unit_test(trailers_after_the_end),
        cmocka_unit_test(memory_grows_with_what_has_come),
        cmocka_unit_test(memory_is_the_processs),
        cmocka_unit_test(another_fiber_is_inside),
        cmocka_unit_test(a_detached_chunk_holds_no_window),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
