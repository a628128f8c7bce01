/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_PRODUCE_H
#define WEIR_HTTP_PRODUCE_H

#include <weir/http.h>

/* Runs the producer on a reply that has been begun, and brings that to its end; `out` is given. As weir_reply_stream(). */
WEIR_NODISCARD int weir__produce_take(struct weir_req *req, struct weir_sink *out,
                                      weir_producer_fn *producer, void *arg);

#endif
