/* SPDX-License-Identifier: MIT */
/*
 * Failure to answer: one table of rules per phase, the first that fits holds. A rule without a code fits every code of
 * its phase, so each phase ends with one.
 */
#include "errors.h"

#include <stdarg.h>
#include <stdio.h>

#include <errno.h>

#define ANY 0

struct rule {
    enum gw_phase phase;
    int code;   /* enum weir_err, or ANY */
    int native; /* errno, or ANY */
    int status; /* 0: a timeout of the upstream, at whatever status the operator wants */
    const char *proxy_error;
    enum gw_outcome outcome;
    enum gw_end_by end_by;
    const char *detail;
};

#define CLIENT GW_END_BY_CLIENT
#define UPSTREAM GW_END_BY_UPSTREAM
#define WEIR GW_END_BY_WEIR

static const char reset_text[] = "The upstream closed the connection before it had answered.";
static const char busy_text[] = "The gateway is at a limit of its own.";
static const char broken_text[] = "The upstream's answer is not valid HTTP.";
static const char slow_text[] = "The upstream did not answer in time.";
static const char cut_text[] = "The upstream's answer ended before it was complete.";

/* clang-format off */
static const struct rule rules[] = {
    {GW_PHASE_CLIENT_HEAD, WEIR_EPROTO, ANY, 400, "http_request_error", GW_OUTCOME_PROTOCOL_ERROR, CLIENT,
     "The request is not valid HTTP."},
    {GW_PHASE_CLIENT_HEAD, WEIR_ETIMEDOUT, ANY, 408, "http_request_error", GW_OUTCOME_CLIENT_STALLED, WEIR,
     "The head of the request did not come in time."},
    {GW_PHASE_CLIENT_HEAD, WEIR_ESTALLED, ANY, 408, "http_request_error", GW_OUTCOME_CLIENT_STALLED, WEIR,
     "The head of the request did not come in time."},
    {GW_PHASE_CLIENT_HEAD, WEIR_ELIMIT, ANY, 431, "http_request_error", GW_OUTCOME_LIMIT, WEIR,
     "The head of the request is too large."},
    {GW_PHASE_CLIENT_HEAD, WEIR_EUNSUPPORTED, ANY, 501, "http_request_error", GW_OUTCOME_PROTOCOL_ERROR, WEIR,
     "The request asks for something that this gateway does not do."},
    {GW_PHASE_CLIENT_HEAD, WEIR_ECLOSED, ANY, 499, NULL, GW_OUTCOME_CLIENT_GONE, CLIENT, NULL},
    {GW_PHASE_CLIENT_HEAD, WEIR_ERESET, ANY, 499, NULL, GW_OUTCOME_CLIENT_GONE, CLIENT, NULL},
    {GW_PHASE_CLIENT_HEAD, WEIR_EIO, ANY, 499, NULL, GW_OUTCOME_CLIENT_GONE, CLIENT, NULL},
    {GW_PHASE_CLIENT_HEAD, WEIR_ETRUNCATED, ANY, 499, NULL, GW_OUTCOME_CLIENT_GONE, CLIENT, NULL},

    {GW_PHASE_CLIENT_BODY, WEIR_EPROTO, ANY, 400, "http_request_error", GW_OUTCOME_PROTOCOL_ERROR, CLIENT,
     "The body of the request is not valid HTTP."},
    {GW_PHASE_CLIENT_BODY, WEIR_ETIMEDOUT, ANY, 408, "http_request_error", GW_OUTCOME_CLIENT_STALLED, WEIR,
     "The body of the request did not come in time."},
    {GW_PHASE_CLIENT_BODY, WEIR_ESTALLED, ANY, 408, "http_request_error", GW_OUTCOME_CLIENT_STALLED, WEIR,
     "The body of the request did not come in time."},
    {GW_PHASE_CLIENT_BODY, WEIR_ELIMIT, ANY, 413, "http_request_error", GW_OUTCOME_LIMIT, WEIR,
     "The body of the request is too large."},
    {GW_PHASE_CLIENT_BODY, WEIR_ECLOSED, ANY, 499, NULL, GW_OUTCOME_CLIENT_GONE, CLIENT, NULL},
    {GW_PHASE_CLIENT_BODY, WEIR_ERESET, ANY, 499, NULL, GW_OUTCOME_CLIENT_GONE, CLIENT, NULL},
    {GW_PHASE_CLIENT_BODY, WEIR_EIO, ANY, 499, NULL, GW_OUTCOME_CLIENT_GONE, CLIENT, NULL},
    {GW_PHASE_CLIENT_BODY, WEIR_ETRUNCATED, ANY, 499, NULL, GW_OUTCOME_CLIENT_GONE, CLIENT, NULL},

    {GW_PHASE_ADMIT, WEIR_ELIMIT, ANY, 503, "proxy_internal_response", GW_OUTCOME_REFUSED, WEIR, busy_text},
    {GW_PHASE_ADMIT, WEIR_EREFUSED, ANY, 503, "proxy_internal_response", GW_OUTCOME_REFUSED, WEIR, busy_text},
    {GW_PHASE_ADMIT, WEIR_EPROTO, ANY, 400, "http_request_error", GW_OUTCOME_PROTOCOL_ERROR, CLIENT,
     "The request cannot be forwarded as it is."},
    {GW_PHASE_ADMIT, WEIR_EUNSUPPORTED, ANY, 501, "http_request_error", GW_OUTCOME_PROTOCOL_ERROR, WEIR,
     "The request asks for something that this gateway does not do."},

    {GW_PHASE_DIAL, ANY, EMFILE, 503, "proxy_internal_response", GW_OUTCOME_REFUSED, WEIR, busy_text},
    {GW_PHASE_DIAL, ANY, ENFILE, 503, "proxy_internal_response", GW_OUTCOME_REFUSED, WEIR, busy_text},
    {GW_PHASE_DIAL, ANY, EADDRNOTAVAIL, 503, "proxy_internal_response", GW_OUTCOME_REFUSED, WEIR, busy_text},
    {GW_PHASE_DIAL, ANY, ENETUNREACH, 502, "destination_ip_unroutable", GW_OUTCOME_UPSTREAM_ABORT, UPSTREAM,
     "There is no way to the upstream."},
    {GW_PHASE_DIAL, ANY, EHOSTUNREACH, 502, "destination_ip_unroutable", GW_OUTCOME_UPSTREAM_ABORT, UPSTREAM,
     "There is no way to the upstream."},
    {GW_PHASE_DIAL, WEIR_EREFUSED, ANY, 502, "connection_refused", GW_OUTCOME_UPSTREAM_ABORT, UPSTREAM,
     "The upstream refused the connection."},
    {GW_PHASE_DIAL, WEIR_ETIMEDOUT, ANY, 0, "connection_timeout", GW_OUTCOME_UPSTREAM_TIMEOUT, WEIR,
     "The upstream could not be reached in time."},
    {GW_PHASE_DIAL, WEIR_ESTALLED, ANY, 0, "connection_timeout", GW_OUTCOME_UPSTREAM_TIMEOUT, WEIR,
     "The upstream could not be reached in time."},
    {GW_PHASE_DIAL, WEIR_ENOTFOUND, ANY, 502, "dns_error", GW_OUTCOME_UPSTREAM_ABORT, UPSTREAM,
     "The name of the upstream could not be resolved."},
    {GW_PHASE_DIAL, WEIR_ETLS, ANY, 502, "tls_protocol_error", GW_OUTCOME_UPSTREAM_ABORT, UPSTREAM,
     "No secure connection to the upstream could be made."},
    {GW_PHASE_DIAL, WEIR_ELIMIT, ANY, 503, "connection_limit_reached", GW_OUTCOME_REFUSED, WEIR,
     "There are too many connections to the upstream."},
    {GW_PHASE_DIAL, ANY, ANY, 502, "connection_terminated", GW_OUTCOME_UPSTREAM_ABORT, UPSTREAM,
     "The connection to the upstream could not be made."},

    {GW_PHASE_SEND, WEIR_ETIMEDOUT, ANY, 0, "connection_write_timeout", GW_OUTCOME_UPSTREAM_TIMEOUT, WEIR,
     "The upstream did not take the request in time."},
    {GW_PHASE_SEND, WEIR_ESTALLED, ANY, 0, "connection_write_timeout", GW_OUTCOME_UPSTREAM_TIMEOUT, WEIR,
     "The upstream did not take the request in time."},
    {GW_PHASE_SEND, ANY, ANY, 502, "connection_terminated", GW_OUTCOME_UPSTREAM_ABORT, UPSTREAM, reset_text},

    {GW_PHASE_RESPONSE_HEAD, WEIR_ETIMEDOUT, ANY, 0, "http_response_timeout", GW_OUTCOME_UPSTREAM_TIMEOUT, WEIR, slow_text},
    {GW_PHASE_RESPONSE_HEAD, WEIR_ESTALLED, ANY, 0, "http_response_timeout", GW_OUTCOME_UPSTREAM_TIMEOUT, WEIR, slow_text},
    {GW_PHASE_RESPONSE_HEAD, WEIR_EPROTO, ANY, 502, "http_protocol_error", GW_OUTCOME_PROTOCOL_ERROR, UPSTREAM, broken_text},
    {GW_PHASE_RESPONSE_HEAD, WEIR_EUNSUPPORTED, ANY, 502, "http_protocol_error", GW_OUTCOME_PROTOCOL_ERROR, UPSTREAM, broken_text},
    {GW_PHASE_RESPONSE_HEAD, WEIR_ELIMIT, ANY, 502, "http_response_header_section_size", GW_OUTCOME_LIMIT, WEIR,
     "The head of the upstream's answer is too large."},
    {GW_PHASE_RESPONSE_HEAD, WEIR_ETRUNCATED, ANY, 502, "http_response_incomplete", GW_OUTCOME_UPSTREAM_ABORT, UPSTREAM, cut_text},
    {GW_PHASE_RESPONSE_HEAD, ANY, ANY, 502, "connection_terminated", GW_OUTCOME_UPSTREAM_ABORT, UPSTREAM, reset_text},

    {GW_PHASE_FIRST_BYTE, WEIR_ETIMEDOUT, ANY, 0, "http_response_timeout", GW_OUTCOME_UPSTREAM_TIMEOUT, WEIR, slow_text},
    {GW_PHASE_FIRST_BYTE, WEIR_ESTALLED, ANY, 0, "http_response_timeout", GW_OUTCOME_UPSTREAM_TIMEOUT, WEIR, slow_text},
    {GW_PHASE_FIRST_BYTE, WEIR_EPROTO, ANY, 502, "http_protocol_error", GW_OUTCOME_PROTOCOL_ERROR, UPSTREAM, broken_text},
    {GW_PHASE_FIRST_BYTE, WEIR_ELIMIT, ANY, 502, "http_response_body_size", GW_OUTCOME_LIMIT, WEIR, cut_text},
    {GW_PHASE_FIRST_BYTE, WEIR_ETRUNCATED, ANY, 502, "http_response_incomplete", GW_OUTCOME_UPSTREAM_ABORT, UPSTREAM, cut_text},
    {GW_PHASE_FIRST_BYTE, ANY, ANY, 502, "connection_terminated", GW_OUTCOME_UPSTREAM_ABORT, UPSTREAM, cut_text},

    {GW_PHASE_RESPONSE_BODY, WEIR_ETIMEDOUT, ANY, 0, "connection_read_timeout", GW_OUTCOME_UPSTREAM_TIMEOUT, WEIR, slow_text},
    {GW_PHASE_RESPONSE_BODY, WEIR_ESTALLED, ANY, 0, "connection_read_timeout", GW_OUTCOME_UPSTREAM_TIMEOUT, WEIR, slow_text},
    {GW_PHASE_RESPONSE_BODY, WEIR_EPROTO, ANY, 502, "http_protocol_error", GW_OUTCOME_PROTOCOL_ERROR, UPSTREAM, broken_text},
    {GW_PHASE_RESPONSE_BODY, WEIR_ELIMIT, ANY, 502, "http_response_body_size", GW_OUTCOME_LIMIT, WEIR, cut_text},
    {GW_PHASE_RESPONSE_BODY, WEIR_ETRUNCATED, ANY, 502, "http_response_incomplete", GW_OUTCOME_UPSTREAM_ABORT, UPSTREAM, cut_text},
    {GW_PHASE_RESPONSE_BODY, ANY, ANY, 502, "connection_terminated", GW_OUTCOME_UPSTREAM_ABORT, UPSTREAM, cut_text},

    /* Nobody is left to be told; the status is for a log that has none yet. */
    {GW_PHASE_CLIENT_WRITE, WEIR_ESTALLED, ANY, 499, NULL, GW_OUTCOME_CLIENT_STALLED, WEIR, NULL},
    {GW_PHASE_CLIENT_WRITE, WEIR_ETIMEDOUT, ANY, 499, NULL, GW_OUTCOME_CLIENT_STALLED, WEIR, NULL},
    {GW_PHASE_CLIENT_WRITE, WEIR_ECLOSED, ANY, 499, NULL, GW_OUTCOME_CLIENT_GONE, CLIENT, NULL},
    {GW_PHASE_CLIENT_WRITE, WEIR_ERESET, ANY, 499, NULL, GW_OUTCOME_CLIENT_GONE, CLIENT, NULL},
    {GW_PHASE_CLIENT_WRITE, WEIR_EIO, ANY, 499, NULL, GW_OUTCOME_CLIENT_GONE, CLIENT, NULL},
};
/* clang-format on */

