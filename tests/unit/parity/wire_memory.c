/* SPDX-License-Identifier: MIT */
/*
 * Parity over the memory transport, on the real clock, for clients act on what they see. A peer has an inbox of some
 * size, as a socket has: what is not read fills it, and then it takes no more.
 */
#include "parity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "bytes/budget.h"
#include "http/memory.h"
#include "rt/fiber.h"
#include "rt/loop.h"

#include <errno.h>

struct parity_peer {
    struct parity_peer *next;
    struct weir__memory *memory;
    struct parity_seen *seen;
    struct weir_fields *trailers_out; /* of the request */
    struct weir_fields *trailers;     /* of the response */
    uint8_t inbox[PARITY_BUFFER];
    size_t filled;
    bool continued, told;
};

static const struct parity_stage *stage;
static struct weir__loop *loop;
static struct parity_peer *peers;

/* ---- what comes ---- */

static void saw_fields(struct parity_peer *peer, struct weir_fields *fields)
{
    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);

        if (!weir_view_equal_nocase(field.name, weir_str("Content-Length"))) {
            parity_saw_field(peer->seen, field.name, field.value);
        }
    }
}

/* The transport only writes it down. */
static void saw_continue(struct parity_peer *peer)
{
    if (!peer->continued && strstr(weir__memory_trace(peer->memory), " continue\n") != NULL) {
        peer->continued = true;
        parity_saw_status(peer->seen, 100);
        parity_saw_head_end(peer->seen);
    }
}

/* A declared length is a field on every wire: also for HEAD and 304, not for 204 (RFC 9110 8.6). */
static void tap_head(void *arg, const struct weir__head *head)
{
    struct parity_peer *peer = arg;

    saw_continue(peer);
    parity_saw_status(peer->seen, head->status);
    saw_fields(peer, head->fields);
    if (head->status >= 200 && head->status != 204 && head->length < WEIR_LENGTH_UNTIL_CLOSE) {
        char text[24];

        snprintf(text, sizeof(text), "%llu", (unsigned long long)head->length);
        parity_saw_field(peer->seen, weir_str("content-length"), weir_str(text));
    }
    parity_saw_head_end(peer->seen);
}

static void tap_body(void *arg, const uint8_t *bytes, size_t len)
{
    struct parity_peer *peer = arg;

    if (len > sizeof(peer->inbox) - peer->filled) {
        parity_saw_wrong(peer->seen, "more than there was room for");
        return;
    }
    memcpy(peer->inbox + peer->filled, bytes, len);
    peer->filled += len;
}

static void tap_end(void *arg, struct weir_fields *trailers)
{
    struct parity_peer *peer = arg;

    if (trailers == NULL || weir_fields_create(&peer->trailers) < 0) {
        return;
    }
    for (size_t i = 0; i < weir_fields_count(trailers); i++) {
        struct weir_field field = weir_fields_at(trailers, i);

        if (weir_fields_add(peer->trailers, field.name, field.value) < 0) {
            parity_saw_wrong(peer->seen, "no memory");
        }
    }
}

static const struct weir__memory_tap tap = {tap_head, tap_body, tap_end};

/* ---- a peer ---- */

static struct parity_peer *open_peer(const struct parity_request *request, struct parity_seen *seen)
{
    size_t body = request->body_bytes > 0 ? request->body_bytes
                  : request->body != NULL ? strlen(request->body)
                                          : 0;
    int64_t gap_ms = stage->one->body_gap_ms > 0 ? stage->one->body_gap_ms : 30000;
    int64_t stall_ms = stage->one->client_stall_ms > 0 ? stage->one->client_stall_ms : 60000;
    struct parity_peer *peer = calloc(1, sizeof(*peer));
    struct weir__memory_opts opts = {
        .method = request->method,
        .target = request->target,
        .authority = "parity",
        .body_length = request->body != NULL ? body : request->length,
        .expect_continue = request->expect_continue,
        .socket = sizeof(peer->inbox),
        .limits = {.first_byte_ms = gap_ms,
                   .read_gap_ms = gap_ms,
                   .write_stall_ms = stall_ms,
                   .min_rate = 256},
        .tap = &tap,
        .tap_arg = peer,
    };
    int r = weir_fields_create(&opts.fields);

