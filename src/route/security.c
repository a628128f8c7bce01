/* SPDX-License-Identifier: MIT */
/* Fields that tell a browser to be careful. What the handler says itself stays. */
#include <weir/web.h>

#include "http/request.h"
#include "route/text.h"

struct security {
    struct weir_reply_filter filter;
    const struct weir_security_opts *opts;
};

/* `value` NULL: `otherwise`; that NULL, or an empty value: nothing. */
static int add(struct weir_fields *fields, const char *name, const char *value,
               const char *otherwise)
{
    const char *text = value != NULL ? value : otherwise;

    if (text == NULL || text[0] == '\0' ||
        !weir_view_is_absent(weir_fields_get(fields, weir_str(name)))) {
        return 0;
    }
    return weir_fields_add_borrowed(fields, weir_str(name), weir_str(text));
}

static int add_hsts(struct weir_fields *fields, uint64_t max_age_s)
{
    char buffer[64];
    struct weir__text text = {.data = buffer, .size = sizeof(buffer)};

    if (max_age_s == 0 ||
        !weir_view_is_absent(weir_fields_get(fields, weir_str("Strict-Transport-Security")))) {
        return 0;
    }
    weir__text_str(&text, "max-age=");
    weir__text_u64(&text, max_age_s);
    return weir_fields_add(fields, weir_str("Strict-Transport-Security"),
                           weir_bytes(buffer, text.len));
}

static int begin(struct weir_reply_filter *filter, struct weir_reply *reply, struct weir_sink **ret)
{
    const struct weir_security_opts *opts = ((struct security *)(void *)filter)->opts;
    struct weir_fields *fields;
    int r = weir_reply_edit(reply, &fields);

    if (r == 0) {
        r = add(fields, "X-Content-Type-Options", opts->content_type_options, "nosniff");
    }
    if (r == 0) {
        r = add(fields, "X-Frame-Options", opts->frame_options, "DENY");
    }
    if (r == 0) {
        r = add(fields, "Referrer-Policy", opts->referrer_policy, "no-referrer");
    }
    if (r == 0) {
        r = add(fields, "Content-Security-Policy", opts->content_security_policy, NULL);
    }
    if (r == 0) {
        r = add(fields, "Permissions-Policy", opts->permissions_policy, NULL);
    }
    if (r == 0) {
        r = add(fields, "Cross-Origin-Opener-Policy", opts->cross_origin_opener_policy, NULL);
    }
    if (r == 0) {
        r = add_hsts(fields, opts->hsts_max_age_s);
    }
    return r < 0 ? r : weir_reply_next(reply, ret);
}

int weir_mw_security(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    struct weir_security_opts none = {0};
    struct security security = {.filter = {.begin = begin}, .opts = arg != NULL ? arg : &none};

    weir_req_filter_reply(req, &security.filter);
    return weir_chain_run(next, req);
}
