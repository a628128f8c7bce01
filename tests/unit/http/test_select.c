/* SPDX-License-Identifier: MIT */
/* The wait for the first of several: what comes first wins, the others stay as they are, no wake-up is lost, clocks run. */
#include "select_test.h"

#include <weir/combinators.h>
#include <weir/sources.h>

/* ---- a body ---- */

static int waits_for_a_body(struct weir_req *req, void *arg)
{
    struct weir_source *body = weir_req_body(req);
    struct weir_chunk *chunk = NULL;
    const struct weir_case cases[] = {
        TIME(5), {.kind = WEIR_CASE_SOURCE, .source = body}, {.kind = WEIR_CASE_NONE}};

    (void)arg;
    choose(cases, 3, -1);
    choose(cases + 1, 2, 1007);
    choose(cases + 1, 2, 0);
    choose(cases + 1, 2, -1);
    choose(cases + 1, 2, -1); /* it is still there */
    assert_int_equal(weir_next(body, 0, &chunk), 1);
    assert_int_equal(weir_chunk_len(chunk), 100);
    weir_chunk_unref(chunk);
    assert_int_equal(weir_next(body, 0, &chunk), WEIR_EAGAIN);
    choose(cases + 1, 2, -1);
    assert_int_equal(weir_next(body, 0, &chunk), 0);
    choose(cases + 1, 2, -1); /* the end stays */
    return weir_reply_empty(req, 204, NULL);
}

static void a_body_that_comes_is_chosen_and_not_taken(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 10, .act = WEIR__MEMORY_SEND, .bytes = 100},
        {.at_ms = 20, .act = WEIR__MEMORY_SEND_END},
    };
    struct scene scene = {.handler = waits_for_a_body,
                          .steps = steps,
                          .count = COUNT(steps),
                          .opts = {.body_length = WEIR_LENGTH_UNKNOWN}};

    (void)state;
    expect_story(&scene, "0@5 WEIR_ETIMEDOUT@7 WEIR_EAGAIN@7 0@10 0@10 0@20 0@20 ");
}

/* What is pulled to look is at most a chunk, and comes first, in pieces if it must. */
static int reads_after_looking(struct weir_req *req, void *arg)
{
    struct weir_source *body = weir_req_body(req);
    const struct weir_case one = {.kind = WEIR_CASE_SOURCE, .source = body};
    struct weir_pipe_result result;
    struct weir_sink *sink;

    (void)arg;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(choose(&one, 1, -1), 1);
    }
    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    assert_int_equal(weir_pipe(body, sink, NULL, &result), 0);
    assert_int_equal(result.bytes, 300000);
    return 0;
}

static void a_chunk_that_was_looked_at_comes_first_and_whole(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.act = WEIR__MEMORY_SEND, .bytes = 300000},
        {.act = WEIR__MEMORY_SEND_END},
    };
    struct scene scene = {
        .handler = reads_after_looking,
        .steps = steps,
        .count = COUNT(steps),
        .opts = {.body_length = WEIR_LENGTH_UNKNOWN, .use_fds = true, .max_room = 1000}};

    (void)state;
    play(&scene);
    assert_true(scene.result.ended && scene.result.pattern);
    assert_int_equal(scene.result.taken, 300000);
    assert_true(scene.budget_peak <= 2 * 65536 + 4096);
}

static int looks_and_leaves(struct weir_req *req, void *arg)
{
    const struct weir_case one = {.kind = WEIR_CASE_SOURCE, .source = weir_req_body(req)};

    assert_int_equal(choose(&one, 1, -1), 1);
    if (arg != NULL) {
        weir_cancel(weir_req_body(req), WEIR_REASON_CANCELED);
    }
    return weir_reply_empty(req, 204, NULL);
}

/* Both ways out leave no chunk behind: play() looks. */
static void a_chunk_nobody_reads_is_let_go(void **state)
{
    static const struct weir__memory_step steps[] = {{.act = WEIR__MEMORY_SEND, .bytes = 5000}};
    struct scene scene = {.handler = looks_and_leaves,
                          .steps = steps,
                          .count = COUNT(steps),
                          .opts = {.body_length = WEIR_LENGTH_UNKNOWN, .receive_window = 10000}};

    (void)state;
    play(&scene);
    assert_int_equal(scene.result.released, 5000);
    scene.arg = &scene;
    play(&scene);
    assert_int_equal(scene.result.released, 5000);
}

