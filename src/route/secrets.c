/* SPDX-License-Identifier: MIT */
/* Who the client is: bearer tokens (RFC 6750) and API keys, looked at by the program's own function. */
#include <weir/guards.h>

#include "base/cleanup.h"
#include "http/request.h"
#include "route/text.h"

static const char identity_key;

bool weir_secret_equal(struct weir_view given, struct weir_view known)
{
    uint8_t differs = given.len != known.len || known.len == 0;

    /* As many steps as `given` has bytes: the length of the known one does not show. */
    for (size_t i = 0; i < given.len; i++) {
        uint8_t other = known.len > 0 ? known.data[i % known.len] : 0;

        differs |= given.data[i] ^ other;
    }
    return differs == 0;
}

const void *weir_req_identity(struct weir_req *req)
{
    return weir_req_get(req, &identity_key);
}

/* 401, or what else is said with the scheme's challenge (RFC 9110 11.6.1). */
static int challenge(struct weir_req *req, int status, const char *scheme, const char *realm,
                     const char *error)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *fields = NULL;
    char buffer[256];
    struct weir__text text = {.data = buffer, .size = sizeof(buffer)};
    int r = weir_fields_create(&fields);

    weir__text_str(&text, scheme);
    weir__text_str(&text, " realm=\"");
    weir__text_str(&text, realm != NULL ? realm : "weir");
    weir__text_str(&text, "\"");
    if (error != NULL) {
        weir__text_str(&text, ", error=\"");
        weir__text_str(&text, error);
        weir__text_str(&text, "\"");
    }
    if (r == 0 && text.is_full) {
        r = WEIR_ESTATE; /* a realm that is far too long */
    }
    if (r == 0) {
        r = weir_fields_add_borrowed(fields, weir_str("WWW-Authenticate"),
                                     weir_bytes(buffer, text.len));
    }
    return r < 0 ? r
                 : weir_reply_bytes(req, status, fields, "text/plain; charset=utf-8",
                                    weir_str(status == 400   ? "one set of credentials, please\n"
                                             : status == 403 ? "not allowed\n"
                                                             : "who are you?\n"));
}

/* The lines of a field; the last one's value. */
static size_t lines_of(struct weir_req *req, const char *name, struct weir_view *ret)
{
    struct weir_fields *fields = weir_req_fields(req);
    size_t count = 0;

    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);

        if (weir_view_equal_nocase(field.name, weir_str(name))) {
            *ret = field.value;
            count++;
        }
    }
    return count;
}

/* Asks the program, and lets in, or not. */
static int decide(struct weir_req *req, const struct weir_chain *next, struct weir_view secret,
                  weir_secret_check_fn *check, void *arg, const char *scheme, const char *realm,
                  bool is_bearer)
{
    struct weir_req_value identity = {.key = &identity_key};
    int r = check(req, secret, arg, &identity.value);

    if (r == 0) {
        if (identity.value != NULL) {
            weir_req_put(req, &identity);
        }
        return weir_chain_run(next, req);
    }
    if (r < 0) {
        return r;
    }
    return r == 403 ? challenge(req, 403, scheme, realm, is_bearer ? "insufficient_scope" : NULL)
                    : challenge(req, 401, scheme, realm, is_bearer ? "invalid_token" : NULL);
}

/* "Bearer", spaces, and a b64token (RFC 6750 2.1). */
static bool take_token(struct weir_view value, struct weir_view *ret)
{
    static const struct weir_view scheme = {(const uint8_t *)"Bearer", 6};
    bool padded = false;

    if (value.len < 8 || !weir_view_equal_nocase(weir_bytes(value.data, 6), scheme) ||
        value.data[6] != ' ') {
        return false;
    }
    value = weir_view_trim(weir_bytes(value.data + 7, value.len - 7));
    for (size_t i = 0; i < value.len; i++) {
        uint8_t byte = value.data[i];
        uint8_t lower = byte | 0x20;

        padded = padded || (byte == '=' && i > 0);
        if (padded ? byte != '='
                   : !(lower >= 'a' && lower <= 'z') && !(byte >= '0' && byte <= '9') &&
                         (byte == '\0' || strchr("-._~+/", byte) == NULL)) {
            return false;
        }
    }
    *ret = value;
    return value.len > 0;
}

int weir_mw_bearer(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    const struct weir_bearer_opts *opts = arg;
    struct weir_view value = weir_bytes(NULL, 0);
    size_t lines = lines_of(req, "Authorization", &value);

    if (opts == NULL || opts->check == NULL) {
        return WEIR_ESTATE;
    }
    if (lines > 1) {
        return challenge(req, 400, "Bearer", opts->realm, "invalid_request");
    }
    if (lines == 0 || !take_token(value, &value)) {
        return challenge(req, 401, "Bearer", opts->realm, NULL);
    }
    return decide(req, next, value, opts->check, opts->arg, "Bearer", opts->realm, true);
}

int weir_mw_api_key(struct weir_req *req, const struct weir_chain *next, void *arg)
{
    const struct weir_api_key_opts *opts = arg;
    struct weir_view value = weir_bytes(NULL, 0);
    size_t lines;

    if (opts == NULL || opts->check == NULL) {
        return WEIR_ESTATE;
    }
    lines = lines_of(req, opts->field != NULL ? opts->field : "X-API-Key", &value);
    if (lines > 1) {
        return challenge(req, 400, "ApiKey", opts->realm, NULL);
    }
    if (lines == 0 || value.len == 0) {
        return challenge(req, 401, "ApiKey", opts->realm, NULL);
    }
    return decide(req, next, value, opts->check, opts->arg, "ApiKey", opts->realm, false);
}
