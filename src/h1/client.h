/* SPDX-License-Identifier: MIT */
#ifndef WEIR_H1_CLIENT_H
#define WEIR_H1_CLIENT_H

#include "h1/wire.h"

/* The head of a response, in memory of its own. */
struct weir__h1_response {
    int status;
    struct weir_view reason;    /* in fields' memory */
    struct weir_fields *fields; /* given */
    enum weir__h1_framing framing;
    uint64_t length;
    bool keep;
};

/*
 * Reads on until a whole head has come, and takes it off the wire. Never waits.
 * Returns 1 with *ret, 0 at a FIN before it, WEIR_EAGAIN, WEIR_EPROTO, WEIR_ELIMIT, WEIR_ERESET, WEIR_EIO, WEIR_ENOMEM,
 * WEIR_EBUDGET. Context: loop or fiber.
 */
int weir__h1_client_head(struct weir__h1_wire *wire, const struct weir__h1_limits *limits,
                         struct weir_view method, struct weir__h1_response *ret);

#endif