/* ---- a sink ---- */

static int waits_for_room(struct weir_req *req, void *arg)
{
    struct weir_sink *sink;
    struct weir_case cases[] = {{.kind = WEIR_CASE_SINK}, TIME(20)};

    (void)arg;
    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    cases[0].sink = sink;
    choose(cases, 1, -1);
    assert_int_equal(emit_pattern(sink, 0, 1000, -1), 0);
    assert_int_equal(emit_pattern(sink, 1000, 1, 0), WEIR_EFLOW);
    choose(cases, 2, -1);
    assert_int_equal(emit_pattern(sink, 1000, 1, 0), WEIR_EFLOW);
    choose(cases, 1, -1);
    assert_int_equal(emit_pattern(sink, 1000, 1000, 0), 0);
    return weir_end(sink, NULL);
}

/* V2: a refused emit has a wake-up. */
static void v2_room_for_a_refused_emit_is_chosen(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 50, .act = WEIR__MEMORY_SOCKET, .bytes = 100000}};
    struct scene scene = {.handler = waits_for_room,
                          .steps = steps,
                          .count = COUNT(steps),
                          .opts = {.socket = 1000, .max_room = 1000}};

    (void)state;
    expect_story(&scene, "0@0 1@20 0@50 ");
    assert_true(scene.result.ended && scene.result.pattern);
    assert_int_equal(scene.result.taken, 2000);
    assert_int_equal(scene.result.stall.socket_us, 50000); /* the client's, not ours */
}

/* ---- the peers' clocks ---- */

static int is_patient_in_pieces(struct weir_req *req, void *arg)
{
    const struct weir_case one = {.kind = WEIR_CASE_SOURCE, .source = weir_req_body(req)};
    struct weir_chunk *chunk;

    (void)arg;
    choose(&one, 1, 1040);
    assert_int_equal(weir_sleep(weir_after_ms(500)), 0); /* our own time does not count */
    choose(&one, 1, 1580);
    choose(&one, 1, -1);
    assert_int_equal(weir_next(weir_req_body(req), -1, &chunk), WEIR_ESTALLED);
    return weir_reply_empty(req, 408, NULL);
}

static void the_patience_with_a_silent_client_runs_in_selects(void **state)
{
    struct scene scene = {
        .handler = is_patient_in_pieces,
        .opts = {.body_length = WEIR_LENGTH_UNKNOWN, .limits = {.read_gap_ms = 100}}};

    (void)state;
    expect_story(&scene, "WEIR_ETIMEDOUT@40 WEIR_ETIMEDOUT@580 0@600 ");
}

static int is_patient_with_its_sink(struct weir_req *req, void *arg)
{
    struct weir_sink *sink;
    struct weir_case one = {.kind = WEIR_CASE_SINK};
    enum weir_reason reason;

    (void)arg;
    assert_int_equal(weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink), 0);
    assert_int_equal(emit_pattern(sink, 0, 1000, -1), 0);
    one.sink = sink;
    choose(&one, 1, 1040);
    assert_int_equal(weir_sleep(weir_after_ms(500)), 0);
    choose(&one, 1, -1);
    assert_true(weir_req_gone(req, &reason));
    assert_int_equal(reason, WEIR_REASON_STALL);
    return weir_end(sink, NULL);
}

static void a_client_that_takes_nothing_is_gone_for_a_select_too(void **state)
{
    struct scene scene = {
        .handler = is_patient_with_its_sink,
        .opts = {.socket = 1000, .max_room = 1000, .limits = {.write_stall_ms = 100}}};

    (void)state;
    expect_story(&scene, "WEIR_ETIMEDOUT@40 0@600 ");
    assert_true(scene.result.aborted && !scene.result.ended);
}

/* ---- the client's leave ---- */

static int waits_for_the_leave(struct weir_req *req, void *arg)
{
    const struct weir_case cases[] = {{.kind = WEIR_CASE_GONE, .req = req}, TIME(5), TIME(500)};

    (void)arg;
    choose(cases, 2, -1);
    choose(cases + 2 * (size_t)(arg != NULL), 1, -1);
    /* A leave that was waited for is the answer to the cancel, ECANCELED too: there is no second one. */
    assert_int_equal(weir_sleep(weir_after_ms(10)), 0);
    choose(cases, 1, -1);
    return WEIR_ECANCELED;
}