    if (r == 0) {
        r = weir_fields_add(opts.fields, weir_str("Host"), weir_str("parity"));
    }
    for (size_t i = 0; r == 0 && i < PARITY_FIELDS && request->fields[i].name != NULL; i++) {
        r = weir_fields_add(opts.fields, weir_str(request->fields[i].name),
                            weir_str(request->fields[i].value));
    }
    peer->seen = seen;
    peer->next = peers;
    peers = peer;
    if (r == 0) {
        r = weir__memory_create(loop, &opts, &peer->memory);
    }
    if (r == 0) {
        r = weir__memory_request(peer->memory, stage->handler, stage->arg);
    }
    if (r < 0) {
        parity_saw_wrong(seen, "no request");
    }
    return peer;
}

/* Now: at the loop's next turn. */
static void act(struct parity_peer *peer, const struct weir__memory_step *step)
{
    if (weir__memory_script(peer->memory, step, 1) < 0) {
        parity_saw_wrong(peer->seen, "no memory");
    }
}

static void send_body(struct parity_peer *peer, const void *data, size_t bytes)
{
    act(peer, &(struct weir__memory_step){.act = WEIR__MEMORY_SEND, .bytes = bytes, .data = data});
}

static void end_body(struct parity_peer *peer, struct weir_view name, struct weir_view value)
{
    if (!weir_view_is_absent(name) && (weir_fields_create(&peer->trailers_out) < 0 ||
                                       weir_fields_add(peer->trailers_out, name, value) < 0)) {
        parity_saw_wrong(peer->seen, "no memory");
    }
    act(peer,
        &(struct weir__memory_step){.act = WEIR__MEMORY_SEND_END, .fields = peer->trailers_out});
}

static bool is_sent(struct parity_peer *peer)
{
    (void)peer;
    return true;
}

static void more_room(void *arg)
{
    struct parity_peer *peer = arg;

    weir__memory_socket(peer->memory, sizeof(peer->inbox) - peer->filled);
}

static bool read_peer(struct parity_peer *peer, size_t most)
{
    size_t len = peer->filled < most ? peer->filled : most;
    struct weir__memory_result result;

    saw_continue(peer);
    if (len > 0) {
        parity_saw_body(peer->seen, peer->inbox, len);
        peer->filled -= len;
        memmove(peer->inbox, peer->inbox + len, peer->filled);
        weir__fiber_call_on_loop(more_room, peer);
        return true;
    }
    weir__memory_result(peer->memory, &result);
    if (peer->filled == 0 && !peer->told && (result.ended || result.aborted)) {
        peer->told = true;
        if (result.aborted) {
            parity_saw_abort(peer->seen);
        } else {
            saw_fields(peer, peer->trailers);
            parity_saw_end(peer->seen);
        }
    }
    return false;
}

static void fin(struct parity_peer *peer)
{
    act(peer, &(struct weir__memory_step){.act = WEIR__MEMORY_FIN});
}

static void reset(struct parity_peer *peer)
{
    act(peer, &(struct weir__memory_step){
                  .act = WEIR__MEMORY_GONE, .reason = WEIR_REASON_RESET, .code = ECONNRESET});
}

static void close_peer(struct parity_peer *peer)
{
    (void)peer; /* the stage destroys them, when their handlers have returned */
}

/* ---- the stage ---- */

static void play_memory(const struct parity_stage *given)
{
    size_t used = weir__budget_used(weir__budget_process());

    stage = given;
    peers = NULL;
    assert_int_equal(weir__loop_create(NULL, NULL, &loop), 0);
    assert_int_equal(weir__fiber_start(loop, given->clients, given->clients_arg, NULL), 0);
    weir__loop_run_until_idle(loop);
    while (peers != NULL) {
        struct parity_peer *peer = peers;

        peers = peer->next;
        weir__memory_destroy(peer->memory);
        weir_fields_destroy(peer->trailers);
        weir_fields_destroy(peer->trailers_out);
        free(peer);
    }
    weir__loop_destroy(loop);
    assert_int_equal(weir__budget_used(weir__budget_process()), used);
}

const struct parity_wire parity_memory = {
    .name = "the memory transport",
    .stage = play_memory,
    .open = open_peer,
    .send = send_body,
    .end = end_body,
    .is_sent = is_sent,
    .read = read_peer,
    .fin = fin,
    .reset = reset,
    .close = close_peer,
};
