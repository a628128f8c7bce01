/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BODY_DECODED_H
#define WEIR_BODY_DECODED_H

#include <weir/body.h>

/* A request's body to read whole or in parts: borrowed as it is if there is nothing to undo, and *ret_given is NULL; else as
 * weir_req_decoded_body(), given. */
int weir__req_plain_body(struct weir_req *req, struct weir_source **ret,
                         struct weir_source **ret_given);

#endif