static void the_leave_is_a_case_or_a_cancel(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 30, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET}};
    struct scene scene = {.handler = waits_for_the_leave, .steps = steps, .count = COUNT(steps)};

    (void)state;
    expect_story(&scene, "1@5 0@30 0@40 ");
    scene.arg = &scene;
    expect_story(&scene, "1@5 WEIR_ECANCELED@30 0@40 ");
}

static int selects_when_it_is_late(struct weir_req *req, void *arg)
{
    const struct weir_case cases[] = {{.kind = WEIR_CASE_GONE, .req = req}, TIME(5000)};

    (void)arg;
    assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    scene_us += 100000; /* it computes */
    weir_yield();
    choose(cases, 2, -1);
    choose(cases, 2, -1);
    return WEIR_ECANCELED;
}

static void a_leave_while_the_handler_computed_is_a_case(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 30, .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_FIN}};
    struct scene scene = {
        .handler = selects_when_it_is_late, .steps = steps, .count = COUNT(steps)};

    (void)state;
    expect_story(&scene, "0@101 0@101 ");
}

/* ---- messages and items ---- */

static struct weir_sender *sender;

static void send_tag(void *arg)
{
    assert_int_equal(weir_send(sender, &(struct weir_msg){.tag = (uint32_t)(uintptr_t)arg}), 0);
}

static void drop_sender(void *arg)
{
    (void)arg;
    sender = weir_sender_unref(sender);
}

static int waits_for_messages(struct weir_req *req, void *arg)
{
    const struct weir_case cases[] = {{.kind = WEIR_CASE_TAG, .tag = 7},
                                      {.kind = WEIR_CASE_TAG, .tag = 8},
                                      {.kind = WEIR_CASE_MESSAGE}};
    struct weir_msg msg;

    (void)arg;
    choose(cases + 2, 1, -1); /* never had a sender: the call says so */
    assert_int_equal(weir_receive(-1, &msg), WEIR_ESTATE);
    sender = weir_sender_create();
    choose(cases, 2, -1); /* 8 at 20, not 5 at 10 */
    assert_int_equal(weir_receive_tag(8, 0, &msg), 1);
    choose(cases + 2, 1, -1);
    assert_int_equal(weir_receive(0, &msg), 1);
    assert_int_equal(msg.tag, 5);
    choose(cases, 2, -1); /* the last handle is dropped at 30 */
    assert_int_equal(weir_receive_tag(7, 0, &msg), 0);
    return weir_reply_empty(req, 204, NULL);
}

static void messages_are_chosen_by_tag(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 10, .act = WEIR__MEMORY_CALL, .call = send_tag, .arg = (void *)5},
        {.at_ms = 20, .act = WEIR__MEMORY_CALL, .call = send_tag, .arg = (void *)8},
        {.at_ms = 30, .act = WEIR__MEMORY_CALL, .call = drop_sender},
    };
    struct scene scene = {.handler = waits_for_messages, .steps = steps, .count = COUNT(steps)};

    (void)state;
    story[0] = '\0';
    play(&scene);
    assert_true(strncmp(story, "0@0 1@20 0@20 ", 14) == 0);
    assert_non_null(strstr(story, "@30"));
}

static int receives_one(void *channel)
{
    void *item;
    int r = weir_channel_recv(channel, -1, &item);

    return r < 0 ? r : 0;
}

static int sends_at_10(void *channel)
{
    static int item;
    int r = weir_sleep(1010);

    return r < 0 ? r : weir_channel_send(channel, &item, 1, -1);
}

