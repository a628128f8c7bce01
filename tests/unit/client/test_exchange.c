/* SPDX-License-Identifier: MIT */
/* The client against a peer of bytes: pieces, truncation, cancel, clocks. */
#include "client_test.h"

#define CHUNK ((size_t)8000000)

/* ---- one chunk of 8 MB ---- */

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 31 + at / 251);
}

static void send_mega_chunk(struct peer *peer, int fd, int number)
{
    static uint8_t bytes[CHUNK];
    size_t at = 0;

    (void)number;
    for (size_t i = 0; i < CHUNK; i++) {
        bytes[i] = pattern(i);
    }
    if (!peer_head(fd) ||
        !peer_say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7a1200\r\n")) {
        return;
    }
    while (at < CHUNK && peer_send(fd, bytes + at, CHUNK - at < 16384 ? CHUNK - at : 16384)) {
        at += CHUNK - at < 16384 ? CHUNK - at : 16384;
        atomic_store(&peer->sent, at);
    }
    peer_say(fd, "\r\n0\r\n\r\n");
    peer_wait_gone(peer, fd);
}

static uint64_t received(struct weir_exchange *exchange)
{
    struct weir_traffic traffic;

    weir_exchange_traffic(exchange, &traffic);
    return traffic.received;
}

/* Each piece is at most a chunk of ours, and no more is read ahead of what was asked for than one read's worth. */
static void take_mega_chunk(struct visit *visit)
{
    struct weir_exchange *exchange;
    struct weir_error error;
    uint64_t total = 0;
    int pieces = 0;

    assert_int_equal(get(visit, &exchange, &error), 0);
    for (;;) {
        struct weir_chunk *chunk;
        int r = weir_next(weir_exchange_body(exchange), weir_after_ms(10000), &chunk);

        if (r == 0) {
            break;
        }
        assert_int_equal(r, 1);
        assert_in_range(weir_chunk_len(chunk), 1, WEIR_CHUNK_BYTES);
        for (size_t i = 0; i < weir_chunk_len(chunk); i++) {
            assert_true(weir_chunk_data(chunk)[i] == pattern(total + i));
        }
        total += weir_chunk_len(chunk);
        weir_chunk_unref(chunk);
        assert_true(received(exchange) <= total + WEIR_CHUNK_BYTES);
        if (pieces++ < 2) {
            uint64_t before = received(exchange);

            assert_int_equal(weir_sleep(weir_after_ms(100)), 0);
            assert_true(received(exchange) == before);           /* nobody asked */
            assert_true(atomic_load(&visit->peer.sent) < CHUNK); /* and the sender felt it */
        }
    }
    assert_true(total == CHUNK);
    assert_true(pieces >= (int)(CHUNK / WEIR_CHUNK_BYTES));
    weir_exchange_destroy(exchange);
}

static void v18_a_mega_chunk_arrives_in_pieces(void **state)
{
    (void)state;
    visit_with(NULL, send_mega_chunk, take_mega_chunk, NULL);
}

/* ---- truncation ---- */

static const struct answer {
    const char *text;
    uint64_t body;
    bool by_close; /* its end is the connection's: a FIN at any place of the body is a good one */
} answers[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhelloworld", 10, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5;x=y\r\nworld\r\n0\r\n\r\n",
     10, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhelloworld\r\n0\r\nX-T: 1\r\n\r\n",
     10, false},
    {"HTTP/1.1 200 OK\r\n\r\nhelloworld", 10, true},
};

struct cut {
    const struct answer *answer;
    size_t at;
    bool reset;
};

static const struct cut *present_cut;

static void send_cut(struct peer *peer, int fd, int number)
{
    (void)peer;
    (void)number;
    if (!peer_head(fd)) {
        return;
    }
    peer_send(fd, present_cut->answer->text, present_cut->at);
    if (present_cut->reset) {
        peer_reset_on_close(fd);
    }
}

