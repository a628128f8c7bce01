/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_STREAM_HALVES_H
#define WEIR_HTTP_STREAM_HALVES_H

#include "http/stream.h"

/* Inside a stream: stream.c has what both directions share, stream_in.c and stream_out.c one each. */
extern const struct weir_source_ops weir__stream_body_ops;
extern const struct weir_sink_ops weir__stream_out_ops;

/* 0, or why nothing can be sent any more. */
int weir__stream_peer_state(struct weir__stream *stream);

/* Lets the loop turn now and then although nothing made the fiber wait. */
void weir__stream_be_fair(struct weir__stream *stream, size_t bytes, int64_t deadline);

/*
 * One wait for the peer, which has moved so many bytes till now: bounded by the caller's deadline, by `gap_ms` without a
 * byte (0: none) and by the rate. Returns 0 (look again), WEIR_ETIMEDOUT (the caller's), WEIR_ESTALLED with *ret_reason,
 * or WEIR_ECANCELED for the child of a cancelled scope.
 */
int weir__stream_wait_for_peer(struct weir__stream *stream, struct weir__fiber **slot,
                               struct weir__patience *patience, uint64_t bytes, int64_t deadline,
                               int64_t gap_ms, enum weir_reason *ret_reason);

/* The same for a wait that is a select's: whether patience is at its end, what is left of it till then (absolute ms, -1:
 * for ever), and the time that was waited. */
bool weir__stream_is_too_slow(struct weir__stream *stream, struct weir__patience *patience,
                              uint64_t bytes, int64_t gap_ms, enum weir_reason *ret_reason);
int64_t weir__stream_patience_ends(struct weir__stream *stream, struct weir__patience *patience,
                                   uint64_t bytes, int64_t gap_ms);
void weir__stream_waited(struct weir__patience *patience, int64_t waited_us);

/* Fills in what the stream knows of a failure. */
void weir__stream_explain(struct weir__stream *stream, enum weir_reason broken,
                          struct weir_error *ret);

#endif
