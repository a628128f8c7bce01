/* SPDX-License-Identifier: MIT */
/* What a failure is to the client and to the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "errors.h"

static void failures_map(void **state)
{
    static const struct {
        enum gw_phase phase;
        int code;
        int native;
        int status;
        const char *token;
        enum gw_outcome outcome;
        enum gw_end_by end_by;
    } cases[] = {
        {GW_PHASE_CLIENT_HEAD, WEIR_EPROTO, 0, 400, "http_request_error", GW_OUTCOME_PROTOCOL_ERROR,
         GW_END_BY_CLIENT},
        {GW_PHASE_CLIENT_HEAD, WEIR_ETIMEDOUT, 0, 408, "http_request_error",
         GW_OUTCOME_CLIENT_STALLED, GW_END_BY_WEIR},
        {GW_PHASE_CLIENT_HEAD, WEIR_ELIMIT, 0, 431, "http_request_error", GW_OUTCOME_LIMIT,
         GW_END_BY_WEIR},
        {GW_PHASE_CLIENT_HEAD, WEIR_ERESET, 0, 499, NULL, GW_OUTCOME_CLIENT_GONE, GW_END_BY_CLIENT},
        {GW_PHASE_CLIENT_BODY, WEIR_ELIMIT, 0, 413, "http_request_error", GW_OUTCOME_LIMIT,
         GW_END_BY_WEIR},
        {GW_PHASE_CLIENT_BODY, WEIR_ESTALLED, 0, 408, "http_request_error",
         GW_OUTCOME_CLIENT_STALLED, GW_END_BY_WEIR},
        {GW_PHASE_CLIENT_BODY, WEIR_ETRUNCATED, 0, 499, NULL, GW_OUTCOME_CLIENT_GONE,
         GW_END_BY_CLIENT},
        {GW_PHASE_ADMIT, WEIR_ELIMIT, 0, 503, "proxy_internal_response", GW_OUTCOME_REFUSED,
         GW_END_BY_WEIR},
        {GW_PHASE_ADMIT, WEIR_EBUDGET, 0, 503, "proxy_internal_response", GW_OUTCOME_REFUSED,
         GW_END_BY_WEIR},
        {GW_PHASE_DIAL, WEIR_EREFUSED, ECONNREFUSED, 502, "connection_refused",
         GW_OUTCOME_UPSTREAM_ABORT, GW_END_BY_UPSTREAM},
        {GW_PHASE_DIAL, WEIR_ERESET, ECONNRESET, 502, "connection_terminated",
         GW_OUTCOME_UPSTREAM_ABORT, GW_END_BY_UPSTREAM},
        {GW_PHASE_DIAL, WEIR_EIO, EHOSTUNREACH, 502, "destination_ip_unroutable",
         GW_OUTCOME_UPSTREAM_ABORT, GW_END_BY_UPSTREAM},
        {GW_PHASE_DIAL, WEIR_EIO, EMFILE, 503, "proxy_internal_response", GW_OUTCOME_REFUSED,
         GW_END_BY_WEIR},
        {GW_PHASE_DIAL, WEIR_EIO, EPERM, 502, "connection_terminated", GW_OUTCOME_UPSTREAM_ABORT,
         GW_END_BY_UPSTREAM},
        {GW_PHASE_DIAL, WEIR_ETIMEDOUT, 0, 504, "connection_timeout", GW_OUTCOME_UPSTREAM_TIMEOUT,
         GW_END_BY_WEIR},
        {GW_PHASE_DIAL, WEIR_ENOTFOUND, 0, 502, "dns_error", GW_OUTCOME_UPSTREAM_ABORT,
         GW_END_BY_UPSTREAM},
        {GW_PHASE_DIAL, WEIR_ELIMIT, 0, 503, "connection_limit_reached", GW_OUTCOME_REFUSED,
         GW_END_BY_WEIR},
        {GW_PHASE_DIAL, WEIR_ECANCELED, 0, 499, NULL, GW_OUTCOME_CLIENT_GONE, GW_END_BY_CLIENT},
        {GW_PHASE_SEND, WEIR_ECLOSED, 0, 502, "connection_terminated", GW_OUTCOME_UPSTREAM_ABORT,
         GW_END_BY_UPSTREAM},
        {GW_PHASE_SEND, WEIR_ESTALLED, 0, 504, "connection_write_timeout",
         GW_OUTCOME_UPSTREAM_TIMEOUT, GW_END_BY_WEIR},
        {GW_PHASE_RESPONSE_HEAD, WEIR_ETIMEDOUT, 0, 504, "http_response_timeout",
         GW_OUTCOME_UPSTREAM_TIMEOUT, GW_END_BY_WEIR},
        {GW_PHASE_RESPONSE_HEAD, WEIR_EPROTO, 0, 502, "http_protocol_error",
         GW_OUTCOME_PROTOCOL_ERROR, GW_END_BY_UPSTREAM},
        {GW_PHASE_RESPONSE_HEAD, WEIR_ELIMIT, 0, 502, "http_response_header_section_size",
         GW_OUTCOME_LIMIT, GW_END_BY_WEIR},
        {GW_PHASE_RESPONSE_HEAD, WEIR_ETRUNCATED, 0, 502, "http_response_incomplete",
         GW_OUTCOME_UPSTREAM_ABORT, GW_END_BY_UPSTREAM},
        {GW_PHASE_RESPONSE_HEAD, WEIR_ECLOSED, 0, 502, "connection_terminated",
         GW_OUTCOME_UPSTREAM_ABORT, GW_END_BY_UPSTREAM},
        {GW_PHASE_RESPONSE_HEAD, WEIR_ESTATE, 0, 500, "proxy_internal_error",
         GW_OUTCOME_INTERNAL_ERROR, GW_END_BY_WEIR},
        {GW_PHASE_FIRST_BYTE, WEIR_ETIMEDOUT, 0, 504, "http_response_timeout",
         GW_OUTCOME_UPSTREAM_TIMEOUT, GW_END_BY_WEIR},
        {GW_PHASE_RESPONSE_BODY, WEIR_ETRUNCATED, 0, 502, "http_response_incomplete",
         GW_OUTCOME_UPSTREAM_ABORT, GW_END_BY_UPSTREAM},
        {GW_PHASE_RESPONSE_BODY, WEIR_ETIMEDOUT, 0, 504, "connection_read_timeout",
         GW_OUTCOME_UPSTREAM_TIMEOUT, GW_END_BY_WEIR},
        {GW_PHASE_RESPONSE_BODY, WEIR_EBUDGET, 0, 503, "proxy_internal_response", GW_OUTCOME_LIMIT,
         GW_END_BY_WEIR},
        {GW_PHASE_CLIENT_WRITE, WEIR_ESTALLED, 0, 499, NULL, GW_OUTCOME_CLIENT_STALLED,
         GW_END_BY_WEIR},
        {GW_PHASE_CLIENT_WRITE, WEIR_ERESET, 0, 499, NULL, GW_OUTCOME_CLIENT_GONE,
         GW_END_BY_CLIENT},
        {GW_PHASE_CLIENT_HEAD, -501, 0, 500, "proxy_internal_error", GW_OUTCOME_INTERNAL_ERROR,
         GW_END_BY_WEIR},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct weir_error error = {.code = cases[i].code, .native = cases[i].native};
        struct gw_error out;

        gw_error_map(cases[i].phase, &error, 504, &out);
        assert_int_equal(out.status, cases[i].status);
        if (cases[i].token == NULL) {
            assert_null(out.proxy_error);
        } else {
            assert_string_equal(out.proxy_error, cases[i].token);
        }
        assert_int_equal(out.outcome, cases[i].outcome);
        assert_int_equal(out.end_by, cases[i].end_by);
        assert_int_equal(out.retry_after_s > 0, out.status == 503);
        assert_string_not_equal(out.title, "Unknown");
        /* Only the upstream's timeouts move. */
        gw_error_map(cases[i].phase, &error, 408, &out);
        assert_int_equal(out.status, cases[i].status == 504 ? 408 : cases[i].status);
    }
}

