/* SPDX-License-Identifier: MIT */
/* URL-encoded forms. A form is one block: the fields, and behind them their decoded bytes, never more than the text has. */
#include <weir/form.h>

#include "base/assert.h"
#include "base/cleanup.h"
#include "body/charged.h"
#include "body/decoded.h"
#include "body/params.h"
#include "http/request.h"

#define FORM_MAGIC 0x666f726du

struct weir_form {
    uint32_t magic;
    size_t size, count; /* of the block; of the fields */
    struct weir_form_field fields[];
};

static size_t max_bytes(const struct weir_form_limits *limits)
{
    return limits != NULL && limits->max_bytes > 0 ? limits->max_bytes : (size_t)1 << 20;
}

static size_t max_fields(const struct weir_form_limits *limits)
{
    return limits != NULL && limits->max_fields > 0 ? limits->max_fields : 1000;
}

/* Takes the next field that is not empty off the text: 1, or 0 at the end. */
static int next_raw(struct weir_view *text, struct weir_view *ret)
{
    while (text->len > 0) {
        const uint8_t *end = memchr(text->data, '&', text->len);
        size_t len = end != NULL ? (size_t)(end - text->data) : text->len;

        *ret = weir_bytes(text->data, len);
        len += end != NULL;
        text->data += len;
        text->len -= len;
        if (ret->len > 0) {
            return 1;
        }
    }
    return 0;
}

static int hex(uint8_t byte)
{
    return byte >= '0' && byte <= '9'   ? byte - '0'
           : byte >= 'A' && byte <= 'F' ? byte - 'A' + 10
           : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
                                        : -1;
}

/* Decodes `raw` to `out`, which has room for as much: 0 or WEIR_EPROTO. */
static int decode(struct weir_view raw, uint8_t *out, struct weir_view *ret)
{
    size_t len = 0;

    for (size_t i = 0; i < raw.len; i++) {
        uint8_t byte = raw.data[i];

        if (byte < 0x20 || byte == 0x7f) {
            return WEIR_EPROTO;
        }
        if (byte == '+') {
            byte = ' ';
        } else if (byte == '%') {
            int high = raw.len - i > 2 ? hex(raw.data[i + 1]) : -1;
            int low = high >= 0 ? hex(raw.data[i + 2]) : -1;

            if (low < 0) {
                return WEIR_EPROTO;
            }
            byte = (uint8_t)(high * 16 + low);
            i += 2;
        }
        out[len++] = byte;
    }
    *ret = weir_bytes(out, len);
    return 0;
}

static int fill(struct weir_form *form, struct weir_view text, uint8_t *out)
{
    struct weir_view raw;

    while (next_raw(&text, &raw) > 0) {
        struct weir_form_field *field = &form->fields[form->count];
        const uint8_t *equals = memchr(raw.data, '=', raw.len);
        size_t len = equals != NULL ? (size_t)(equals - raw.data) : raw.len;
        size_t skip = len + (equals != NULL);
        int r = decode(weir_bytes(raw.data, len), out, &field->name);

        if (r == 0) {
            out += field->name.len;
            r = decode(weir_bytes(raw.data + skip, raw.len - skip), out, &field->value);
        }
        if (r < 0) {
            return r;
        }
        out += field->value.len;
        form->count++;
    }
    return 0;
}

int weir_form_parse(struct weir_view text, const struct weir_form_limits *limits,
                    struct weir_form **ret)
{
    WEIR_CLEANUP(weir_form_destroyp) struct weir_form *form = NULL;
    struct weir_view rest = text, raw;
    size_t count = 0, size;
    void *memory;
    int r;

    if (text.len > max_bytes(limits)) {
        return WEIR_ELIMIT;
    }
    while (next_raw(&rest, &raw) > 0) {
        if (++count > max_fields(limits)) {
            return WEIR_ELIMIT;
        }
    }
    /* One byte more, so that an empty name at the very end still points into the block. */
    size = sizeof(*form) + count * sizeof(form->fields[0]) + text.len + 1;
    r = weir__charged_alloc(size, &memory);
    if (r < 0) {
        return r;
    }
    form = memory;
    form->magic = FORM_MAGIC;
    form->size = size;
    form->count = 0;
    r = fill(form, text, (uint8_t *)&form->fields[count]);
    if (r == 0) {
        *ret = weir_take(form);
    }
    return r;
}

int weir_form_read(struct weir_req *req, const struct weir_form_limits *limits, int64_t deadline,
                   struct weir_form **ret)
{
    WEIR_CLEANUP(weir_chunk_unrefp) struct weir_chunk *text = NULL;
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *decoded = NULL;
    struct weir_source *body;
    struct weir_view type, params;
    int r = weir__req_content_type(req, &type);

    if (r == 0 && !weir_view_equal_nocase(weir__params_begin(type, &params),
                                          weir_str("application/x-www-form-urlencoded"))) {
        r = WEIR_EUNSUPPORTED;
    }
    req->unread = r == WEIR_EUNSUPPORTED ? WEIR__UNREAD_TYPE : WEIR__UNREAD_NOT;
    if (r == 0) {
        r = weir__req_plain_body(req, &body, &decoded);
    }
    if (r == 0) {
        r = weir_read_all(body, max_bytes(limits), deadline, &text);
    }
    return r < 0 ? r : weir_form_parse(weir_chunk_view(text), limits, ret);
}

void weir_form_destroy(struct weir_form *form)
{
    if (form == NULL) {
        return;
    }
    weir_check(form, FORM_MAGIC);
    form->magic = 0;
    weir__charged_free(form, form->size);
}

void weir_form_destroyp(struct weir_form **form)
{
    weir_form_destroy(*form);
    *form = NULL;
}

size_t weir_form_count(struct weir_form *form)
{
    weir_check(form, FORM_MAGIC);
    return form->count;
}

struct weir_form_field weir_form_at(struct weir_form *form, size_t i)
{
    weir_check(form, FORM_MAGIC);
    return i < form->count ? form->fields[i] : (struct weir_form_field){{NULL, 0}, {NULL, 0}};
}

int weir_form_next(struct weir_form *form, const char *name, size_t *at, struct weir_view *ret)
{
    weir_check(form, FORM_MAGIC);
    while (*at < form->count) {
        struct weir_form_field *field = &form->fields[(*at)++];

        if (weir_view_equal(field->name, weir_str(name))) {
            *ret = field->value;
            return 1;
        }
    }
    return 0;
}

struct weir_view weir_form_get(struct weir_form *form, const char *name)
{
    struct weir_view value = weir_bytes(NULL, 0);
    size_t at = 0;

    weir_form_next(form, name, &at, &value);
    return value;
}
