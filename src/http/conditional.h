/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_CONDITIONAL_H
#define WEIR_HTTP_CONDITIONAL_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/fields.h>

/*
 * Preconditions of a request (RFC 9110 13), against the representation that would be sent. `etag` is the field's value,
 * absent for none; `last_modified` seconds since 1970, negative for none.
 */

/* 0: perform the method; 304 or 412: answer that instead (13.2.2). */
int weir__conditional_status(struct weir_fields *fields, bool is_get_or_head, struct weir_view etag,
                             int64_t last_modified, int64_t now);

/* Whether If-Range, if there is one, lets a Range count (13.1.5). */
bool weir__conditional_allows_range(struct weir_fields *fields, struct weir_view etag,
                                    int64_t last_modified, int64_t now);

/* Whether it is one entity tag, as RFC 9110 8.8.3 writes it. */
bool weir__etag_is_valid(struct weir_view etag);

/* The only line of that name; absent if there is none, or more than one (a list that is none). */
struct weir_view weir__fields_single(struct weir_fields *fields, const char *name);

#endif