/* Every phase with every code: always an answer, and texts that need no escape. */
static void everything_maps(void **state)
{
    char text[GW_ERROR_TEXT_BYTES];

    (void)state;
    for (int phase = GW_PHASE_CLIENT_HEAD; phase <= GW_PHASE_CLIENT_WRITE; phase++) {
        for (int code = -20023; code <= -19999; code++) {
            for (int reason = 0; reason <= WEIR_REASON_HANDLER; reason++) {
                struct weir_error error = {.code = code, .reason = (enum weir_reason)reason};
                struct gw_error out;
                size_t len;

                gw_error_map((enum gw_phase)phase, &error, 504, &out);
                assert_true(out.status >= 400 && out.status < 600);
                assert_true(out.outcome > GW_OUTCOME_COMPLETE);
                assert_true(out.end_by != GW_END_BY_NONE);
                assert_true(out.status == 499 || (out.detail != NULL && out.proxy_error != NULL));
                assert_true(reason != WEIR_REASON_SHUTDOWN ||
                            (out.status == 503 && out.outcome == GW_OUTCOME_SHUTDOWN));
                assert_true(out.detail == NULL || strpbrk(out.detail, "\"\\\n") == NULL);
                len = gw_error_body(&out, text, sizeof(text));
                assert_true(len > 0 && len == strlen(text));
            }
        }
    }
}

