/* SPDX-License-Identifier: MIT */
/*
 * The body of a request, decoded. A decoder that gives up cancels what it reads from, and a cancelled body is a connection
 * that closes before the client has read why; so between the two stands a source that keeps such a cancel to itself.
 */
#include "body/decoded.h"

#include "http/request.h"
#include "stream/stream.h"
#include "stream/wait.h"

#define LINES_MAX 2

static int lent_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    return weir__next(state, max_bytes, deadline, ret);
}

static void lent_cancel(void *state, enum weir_reason reason)
{
    struct weir_source *body = state;
    bool is_ours = reason == WEIR_REASON_LIMIT || reason == WEIR_REASON_PROTOCOL ||
                   reason == WEIR_REASON_TRUNCATED || reason == WEIR_REASON_ABANDONED;

    if (!is_ours || body->busy) {
        weir_cancel(body, reason);
    }
}

static void lent_explain(void *state, struct weir_error *ret)
{
    weir__explain_inner(state, ret);
}

static int lent_lend_fd(void *state, int64_t deadline, struct weir_loan *ret)
{
    return weir__source_lend(state, deadline, ret);
}

static int lent_repay_fd(void *state, uint64_t taken, int native, bool at_eof)
{
    return weir__source_repay(state, taken, native, at_eof);
}

static const struct weir_source_ops lent_ops = {
    .name = "request body",
    .next = lent_next,
    .cancel = lent_cancel,
    .explain = lent_explain,
    .lend_fd = lent_lend_fd,
    .repay_fd = lent_repay_fd,
};

static bool is_coding(struct weir_field field)
{
    return weir_view_equal_nocase(field.name, weir_str("content-encoding"));
}

int weir_req_decoded_body(struct weir_req *req, const struct weir_decode_opts *opts,
                          struct weir_source **ret)
{
    struct weir_fields *fields = weir_req_fields(req);
    struct weir_source *source;
    size_t lines = 0;
    int r = weir_source_create_take(&lent_ops, weir_req_body(req), &source);

    /* Several lines are one list (RFC 9110 5.3), and the last coding was the last one applied. */
    for (size_t i = weir_fields_count(fields); r == 0 && i > 0; i--) {
        struct weir_field field = weir_fields_at(fields, i - 1);

        if (is_coding(field)) {
            if (++lines > LINES_MAX) {
                weir_source_destroy(source);
                return WEIR_ELIMIT;
            }
            r = weir_decode_all_take(source, field.value, opts, &source);
        }
    }
    if (r == 0 && lines == 0) {
        r = weir_decode_take(source, WEIR_CODING_IDENTITY, opts, &source);
    }
    req->unread = r == WEIR_EUNSUPPORTED ? WEIR__UNREAD_CODING : WEIR__UNREAD_NOT;
    if (r == 0) {
        *ret = source;
    }
    return r;
}

int weir__req_plain_body(struct weir_req *req, struct weir_source **ret,
                         struct weir_source **ret_given)
{
    struct weir_fields *fields = weir_req_fields(req);
    int r;

    *ret_given = NULL;
    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        if (is_coding(weir_fields_at(fields, i))) {
            r = weir_req_decoded_body(req, NULL, ret_given);
            if (r == 0) {
                *ret = *ret_given;
            }
            return r;
        }
    }
    *ret = weir_req_body(req);
    return 0;
}
