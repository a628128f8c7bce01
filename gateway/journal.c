/* SPDX-License-Identifier: MIT */
/* From what was noted of a request to its record in the access log. */
#include "journal.h"

#include "alloc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ROUTE "default"

static int64_t wall_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void gw_journal_begin(struct gw_journal *journal, struct gw_gateway *gateway, struct weir_req *req)
{
    struct weir_view method, path, peer;

    *journal = (struct gw_journal){.gateway = gateway, .req = req};
    if (!gw_access_log_is_on(&gateway->log)) {
        return;
    }
    method = weir_req_method(req);
    path = weir_req_path(req);
    peer = weir_req_peer(req);
    if (method.len > 32) {
        method.len = 32;
    }
    if (path.len > GW_LOG_PATH_BYTES + 4) {
        path.len =
            GW_LOG_PATH_BYTES + 4; /* enough for the record to cut it at a character's edge */
    }
    journal->texts = gw_alloc0(method.len + path.len + peer.len + 1);
    if (journal->texts == NULL) {
        return;
    }
    memcpy(journal->texts, method.data, method.len);
    memcpy(journal->texts + method.len, path.data, path.len);
    if (peer.len > 0) {
        memcpy(journal->texts + method.len + path.len, peer.data, peer.len);
    }
    journal->method_len = (uint32_t)method.len;
    journal->path_len = (uint32_t)path.len;
    journal->peer_len = (uint32_t)peer.len;
}

void gw_journal_finish(struct gw_journal *journal)
{
    gw_free(journal->texts);
    journal->texts = NULL;
}

static void copy_stall(const struct weir_stall *from, int64_t total_us, struct gw_stall *to)
{
    *to = (struct gw_stall){
        .moving_us = from->moving_us,
        .wait_upstream_us = from->wait_source_us,
        .stream_window_us = from->stream_window_us,
        .conn_window_us = from->conn_window_us,
        .socket_us = from->socket_us,
        .shaped_us = from->shaped_us,
        .gateway_us = from->held_us,
        .idle_us = total_us > from->wall_us ? total_us - from->wall_us : 0,
    };
}

static int64_t since(int64_t later_us, int64_t earlier_us)
{
    return later_us != 0 && earlier_us != 0 ? later_us - earlier_us : GW_NOT_REACHED;
}

static void fill_phases(struct gw_journal *journal, struct gw_record *record)
{
    int64_t arrived_us = weir_req_arrived_us(journal->req);
    int64_t now_us = weir_clock_us();
    int64_t first_us =
        journal->exchange != NULL ? weir_exchange_first_byte_us(journal->exchange) : 0;

    record->phase.auth_us = since(journal->admitted_us, arrived_us);
    record->phase.dial_us = since(journal->connected_us, journal->admitted_us);
    record->phase.response_head_us = since(journal->answered_us, journal->connected_us);
    record->phase.first_byte_us = since(first_us, journal->answered_us);
    record->phase.body_us = first_us != 0 ? now_us - first_us : GW_NOT_REACHED;
    record->phase.total_us = now_us - arrived_us;
}

static void fill_bytes(struct gw_journal *journal, struct gw_record *record)
{
    struct weir_traffic traffic;

    weir_req_traffic(journal->req, &traffic);
    record->bytes.client_rx = traffic.received;
    record->bytes.client_tx = traffic.sent;
    if (journal->exchange != NULL) {
        weir_exchange_traffic(journal->exchange, &traffic);
        record->bytes.upstream_rx = traffic.received;
        record->bytes.upstream_tx = traffic.sent;
    }
}

/*
 * The stall clocks are read first, the total last: whatever the system takes from us in between, the total is the largest
 * and idle its difference, so that the states add up to it.
 */
static void fill_times(struct gw_journal *journal, struct gw_record *record)
{
    struct weir_stall down;
    struct weir_stall up = {0};

    weir_req_stall(journal->req, &down);
    if (journal->exchange != NULL) {
        weir_exchange_stall(journal->exchange, &up);
    }
    fill_phases(journal, record);
    copy_stall(&down, record->phase.total_us, &record->down);
    copy_stall(&up, record->phase.total_us, &record->up);
}

static void write_record(struct gw_gateway *gateway, const struct gw_record *record)
{
    static __thread char line[GW_LINE_BYTES]; /* nothing suspends while it is in use */
    size_t len = gw_record_format(record, line, sizeof(line));

    if (len > 0) {
        gw_access_log_write(&gateway->log, line, len);
    }
}

/* Not inlined: its buffers must not lie on the stack of a handler that waits. */
__attribute__((noinline)) void gw_journal_write(struct gw_journal *journal,
                                                enum gw_record_kind kind)
{
    struct gw_record record = {.time_us = wall_us(), .kind = kind};
    char id[24];
    const uint8_t *texts = (const uint8_t *)journal->texts;
    int id_len;

    if (texts == NULL) {
        return;
    }
    id_len = snprintf(id, sizeof(id), "%" PRIu64, weir_req_id(journal->req));
    record.id = weir_bytes(id, (size_t)id_len);
    record.route = weir_str(ROUTE);
    record.method = weir_bytes(texts, journal->method_len);
    record.path = weir_bytes(texts + journal->method_len, journal->path_len);
    record.peer = weir_bytes(texts + journal->method_len + journal->path_len, journal->peer_len);
    record.key = weir_str(journal->label);
    record.upstream = weir_str(journal->gateway->upstream.text);
    record.status = journal->status;
    if (kind == GW_RECORD_END) {
        record.outcome = journal->verdict.outcome != GW_OUTCOME_NONE ? journal->verdict.outcome
                                                                     : GW_OUTCOME_COMPLETE;
        record.end_by = journal->verdict.end_by != GW_END_BY_NONE ? journal->verdict.end_by
                                                                  : GW_END_BY_UPSTREAM;
        record.cause = journal->cause.code;
        record.reason = journal->cause.reason;
        record.proxy_error = journal->verdict.proxy_error;
    }
    fill_bytes(journal, &record);
    fill_times(journal, &record);
    write_record(journal->gateway, &record);
}

void gw_journal_reject(const struct weir_reject *reject, void *arg)
{
    struct gw_gateway *gateway = arg;
    struct gw_record record = {
        .time_us = wall_us(),
        .kind = GW_RECORD_END,
        .route = weir_str(ROUTE),
        .peer = reject->peer,
        .status = reject->status,
        .outcome = reject->error.code == WEIR_ETIMEDOUT ? GW_OUTCOME_CLIENT_STALLED
                   : reject->status == 503              ? GW_OUTCOME_REFUSED
                   : reject->error.code == WEIR_ELIMIT  ? GW_OUTCOME_LIMIT
                                                        : GW_OUTCOME_PROTOCOL_ERROR,
        .end_by = GW_END_BY_WEIR,
        .cause = reject->error.code,
        .reason = reject->error.reason,
        .phase = {GW_NOT_REACHED, GW_NOT_REACHED, GW_NOT_REACHED, GW_NOT_REACHED, GW_NOT_REACHED,
                  GW_NOT_REACHED},
    };

    if (gw_access_log_is_on(&gateway->log)) {
        write_record(gateway, &record);
    }
}