static const struct rule client_gone = {
    0, ANY, ANY, 499, NULL, GW_OUTCOME_CLIENT_GONE, GW_END_BY_CLIENT, NULL};
static const struct rule going_down = {0,
                                       ANY,
                                       ANY,
                                       503,
                                       "proxy_internal_response",
                                       GW_OUTCOME_SHUTDOWN,
                                       GW_END_BY_WEIR,
                                       "The gateway is shutting down."};
static const struct rule overloaded = {
    0, ANY, ANY, 503, "proxy_internal_response", GW_OUTCOME_REFUSED, GW_END_BY_WEIR, busy_text};
static const struct rule internal = {0,
                                     ANY,
                                     ANY,
                                     500,
                                     "proxy_internal_error",
                                     GW_OUTCOME_INTERNAL_ERROR,
                                     GW_END_BY_WEIR,
                                     "The gateway failed."};

/* How long to stay away after a 503. */
#define RETRY_AFTER_S 1

static const struct rule *find_rule(enum gw_phase phase, const struct weir_error *error)
{
    /* What does not depend on the phase. */
    if (error->reason == WEIR_REASON_SHUTDOWN) {
        return &going_down;
    }
    switch (error->code) {
    case WEIR_ECANCELED:
        /* Our side gives up upstream work for one cause only: nobody waits for it any longer. */
        return &client_gone;
    case WEIR_ENOMEM:
    case WEIR_EBUDGET:
        return &overloaded;
    case WEIR_EINVAL:
    case WEIR_ESTATE:
    case WEIR_EBUSY:
    case WEIR_EAGAIN:
    case WEIR_EFLOW:
    case WEIR_ELAGGED:
        /* A mistake of this program, whoever it met. */
        return &internal;
    default:
        break;
    }
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        const struct rule *rule = &rules[i];

        if (rule->phase == phase && (rule->code == ANY || rule->code == error->code) &&
            (rule->native == ANY || rule->native == error->native)) {
            return rule;
        }
    }
    return &internal;
}