static int waits_for_items(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_channel_unrefp) struct weir_channel *one = NULL;
    WEIR_CLEANUP(weir_channel_unrefp) struct weir_channel *two = NULL;
    struct weir_case cases[4] = {{.kind = WEIR_CASE_RECV},
                                 {.kind = WEIR_CASE_RECV},
                                 {.kind = WEIR_CASE_SEND, .bytes = 1},
                                 {.kind = WEIR_CASE_SEND, .bytes = 1}};
    struct weir_scope *scope;
    void *item = NULL;

    (void)arg;
    assert_int_equal(weir_channel_create(&(struct weir_channel_opts){.max_items = 1}, &one), 0);
    assert_int_equal(weir_channel_create(&(struct weir_channel_opts){.max_items = 1}, &two), 0);
    cases[0].channel = cases[2].channel = one;
    cases[1].channel = cases[3].channel = two;
    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, sends_at_10, two), 0);
    choose(cases, 2, 1005);
    choose(cases, 2, -1);
    assert_int_equal(weir_channel_recv(one, 0, &item), WEIR_EAGAIN);
    assert_int_equal(weir_channel_recv(two, 0, &item), 1);
    /* A place in the line: another receiver waits already, so the first item is his. */
    assert_int_equal(weir_scope_spawn(scope, receives_one, one), 0);
    assert_int_equal(weir_yield(), 0);
    assert_int_equal(weir_channel_send(one, item, 1, 0), 0);
    assert_int_equal(weir_yield(), 0);
    choose(cases, 1, 0);
    /* Who was told that it is his turn goes before those that wait. */
    assert_int_equal(weir_channel_send(one, item, 1, 0), 0);
    choose(cases, 1, 0);
    assert_int_equal(weir_channel_recv(one, 0, &item), 1);
    /* Room, and the ends of both sides. */
    choose(cases + 2, 1, 0);
    assert_int_equal(weir_channel_send(one, item, 1, 0), 0);
    choose(cases + 2, 1, 0);
    weir_channel_close(one, WEIR_EIO);
    choose(cases + 2, 1, 0);
    choose(cases, 1, 0);
    assert_int_equal(weir_channel_recv(one, 0, &item), 1);
    choose(cases, 1, 0);
    assert_int_equal(weir_channel_recv(one, 0, &item), WEIR_EIO);
    weir_channel_abort(two);
    choose(cases + 3, 1, 0);
    weir_scope_close(scope);
    return weir_reply_empty(req, 204, NULL);
}

static void items_are_chosen_in_turn(void **state)
{
    struct scene scene = {.handler = waits_for_items};

    (void)state;
    expect_story(&scene, "WEIR_ETIMEDOUT@5 1@10 WEIR_EAGAIN@10 0@10 0@10 WEIR_EAGAIN@10 0@10 0@10 "
                         "0@10 0@10 ");
}

/* ---- several at once ---- */

static int has_the_choice(struct weir_req *req, void *arg)
{
    const struct weir_case cases[] = {TIME(0), {.kind = WEIR_CASE_NONE}, TIME(0), TIME(0)};
    int counts[4] = {0};
    size_t i;

    (void)arg;
    for (int n = 0; n < 3000; n++) {
        assert_int_equal(weir_select(cases, 4, -1, &i), 1);
        counts[i]++;
    }
    assert_int_equal(counts[1], 0);
    assert_true(counts[0] > 500 && counts[2] > 500 && counts[3] > 500);
    assert_int_equal(weir_select(cases, 0, -1, &i), WEIR_EINVAL);
    assert_int_equal(weir_select(cases, WEIR_SELECT_MAX + 1, -1, &i), WEIR_EINVAL);
    assert_int_equal(weir_select(&(struct weir_case){.kind = WEIR_CASE_SOURCE}, 1, -1, &i),
                     WEIR_EINVAL);
    assert_int_equal(weir_select(&(struct weir_case){.kind = (enum weir_case_kind)99}, 1, -1, &i),
                     WEIR_EINVAL);
    return weir_reply_empty(req, 204, NULL);
}

static void none_is_starved(void **state)
{
    struct scene scene = {.handler = has_the_choice};

    (void)state;
    play(&scene);
}

/* ---- one caller at a time ---- */

static int meddles(void *arg)
{
    struct weir_chunk *chunk;

    assert_int_equal(weir_next(arg, -1, &chunk), WEIR_EBUSY);
    if (weir_sleep(weir_after_ms(10)) == 0) {
        weir_cancel(arg, WEIR_REASON_CANCELED);
    }
    return 0;
}

static int reads(void *arg)
{
    struct weir_chunk *chunk;

    assert_int_equal(weir_next(arg, -1, &chunk), WEIR_ECANCELED);
    return 0;
}

static int is_meddled_with(struct weir_req *req, void *arg)
{
    struct weir_source *body = weir_req_body(req);
    const struct weir_case one = {.kind = WEIR_CASE_SOURCE, .source = body};
    struct weir_scope *scope;

    assert_int_equal(weir_scope_open(&scope), 0);
    if (arg == NULL) {
        assert_int_equal(weir_scope_spawn(scope, meddles, body), 0);
        choose(&one, 1, -1); /* the cancel wakes it */
    } else {
        assert_int_equal(weir_scope_spawn(scope, reads, body), 0);
        assert_int_equal(weir_yield(), 0);
        choose(&one, 1, -1);
    }
    weir_scope_close(scope);
    return weir_reply_empty(req, 204, NULL);
}

