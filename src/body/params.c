/* SPDX-License-Identifier: MIT */
/* Parameters of field values. What is no parameter is refused, never skipped. */
#include "body/params.h"

#include "http/fields.h"

static void step(struct weir_view *view, size_t len)
{
    view->data += len;
    view->len -= len;
}

struct weir_view weir__params_begin(struct weir_view value, struct weir_view *rest)
{
    const uint8_t *semicolon = value.len > 0 ? memchr(value.data, ';', value.len) : NULL;
    size_t len = semicolon != NULL ? (size_t)(semicolon - value.data) : value.len;

    *rest = value;
    if (len > 0) {
        step(rest, len);
    }
    return weir_view_trim(weir_bytes(value.data, len));
}

/* The content of a quoted string whose opening quote is gone: 0 or WEIR_EPROTO. */
static int quoted(struct weir_view *rest, struct weir_view *ret)
{
    for (size_t i = 0; i < rest->len; i++) {
        uint8_t byte = rest->data[i];

        if (byte == '"') {
            *ret = weir_bytes(rest->data, i);
            step(rest, i + 1);
            return 0;
        }
        if (byte == '\\' && i + 1 < rest->len &&
            (rest->data[i + 1] == '"' || rest->data[i + 1] == '\\')) {
            i++;
        }
    }
    return WEIR_EPROTO;
}

int weir__params_next(struct weir_view *rest, struct weir__param *ret)
{
    const uint8_t *equals;
    size_t len = 0;

    do {
        *rest = weir_view_trim(*rest);
        if (rest->len == 0) {
            return 0;
        }
        if (rest->data[0] != ';') {
            return WEIR_EPROTO;
        }
        step(rest, 1);
        *rest = weir_view_trim(*rest);
    } while (rest->len > 0 && rest->data[0] == ';');
    if (rest->len == 0) {
        return 0;
    }
    equals = memchr(rest->data, '=', rest->len);
    if (equals == NULL) {
        return WEIR_EPROTO;
    }
    ret->name = weir_bytes(rest->data, (size_t)(equals - rest->data));
    step(rest, ret->name.len + 1);
    ret->quoted = rest->len > 0 && rest->data[0] == '"';
    if (ret->quoted) {
        step(rest, 1);
        if (quoted(rest, &ret->raw) < 0) {
            return WEIR_EPROTO;
        }
    } else {
        while (len < rest->len && weir__field_is_token(weir_bytes(rest->data + len, 1))) {
            len++;
        }
        ret->raw = weir_bytes(rest->data, len);
        step(rest, len);
    }
    return weir__field_is_token(ret->name) && (ret->quoted || len > 0) ? 1 : WEIR_EPROTO;
}

size_t weir__params_unquote(uint8_t *bytes, size_t len)
{
    size_t out = 0;

    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\\' && i + 1 < len && (bytes[i + 1] == '"' || bytes[i + 1] == '\\')) {
            i++;
        }
        bytes[out++] = bytes[i];
    }
    return out;
}

int weir__req_content_type(struct weir_req *req, struct weir_view *ret)
{
    struct weir_fields *fields = weir_req_fields(req);
    struct weir_view found = weir_bytes(NULL, 0);

    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);

        if (weir_view_equal_nocase(field.name, weir_str("content-type"))) {
            if (!weir_view_is_absent(found)) {
                return WEIR_EPROTO;
            }
            found = field.value;
        }
    }
    if (weir_view_is_absent(found)) {
        return WEIR_EUNSUPPORTED;
    }
    *ret = found;
    return 0;
}
