/* SPDX-License-Identifier: MIT */
/* What a reader may hold of a body: then its reads wait, whoever releases wakes them, and chunks may outlive anything. */
#include "client_test.h"

#include <weir/chunk.h>
#include <weir/rt.h>
#include <weir/stream.h>

#include <pthread.h>
#include <unistd.h>

#define BODY ((size_t)16 << 20) /* more than the kernel takes */
#define HELD ((size_t)1 << 20)
#define MOST 4096

static struct weir_chunk *kept[MOST];
static size_t kept_count;

static void send_body(struct peer *peer, int fd, int number)
{
    static char bytes[65536];
    char head[64];
    int len = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", BODY);

    (void)number;
    if (!peer_head(fd) || !peer_send(fd, head, (size_t)len)) {
        return;
    }
    for (size_t sent = 0; sent < BODY && peer_send(fd, bytes, sizeof(bytes));) {
        sent += sizeof(bytes);
        atomic_store(&peer->sent, sent);
    }
}

static struct weir_source *open_body(struct visit *visit, struct weir_exchange **ret)
{
    struct weir_error error;

    assert_int_equal(get(visit, ret, &error), 0);
    return weir_exchange_body(*ret);
}

/* Reads and keeps until the read no longer succeeds at once, for as long as the bytes take to come. */
static int keep_all(struct weir_source *body, int64_t wait_ms)
{
    int r;

    do {
        assert_true(kept_count < MOST);
        r = weir_next(body, weir_after_ms(wait_ms), &kept[kept_count]);
        kept_count += r == 1;
    } while (r == 1);
    return r;
}

static void release_all(void)
{
    while (kept_count > 0) {
        weir_chunk_unref(kept[--kept_count]);
    }
}

static uint64_t read_on(struct weir_source *body)
{
    struct weir_chunk *chunk;
    uint64_t bytes = 0;
    int r;

    while ((r = weir_next(body, -1, &chunk)) == 1) {
        bytes += weir_chunk_len(chunk);
        weir_chunk_unref(chunk);
    }
    assert_int_equal(r, 0);
    return bytes;
}

static uint64_t kept_bytes(void)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < kept_count; i++) {
        bytes += weir_chunk_len(kept[i]);
    }
    return bytes;
}

/* ---- */

static void hold_and_release(struct visit *visit)
{
    struct weir_exchange *exchange;
    struct weir_source *body;
    struct weir_chunk *chunk;
    uint64_t bytes;

    body = open_body(visit, &exchange);
    assert_int_equal(keep_all(body, 200), WEIR_ETIMEDOUT); /* not final: */
    assert_int_equal(weir_next(body, 0, &chunk), WEIR_EAGAIN);
    bytes = kept_bytes();
    assert_in_range(bytes, 1, HELD + WEIR_CHUNK_BYTES);
    assert_true(atomic_load(&visit->peer.sent) < BODY); /* the sender feels it */
    release_all();
    assert_true(bytes + read_on(body) == BODY);
    weir_exchange_destroy(exchange);
}

static void reads_wait_for_releases(void **state)
{
    (void)state;
    visit_with(&(struct weir_client_opts){.stream_bytes = HELD}, send_body, hold_and_release, NULL);
}

static void hold_for_ever(struct visit *visit)
{
    struct weir_exchange *exchange;
    struct weir_error error;

    assert_int_equal(keep_all(open_body(visit, &exchange), 20000), WEIR_EBUDGET);
    weir_source_error(weir_exchange_body(exchange), &error);
    assert_int_equal(error.code, WEIR_EBUDGET);
    assert_int_equal(error.reason, WEIR_REASON_LIMIT);
    weir_exchange_destroy(exchange);
    release_all(); /* the connection has gone meanwhile, its memory has not */
}

static void holding_all_ends_with_ebudget(void **state)
{
    (void)state;
    visit_with(&(struct weir_client_opts){.stream_bytes = HELD, .idle_timeout_ms = 300}, send_body,
               hold_for_ever, NULL);
}

static void hold_detached(struct visit *visit)
{
    struct weir_exchange *exchange;
    struct weir_source *body;
    struct weir_chunk *slice;
    int r;

    body = open_body(visit, &exchange);
    while ((r = weir_next(body, weir_after_ms(5000), &kept[kept_count])) == 1) {
        /* By way of a slice: the credit is its parent's. */
        assert_int_equal(weir_chunk_slice(kept[kept_count], 0, 1, &slice), 0);
        weir_chunk_detach(slice);
        weir_chunk_unref(slice);
        kept_count++;
        assert_true(kept_count < MOST);
    }
    assert_int_equal(r, 0);
    assert_true(kept_bytes() == BODY);
    release_all();
    weir_exchange_destroy(exchange);
}

static void detached_chunks_do_not_count(void **state)
{
    (void)state;
    visit_with(&(struct weir_client_opts){.stream_bytes = HELD}, send_body, hold_detached, NULL);
}

/* ---- other threads ---- */

static void *release_later(void *arg)
{
    (void)arg;
    usleep(100000);
    release_all();
    return NULL;
}

static void hold_elsewhere(struct visit *visit)
{
    struct weir_exchange *exchange;
    struct weir_source *body;
    pthread_t thread;
    uint64_t bytes;

    body = open_body(visit, &exchange);
    assert_int_equal(keep_all(body, 200), WEIR_ETIMEDOUT);
    bytes = kept_bytes();
    assert_int_equal(pthread_create(&thread, NULL, release_later, NULL), 0);
    assert_true(bytes + read_on(body) == BODY); /* no deadline: the release wakes it */
    pthread_join(thread, NULL);
    weir_exchange_destroy(exchange);
}

static void another_thread_releases(void **state)
{
    (void)state;
    visit_with(&(struct weir_client_opts){.stream_bytes = HELD}, send_body, hold_elsewhere, NULL);
}

static void *release_at_once(void *arg)
{
    (void)arg;
    release_all();
    return NULL;
}

static pthread_t racer;

static void leave_while_released(struct visit *visit)
{
    struct weir_exchange *exchange;

    assert_int_equal(keep_all(open_body(visit, &exchange), 20), WEIR_ETIMEDOUT);
    assert_int_equal(pthread_create(&racer, NULL, release_at_once, NULL), 0);
    weir_exchange_destroy(exchange); /* and with it the loop, right afterwards */
}

static void the_loop_ends_while_another_thread_releases(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        static struct visit visit;

        visit = (struct visit){.run = leave_while_released};
        peer_start(&visit.peer, send_body);
        assert_int_equal(
            weir_client_create(&(struct weir_client_opts){.stream_bytes = HELD}, &visit.client), 0);
        visit_loop(&visit);
        pthread_join(racer, NULL);
        weir_client_destroy(visit.client);
        peer_stop(&visit.peer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_wait_for_releases),
        cmocka_unit_test(holding_all_ends_with_ebudget),
        cmocka_unit_test(detached_chunks_do_not_count),
        cmocka_unit_test(another_thread_releases),
        cmocka_unit_test(the_loop_ends_while_another_thread_releases),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