static void a_stream_in_a_select_is_busy(void **state)
{
    struct scene scene = {.handler = is_meddled_with, .opts = {.body_length = WEIR_LENGTH_UNKNOWN}};

    (void)state;
    expect_story(&scene, "0@10 ");
    scene.arg = &scene;
    expect_story(&scene, "WEIR_EBUSY@0 ");
}

/* ---- sources of other kinds ---- */

struct own {
    struct weir_waker *waker;
    bool ready;
};

static struct own own;

static int own_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    (void)max_bytes;
    (void)deadline;
    return ((struct own *)state)->ready ? weir_chunk_copy(weir_str("x"), ret) == 0 : WEIR_EAGAIN;
}

static int64_t own_arm(void *state, struct weir_waker *waker)
{
    ((struct own *)state)->waker = waker;
    return -1;
}

static void own_comes(void *arg)
{
    (void)arg;
    own.ready = true;
    weir_wake(own.waker);
}

static int selects_its_own(struct weir_req *req, void *arg)
{
    static const struct weir_source_ops with = {.name = "own", .next = own_next, .arm = own_arm};
    static const struct weir_source_ops without = {.name = "own", .next = own_next};
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *good = NULL;
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *bad = NULL;
    struct weir_case cases[] = {{.kind = WEIR_CASE_SOURCE}, {.kind = WEIR_CASE_SOURCE}};

    (void)arg;
    own = (struct own){0};
    assert_int_equal(weir_source_create_take(&with, &own, &good), 0);
    assert_int_equal(weir_source_create_take(&without, &own, &bad), 0);
    assert_int_equal(weir_limit_create_take(weir_take(bad), 10, &bad), 0);
    cases[0].source = good;
    cases[1].source = bad;
    choose(cases, 2, -1);
    choose(cases, 1, -1);
    choose(cases + 1, 1, 0);
    assert_null(own.waker);
    return weir_reply_empty(req, 204, NULL);
}

static void a_source_of_ones_own_names_who_is_to_be_woken(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.at_ms = 10, .act = WEIR__MEMORY_CALL, .call = own_comes}};
    struct scene scene = {.handler = selects_its_own, .steps = steps, .count = COUNT(steps)};

    (void)state;
    expect_story(&scene, "WEIR_EUNSUPPORTED@0 0@10 0@10 ");
}

static int generates(struct weir_sink *out, void *arg)
{
    int r = weir_sleep(1030);

    (void)arg;
    r = r < 0 ? r : weir_emit_bytes(out, weir_str("x"), -1);
    return r < 0 ? r : weir_end(out, NULL);
}

static bool keeps(void *arg, struct weir_view bytes)
{
    (void)arg;
    return bytes.len > 0;
}

static int combine(struct weir_source *given, const char *how, struct weir_source **ret)
{
    struct weir_source *two[2] = {given, NULL};

    if (strcmp(how, "chain") == 0 || strcmp(how, "merge") == 0) {
        assert_int_equal(weir_bytes_source_create(weir_bytes("", 0), &two[1]), 0);
        return strcmp(how, "chain") == 0 ? weir_chain_create_take(two, 2, ret)
                                         : weir_merge_create_take(two, 2, NULL, ret);
    }
    return strcmp(how, "limit") == 0      ? weir_limit_create_take(given, 1000, ret)
           : strcmp(how, "rechunk") == 0  ? weir_rechunk_create_take(given, 10, 0, ret)
           : strcmp(how, "rate") == 0     ? weir_rate_create_take(given, 10, 1, ret)
           : strcmp(how, "take") == 0     ? weir_take_create_take(given, 1000, ret)
           : strcmp(how, "pace") == 0     ? weir_pace_create_take(given, 100, ret)
           : strcmp(how, "coalesce") == 0 ? weir_coalesce_create_take(given, 100, 10, ret)
           : strcmp(how, "lines") == 0    ? weir_lines_create_take(given, 100, ret)
           : strcmp(how, "filter") == 0   ? weir_filter_create_take(given, keeps, NULL, ret)
           : strcmp(how, "prefetch") == 0 ? weir_prefetch_create_take(given, 0, ret)
                                          : weir_timeout_create_take(given, 50, 90, ret);
}

