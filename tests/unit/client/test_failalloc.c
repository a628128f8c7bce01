/* SPDX-License-Identifier: MIT */
/*
 * Every allocation of a client's exchanges fails once, alone or with all that follow: an answer is whole or an error, the
 * peer never sees the clean end of a request that was broken off, and afterwards the client is as good as new.
 */
#include "client_test.h"

#include "bytes/chunk.h"

#define BODY ((size_t)60000)

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 31 + at / 251);
}

static _Atomic int wrong; /* what the peer has seen that must not be */
static _Atomic int whole_requests;

/* ---- the peer ---- */

static bool read_line(int fd, char *line, size_t size)
{
    for (size_t len = 0; len + 1 < size; len++) {
        if (recv(fd, line + len, 1, 0) != 1) {
            return false;
        }
        if (line[len] == '\n') {
            line[len + 1] = '\0';
            return true;
        }
    }
    return false;
}

static bool read_exactly(int fd, uint8_t *bytes, size_t len)
{
    return len == 0 || recv(fd, bytes, len, MSG_WAITALL) == (ssize_t)len;
}

/* Reads a chunked body. True at its last chunk; it must then be all of it. */
static bool read_upload(int fd)
{
    static __thread uint8_t bytes[BODY + 2];
    char line[64];
    size_t total = 0;

    while (read_line(fd, line, sizeof(line))) {
        size_t size = strtoul(line, NULL, 16);

        if (size == 0) {
            if (total != BODY) {
                atomic_fetch_add(&wrong, 1);
            }
            return read_line(fd, line, sizeof(line));
        }
        if (total + size > BODY || !read_exactly(fd, bytes, size + 2)) {
            return false;
        }
        for (size_t i = 0; i < size; i++) {
            if (bytes[i] != pattern(total + i)) {
                atomic_fetch_add(&wrong, 1);
            }
        }
        total += size;
    }
    return false;
}

