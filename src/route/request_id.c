/* SPDX-License-Identifier: MIT */
/* A name for each request, for logs on both sides. A client's own is taken only if it can do no harm in a log or a field. */
#include <weir/telemetry.h>

#include "base/random.h"
#include "http/request.h"
#include "route/text.h"

#define MOST 128

struct request_id {
    struct weir_reply_filter filter;
    struct weir_req_value value;
    struct weir_view id;
    const char *field;
    char text[MOST];
};

static const char id_key;

static bool is_safe(struct weir_view id, size_t max_bytes)
{
    for (size_t i = 0; i < id.len; i++) {
        uint8_t byte = id.data[i];
        uint8_t lower = byte | 0x20;

        if (!(lower >= 'a' && lower <= 'z') && !(byte >= '0' && byte <= '9') &&
            (byte == '\0' || strchr("-_.:/+=@", byte) == NULL)) {
            return false;
        }
    }
    return id.len > 0 && id.len <= max_bytes;
}

static int begin(struct weir_reply_filter *filter, struct weir_reply *reply, struct weir_sink **ret)
{
    struct request_id *own = (struct request_id *)(void *)filter;
    int r = weir_reply_set_field(reply, own->field, own->id);

    return r < 0 ? r : weir_reply_next(reply, ret);
}

int weir_mw_request_id(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_request_id_opts none = {0};
    const struct weir_request_id_opts *opts = arg != NULL ? arg : &none;
    struct request_id own = {.filter = {.begin = begin}, .value = {.key = &id_key}};
    size_t max_bytes = opts->max_bytes > 0 && opts->max_bytes < MOST ? opts->max_bytes : 64;
    struct weir_view sent;

    own.field = opts->field != NULL ? opts->field : "X-Request-ID";
    sent = opts->trust_inbound ? weir_req_field(req, own.field) : weir_bytes(NULL, 0);
    if (opts->max_bytes >= MOST) {
        max_bytes = MOST;
    }
    if (is_safe(sent, max_bytes)) {
        memcpy(own.text, sent.data, sent.len);
        own.id = weir_bytes(own.text, sent.len);
    } else {
        uint8_t random[16];
        int r = weir__random(random, sizeof(random));

        if (r < 0) {
            return r;
        }
        weir__text_hex(own.text, random, sizeof(random));
        own.id = weir_bytes(own.text, 32);
    }
    own.value.value = &own.id;
    weir_req_put(req, &own.value);
    weir_req_filter_reply(req, &own.filter);
    return weir_chain_run(next, req);
}

struct weir_view weir_req_request_id(struct weir_req *req)
{
    const struct weir_view *id = weir_req_get(req, &id_key);

    return id != NULL ? *id : weir_bytes(NULL, 0);
}