static int selects_combined(struct weir_req *req, void *how)
{
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *source = NULL;
    struct weir_case one = {.kind = WEIR_CASE_SOURCE};
    struct weir_chunk *chunk;
    int r;

    assert_int_equal(weir_source_from_fiber(generates, NULL, NULL, &source), 0);
    if (strcmp(how, "bare") != 0) {
        assert_int_equal(combine(weir_take(source), how, &source), 0);
    }
    one.source = source;
    choose(&one, 1, 1020);
    choose(&one, 1, -1);
    assert_int_equal(weir_next(source, 0, &chunk), 1);
    weir_chunk_unref(chunk);
    do {
        r = choose(&one, 1, -1);
    } while (r == 1 && (r = weir_next(source, 0, &chunk)) == WEIR_EAGAIN);
    assert_int_equal(r, 0);
    return weir_reply_empty(req, 204, NULL);
}

static void what_is_made_of_a_source_is_woken_through_it(void **state)
{
    static const struct {
        const char *how, *story;
    } rows[] = {
        {"bare", "WEIR_ETIMEDOUT@20 0@30 0@30 "},     {"limit", "WEIR_ETIMEDOUT@20 0@30 0@30 "},
        {"rechunk", "WEIR_ETIMEDOUT@20 0@30 0@30 "},  {"timeout", "WEIR_ETIMEDOUT@20 0@30 0@30 "},
        {"rate", "WEIR_ETIMEDOUT@20 0@30 0@130 "}, /* the end is seen when the next byte may go */
        {"take", "WEIR_ETIMEDOUT@20 0@30 0@30 "},     {"pace", "WEIR_ETIMEDOUT@20 0@30 0@130 "},
        {"coalesce", "WEIR_ETIMEDOUT@20 0@30 0@30 "}, {"lines", "WEIR_ETIMEDOUT@20 0@30 0@30 "},
        {"filter", "WEIR_ETIMEDOUT@20 0@30 0@30 "},   {"prefetch", "WEIR_ETIMEDOUT@20 0@30 0@30 "},
        {"chain", "WEIR_ETIMEDOUT@20 0@30 0@30 "},    {"merge", "WEIR_ETIMEDOUT@20 0@30 0@30 "},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct scene scene = {.handler = selects_combined,
                              .arg = (void *)(uintptr_t)(const void *)rows[i].how};

        expect_story(&scene, rows[i].story);
    }
}

static int outwaits_a_timeout(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *source = NULL;
    struct weir_sink *sink;
    struct weir_case one = {.kind = WEIR_CASE_SOURCE};
    struct weir_chunk *chunk;

    (void)arg;
    assert_int_equal(weir_channel_pair(0, &sink, &source), 0);
    assert_int_equal(weir_timeout_create_take(weir_take(source), 50, 0, &source), 0);
    one.source = source;
    choose(&one, 1, 1020);
    assert_int_equal(weir_sleep(1500), 0);
    choose(&one, 1, -1);
    assert_int_equal(weir_next(source, 0, &chunk), WEIR_ESTALLED);
    weir_sink_destroy(sink);
    return weir_reply_empty(req, 204, NULL);
}

static void the_clock_of_a_timeout_runs_in_selects(void **state)
{
    struct scene scene = {.handler = outwaits_a_timeout};

    (void)state;
    expect_story(&scene, "WEIR_ETIMEDOUT@20 0@530 ");
}

/* ---- by chance ---- */

#define LINES 5
#define ITEMS 40

struct crowd {
    uint64_t seed;
    struct weir_channel *channels[LINES];
    struct weir_sink *sinks[LINES];
    struct weir_source *sources[LINES];
    struct weir_topic *topics[LINES];
    struct weir_subscription *subscriptions[LINES];
    int got[3 * LINES + 1];
};

struct producer {
    struct crowd *crowd;
    size_t i;
};

