/* SPDX-License-Identifier: MIT */
#ifndef GW_GATEWAY_H
#define GW_GATEWAY_H

#include <weir/experimental/client.h>
#include <weir/http.h>

#include "access_log.h"
#include "auth/keys.h"
#include "options.h"

/*
 * The gateway: one route to one upstream. Read-only once it runs, but for the log's counters.
 */
struct gw_gateway {
    struct gw_options options;
    struct gw_keys *keys; /* NULL: everybody may pass */
    struct weir_client *client;
    struct gw_access_log log;
    struct gw_address_text upstream; /* "127.0.0.1:9000" */
};

/* Carries one request to the upstream and its answer back: the handler. arg: struct gw_gateway. */
int gw_proxy(struct weir_req *req, void *arg);

/**
 * `weir proxy`: parses what follows it, and runs until it is stopped by a signal.
 * Returns the process's exit status: 0, 1 (it could not run), 2 (a mistake in the arguments).
 */
int gw_main(int argc, char *const *argv);

#endif
