/* SPDX-License-Identifier: MIT */
/*
 * One line of JSON per stream, at its end. What the line needs of the head is copied at the beginning, for the head may be
 * dropped. Every text is bounded, so that the longest line there can be fits WEIR_LOG_LINE_BYTES.
 */
#include <weir/router.h>
#include <weir/telemetry.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "http/request.h"
#include "route/text.h"

#define PATH_BYTES 256
#define TEXT_BYTES 96

struct entry {
    struct weir_reply_filter filter;
    struct weir_req *req;
    int64_t head_us; /* when the reply's head was begun; 0: not yet */
    size_t method_len, path_len;
    uint8_t method[24], path[PATH_BYTES];
};

static int begin(struct weir_reply_filter *filter, struct weir_reply *reply, struct weir_sink **ret)
{
    struct entry *entry = (struct entry *)(void *)filter;
    int r = weir_reply_next(reply, ret);

    if (r == 0 && entry->head_us == 0) {
        entry->head_us = weir_clock_us();
    }
    return r;
}

static size_t keep(uint8_t *copy, size_t size, struct weir_view view)
{
    size_t len = view.len < size ? view.len : size;

    if (len > 0) {
        memcpy(copy, view.data, len);
    }
    return len;
}

static void put_name(struct weir__text *line, const char *name, struct weir_view value)
{
    weir__text_str(line, ",\"");
    weir__text_str(line, name);
    weir__text_str(line, "\":");
    weir__text_json(line, value, TEXT_BYTES);
}

static void put_ms(struct weir__text *line, const char *name, int64_t us)
{
    weir__text_str(line, name);
    weir__text_ms(line, us);
}

static void put_trace(struct weir__text *line, const struct weir_trace *trace)
{
    char id[32];

    if (trace != NULL) {
        weir__text_hex(id, trace->trace_id, sizeof(trace->trace_id));
    }
    put_name(line, "trace", trace != NULL ? weir_bytes(id, sizeof(id)) : weir_bytes(NULL, 0));
}

static void put_answer(struct weir__text *line, const struct entry *entry,
                       const struct weir_answer *answer)
{
    const struct weir_error *error = &answer->error;
    int64_t head_us = entry->head_us;

    weir__text_str(line, ",\"status\":");
    if (answer->status > 0) {
        weir__text_u64(line, (uint64_t)answer->status);
    } else {
        weir__text_str(line, "null");
    }
    put_name(line, "outcome", weir_str(weir_outcome_name(answer->outcome)));
    put_name(line, "cause", weir_str(error->code != 0 ? weir_err_name(error->code) : NULL));
    put_name(line, "reason",
             weir_str(error->reason != WEIR_REASON_NONE ? weir_reason_name(error->reason) : NULL));
    weir__text_str(line, ",\"bytes\":{\"received\":");
    weir__text_u64(line, answer->body_received);
    weir__text_str(line, ",\"sent\":");
    weir__text_u64(line, answer->body_sent);
    put_ms(line, "},\"head_ms\":", head_us != 0 ? head_us - weir_req_arrived_us(entry->req) : -1);
    put_ms(line, ",\"duration_ms\":", answer->duration_us);
    put_ms(line, ",\"stall_ms\":{\"moving\":", answer->stall.moving_us);
    put_ms(line, ",\"wait_source\":", answer->stall.wait_source_us);
    put_ms(line, ",\"stream_window\":", answer->stall.stream_window_us);
    put_ms(line, ",\"conn_window\":", answer->stall.conn_window_us);
    put_ms(line, ",\"socket\":", answer->stall.socket_us);
    put_ms(line, ",\"shaped\":", answer->stall.shaped_us);
    put_ms(line, ",\"held\":", answer->stall.held_us);
    weir__text_str(line, "}}\n");
}

static void write_line(struct entry *entry, const struct weir_access_log_opts *opts)
{
    WEIR_CLEANUP(weir_freep) char *buffer = weir_alloc(WEIR_LOG_LINE_BYTES);
    struct weir__text line = {.data = buffer, .size = WEIR_LOG_LINE_BYTES};
    struct weir_req *req = entry->req;
    struct weir_answer answer;

    if (buffer == NULL) {
        return;
    }
    weir_req_answer(req, &answer);
    weir__text_str(&line, "{\"time\":\"");
    weir__text_time(&line, weir__wall_us());
    weir__text_str(&line, "\"");
    put_name(&line, "id", weir_req_request_id(req));
    put_trace(&line, weir_req_trace(req));
    put_name(&line, "route", weir_req_route(req));
    put_name(&line, "method", weir_bytes(entry->method, entry->method_len));
    weir__text_str(&line, ",\"path\":");
    weir__text_json(&line, weir_bytes(entry->path, entry->path_len), PATH_BYTES);
    put_name(&line, "protocol", weir_str(weir_req_protocol(req)));
    put_name(&line, "peer", opts->no_peer ? weir_bytes(NULL, 0) : weir_req_peer(req));
    put_answer(&line, entry, &answer);
    if (!line.is_full) {
        opts->write(weir_bytes(line.data, line.len), opts->arg);
    }
}

int weir_mw_access_log(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    const struct weir_access_log_opts *opts = arg;
    struct entry entry = {.filter = {.begin = begin}, .req = req};
    int r;

    if (opts == NULL || opts->write == NULL) {
        return WEIR_ESTATE;
    }
    entry.method_len = keep(entry.method, sizeof(entry.method), weir_req_method(req));
    entry.path_len = keep(entry.path, sizeof(entry.path), weir_req_path(req));
    weir_req_filter_reply(req, &entry.filter);
    r = weir_chain_run(next, req);
    write_line(&entry, opts);
    return r;
}