static int produces(void *arg)
{
    struct producer *producer = arg;
    struct crowd *crowd = producer->crowd;
    size_t i = producer->i;
    int r = 0;

    for (int n = 0; n < ITEMS && r == 0; n++) {
        if (roll(&crowd->seed, 2) == 0) {
            r = weir_sleep(weir_after_ms(roll(&crowd->seed, 4)));
        }
        if (r == 0 && i < LINES) {
            r = weir_channel_send(crowd->channels[i], crowd, 1, -1);
        } else if (r == 0 && i < 2 * LINES) {
            r = weir_emit_bytes(crowd->sinks[i - LINES], weir_str("x"), -1);
        } else if (r == 0 && i > 2 * LINES) {
            r = weir_topic_publish_bytes(crowd->topics[i - 2 * LINES - 1], 0, weir_str("x"), NULL);
        } else if (r == 0) {
            r = weir_send(sender, &(struct weir_msg){.tag = roll(&crowd->seed, 3)});
        }
    }
    if (i < LINES) {
        weir_channel_close(crowd->channels[i], 0);
    } else if (i < 2 * LINES) {
        r = weir_end(crowd->sinks[i - LINES], NULL);
    } else if (i > 2 * LINES) {
        weir_topic_close(crowd->topics[i - 2 * LINES - 1], 0);
    } else {
        sender = weir_sender_unref(sender);
    }
    return r;
}

/* Takes what was chosen; returns whether more may come of it. */
static bool take_one(struct crowd *crowd, const struct weir_case *one)
{
    struct weir_topic_item news;
    struct weir_chunk *chunk;
    struct weir_msg msg;
    void *item;
    int r;

    if (one->kind == WEIR_CASE_TOPIC) {
        r = weir_topic_next(one->subscription, 0, &news);
        if (r == 1) {
            crowd->got[which] += news.missed > 0 ? (int)news.missed - 1 : 0;
            weir_topic_item_drop(&news);
        }
    } else if (one->kind == WEIR_CASE_RECV) {
        r = weir_channel_recv(one->channel, 0, &item);
    } else if (one->kind == WEIR_CASE_SOURCE) {
        r = weir_next(one->source, 0, &chunk);
        if (r == 1) {
            crowd->got[which] += (int)weir_chunk_len(chunk) - 1;
            weir_chunk_unref(chunk);
        }
    } else {
        r = weir_receive(0, &msg);
    }
    assert_true(r == 0 || r == 1); /* nobody else takes: what was chosen is there */
    crowd->got[which] += r;
    return r == 1;
}

static int takes_from_all(struct weir_req *req, void *arg)
{
    struct crowd *crowd = arg;
    struct weir_case cases[3 * LINES + 1] = {{0}};
    struct producer producers[3 * LINES + 1];
    size_t open = COUNT(cases);
    struct weir_scope *scope;

    sender = weir_sender_create();
    assert_int_equal(weir_scope_open(&scope), 0);
    for (size_t i = 0; i < LINES; i++) {
        const struct weir_channel_opts opts = {.max_items = 1 + roll(&crowd->seed, 3)};

        assert_int_equal(weir_channel_create(&opts, &crowd->channels[i]), 0);
        assert_int_equal(
            weir_channel_pair(1 + roll(&crowd->seed, 9), &crowd->sinks[i], &crowd->sources[i]), 0);
        assert_int_equal(
            weir_topic_create(
                &(struct weir_topic_opts){.max_items = 1 + roll(&crowd->seed, 2 * ITEMS)},
                &crowd->topics[i]),
            0);
        assert_int_equal(weir_topic_subscribe(crowd->topics[i], NULL, &crowd->subscriptions[i]), 0);
        cases[2 * LINES + 1 + i] =
            (struct weir_case){.kind = WEIR_CASE_TOPIC, .subscription = crowd->subscriptions[i]};
        cases[i] = (struct weir_case){.kind = WEIR_CASE_RECV, .channel = crowd->channels[i]};
        cases[LINES + i] =
            (struct weir_case){.kind = WEIR_CASE_SOURCE, .source = crowd->sources[i]};
    }
    cases[2 * LINES].kind = WEIR_CASE_MESSAGE;
    for (size_t i = 0; i < COUNT(cases); i++) {
        producers[i] = (struct producer){crowd, i};
        assert_int_equal(weir_scope_spawn(scope, produces, &producers[i]), 0);
    }
    while (open > 0) {
        int r = weir_select(cases, COUNT(cases), weir_after_ms(roll(&crowd->seed, 3)), &which);

        if (r == 1 && !take_one(crowd, &cases[which])) {
            cases[which].kind = WEIR_CASE_NONE;
            open--;
        }
        assert_true(r == 1 || r == WEIR_ETIMEDOUT);
        assert_true(scene_ms() < 100000);
        if (roll(&crowd->seed, 8) == 0) {
            weir_yield();
        }
    }
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
    for (size_t i = 0; i < LINES; i++) {
        weir_channel_unref(crowd->channels[i]);
        weir_sink_destroy(crowd->sinks[i]);
        weir_source_destroy(crowd->sources[i]);
        weir_subscription_destroy(crowd->subscriptions[i]);
        weir_topic_unref(crowd->topics[i]);
    }
    return weir_reply_empty(req, 204, NULL);
}

