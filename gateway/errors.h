/* SPDX-License-Identifier: MIT */
#ifndef GW_ERRORS_H
#define GW_ERRORS_H

#include <stddef.h>

#include <weir/err.h>

#include "access_log.h"
#include "auth/keys.h"

/*
 * The one place that says what a failure is to the client and to the log: status, Proxy-Status (RFC 9209), problem body
 * (RFC 9457), outcome. All texts are static and tell nothing about the inside (no address, no errno).
 */

/* Where in the exchange it failed. The phase says which leg the failure is of. */
enum gw_phase {
    GW_PHASE_CLIENT_HEAD,   /* reading the request's head */
    GW_PHASE_CLIENT_BODY,   /* reading the request's body */
    GW_PHASE_ADMIT,         /* after the head, before the dial: limits, memory, shutdown */
    GW_PHASE_DIAL,          /* name look-up and connect, or waiting for a free connection */
    GW_PHASE_SEND,          /* sending the request upstream */
    GW_PHASE_RESPONSE_HEAD, /* waiting for the answer's head, or reading it */
    GW_PHASE_FIRST_BYTE, /* waiting for the first byte of its body; from here on the client has a head already */
    GW_PHASE_RESPONSE_BODY, /* reading the rest of it */
    GW_PHASE_CLIENT_WRITE,  /* writing the answer to the client */
};

/* What to tell. Static texts only. */
struct gw_error {
    int status;                   /* 499: for the log; there is nobody to answer */
    const char *title;            /* the status in words */
    const char *detail;           /* one sentence for the client; NULL: none */
    const char *proxy_error;      /* a token of RFC 9209; NULL: no Proxy-Status */
    const char *www_authenticate; /* NULL: none */
    unsigned retry_after_s;       /* 0: no Retry-After */
    enum gw_outcome outcome;
    enum gw_end_by end_by;
};

/**
 * What a failure means.
 *
 * error           borrowed; its code, reason and, in GW_PHASE_DIAL, native (an errno) count.
 * timeout_status  the status for an upstream that takes too long: 504, or what the operator wants instead.
 *
 * Always sets `ret`; what no rule knows is a 500. Context: any thread.
 */
void gw_error_map(enum gw_phase phase, const struct weir_error *error, int timeout_status,
                  struct gw_error *ret);

/* The answer to a verdict other than GW_ALLOW. */
void gw_error_denied(enum gw_verdict verdict, struct gw_error *ret);

/* The status in words; "Unknown" for one that is not in use here. */
const char *gw_status_title(int status);

/* Enough for each of the texts below. */
#define GW_ERROR_TEXT_BYTES 512

/**
 * The body: application/problem+json. NUL-terminated.
 *
 * Returns its length, or 0 if `size` is too small. Context: any thread.
 */
size_t gw_error_body(const struct gw_error *error, char *buffer, size_t size);

/**
 * The value of Proxy-Status: `weir; error=http_response_timeout`. NUL-terminated.
 *
 * Returns its length, 0 if there is none to send or `size` is too small. Context: any thread.
 */
size_t gw_error_proxy_status(const struct gw_error *error, char *buffer, size_t size);

#define GW_PROBLEM_TYPE "application/problem+json"

#endif
