/* SPDX-License-Identifier: MIT */
/* The size of a request's body. The counting is done by the stream; here the smallest limit is kept. */
#include <weir/guards.h>

#include "http/request.h"

int weir_mw_body_limit(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    const struct weir_body_limit_opts *opts = arg;
    uint64_t before = req->stream->in_limit;
    int r = 0;

    if (opts == NULL || opts->max_bytes == 0) {
        return WEIR_ESTATE;
    }
    if (opts->max_bytes < before) {
        r = weir_req_limit_body(req, opts->max_bytes);
    }
    if (r < 0) {
        return weir_reply_text(req, 413, "the body is over %llu bytes\n",
                               (unsigned long long)opts->max_bytes);
    }
    return weir_chain_run(next, req);
}
