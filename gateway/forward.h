/* SPDX-License-Identifier: MIT */
#ifndef GW_FORWARD_H
#define GW_FORWARD_H

#include <stdbool.h>

#include <weir/fields.h>
#include <weir/http.h>

/*
 * Which fields pass. Everything does, in order and unchanged, but what belongs to one connection (RFC 9110 7.6.1: the
 * known ones and those that Connection lists), what says who the client is (nobody is trusted: we write our own), and
 * the credential that was for us.
 */

/**
 * The request's fields for the upstream.
 *
 * hide_key  leaves out X-Api-Key, or where there is none Authorization: it was the key for this gateway.
 * authority the upstream's own, for a client that names no host.
 * ret       given. Its views point into the request's head: use it before that is dropped.
 *
 * Returns 0, WEIR_EPROTO (Connection lists a field that must not be removed: host, authorization, ...), WEIR_ENOMEM,
 * WEIR_EBUDGET, WEIR_ELIMIT. Context: fiber.
 */
WEIR_NODISCARD int gw_forward_request(struct weir_req *req, bool hide_key,
                                      struct weir_view authority, struct weir_fields **ret);

/** The response's fields for the client; otherwise as above. Context: fiber. */
WEIR_NODISCARD int gw_forward_response(struct weir_fields *from, struct weir_fields **ret);

/**
 * Trailers, in either direction, without those that frame, route, authenticate or tell who the client is
 * (RFC 9110 6.5.1).
 *
 * ret  given; NULL when there are none.
 * Returns 0, WEIR_ENOMEM, WEIR_EBUDGET, WEIR_ELIMIT. Context: fiber.
 */
WEIR_NODISCARD int gw_forward_trailers(struct weir_fields *from, struct weir_fields **ret);

#endif
