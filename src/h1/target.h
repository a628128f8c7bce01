/* SPDX-License-Identifier: MIT */
#ifndef WEIR_H1_TARGET_H
#define WEIR_H1_TARGET_H

#include <weir/export.h>
#include <weir/view.h>

#include <stdbool.h>

/* Whether it is uri-host [":" port]: no userinfo, slash, blank or comma. An empty one is, RFC 9112 3.2. */
bool weir__h1_host_is_valid(struct weir_view host, bool needs_port);

/**
 * Checks the form of a request-target (RFC 9112 3.2) whose bytes are known to be of class WEIR__H1_TARGET.
 *
 * ret_authority  of an absolute- or authority-form target, else absent.
 *
 * Returns 0 or WEIR_EPROTO. Context: any thread.
 */
WEIR_NODISCARD int weir__h1_check_target(struct weir_view method, struct weir_view target,
                                         struct weir_view *ret_authority);

#endif
