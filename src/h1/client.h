/* SPDX-License-Identifier: MIT */
#ifndef WEIR_H1_CLIENT_H
#define WEIR_H1_CLIENT_H

#include "h1/wire.h"

/*
 * struct weir__proto_ops.head: reads on until a whole head has come, and takes it off the wire. Never waits.
 * Returns 1 with *ret, 0 at a FIN before it, WEIR_EAGAIN, WEIR_EPROTO, WEIR_ELIMIT, WEIR_ERESET, WEIR_EIO, WEIR_ENOMEM,
 * WEIR_EBUDGET, WEIR_ECANCELED (closed by us). Context: loop or fiber.
 */
int weir__h1_client_head(struct weir__stream *stream, struct weir__response *ret);
void weir__h1_client_leave(struct weir__stream *stream);

/* Notes what the response's framing depends on. */
void weir__h1_client_note_method(struct weir__h1_wire *wire, struct weir_view method);

#endif
