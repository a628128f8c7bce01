/* SPDX-License-Identifier: MIT */
#ifndef WEIR_COMPRESS_SINK_H
#define WEIR_COMPRESS_SINK_H

#include "compress/codec.h"

/*
 * The sink in two steps, for whoever has to know that there is an encoder before there is a sink to write to.
 */
struct weir__compress_sink;

/* Everything that can fail. Returns as weir_compress_sink_take(). */
int weir__compress_sink_prepare(enum weir_coding coding, const struct weir_encode_opts *opts,
                                struct weir__compress_sink **ret);

/* `inner` is given; the result is the new sink. `length`: of what will be emitted; UINT64_MAX: not known. More is
 * WEIR_ELIMIT, and an end before that WEIR_ESTATE and an abort. */
struct weir_sink *weir__compress_sink_attach(struct weir__compress_sink *compress,
                                             struct weir_sink *inner, uint64_t length);

/* Of one that was not attached; NULL is fine. */
void weir__compress_sink_discard(struct weir__compress_sink *compress);

#endif
