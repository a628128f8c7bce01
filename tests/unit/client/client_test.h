/* SPDX-License-Identifier: MIT */
#ifndef WEIR_TESTS_CLIENT_TEST_H
#define WEIR_TESTS_CLIENT_TEST_H

#include "peer.h"

#include "base/cleanup.h"

/* What the tests of this folder share: a client on a loop of its own against a scripted peer. */

struct visit {
    struct peer peer;
    struct weir_client *client;
    void (*run)(struct visit *visit); /* in a fiber */
    const void *arg;
};

static inline void visit_main(void *arg)
{
    struct visit *visit = arg;

    visit->run(visit);
}

static inline void visit_loop(struct visit *visit)
{
    struct weir__loop *loop;

    assert_int_equal(weir__loop_create(NULL, NULL, &loop), 0);
    assert_int_equal(weir__fiber_start(loop, visit_main, visit, NULL), 0);
    weir__loop_run_until_idle(loop);
    weir__loop_destroy(loop);
}

/* Plays run() against script(); nothing may be left behind. */
static inline void visit_with(const struct weir_client_opts *opts,
                              void (*script)(struct peer *peer, int fd, int number),
                              void (*run)(struct visit *visit), const void *arg)
{
    static struct visit visit;
    int fds = open_fds();
    int64_t live = weir__alloc_live();

    visit = (struct visit){.run = run, .arg = arg};
    peer_start(&visit.peer, script);
    assert_int_equal(weir_client_create(opts, &visit.client), 0);
    visit_loop(&visit);
    weir_client_destroy(visit.client);
    peer_stop(&visit.peer);
    assert_int_equal(open_fds(), fds);
    assert_true(weir__alloc_live() == live);
}

static inline int open_request(struct visit *visit, const char *method, bool has_body,
                               struct weir_exchange **ret, struct weir_error *error)
{
    struct weir_fields *fields;
    struct weir_exchange_opts opts = {
        .host = weir_str("127.0.0.1"),
        .port = visit->peer.port,
        .method = weir_str(method),
        .target = weir_str("/x"),
        .has_body = has_body,
        .body_length = WEIR_LENGTH_UNKNOWN,
    };
    int r;

    assert_int_equal(weir_fields_create(&fields), 0);
    assert_int_equal(weir_fields_add(fields, weir_str("Host"), weir_str("test")), 0);
    opts.fields = fields;
    r = weir_exchange_open(visit->client, &opts, ret, error);
    if (r == 0) {
        do {
            r = has_body ? 0 : weir_exchange_head(*ret, error);
        } while (r == 1);
        if (r < 0) {
            weir_exchange_destroy(*ret);
        }
    }
    weir_fields_destroy(fields);
    return r;
}

static inline int get(struct visit *visit, struct weir_exchange **ret, struct weir_error *error)
{
    return open_request(visit, "GET", false, ret, error);
}

/* Reads to the end: the bytes in *ret_bytes, and 0 or what it failed with. */
static inline int read_rest(struct weir_exchange *exchange, uint64_t *ret_bytes)
{
    int r;

    *ret_bytes = 0;
    for (;;) {
        struct weir_chunk *chunk;

        r = weir_next(weir_exchange_body(exchange), -1, &chunk);
        if (r != 1) {
            return r;
        }
        *ret_bytes += weir_chunk_len(chunk);
        weir_chunk_unref(chunk);
    }
}

#endif
