/* SPDX-License-Identifier: MIT */
/*
 * The way of a reply's head through the filters. The head is a small object on the stack of weir_stream_begin(); each
 * filter calls on to the next one outside of it, so what it alters is seen there, and what it gets back is the sink it
 * may wrap. Invariant: the handler's list of fields is never altered.
 */
#include <weir/middleware.h>

#include "http/request.h"

#include "base/alloc.h"
#include "base/assert.h"

#define REPLY_MAGIC 0x72706c79u

struct weir_reply {
    uint32_t magic;
    bool passed; /* called on, or kept: no second time */
    bool kept;   /* on the heap, with fields of its own */
    struct weir_req *req;
    struct weir_reply_filter *filter; /* the next to be asked; NULL: the wire */
    int status;
    uint64_t length;
    struct weir_fields *fields; /* the handler's, or `own` */
    struct weir_fields *own;
};

/* A list with the same lines; with `deep` it lives by itself. */
static int copy_fields(struct weir_fields *fields, bool deep, struct weir_fields **ret)
{
    struct weir_fields *copy = NULL;
    int r = weir_fields_create(&copy);

    for (size_t i = 0; r == 0 && i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);

        r = deep ? weir_fields_add(copy, field.name, field.value)
                 : weir_fields_add_borrowed(copy, field.name, field.value);
    }
    if (r < 0) {
        weir_fields_destroy(copy);
        return r;
    }
    *ret = copy;
    return 0;
}

/* One step outwards. */
static int pass(struct weir_reply *reply, struct weir_sink **ret)
{
    struct weir_reply_filter *filter = reply->filter;
    struct weir_sink *sink = NULL;
    int r;

    if (filter == NULL) {
        if (reply->kept) {
            reply->req->kept = false;
        }
        return weir__reply_begin(reply->req, reply->status, reply->fields, reply->length, ret);
    }
    reply->filter = filter->outer;
    reply->passed = false;
    r = filter->begin(filter, reply, &sink);
    if (r == 0 && (!reply->passed || sink == NULL)) {
        weir_sink_destroy(sink);
        r = WEIR_ESTATE; /* it neither called on nor kept the head */
    }
    if (r == 0) {
        *ret = sink;
    } else if (reply->req->stream->begun && !reply->req->stream->out.aborted &&
               reply->req->stream->out.final != 0) {
        weir_abort(&reply->req->stream->out, WEIR_REASON_HANDLER);
    }
    return r < 0 ? r : 0;
}

int weir__reply_filter(struct weir_req *req, int status, struct weir_fields *fields,
                       uint64_t length, struct weir_sink **ret)
{
    struct weir_reply reply = {
        .magic = REPLY_MAGIC,
        .req = req,
        .filter = req->filters,
        .status = status,
        .length = length,
        .fields = fields,
    };
    int r;

    if (status < 200 || status > 599) {
        return WEIR_EINVAL;
    }
    if (req->stream->gone != WEIR_REASON_NONE) {
        return weir__gone_code((enum weir_reason)req->stream->gone);
    }
    if (weir_req_is_begun(req)) {
        return WEIR_ESTATE;
    }
    r = pass(&reply, ret);
    weir_fields_destroy(reply.own);
    return r;
}

void weir_req_filter_reply(struct weir_req *req, struct weir_reply_filter *filter)
{
    filter->outer = req->filters;
    req->filters = filter;
}

struct weir_req *weir_reply_req(struct weir_reply *reply)
{
    weir_check(reply, REPLY_MAGIC);
    return reply->req;
}

int weir_reply_status(struct weir_reply *reply)
{
    weir_check(reply, REPLY_MAGIC);
    return reply->status;
}

void weir_reply_set_status(struct weir_reply *reply, int status)
{
    weir_check(reply, REPLY_MAGIC);
    reply->status = status;
}

uint64_t weir_reply_length(struct weir_reply *reply)
{
    weir_check(reply, REPLY_MAGIC);
    return reply->length;
}

void weir_reply_set_length(struct weir_reply *reply, uint64_t length)
{
    weir_check(reply, REPLY_MAGIC);
    reply->length = length;
}

bool weir_reply_has_body(struct weir_reply *reply)
{
    weir_check(reply, REPLY_MAGIC);
    return weir__reply_has_body(reply->req, reply->status);
}

struct weir_fields *weir_reply_fields(struct weir_reply *reply)
{
    weir_check(reply, REPLY_MAGIC);
    return reply->fields;
}

struct weir_view weir_reply_field(struct weir_reply *reply, const char *name)
{
    weir_check(reply, REPLY_MAGIC);
    return reply->fields != NULL ? weir_fields_get(reply->fields, weir_str(name))
                                 : weir_bytes(NULL, 0);
}

int weir_reply_edit(struct weir_reply *reply, struct weir_fields **ret)
{
    weir_check(reply, REPLY_MAGIC);
    if (reply->own == NULL) {
        int r = copy_fields(reply->fields, false, &reply->own);

        if (r < 0) {
            return r;
        }
        reply->fields = reply->own;
    }
    *ret = reply->own;
    return 0;
}

int weir_reply_set_field(struct weir_reply *reply, const char *name, struct weir_view value)
{
    struct weir_fields *fields;
    int r = weir_reply_edit(reply, &fields);

    if (r == 0) {
        weir_fields_remove(fields, weir_str(name));
        r = weir_fields_add(fields, weir_str(name), value);
    }
    return r;
}

int weir_reply_next(struct weir_reply *reply, struct weir_sink **ret)
{
    int r;

    weir_check(reply, REPLY_MAGIC);
    if (reply->passed) {
        return WEIR_ESTATE;
    }
    r = pass(reply, ret);
    reply->passed = true;
    return r;
}

int weir_reply_keep(struct weir_reply *reply, struct weir_reply **ret)
{
    struct weir_reply *kept;
    int r;

    weir_check(reply, REPLY_MAGIC);
    if (reply->passed) {
        return WEIR_ESTATE;
    }
    kept = weir_alloc(sizeof(*kept));
    if (kept == NULL) {
        return WEIR_ENOMEM;
    }
    *kept = *reply;
    kept->own = NULL;
    r = copy_fields(reply->fields, true, &kept->own);
    if (r < 0) {
        weir_free(kept);
        return r;
    }
    kept->fields = kept->own;
    kept->kept = true;
    reply->passed = true;
    reply->req->kept = true;
    *ret = kept;
    return 0;
}

void weir_reply_destroy(struct weir_reply *reply)
{
    if (reply == NULL) {
        return;
    }
    weir_check(reply, REPLY_MAGIC);
    weir_assert(reply->kept);
    if (!reply->passed) {
        reply->req->kept = false;
    }
    reply->magic = 0;
    weir_fields_destroy(reply->own);
    weir_free(reply);
}
