/* SPDX-License-Identifier: MIT */
/* Every allocation of a request fails once, with all that follow: the client gets the whole reply, a status, or an abort. */
#include "http_test.h"

static const struct weir__memory_step body[] = {
    {.at_ms = 10, .act = WEIR__MEMORY_SEND, .bytes = 100},
    {.at_ms = 20, .act = WEIR__MEMORY_SEND, .bytes = 80000},
    {.at_ms = 30, .act = WEIR__MEMORY_SEND_END},
    {.at_ms = 30, .act = WEIR__MEMORY_SOCKET, .bytes = 40000},
    {.at_ms = 40, .act = WEIR__MEMORY_SOCKET, .bytes = 900000}};

static int replies_with_a_text(struct weir_req *req, void *arg)
{
    (void)arg;
    weir_req_peer(req);
    return weir_reply_text(req, 200, "%080100d", 7);
}

static int replies_with_bytes(struct weir_req *req, void *arg)
{
    static uint8_t bytes[80100];

    (void)arg;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = weir__memory_byte(i);
    }
    return weir_reply_bytes(req, 200, NULL, "a/b", weir_bytes(bytes, sizeof(bytes)));
}

static int echoes(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    struct weir_chunk *chunk;
    int r = weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink);

    (void)arg;
    while (r == 0 && (r = weir_next(weir_req_body(req), -1, &chunk)) > 0) {
        r = weir_emit_take(sink, chunk, -1);
    }
    return r < 0 ? r : weir_end(sink, NULL);
}

/* Ignores every result there is. */
static int echoes_blindly(struct weir_req *req, void *arg)
{
    static uint8_t bytes[80100];
    struct weir_sink *sink;
    struct weir_chunk *chunk;

    (void)arg;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = weir__memory_byte(i);
    }
    if (weir_stream_begin(req, 200, NULL, WEIR_LENGTH_UNKNOWN, &sink) < 0) {
        return 0;
    }
    while (weir_next(weir_req_body(req), -1, &chunk) > 0) {
        weir_chunk_unref(chunk);
    }
    WEIR_IGNORE(weir_emit_bytes(sink, weir_bytes(bytes, 100), -1));
    WEIR_IGNORE(weir_emit_bytes(sink, weir_bytes(bytes + 100, sizeof(bytes) - 100), -1));
    WEIR_IGNORE(weir_end(sink, NULL));
    weir_sink_destroy(sink);
    return 0;
}

static int pipes(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_sink_destroyp) struct weir_sink *sink = NULL;
    int r = weir_stream_begin(req, 200, NULL, 80100, &sink);

    (void)arg;
    return r < 0 ? r : weir_pipe(weir_req_body(req), sink, NULL, NULL);
}

static int child_sleeps(void *arg)
{
    (void)arg;
    return weir_sleep(weir_after_ms(3));
}

static int spawns(struct weir_req *req, void *arg)
{
    struct weir_scope *scope;
    int r = weir_scope_open(&scope);

    if (r < 0) {
        return r;
    }
    r = weir_scope_spawn(scope, child_sleeps, NULL);
    if (r == 0) {
        r = weir_scope_join(scope, -1);
    }
    weir_scope_close(scope);
    return r < 0 ? r : pipes(req, arg);
}

static int gives_up(struct weir_req *req, void *arg)
{
    (void)req;
    (void)arg;
    return WEIR_ENOTFOUND;
}

static void fail_each(struct scene *scene, bool whole)
{
    static char undisturbed[sizeof(scene_trace)];
    unsigned same = 0;

    play(scene);
    assert_true(scene->result.ended);
    memcpy(undisturbed, scene_trace, sizeof(undisturbed));
    for (int64_t at = 1; same < 8; at++) {
        assert_true(at < 10000);
        play_failing(scene, at);
        if (scene->started < 0) {
            continue;
        }
        same = strcmp(scene_trace, undisturbed) == 0 ? same + 1 : 0;
        assert_true(scene->result.ended != scene->result.aborted);
        if (scene->result.ended && scene->result.status == 200) {
            assert_int_equal(scene->result.taken, 80100);
            assert_true(scene->result.pattern);
        } else if (scene->result.ended) {
            assert_true(scene->result.status == 503 || scene->result.status == 500 || !whole);
        }
    }
}

static void a_handler(weir_handler_fn *handler, bool whole)
{
    for (int windows = 0; windows < 2; windows++) {
        for (int fds = 0; fds < 2; fds++) {
            struct scene scene = {
                .handler = handler,
                .steps = body,
                .count = COUNT(body),
                .opts = {.body_length = 80100,
                         .socket = windows ? 50 : 0,
                         .use_fds = fds,
                         .limits = {.write_stall_ms = 1000, .read_gap_ms = 1000}}};

            fail_each(&scene, whole);
        }
    }
}

static void bytes_as_a_reply(void **state)
{
    (void)state;
    a_handler(replies_with_bytes, true);
}

static void a_text_that_is_refused(void **state)
{
    (void)state;
    a_handler(replies_with_a_text, false); /* 413: it is too long */
}

static void an_echo(void **state)
{
    (void)state;
    a_handler(echoes, true);
}

static void a_blind_echo(void **state)
{
    (void)state;
    a_handler(echoes_blindly, true);
}

static void a_pipe(void **state)
{
    (void)state;
    a_handler(pipes, true);
}

static void children(void **state)
{
    (void)state;
    a_handler(spawns, true);
}

static void an_error_as_a_reply(void **state)
{
    (void)state;
    a_handler(gives_up, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_as_a_reply),
        cmocka_unit_test(a_text_that_is_refused),
        cmocka_unit_test(an_echo),
        cmocka_unit_test(a_blind_echo),
        cmocka_unit_test(a_pipe),
        cmocka_unit_test(children),
        cmocka_unit_test(an_error_as_a_reply),
    };

    return cmocka_run_group_tests_name("http failalloc", tests, NULL, NULL);
}