static bool answer(int fd)
{
    static __thread uint8_t bytes[BODY];

    for (size_t i = 0; i < BODY; i++) {
        bytes[i] = pattern(i);
    }
    return peer_say(fd, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n") &&
           peer_send(fd, bytes, 10000) && peer_say(fd, "\r\nC350\r\n") &&
           peer_send(fd, bytes + 10000, 50000) && peer_say(fd, "\r\n0\r\nX-T: done\r\n\r\n");
}

static void take_and_answer(struct peer *peer, int fd, int number)
{
    char line[256];

    (void)peer;
    (void)number;
    while (read_line(fd, line, sizeof(line))) {
        bool is_post = strncmp(line, "POST ", 5) == 0;

        if (!is_post && strncmp(line, "GET ", 4) != 0) {
            atomic_fetch_add(&wrong, 1);
        }
        do {
            if (!read_line(fd, line, sizeof(line))) {
                return;
            }
        } while (strcmp(line, "\r\n") != 0);
        if (is_post && !read_upload(fd)) {
            return;
        }
        atomic_fetch_add(&whole_requests, 1);
        if (!answer(fd)) {
            return;
        }
    }
}

/* ---- the client ---- */

static uint8_t upload[BODY];

/* One exchange. 0: all of it was right; else what it failed with. */
static int exchange_one(struct visit *visit, struct weir_fields *fields, bool has_body)
{
    WEIR_CLEANUP(weir_exchange_destroyp) struct weir_exchange *exchange = NULL;
    struct weir_exchange_opts opts = {.host = weir_str("127.0.0.1"),
                                      .port = visit->peer.port,
                                      .method = weir_str(has_body ? "POST" : "GET"),
                                      .target = weir_str("/x"),
                                      .fields = fields,
                                      .has_body = has_body,
                                      .body_length = WEIR_LENGTH_UNKNOWN};
    struct weir_error error = {0};
    struct weir_chunk *chunk;
    size_t total = 0;
    int r = weir_exchange_open(visit->client, &opts, &exchange, &error);

    weir__chunk_pool_trim();
    if (r == 0 && has_body) {
        r = weir_emit_bytes(weir_exchange_sink(exchange), weir_bytes(upload, 100), -1);
        if (r == 0) {
            r = weir_emit_bytes(weir_exchange_sink(exchange), weir_bytes(upload + 100, BODY - 100),
                                -1);
        }
        if (r == 0) {
            r = weir_end(weir_exchange_sink(exchange), NULL);
        }
    }
    while (r == 0 && (r = weir_exchange_head(exchange, &error)) == 1) {
        assert_int_equal(weir_exchange_status(exchange), 103);
        r = 0;
    }
    if (r < 0) {
        return r;
    }
    assert_int_equal(weir_exchange_status(exchange), 200);
    while ((r = weir_next(weir_exchange_body(exchange), -1, &chunk)) == 1) {
        for (size_t i = 0; i < weir_chunk_len(chunk); i++) {
            assert_true(weir_chunk_data(chunk)[i] == pattern(total + i));
        }
        total += weir_chunk_len(chunk);
        weir_chunk_unref(chunk);
        weir__chunk_pool_trim(); /* else few blocks of all come from the heap */
    }
    if (r == 0) {
        assert_int_equal(total, BODY); /* never a clean end of less */
        assert_true(weir_view_equal(
            weir_fields_get(weir_exchange_trailers(exchange), weir_str("x-t")), weir_str("done")));
    }
    return r;
}

struct lack {
    void (*fail_at)(int64_t n);
    int64_t at;
    bool undisturbed; /* afterwards: nothing failed */
};

static void exchange_some(struct visit *visit)
{
    struct lack *lack = *(struct lack *const *)visit->arg;
    struct weir_fields *fields;
    int good = 0;

    assert_int_equal(weir_fields_create(&fields), 0);
    assert_int_equal(weir_fields_add(fields, weir_str("Host"), weir_str("test")), 0);
    lack->fail_at(lack->at);
    for (int i = 0; i < 4; i++) {
        int r = exchange_one(visit, fields, i % 2 == 0);

        assert_true(r == 0 || r == WEIR_ENOMEM);
        good += r == 0;
    }
    weir__alloc_fail_at(0);
    lack->undisturbed = good == 4 && atomic_load(&visit->peer.accepted) == 1;
    /* The only slot has not been lost on the way. */
    assert_int_equal(exchange_one(visit, fields, true), 0);
    assert_int_equal(exchange_one(visit, fields, false), 0);
    assert_true(atomic_load(&whole_requests) >= good + 2);
    weir_fields_destroy(fields);
}

static void fail_each(void (*fail_at)(int64_t n))
{
    struct weir_client_opts opts = {.max_connections = 1,
                                    .dial_timeout_ms = 5000,
                                    .head_timeout_ms = 5000,
                                    .first_byte_ms = 5000,
                                    .idle_timeout_ms = 5000};
    unsigned same = 0;

    for (size_t i = 0; i < BODY; i++) {
        upload[i] = pattern(i);
    }
    /* How many allocations there are depends on how the bytes come: until eight runs in a row had enough. */
    for (int64_t at = 1; same < 8 && at < 200; at++) {
        struct lack lack = {.fail_at = fail_at, .at = at};
        struct lack *arg = &lack;

        atomic_store(&whole_requests, 0);
        visit_with(&opts, take_and_answer, exchange_some, &arg);
        assert_int_equal(atomic_load(&wrong), 0);
        same = lack.undisturbed ? same + 1 : 0;
    }
}

static void no_memory_from_there_on(void **state)
{
    (void)state;
    fail_each(weir__alloc_fail_at);
}

static void no_memory_once(void **state)
{
    (void)state;
    fail_each(weir__alloc_fail_only);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_memory_from_there_on),
        cmocka_unit_test(no_memory_once),
    };

    return cmocka_run_group_tests_name("client failalloc", tests, NULL, NULL);
}
