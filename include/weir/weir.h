/* SPDX-License-Identifier: MIT */
#ifndef WEIR_WEIR_H
#define WEIR_WEIR_H

/*
 * All of the library's settled interface. What handlers are tested with is apart, in <weir/test.h>, and so is what may
 * still change, in <weir/experimental/...>.
 */
#include <weir/blocking.h>
#include <weir/channel.h>
#include <weir/chunk.h>
#include <weir/combinators.h>
#include <weir/err.h>
#include <weir/export.h>
#include <weir/fields.h>
#include <weir/http.h>
#include <weir/mailbox.h>
#include <weir/offload.h>
#include <weir/rt.h>
#include <weir/select.h>
#include <weir/server.h>
#include <weir/sources.h>
#include <weir/sse.h>
#include <weir/sse_reader.h>
#include <weir/stream.h>
#include <weir/topic.h>
#include <weir/view.h>

#endif