static void take_cut(struct visit *visit)
{
    const struct cut *cut = visit->arg;
    size_t len = strlen(cut->answer->text);
    size_t head = (size_t)(strstr(cut->answer->text, "\r\n\r\n") - cut->answer->text) + 4;
    struct weir_exchange *exchange;
    struct weir_error error = {0};
    uint64_t bytes;
    int r = get(visit, &exchange, &error);

    if (cut->at < head || r < 0) {
        assert_true(cut->at < head || cut->reset);
        assert_true(r == WEIR_ECLOSED || r == WEIR_ERESET);
        assert_int_equal(error.code, r);
        assert_true(error.reason == WEIR_REASON_FIN || error.reason == WEIR_REASON_RESET);
        return;
    }
    r = read_rest(exchange, &bytes);
    if (cut->at == len && !(cut->answer->by_close && cut->reset)) {
        assert_true(r == 0 || (cut->reset &&
                               r == WEIR_ERESET)); /* a reset may overtake what came before it */
        assert_true(r < 0 || bytes == cut->answer->body);
    } else if (cut->answer->by_close && !cut->reset) {
        assert_int_equal(r, 0);
        assert_true(bytes == cut->at - head);
    } else {
        struct weir_error why;

        assert_true(r == WEIR_ETRUNCATED || r == WEIR_ERESET);
        weir_source_error(weir_exchange_body(exchange), &why);
        assert_int_equal(why.code, r);
        assert_true(r == WEIR_ERESET || !cut->reset);
    }
    weir_exchange_destroy(exchange);
}

static void every_truncation_is_reported(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        for (size_t at = 0; at <= strlen(answers[i].text); at++) {
            for (int reset = 0; reset < 2; reset++) {
                struct cut cut = {&answers[i], at, reset != 0};

                present_cut = &cut;
                visit_with(NULL, send_cut, take_cut, &cut);
            }
        }
    }
}

/* Answers in part and without a length, and resets the connection while the client still sends. */
static void reset_in_the_answer(struct peer *peer, int fd, int number)
{
    (void)peer;
    (void)number;
    if (peer_head(fd)) {
        peer_say(fd, "HTTP/1.1 200 OK\r\n\r\nhalf");
        usleep(50000);
        peer_reset_on_close(fd);
    }
}

/* The kernel tells of a reset once, and here a write hears of it: the read behind it must not take it for the FIN. */
static void send_into_a_reset(struct visit *visit)
{
    struct weir_exchange *exchange;
    struct weir_chunk *chunk;
    struct weir_error error = {0};
    struct weir_error why;
    uint64_t bytes = 0;
    int r;

    assert_int_equal(open_request(visit, "POST", true, &exchange, &error), 0);
    assert_int_equal(weir_exchange_head(exchange, &error), 0);
    if (visit->arg != NULL) {
        assert_int_equal(weir_next(weir_exchange_body(exchange), -1, &chunk), 1);
        weir_chunk_unref(chunk);
    }
    do {
        r = weir_emit_bytes(weir_exchange_sink(exchange), weir_str("more and more of it"), -1);
        if (r == 0) {
            r = weir_flush(weir_exchange_sink(exchange));
        }
        usleep(1000); /* without the loop, which would hear of it first */
    } while (r == 0);
    assert_int_equal(r, WEIR_ERESET);
    assert_int_equal(read_rest(exchange, &bytes), WEIR_ERESET);
    weir_source_error(weir_exchange_body(exchange), &why);
    assert_int_equal(why.reason, WEIR_REASON_RESET);
    weir_exchange_destroy(exchange);
}

static void v16_a_reset_that_a_write_heard_of(void **state)
{
    (void)state;
    visit_with(NULL, reset_in_the_answer, send_into_a_reset, NULL);
    visit_with(NULL, reset_in_the_answer, send_into_a_reset, "read before");
}

/* ---- cancel ---- */

static void answer_half(struct peer *peer, int fd, int number)
{
    (void)number;
    if (peer_head(fd)) {
        peer_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        peer_wait_gone(peer, fd);
    }
}

static void answer_nothing(struct peer *peer, int fd, int number)
{
    (void)number;
    peer_head(fd);
    peer_wait_gone(peer, fd);
}

