/* SPDX-License-Identifier: MIT */
#ifndef WEIR_WEB_H
#define WEIR_WEB_H

#include <weir/middleware.h>

WEIR_BEGIN_DECLS

/*
 * Middleware for what browsers look at: who may read a reply (CORS), what they may do with it (security headers), and
 * whether they have it already (ETag, conditional requests). Options are borrowed while requests are served.
 */

/* ---- CORS (WHATWG Fetch 3.2) ---- */

struct weir_cors_opts {
    const char *const *origins; /* "https://app.example", compared as they are; NULL: see below */
    size_t origin_count;
    bool (*allow)(struct weir_view origin,
                  void *arg); /* asked if no origin matches; NULL: no. Must not suspend */
    void *arg;
    /* Without origins and without `allow` everybody may read, but nobody with credentials. */
    bool credentials;    /* cookies and the like may come along */
    const char *methods; /* for preflights ["GET, HEAD, POST, PUT, PATCH, DELETE"] */
    const char *headers; /* for preflights; NULL: those that are asked for */
    const char *expose;  /* what scripts may read beyond the usual; NULL: none */
    unsigned max_age_s;  /* how long a preflight's answer holds [600] */
};

/** Answers preflights (204) by itself, without the fields that would allow it where it is not allowed, and adds to other
 * replies what lets the browser show them. Vary says Origin wherever the reply depends on it. `arg`: struct weir_cors_opts.
 * Context: fiber, suspends.  Since: 0.1. */
WEIR_API int weir_mw_cors(struct weir_req *req, const struct weir_chain *next, void *arg);

/* ---- security headers ---- */

/* NULL: the default in brackets; "": leave it out. What the handler has set itself stays. */
struct weir_security_opts {
    const char *content_type_options;       /* [nosniff] */
    const char *frame_options;              /* [DENY] */
    const char *referrer_policy;            /* [no-referrer] */
    const char *content_security_policy;    /* [none] */
    const char *permissions_policy;         /* [none] */
    const char *cross_origin_opener_policy; /* [none] */
    uint64_t
        hsts_max_age_s; /* Strict-Transport-Security; 0: none. Only where all of the host is served by TLS. */
};

/** `arg`: struct weir_security_opts; NULL for the defaults. Context: fiber, suspends.  Since: 0.1. */
WEIR_API int weir_mw_security(struct weir_req *req, const struct weir_chain *next, void *arg);

/* ---- ETag ---- */

struct weir_etag_opts {
    size_t
        max_bytes; /* a reply with a declared length up to this is held until its end [64 KiB, at most 1 MiB] */
    bool weak; /* W/"..." */
};

/**
 * For GET with 200: a reply without an ETag and of a declared, small length is held and gets one (128 bits over its bytes).
 * Where there is an ETag or a Last-Modified, also one of the handler's, If-None-Match and If-Modified-Since are answered
 * with 304 (RFC 9110 13). `arg`: struct weir_etag_opts; NULL for the defaults. Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API int weir_mw_etag(struct weir_req *req, const struct weir_chain *next, void *arg);

WEIR_END_DECLS

#endif
