/* SPDX-License-Identifier: MIT */
/* W3C Trace Context: traceparent read strictly (3.2.2), continued or begun. */
#include <weir/telemetry.h>

#include "base/random.h"
#include "http/request.h"
#include "route/text.h"

static const char trace_key;

static bool hex_bytes(const uint8_t *text, uint8_t *ret, size_t len)
{
    uint8_t any = 0;

    for (size_t i = 0; i < 2 * len; i++) {
        uint8_t c = text[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

        if (digit < 0) {
            return false;
        }
        ret[i / 2] = (uint8_t)(i % 2 == 0 ? digit << 4 : ret[i / 2] | digit);
        any |= (uint8_t)digit;
    }
    return any != 0 || len == 1;
}

int weir_traceparent_parse(struct weir_view text, struct weir_trace *ret)
{
    struct weir_trace trace = {0};
    uint8_t version;

    if (text.len < WEIR_TRACEPARENT_BYTES || !hex_bytes(text.data, &version, 1) ||
        version == 0xff || text.data[2] != '-' || !hex_bytes(text.data + 3, trace.trace_id, 16) ||
        text.data[35] != '-' || !hex_bytes(text.data + 36, trace.parent_id, 8) ||
        text.data[52] != '-' || !hex_bytes(text.data + 53, &trace.flags, 1)) {
        return WEIR_EPROTO;
    }
    /* A later version may go on, behind another dash; of its flags only those of version 0 mean something. */
    if (text.len > WEIR_TRACEPARENT_BYTES &&
        (version == 0 || text.data[WEIR_TRACEPARENT_BYTES] != '-')) {
        return WEIR_EPROTO;
    }
    trace.flags &= version == 0 ? 0xff : 1;
    trace.is_continued = true;
    *ret = trace;
    return 0;
}

struct weir_view weir_traceparent_format(const struct weir_trace *trace, char *ret_text)
{
    uint8_t flags = trace->flags & 3; /* sampled, random */

    memcpy(ret_text, "00-", 3);
    weir__text_hex(ret_text + 3, trace->trace_id, 16);
    ret_text[35] = '-';
    weir__text_hex(ret_text + 36, trace->span_id, 8);
    ret_text[52] = '-';
    weir__text_hex(ret_text + 53, &flags, 1);
    return weir_bytes(ret_text, WEIR_TRACEPARENT_BYTES);
}

/* Random bytes that are not all zero. */
static int random_id(uint8_t *id, size_t len)
{
    int r = weir__random(id, len);

    id[len - 1] |= 1;
    return r;
}

/* A new trace; whether it is sampled is decided here, for all who take part. */
static int begin_trace(const struct weir_trace_opts *opts, struct weir_trace *trace)
{
    unsigned per_mille = opts->sample_per_mille > 0 ? opts->sample_per_mille : 1000;
    uint16_t chance;
    int r = random_id(trace->trace_id, sizeof(trace->trace_id));

    memcpy(&chance, trace->trace_id, sizeof(chance));
    trace->flags = per_mille != WEIR_SAMPLE_NONE && chance % 1000 < per_mille ? 3 : 2;
    return r;
}

int weir_mw_trace(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_trace_opts none = {0};
    const struct weir_trace_opts *opts = arg != NULL ? arg : &none;
    struct weir_trace trace = {0};
    struct weir_req_value value = {.key = &trace_key, .value = &trace};
    struct weir_fields *fields = weir_req_fields(req);
    struct weir_view sent = weir_bytes(NULL, 0);
    size_t lines = 0;
    int r = 0;

    for (size_t i = 0; !opts->ignore_inbound && i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);

        if (weir_view_equal_nocase(field.name, weir_str("traceparent"))) {
            sent = field.value;
            lines++;
        }
    }
    if (lines != 1 || weir_traceparent_parse(sent, &trace) < 0) {
        r = begin_trace(opts, &trace);
    }
    if (r == 0) {
        r = random_id(trace.span_id, sizeof(trace.span_id));
    }
    if (r < 0) {
        return r;
    }
    weir_req_put(req, &value);
    return weir_chain_run(next, req);
}

const struct weir_trace *weir_req_trace(struct weir_req *req)
{
    return weir_req_get(req, &trace_key);
}

struct weir_view weir_req_tracestate(struct weir_req *req)
{
    const struct weir_trace *trace = weir_req_trace(req);
    struct weir_fields *fields = weir_req_fields(req);

    return trace != NULL && trace->is_continued && fields != NULL
               ? weir_fields_get(fields, weir_str("tracestate"))
               : weir_bytes(NULL, 0);
}