static int read_until_cancelled(void *arg)
{
    struct visit *visit = arg;
    struct weir_exchange *exchange;
    struct weir_error error = {0};
    uint64_t bytes;
    int r = get(visit, &exchange, &error);

    if (r == 0) {
        r = read_rest(exchange, &bytes);
        assert_int_equal(r, WEIR_ECANCELED);
        assert_int_equal(weir_sleep(weir_after_ms(200)), WEIR_ECANCELED);
        weir_exchange_destroy(exchange);
    } else {
        assert_int_equal(r, WEIR_ECANCELED);
    }
    return 0;
}

static void cancel_soon(struct visit *visit)
{
    struct weir_scope *scope;
    int64_t began_us;

    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, read_until_cancelled, visit), 0);
    assert_int_equal(weir_sleep(weir_after_ms(50)), 0);
    assert_true(atomic_load(&visit->peer.gone_us) == 0);
    began_us = weir_clock_us();
    weir_scope_cancel(scope);
    while (atomic_load(&visit->peer.gone_us) == 0 && weir_clock_us() < began_us + 5000000) {
        assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    }
    assert_in_range(atomic_load(&visit->peer.gone_us), 1, began_us + 1000000);
    weir_scope_close(scope);
}

static void cancel_closes_at_once(void **state)
{
    (void)state;
    visit_with(NULL, answer_half, cancel_soon, NULL);
    visit_with(NULL, answer_nothing, cancel_soon, NULL);
}

/* ---- clocks ---- */

#define SHORT_MS 80

static bool took_about(int64_t began_us)
{
    int64_t took_us = weir_clock_us() - began_us;

    return took_us >= SHORT_MS * 900 && took_us < SHORT_MS * 1000 + 3000000;
}

static void no_head_comes(struct visit *visit)
{
    struct weir_exchange *exchange;
    struct weir_error error = {0};
    int64_t began_us = weir_clock_us();

    assert_int_equal(get(visit, &exchange, &error), WEIR_ETIMEDOUT);
    assert_int_equal(error.reason, WEIR_REASON_TIMEOUT);
    assert_true(took_about(began_us));
}

static void no_body_comes(struct visit *visit)
{
    struct weir_exchange *exchange;
    struct weir_error error = {0};
    int64_t began_us = weir_clock_us();
    uint64_t bytes;

    assert_int_equal(get(visit, &exchange, &error), 0);
    assert_int_equal(read_rest(exchange, &bytes), WEIR_ESTALLED);
    weir_source_error(weir_exchange_body(exchange), &error);
    assert_int_equal(error.reason, WEIR_REASON_TIMEOUT);
    assert_true(took_about(began_us));
    weir_exchange_destroy(exchange);
}

static void answer_head(struct peer *peer, int fd, int number)
{
    (void)number;
    if (peer_head(fd)) {
        peer_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        peer_wait_gone(peer, fd);
    }
}

static void dial_the_deaf(struct visit *visit)
{
    struct weir_exchange *exchange;
    struct weir_error error = {0};
    int64_t began_us = weir_clock_us();
    struct deaf deaf;

    deaf_start(&deaf, "127.0.0.1", 0);
    visit->peer.port = deaf.port;
    assert_int_equal(get(visit, &exchange, &error), WEIR_ETIMEDOUT);
    assert_int_equal(error.reason, WEIR_REASON_TIMEOUT);
    assert_true(took_about(began_us));
    deaf_stop(&deaf);
}

static void each_clock_runs(void **state)
{
    (void)state;
    visit_with(&(struct weir_client_opts){.dial_timeout_ms = SHORT_MS}, answer_nothing,
               dial_the_deaf, NULL);
    visit_with(&(struct weir_client_opts){.head_timeout_ms = SHORT_MS}, answer_nothing,
               no_head_comes, NULL);
    visit_with(&(struct weir_client_opts){.first_byte_ms = SHORT_MS}, answer_head, no_body_comes,
               NULL);
    visit_with(&(struct weir_client_opts){.idle_timeout_ms = SHORT_MS}, answer_half, no_body_comes,
               NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v18_a_mega_chunk_arrives_in_pieces),
        cmocka_unit_test(every_truncation_is_reported),
        cmocka_unit_test(v16_a_reset_that_a_write_heard_of),
        cmocka_unit_test(cancel_closes_at_once),
        cmocka_unit_test(each_clock_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
