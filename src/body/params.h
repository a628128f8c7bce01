/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BODY_PARAMS_H
#define WEIR_BODY_PARAMS_H

#include <weir/http.h>

/*
 * Field values of the form  value; name=token; name="quoted"  (RFC 9110 5.6.6): Content-Type, Content-Disposition.
 */

/* The part before the first semicolon, trimmed; `rest` is what weir__params_next() takes the parameters from. Borrowed. */
struct weir_view weir__params_begin(struct weir_view value, struct weir_view *rest);

struct weir__param {
    struct weir_view name; /* a token */
    struct weir_view raw;  /* of a quoted one: what stands between the quotes */
    bool quoted;
};

/* 1 with the next parameter, 0 at the end, WEIR_EPROTO. */
int weir__params_next(struct weir_view *rest, struct weir__param *ret);

/* Takes the backslash off `\"` and `\\`, in place; other ones are bytes like any (a path of DOS). The new length. */
size_t weir__params_unquote(uint8_t *bytes, size_t len);

/* The one Content-Type of a request: 0, WEIR_EUNSUPPORTED without one, WEIR_EPROTO with two. */
int weir__req_content_type(struct weir_req *req, struct weir_view *ret);

#endif
