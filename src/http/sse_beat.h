/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_SSE_BEAT_H
#define WEIR_HTTP_SSE_BEAT_H

#include <weir/sse.h>

/*
 * The sink of an event stream that has a heartbeat. It belongs to its request, as the stream's own sink does, and wraps
 * whatever weir_stream_begin() gave.
 */
struct weir__sse;

/* The request's, from its options (valid ones); an older one goes. Returns 0, WEIR_ELIMIT, WEIR_EINVAL, WEIR_ENOMEM. */
WEIR_NODISCARD int weir__sse_create(struct weir_req *req, const struct weir_sse_opts *opts);

/* Makes ready for weir__sse_wrap(): the last step that can fail. Returns 0 or WEIR_ENOMEM. */
WEIR_NODISCARD int weir__sse_arm(struct weir__sse *sse);
/* Undoes that: there will be no stream. */
void weir__sse_disarm(struct weir__sse *sse);

/* The sink to hand out for `inner` (given): that itself if there is no heartbeat. */
struct weir_sink *weir__sse_wrap(struct weir__sse *sse, struct weir_sink *inner);

/* What is to be sent as `retry` at first; 0: nothing. */
int64_t weir__sse_retry_ms(struct weir__sse *sse);

/* With its request; NULL is fine. Nobody may be in a call on the sink. */
void weir__sse_destroy(struct weir__sse *sse);

#endif
