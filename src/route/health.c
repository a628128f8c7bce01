/* SPDX-License-Identifier: MIT */
/* Health: whether the process lives, and whether it can do its work. */
#include <weir/telemetry.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "http/request.h"
#include "route/text.h"

#define BODY_BYTES 2048

static int reply(struct weir_req *req, int status, struct weir_view body)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    int r = weir_fields_create(&fields);

    if (r == 0) {
        r = weir_fields_add_borrowed(fields, weir_str("Cache-Control"), weir_str("no-store"));
    }
    return r < 0 ? r : weir_reply_bytes(req, status, fields, "application/json", body);
}

int weir_health_live(struct weir_req *req, void *arg)
{
    (void)arg;
    return reply(req, 200, weir_str("{\"status\":\"ok\"}\n"));
}

int weir_health_ready(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_freep) char *buffer = weir_alloc(BODY_BYTES);
    const struct weir_health *health = arg;
    /* Room is kept for the end, so that many failures cut the list and not the brackets. */
    struct weir__text body = {.data = buffer, .size = BODY_BYTES - 4};
    size_t failed = 0;

    if (buffer == NULL) {
        return WEIR_ENOMEM;
    }
    weir__text_str(&body, "{\"status\":\"unavailable\",\"failed\":[");
    for (size_t i = 0; health != NULL && i < health->count; i++) {
        const struct weir_health_check *check = &health->checks[i];

        if (check->check(check->arg) != 0) {
            struct weir__text before = body;

            weir__text_str(&body, failed++ > 0 ? "," : "");
            weir__text_json(&body, weir_str(check->name), 64);
            body = body.is_full ? before : body;
        }
    }
    if (failed == 0) {
        return weir_health_live(req, NULL);
    }
    body.size = BODY_BYTES;
    weir__text_str(&body, "]}\n");
    return reply(req, 503, weir_bytes(body.data, body.len));
}