static void all_that_is_sent_is_chosen_and_taken_once(void **state)
{
    const char *from = getenv("WEIR_SEED");
    uint64_t first = from != NULL ? strtoull(from, NULL, 10) : 1;

    (void)state;
    for (uint64_t seed = first; seed < first + 300; seed++) {
        struct crowd crowd = {.seed = seed};
        struct scene scene = {.handler = takes_from_all, .arg = &crowd};

        play(&scene);
        for (size_t i = 0; i < COUNT(crowd.got); i++) {
            if (crowd.got[i] != ITEMS) {
                fail_msg("WEIR_SEED=%llu: %d of line %zu", (unsigned long long)seed, crowd.got[i],
                         i);
            }
        }
    }
}

/* ---- without memory ---- */

static int reads_by_select(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    struct weir_case cases[] = {{.kind = WEIR_CASE_SOURCE, .source = weir_req_body(req)},
                                {.kind = WEIR_CASE_SINK},
                                {.kind = WEIR_CASE_TIME, .at = INT64_MAX}};
    struct weir_chunk *chunk;
    size_t i;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink);

    (void)arg;
    cases[1].sink = sink;
    while (r == 0 && (r = weir_select(cases, 1, -1, &i)) == 1 &&
           (r = weir_next(cases[0].source, 0, &chunk)) == 1) {
        r = weir_select(cases + 1, 2, -1, &i);
        r = r == 1 ? weir_emit(sink, chunk, 0) : r;
        weir_chunk_unref(chunk);
    }
    return r < 0 ? r : weir_end(sink, NULL);
}

static void a_lack_of_memory_is_no_clean_end(void **state)
{
    static const struct weir__memory_step steps[] = {
        {.act = WEIR__MEMORY_SEND, .bytes = 100000},
        {.at_ms = 10, .act = WEIR__MEMORY_SEND, .bytes = 100000},
        {.at_ms = 20, .act = WEIR__MEMORY_SEND_END},
        {.at_ms = 30, .act = WEIR__MEMORY_SOCKET, .bytes = 1000000},
    };
    struct scene scene = {.handler = reads_by_select,
                          .steps = steps,
                          .count = COUNT(steps),
                          .opts = {.body_length = WEIR_LENGTH_UNKNOWN, .socket = 1000}};
    int failed = 0;

    (void)state;
#ifndef WEIR_DEBUG
    skip(); /* allocations fail on demand in debug builds only */
#endif
    for (int n = 1; n < 1000; n++) {
        play_failing(&scene, n);
        assert_true(scene.started < 0 || scene.result.pattern);
        if (scene.started == 0 && scene.result.status == 200 && scene.result.ended) {
            assert_int_equal(scene.result.taken, 200000);
            break;
        }
        failed++;
    }
    assert_in_range(failed, 5, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_that_comes_is_chosen_and_not_taken),
        cmocka_unit_test(a_chunk_that_was_looked_at_comes_first_and_whole),
        cmocka_unit_test(a_chunk_nobody_reads_is_let_go),
        cmocka_unit_test(v2_room_for_a_refused_emit_is_chosen),
        cmocka_unit_test(the_patience_with_a_silent_client_runs_in_selects),
        cmocka_unit_test(a_client_that_takes_nothing_is_gone_for_a_select_too),
        cmocka_unit_test(the_leave_is_a_case_or_a_cancel),
        cmocka_unit_test(a_leave_while_the_handler_computed_is_a_case),
        cmocka_unit_test(messages_are_chosen_by_tag),
        cmocka_unit_test(items_are_chosen_in_turn),
        cmocka_unit_test(none_is_starved),
        cmocka_unit_test(a_stream_in_a_select_is_busy),
        cmocka_unit_test(a_source_of_ones_own_names_who_is_to_be_woken),
        cmocka_unit_test(what_is_made_of_a_source_is_woken_through_it),
        cmocka_unit_test(the_clock_of_a_timeout_runs_in_selects),
        cmocka_unit_test(all_that_is_sent_is_chosen_and_taken_once),
        cmocka_unit_test(a_lack_of_memory_is_no_clean_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
