/* SPDX-License-Identifier: MIT */
/* Connections that are used again: which may be, which are tried once more, how many there may be. */
#include "client_test.h"

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void exchange_once(struct visit *visit, bool reused)
{
    struct weir_exchange *exchange;
    struct weir_error error = {0};
    uint64_t bytes;

    assert_int_equal(get(visit, &exchange, &error), 0);
    assert_int_equal(weir_exchange_status(exchange), 200);
    assert_int_equal(weir_exchange_is_reused(exchange), reused);
    assert_int_equal(read_rest(exchange, &bytes), 0);
    assert_true(bytes == 2);
    weir_exchange_destroy(exchange);
}

/* ---- what may be used again ---- */

static void answer_all(struct peer *peer, int fd, int number)
{
    (void)peer;
    (void)number;
    while (peer_head(fd) && peer_say(fd, OK)) {
    }
}

static void use_again(struct visit *visit)
{
    exchange_once(visit, false);
    for (int i = 0; i < 20; i++) {
        exchange_once(visit, true);
    }
    assert_int_equal(atomic_load(&visit->peer.accepted), 1);
}

static void a_connection_is_used_again(void **state)
{
    (void)state;
    visit_with(NULL, answer_all, use_again, NULL);
}

static void answer_chunked(struct peer *peer, int fd, int number)
{
    (void)peer;
    (void)number;
    while (peer_head(fd) && peer_say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                         "2\r\nok\r\n0\r\n\r\n")) {
    }
}

/* A body of unknown length is read by whole chunks, which lets the receive buffer grow; it has not, though. */
static void a_chunked_one_is_used_again(void **state)
{
    (void)state;
    visit_with(NULL, answer_chunked, use_again, NULL);
}

/* The second answer lies behind the first one's body, or comes while the connection is idle. */
static void answer_too_much(struct peer *peer, int fd, int number)
{
    (void)number;
    if (!peer_head(fd)) {
        return;
    }
    if (number == 0) {
        peer_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
        usleep(30000); /* the body is read by itself: no byte more than it has */
        peer_say(fd, "okHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned");
    } else if (number == 1) {
        peer_say(fd, OK);
        usleep(30000);
        peer_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned");
    } else {
        peer_say(fd, OK);
    }
    peer_wait_gone(peer, fd);
}

static void meet_poison(struct visit *visit)
{
    for (int i = 0; i < 3; i++) {
        exchange_once(visit, false);
        assert_int_equal(weir_sleep(weir_after_ms(100)), 0);
    }
    assert_int_equal(atomic_load(&visit->peer.accepted), 3);
}

static void an_answer_nobody_asked_for_is_nobodys(void **state)
{
    (void)state;
    visit_with(NULL, answer_too_much, meet_poison, NULL);
}

/* ---- stale ones ---- */

/* The first connection dies of its second request; others answer all. */
static void die_at_the_second(struct peer *peer, int fd, int number)
{
    if (number > 0) {
        answer_all(peer, fd, number);
    } else if (peer_head(fd) && peer_say(fd, OK)) {
        peer_head(fd);
    }
}

static void get_in_spite(struct visit *visit)
{
    exchange_once(visit, false);
    exchange_once(visit, false); /* on a fresh one */
    assert_int_equal(atomic_load(&visit->peer.accepted), 2);
}

static void post_no_more(struct visit *visit)
{
    struct weir_exchange *exchange;
    struct weir_error error = {0};
    int r;

    exchange_once(visit, false);
    assert_int_equal(open_request(visit, "POST", true, &exchange, &error), 0);
    assert_true(weir_exchange_is_reused(exchange));
    r = weir_emit_bytes(weir_exchange_sink(exchange), weir_str("pay"), -1);
    if (r == 0) {
        r = weir_end(weir_exchange_sink(exchange), NULL);
    }
    r = weir_exchange_head(exchange, &error);
    assert_true(r == WEIR_ECLOSED || r == WEIR_ERESET);
    weir_exchange_destroy(exchange);
    assert_int_equal(atomic_load(&visit->peer.accepted), 1);
}

static void die_at_the_first(struct peer *peer, int fd, int number)
{
    (void)peer;
    (void)number;
    peer_head(fd);
}