void gw_error_map(enum gw_phase phase, const struct weir_error *error, int timeout_status,
                  struct gw_error *ret)
{
    const struct rule *rule = find_rule(phase, error);
    int status = rule->status != 0 ? rule->status : timeout_status;

    *ret = (struct gw_error){
        .status = status,
        .title = gw_status_title(status),
        .detail = rule->detail,
        .proxy_error = rule->proxy_error,
        .retry_after_s = status == 503 ? RETRY_AFTER_S : 0,
        .outcome = rule->outcome,
        .end_by = rule->end_by,
    };
    /* Refused is what was not tried; later it is a live exchange that met a limit. */
    if (rule == &overloaded && phase > GW_PHASE_DIAL) {
        ret->outcome = GW_OUTCOME_LIMIT;
    }
}

void gw_error_denied(enum gw_verdict verdict, struct gw_error *ret)
{
    *ret = (struct gw_error){
        .status = 401,
        .proxy_error = "http_request_denied",
        .outcome = GW_OUTCOME_DENIED,
        .end_by = GW_END_BY_WEIR,
    };
    switch (verdict) {
    case GW_NO_KEY:
        ret->detail = "The request carries no API key.";
        ret->www_authenticate = "Bearer realm=\"weir\"";
        break;
    case GW_UNKNOWN:
        ret->detail = "The API key is not known.";
        ret->www_authenticate = "Bearer realm=\"weir\", error=\"invalid_token\""; /* RFC 6750 3 */
        break;
    case GW_ALLOW:
    case GW_FORBIDDEN:
        ret->status = 403;
        ret->detail = "The API key is not valid for this path or method.";
        break;
    }
    ret->title = gw_status_title(ret->status);
}

const char *gw_status_title(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 408:
        return "Request Timeout";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 431:
        return "Request Header Fields Too Large";
    case 499:
        return "Client Closed Request";
    case 500:
        return "Internal Server Error";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Unknown";
    }
}

WEIR_PRINTF(3, 4) static size_t compose(char *buffer, size_t size, const char *format, ...)
{
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(buffer, size, format, args);
    va_end(args);
    return len < 0 || (size_t)len >= size ? 0 : (size_t)len;
}

size_t gw_error_body(const struct gw_error *error, char *buffer, size_t size)
{
    /* The texts are ours and hold nothing that JSON would have to escape. */
    return compose(buffer, size,
                   "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d%s%s%s}\n",
                   error->title, error->status, error->detail != NULL ? ",\"detail\":\"" : "",
                   error->detail != NULL ? error->detail : "", error->detail != NULL ? "\"" : "");
}

size_t gw_error_proxy_status(const struct gw_error *error, char *buffer, size_t size)
{
    if (error->proxy_error == NULL) {
        return 0;
    }
    return compose(buffer, size, "weir; error=%s", error->proxy_error);
}
