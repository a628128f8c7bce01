/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_SSE_ENCODE_H
#define WEIR_HTTP_SSE_ENCODE_H

#include <weir/sse.h>

/*
 * The text of server-sent events (WHATWG HTML 9.2.5), as pure functions: the size first, then the bytes into memory of
 * the caller's.
 */

/* The exact size of an event. Returns 0, WEIR_EINVAL (CR or LF in `event` or `id`, a negative retry), WEIR_ELIMIT (it
 * does not fit a size_t). Context: any thread. */
WEIR_NODISCARD int weir__sse_size(const struct weir_event *event, size_t *ret);

/* Writes an event that weir__sse_size() has accepted. Returns 0, or WEIR_ELIMIT (more than `cap`; nothing useful was
 * written). Context: any thread. */
WEIR_NODISCARD int weir__sse_encode(const struct weir_event *event, uint8_t *out, size_t cap,
                                    size_t *ret_len);

/* The same for a comment, each of its lines one of its own. The size: 0 or WEIR_ELIMIT. Context: any thread. */
WEIR_NODISCARD int weir__sse_comment_size(struct weir_view text, size_t *ret);
WEIR_NODISCARD int weir__sse_comment_encode(struct weir_view text, uint8_t *out, size_t cap,
                                            size_t *ret_len);

#endif
