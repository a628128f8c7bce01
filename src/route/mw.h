/* SPDX-License-Identifier: MIT */
#ifndef WEIR_ROUTE_MW_H
#define WEIR_ROUTE_MW_H

#include <weir/http.h>

/* What several of the built-in middleware need. */

/* A status as text with one field line. */
int weir__reply_with(struct weir_req *req, int status, const char *name, struct weir_view value,
                     const char *text);

/* The same with Retry-After, in whole seconds, at least 1. */
int weir__reply_retry(struct weir_req *req, int status, uint64_t seconds, const char *text);

#endif
