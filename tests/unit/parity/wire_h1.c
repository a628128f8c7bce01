/* SPDX-License-Identifier: MIT */
/* Parity over HTTP/1.1: this library's server on a thread, its client here, a real socket between them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include <weir/chunk.h>
#include <weir/experimental/client.h>
#include <weir/server.h>

#include "base/alloc.h"
#include "parity.h"
#include "rt/fiber.h"
#include "rt/loop.h"

#define PATIENCE_MS 20000

struct visit {
    const struct parity_case *one;
    struct weir_server *server;
    struct weir_client *client;
    char *text;
    size_t size, at;
};

static void *serve(void *arg)
{
    struct visit *visit = arg;

    assert_int_equal(weir_server_run(visit->server), 0);
    return NULL;
}

static void add(struct visit *visit, const void *bytes, size_t len)
{
    len = len < visit->size - visit->at - 1 ? len : visit->size - visit->at - 1;
    memcpy(visit->text + visit->at, bytes, len);
    visit->at += len;
    visit->text[visit->at] = '\0';
}

static void add_fields(struct visit *visit, struct weir_fields *fields)
{
    for (size_t i = 0; fields != NULL && i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);

        if (parity_is_framing(field.name)) {
            continue;
        }
        for (size_t k = 0; k < field.name.len; k++) {
            char c = (char)field.name.data[k];

            c = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
            add(visit, &c, 1);
        }
        add(visit, ": ", 2);
        add(visit, field.value.data, field.value.len);
        add(visit, "\n", 1);
    }
}

static void read_body(struct visit *visit, struct weir_exchange *exchange)
{
    struct weir_source *body = weir_exchange_body(exchange);
    struct weir_chunk *chunk;
    bool any = false;
    int r;

    while ((r = weir_next(body, weir_after_ms(PATIENCE_MS), &chunk)) == 1) {
        add(visit, weir_chunk_data(chunk), weir_chunk_len(chunk));
        weir_chunk_unref(chunk);
        any = true;
    }
    if (any) {
        add(visit, "\n", 1);
    }
    if (r == 0) {
        add_fields(visit, weir_exchange_trailers(exchange));
    }
    assert_true(r != WEIR_ETIMEDOUT);
    add(visit, r == 0 ? "end\n" : "abort\n", r == 0 ? 4 : 6);
}

static void ask(void *arg)
{
    struct visit *visit = arg;
    const struct parity_case *one = visit->one;
    size_t length = one->body != NULL ? strlen(one->body) : 0;
    struct weir_fields *fields;
    struct weir_exchange *exchange;
    struct weir_exchange_opts opts = {
        .host = weir_str("127.0.0.1"),
        .port = weir_server_port(visit->server),
        .method = weir_str(one->method != NULL ? one->method : "GET"),
        .target = weir_str(one->target != NULL ? one->target : "/"),
        .has_body = length > 0,
        .body_length = length,
    };
    char status[16];
    int r;

    assert_int_equal(weir_fields_create(&fields), 0);
    assert_int_equal(weir_fields_add(fields, weir_str("Host"), weir_str("parity")), 0);
    for (size_t i = 0; i < PARITY_FIELDS && one->fields[i].name != NULL; i++) {
        assert_int_equal(
            weir_fields_add(fields, weir_str(one->fields[i].name), weir_str(one->fields[i].value)),
            0);
    }
    opts.fields = fields;
    assert_int_equal(weir_exchange_open(visit->client, &opts, &exchange, NULL), 0);
    if (length > 0) {
        /* An early answer may leave no room for it. */
        r = weir_emit_bytes(weir_exchange_sink(exchange), weir_str(one->body),
                            weir_after_ms(PATIENCE_MS));
        if (r == 0) {
            r = weir_end(weir_exchange_sink(exchange), NULL);
        }
    }
    while ((r = weir_exchange_head(exchange, NULL)) == 1) {
    }
    if (r == 0) {
        add(visit, status,
            (size_t)snprintf(status, sizeof(status), "%d\n", weir_exchange_status(exchange)));
        add_fields(visit, weir_exchange_fields(exchange));
        add(visit, "\n", 1);
        read_body(visit, exchange);
    } else {
        add(visit, "0\n\nabort\n", 9);
    }
    weir_exchange_destroy(exchange);
    weir_fields_destroy(fields);
}

static void play_h1(const struct parity_case *one, char *text, size_t size)
{
    struct visit visit = {.one = one, .text = text, .size = size};
    int64_t live = weir__alloc_live();
    struct weir__loop *loop;
    pthread_t thread;

    text[0] = '\0';
    assert_int_equal(
        weir_server_create(
            &(struct weir_server_opts){.handler = one->handler, .arg = one->arg, .threads = 1},
            &visit.server),
        0);
    assert_int_equal(weir_server_listen(visit.server, "127.0.0.1", 0, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, serve, &visit), 0);
    assert_int_equal(weir_client_create(NULL, &visit.client), 0);
    assert_int_equal(weir__loop_create(NULL, NULL, &loop), 0);
    assert_int_equal(weir__fiber_start(loop, ask, &visit, NULL), 0);
    weir__loop_run_until_idle(loop);
    weir__loop_destroy(loop);
    weir_client_destroy(visit.client);
    weir_server_stop(visit.server);
    pthread_join(thread, NULL);
    weir_server_destroy(visit.server);
    assert_true(weir__alloc_live() == live);
}

const struct parity_wire parity_h1 = {"HTTP/1.1", play_h1};
