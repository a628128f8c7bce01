/* SPDX-License-Identifier: MIT */
/*
 * Preconditions, in the order of RFC 9110 13.2.2. What cannot be read never makes a precondition hold that protects a
 * change (If-Match), nor one that spares a transfer (If-None-Match): the safe answer is to send, or to refuse.
 */
#include "http/conditional.h"

#include <weir/files.h>

#include "http/date.h"
#include "http/request.h"

/* Takes one entity tag off the front. */
static bool take_etag(struct weir_view *text, struct weir_view *ret)
{
    size_t at = weir_view_starts_with(*text, weir_str("W/")) ? 2 : 0;

    if (at >= text->len || text->data[at] != '"') {
        return false;
    }
    for (at++; at < text->len && text->data[at] != '"'; at++) {
        uint8_t octet = text->data[at];

        if (octet < 0x21 || octet == 0x7f) {
            return false; /* RFC 9110 8.8.3: etagc */
        }
    }
    if (at == text->len) {
        return false;
    }
    at++;
    *ret = weir_bytes(text->data, at);
    text->data += at;
    text->len -= at;
    return true;
}

bool weir__etag_is_valid(struct weir_view etag)
{
    struct weir_view one;

    return take_etag(&etag, &one) && etag.len == 0;
}

static bool is_weak(struct weir_view etag)
{
    return etag.len > 0 && etag.data[0] == 'W';
}

/* RFC 9110 8.8.3.2 */
static bool etags_match(struct weir_view a, struct weir_view b, bool strong)
{
    if (strong && (is_weak(a) || is_weak(b))) {
        return false;
    }
    if (is_weak(a)) {
        a = weir_bytes(a.data + 2, a.len - 2);
    }
    if (is_weak(b)) {
        b = weir_bytes(b.data + 2, b.len - 2);
    }
    return weir_view_equal(a, b);
}

/* Whether the tag is in the list of one field line; a comma may stand inside a tag. What cannot be read ends it. */
static bool list_has(struct weir_view list, struct weir_view etag, bool strong)
{
    for (;;) {
        struct weir_view one;

        while (list.len > 0 &&
               (list.data[0] == ',' || list.data[0] == ' ' || list.data[0] == '\t')) {
            list.data++;
            list.len--;
        }
        if (!take_etag(&list, &one)) {
            return false;
        }
        if (etags_match(one, etag, strong)) {
            return true;
        }
        list = weir_view_trim(list);
        if (list.len == 0 || list.data[0] != ',') {
            return false;
        }
    }
}

/* Whether a list of tags, which may be spread over lines, names what there is; "*" names anything. */
static bool names(struct weir_fields *fields, struct weir_view name, struct weir_view etag,
                  bool strong)
{
    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);

        if (!weir_view_equal_nocase(field.name, name)) {
            continue;
        }
        if (weir_view_equal(field.value, weir_str("*")) ||
            (!weir_view_is_absent(etag) && list_has(field.value, etag, strong))) {
            return true;
        }
    }
    return false;
}

struct weir_view weir__fields_single(struct weir_fields *fields, const char *name)
{
    struct weir_view found = {NULL, 0};

    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);

        if (weir_view_equal_nocase(field.name, weir_str(name))) {
            if (!weir_view_is_absent(found)) {
                return weir_bytes(NULL, 0);
            }
            found = field.value;
        }
    }
    return found;
}

static bool has(struct weir_fields *fields, const char *name)
{
    return !weir_view_is_absent(weir_fields_get(fields, weir_str(name)));
}

int weir__conditional_status(struct weir_fields *fields, bool is_get_or_head, struct weir_view etag,
                             int64_t last_modified, int64_t now)
{
    bool dated = last_modified >= 0;
    int64_t date;

    if (has(fields, "If-Match")) {
        if (!names(fields, weir_str("If-Match"), etag, true)) {
            return 412;
        }
    } else if (dated &&
               weir__http_date_parse(weir__fields_single(fields, "If-Unmodified-Since"), now,
                                     &date) == 0 &&
               last_modified > date) {
        return 412;
    }
    if (has(fields, "If-None-Match")) {
        if (names(fields, weir_str("If-None-Match"), etag, false)) {
            return is_get_or_head ? 304 : 412;
        }
    } else if (is_get_or_head && dated &&
               weir__http_date_parse(weir__fields_single(fields, "If-Modified-Since"), now,
                                     &date) == 0 &&
               last_modified <= date) {
        return 304;
    }
    return 0;
}

bool weir__conditional_allows_range(struct weir_fields *fields, struct weir_view etag,
                                    int64_t last_modified, int64_t now)
{
    struct weir_view value;
    int64_t date;

    if (!has(fields, "If-Range")) {
        return true;
    }
    value = weir__fields_single(fields, "If-Range");
    if (weir__etag_is_valid(value)) {
        return !weir_view_is_absent(etag) && etags_match(value, etag, true);
    }
    /* A date is a strong validator only once its second is over (8.8.2.2); it has to be the very one. */
    return last_modified >= 0 && weir__http_date_parse(value, now, &date) == 0 &&
           date == last_modified && last_modified < now;
}

int weir_req_is_fresh(struct weir_req *req, struct weir_view etag, int64_t last_modified)
{
    struct weir_view method = weir_req_method(req);
    bool is_get_or_head =
        weir_view_equal(method, weir_str("GET")) || weir_view_equal(method, weir_str("HEAD"));

    if (!weir_view_is_absent(etag) && !weir__etag_is_valid(etag)) {
        return WEIR_EINVAL;
    }
    /* RFC 9110 13.2.1: methods that neither select nor change a representation. */
    if (weir_view_equal(method, weir_str("OPTIONS")) ||
        weir_view_equal(method, weir_str("TRACE")) ||
        weir_view_equal(method, weir_str("CONNECT"))) {
        return 0;
    }
    return weir__conditional_status(weir_req_fields(req), is_get_or_head, etag, last_modified,
                                    weir__http_now());
}
