/* SPDX-License-Identifier: MIT */
/* Compression as middleware: a reply filter that puts the encoder in front of the wire. What can fail is done before. */
#include "compress/decide.h"
#include "compress/sink.h"

struct compressing {
    struct weir_reply_filter filter;
    struct weir__compress_wish wish;
    int level;
};

static int begin(struct weir_reply_filter *filter, struct weir_reply *reply, struct weir_sink **ret)
{
    struct compressing *compressing = (struct compressing *)filter; /* it is its first member */
    struct weir__compress_choice choice = weir__compress_choose(&compressing->wish, reply);
    struct weir__compress_sink *compress = NULL;
    uint64_t length = weir_reply_length(reply);
    struct weir_sink *inner;
    int r;

    if (choice.coding != WEIR_CODING_IDENTITY && weir_reply_has_body(reply)) {
        r = weir__compress_sink_prepare(choice.coding,
                                        &(struct weir_encode_opts){.level = compressing->level,
                                                                   .for_events = choice.events,
                                                                   .flush_each = choice.events},
                                        &compress);
        if (r < 0) { /* too little memory is no reason to say no */
            choice.coding = WEIR_CODING_IDENTITY;
            choice.weak = false;
        }
    }
    r = weir__compress_alter(reply, &choice);
    if (r == 0) {
        if (choice.coding != WEIR_CODING_IDENTITY && length < WEIR_LENGTH_UNTIL_CLOSE) {
            weir_reply_set_length(reply, WEIR_LENGTH_UNKNOWN);
        }
        r = weir_reply_next(reply, &inner);
    }
    if (r < 0) {
        weir__compress_sink_discard(compress);
        return r;
    }
    if (length == WEIR_LENGTH_UNTIL_CLOSE) {
        length = WEIR_LENGTH_UNKNOWN;
    }
    *ret = compress != NULL ? weir__compress_sink_attach(compress, inner, length) : inner;
    return 0;
}

int weir_compress(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    static const struct weir_compress_opts defaults;
    const struct weir_compress_opts *opts = arg != NULL ? arg : &defaults;
    struct compressing compressing = {.filter.begin = begin, .level = opts->level};

    if (opts->level < 0 || opts->level > 9) {
        return WEIR_EINVAL;
    }
    weir__compress_wish(req, opts, &compressing.wish);
    weir_req_filter_reply(req, &compressing.filter);
    return weir_chain_run(next, req);
}