static void get_nothing(struct visit *visit)
{
    struct weir_exchange *exchange;
    struct weir_error error = {0};

    assert_int_equal(get(visit, &exchange, &error), WEIR_ECLOSED);
    assert_int_equal(error.reason, WEIR_REASON_FIN);
    assert_int_equal(atomic_load(&visit->peer.accepted), 1);
}

static void only_a_stale_one_is_tried_again(void **state)
{
    (void)state;
    visit_with(NULL, die_at_the_second, get_in_spite, NULL);
    visit_with(NULL, die_at_the_second, post_no_more, NULL);
    visit_with(NULL, die_at_the_first, get_nothing, NULL);
}

/* One that was closed while idle is not even tried. */
static void close_when_idle(struct peer *peer, int fd, int number)
{
    (void)peer;
    (void)number;
    if (peer_head(fd)) {
        peer_say(fd, OK);
    }
}

static void meet_closed_ones(struct visit *visit)
{
    for (int i = 0; i < 5; i++) {
        exchange_once(visit, false);
        assert_int_equal(weir_sleep(weir_after_ms(20)), 0);
    }
}

static void a_closed_one_leaves_the_pool(void **state)
{
    (void)state;
    visit_with(NULL, close_when_idle, meet_closed_ones, NULL);
}

/* ---- how many ---- */

#define ROUNDS 40
#define FIBERS 4

static void answer_late(struct peer *peer, int fd, int number)
{
    (void)peer;
    (void)number;
    while (peer_head(fd)) {
        usleep(500);
        if (!peer_say(fd, OK)) {
            return;
        }
    }
}

static int take_turns(void *arg)
{
    struct visit *visit = arg;

    for (int i = 0; i < ROUNDS; i++) {
        struct weir_exchange *exchange;
        struct weir_error error = {0};
        uint64_t bytes;

        assert_int_equal(get(visit, &exchange, &error), 0);
        assert_int_equal(read_rest(exchange, &bytes), 0);
        weir_exchange_destroy(exchange);
    }
    return 0;
}

static void take_turns_in_fibers(struct visit *visit)
{
    struct weir_scope *scope;

    assert_int_equal(weir_scope_open(&scope), 0);
    for (int i = 0; i < FIBERS; i++) {
        assert_int_equal(weir_scope_spawn(scope, take_turns, visit), 0);
    }
    assert_int_equal(weir_scope_join(scope, weir_after_ms(60000)), 0);
    weir_scope_close(scope);
}

static void *other_loop(void *arg)
{
    visit_loop(arg);
    return NULL;
}

/* Two loops share two connections: all come to their turn, and there are never more. */
static void slots_are_shared_by_loops(void **state)
{
    static struct visit visit;
    struct weir_client_opts opts = {.max_connections = 2, .dial_timeout_ms = 60000};
    pthread_t other;
    int64_t live = weir__alloc_live();

    (void)state;
    visit = (struct visit){.run = take_turns_in_fibers};
    peer_start(&visit.peer, answer_late);
    assert_int_equal(weir_client_create(&opts, &visit.client), 0);
    assert_int_equal(pthread_create(&other, NULL, other_loop, &visit), 0);
    visit_loop(&visit);
    pthread_join(other, NULL);
    weir_client_destroy(visit.client);
    peer_stop(&visit.peer);
    /* The peer sees one that was closed for another a little later than the other. */
    assert_in_range(atomic_load(&visit.peer.most_live), 1, 4);
    assert_true(weir__alloc_live() == live);
}

static _Atomic bool held, asked, given_back, served;

static void hold_the_slot(struct visit *visit)
{
    struct weir_exchange *exchange;
    struct weir_error error = {0};
    uint64_t bytes;

    assert_int_equal(get(visit, &exchange, &error), 0);
    atomic_store(&held, true);
    for (int i = 0; i < 5000 && !atomic_load(&asked); i++) {
        assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    }
    assert_int_equal(weir_sleep(weir_after_ms(50)), 0); /* it waits by now */
    assert_int_equal(read_rest(exchange, &bytes), 0);
    atomic_store(&given_back, true);
    weir_exchange_destroy(exchange); /* fit to be kept, but for the one who waits elsewhere */
    for (int i = 0; i < 5000 && !atomic_load(&served); i++) {
        assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    }
    assert_true(atomic_load(&served)); /* while this loop goes on */
}