static void texts_are_composed(void **state)
{
    struct weir_error error = {.code = WEIR_ETIMEDOUT};
    struct gw_error out;
    char text[GW_ERROR_TEXT_BYTES];

    (void)state;
    gw_error_map(GW_PHASE_RESPONSE_HEAD, &error, 504, &out);
    assert_int_equal(gw_error_body(&out, text, sizeof(text)), 110);
    assert_string_equal(text,
                        "{\"type\":\"about:blank\",\"title\":\"Gateway Timeout\",\"status\":504,"
                        "\"detail\":\"The upstream did not answer in time.\"}\n");
    assert_int_equal(gw_error_body(&out, text, 110), 0);
    assert_int_equal(gw_error_body(&out, text, 111), 110);
    assert_int_equal(gw_error_proxy_status(&out, text, sizeof(text)), 33);
    assert_string_equal(text, "weir; error=http_response_timeout");
    assert_int_equal(gw_error_proxy_status(&out, text, 33), 0);
    gw_error_map(GW_PHASE_RESPONSE_HEAD, &error, 408, &out);
    assert_string_equal(out.title, "Request Timeout");
    out.detail = NULL;
    assert_true(gw_error_body(&out, text, sizeof(text)) > 0);
    assert_string_equal(
        text, "{\"type\":\"about:blank\",\"title\":\"Request Timeout\",\"status\":408}\n");
    out.proxy_error = NULL;
    assert_int_equal(gw_error_proxy_status(&out, text, sizeof(text)), 0);
}

static void verdicts_map(void **state)
{
    struct gw_error out;

    (void)state;
    gw_error_denied(GW_NO_KEY, &out);
    assert_int_equal(out.status, 401);
    assert_string_equal(out.www_authenticate, "Bearer realm=\"weir\"");
    assert_int_equal(out.outcome, GW_OUTCOME_DENIED);
    gw_error_denied(GW_UNKNOWN, &out);
    assert_int_equal(out.status, 401);
    assert_string_equal(out.title, "Unauthorized");
    assert_string_equal(out.www_authenticate, "Bearer realm=\"weir\", error=\"invalid_token\"");
    gw_error_denied(GW_FORBIDDEN, &out);
    assert_int_equal(out.status, 403);
    assert_string_equal(out.title, "Forbidden");
    assert_null(out.www_authenticate);
    assert_string_equal(out.proxy_error, "http_request_denied");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failures_map),
        cmocka_unit_test(everything_maps),
        cmocka_unit_test(texts_are_composed),
        cmocka_unit_test(verdicts_map),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
