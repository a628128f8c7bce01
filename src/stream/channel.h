/* SPDX-License-Identifier: MIT */
#ifndef WEIR_STREAM_CHANNEL_H
#define WEIR_STREAM_CHANNEL_H

#include <weir/sources.h>

/* Aborts the sink of a channel so that its source fails with just this code (a final one). */
void weir__channel_fail(struct weir_sink *sink, int code, enum weir_reason reason);

#endif
