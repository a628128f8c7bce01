/* SPDX-License-Identifier: MIT */
#ifndef WEIR_STREAM_COMBINATORS_SSE_DECODE_H
#define WEIR_STREAM_COMBINATORS_SSE_DECODE_H

#include <weir/sse_reader.h>

#include <stdbool.h>

/*
 * The parser of event streams (WHATWG HTML 9.2.6), fed with pieces of any size. Its memory is bounded by its limits and
 * charged to the process's budget.
 */
struct weir__sse_text {
    uint8_t *bytes;
    size_t len, capacity;
};

struct weir__sse_decoder {
    size_t max_event, max_id;
    struct weir__sse_text line; /* the beginning of one that has not ended */
    struct weir__sse_text data, type;
    struct weir__sse_text id, last_id; /* as read, and as dispatched */
    int64_t retry_ms;                  /* -1: none yet */
    bool has_begun;                    /* the first line is over: no byte order mark any more */
    bool skips_lf;                     /* the last line ended with CR */
    bool in_comment;                   /* its text is not kept */
    bool dispatched;                   /* data and type belong to the event that was given last */
};

void weir__sse_decoder_init(struct weir__sse_decoder *decoder, size_t max_event, size_t max_id);
void weir__sse_decoder_finish(struct weir__sse_decoder *decoder);

/*
 * Reads on. `ret_used` bytes were taken: all, or up to the end of an event.
 * Returns 1 with an event (valid until the next call), 0 when more is needed, WEIR_ELIMIT, WEIR_ENOMEM, WEIR_EBUDGET.
 */
WEIR_NODISCARD int weir__sse_decode(struct weir__sse_decoder *decoder, struct weir_view input,
                                    size_t *ret_used, struct weir_sse_event *ret);

#endif