static void ask_for_the_slot(struct visit *visit)
{
    while (!atomic_load(&held)) {
        assert_int_equal(weir_sleep(weir_after_ms(1)), 0);
    }
    atomic_store(&asked, true);
    exchange_once(visit, false);
    assert_true(atomic_load(&given_back));
    atomic_store(&served, true);
}

static void hold_or_ask(struct visit *visit)
{
    static _Atomic int which;

    if (atomic_fetch_add(&which, 1) % 2 == 0) {
        hold_the_slot(visit);
    } else {
        ask_for_the_slot(visit);
    }
}

/* One loop gives its only connection up because another waits for its slot, and wakes that one. */
static void a_slot_goes_to_another_loop(void **state)
{
    static struct visit visit;
    struct weir_client_opts opts = {.max_connections = 1, .dial_timeout_ms = 20000};
    pthread_t other;
    int64_t live = weir__alloc_live();

    (void)state;
    for (int i = 0; i < 3; i++) {
        atomic_store(&held, false);
        atomic_store(&asked, false);
        atomic_store(&given_back, false);
        atomic_store(&served, false);
        visit = (struct visit){.run = hold_or_ask};
        peer_start(&visit.peer, answer_all);
        assert_int_equal(weir_client_create(&opts, &visit.client), 0);
        assert_int_equal(pthread_create(&other, NULL, other_loop, &visit), 0);
        visit_loop(&visit);
        pthread_join(other, NULL);
        weir_client_destroy(visit.client);
        peer_stop(&visit.peer);
        assert_int_equal(atomic_load(&visit.peer.accepted), 2);
        assert_true(weir__alloc_live() == live);
    }
}

static void no_slot_in_time(struct visit *visit)
{
    struct weir_exchange *first;
    struct weir_exchange *second;
    struct weir_error error = {0};

    assert_int_equal(get(visit, &first, &error), 0);
    assert_int_equal(get(visit, &second, &error), WEIR_ELIMIT);
    assert_int_equal(error.reason, WEIR_REASON_LIMIT);
    weir_exchange_destroy(first);
    exchange_once(visit, false); /* the first one's body was not read: its connection has gone */
}

/* V17: a head is not the end of what a connection is taken for. */
static void first_the_body(struct visit *visit)
{
    struct weir_exchange *first, *second;
    struct weir_error error = {0};
    uint64_t bytes;

    assert_int_equal(get(visit, &first, &error), 0);
    assert_int_equal(weir_exchange_status(first), 200);
    assert_int_equal(get(visit, &second, &error), WEIR_ELIMIT);
    assert_int_equal(read_rest(first, &bytes), 0);
    assert_int_equal(get(visit, &second, &error),
                     WEIR_ELIMIT); /* nor is its last byte, to its owner */
    weir_exchange_destroy(first);
    assert_int_equal(get(visit, &second, &error), 0);
    assert_true(weir_exchange_is_reused(second));
    weir_exchange_destroy(second);
}

static void v17_a_slot_is_held_until_the_body_is_over(void **state)
{
    (void)state;
    visit_with(&(struct weir_client_opts){.max_connections = 1, .dial_timeout_ms = 100}, answer_all,
               first_the_body, NULL);
}

static void a_slot_is_waited_for_in_bounds(void **state)
{
    (void)state;
    visit_with(&(struct weir_client_opts){.max_connections = 1, .dial_timeout_ms = 100}, answer_all,
               no_slot_in_time, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_is_used_again),
        cmocka_unit_test(a_chunked_one_is_used_again),
        cmocka_unit_test(an_answer_nobody_asked_for_is_nobodys),
        cmocka_unit_test(only_a_stale_one_is_tried_again),
        cmocka_unit_test(a_closed_one_leaves_the_pool),
        cmocka_unit_test(slots_are_shared_by_loops),
        cmocka_unit_test(a_slot_goes_to_another_loop),
        cmocka_unit_test(v17_a_slot_is_held_until_the_body_is_over),
        cmocka_unit_test(a_slot_is_waited_for_in_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
