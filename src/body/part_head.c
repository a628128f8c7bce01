/* SPDX-License-Identifier: MIT */
/* The header of a part (RFC 7578 4.2). No line continues another, and none that matters comes twice. */
#include "body/part_head.h"

#include <weir/err.h>

#include "body/params.h"
#include "http/fields.h"

int weir__part_head_init(struct weir__part_head *head)
{
    *head = (struct weir__part_head){0};
    return weir_fields_create(&head->fields);
}

void weir__part_head_finish(struct weir__part_head *head)
{
    weir_fields_destroy(head->fields);
    *head = (struct weir__part_head){0};
}

int weir__part_head_add(struct weir__part_head *head, struct weir_view line, size_t max_lines)
{
    const uint8_t *colon = memchr(line.data, ':', line.len);
    size_t len = colon != NULL ? (size_t)(colon - line.data) : 0;
    int r;

    if (colon == NULL) {
        return WEIR_EPROTO;
    }
    if (weir_fields_count(head->fields) >= max_lines) {
        return WEIR_ELIMIT;
    }
    r = weir_fields_add(head->fields, weir_bytes(line.data, len),
                        weir_view_trim(weir_bytes(colon + 1, line.len - len - 1)));
    return r == WEIR_EINVAL ? WEIR_EPROTO : r; /* a name that is no token: also a folded line */
}

/* The one line of that name: 1, 0 if there is none, WEIR_EPROTO if there are more. */
static int only_one(struct weir_fields *fields, const char *name, struct weir_view *ret)
{
    int found = 0;

    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);

        if (weir_view_equal_nocase(field.name, weir_str(name))) {
            if (found++ > 0) {
                return WEIR_EPROTO;
            }
            *ret = field.value;
        }
    }
    return found;
}

/* Keeps a parameter's value, unquoted. */
static int keep(struct weir__part_head *head, const struct weir__param *param,
                struct weir_view *ret)
{
    uint8_t *bytes;

    if (!weir_view_is_absent(*ret)) {
        return WEIR_EPROTO;
    }
    bytes = weir__fields_keep(head->fields, param->raw);
    if (bytes == NULL) {
        return WEIR_ENOMEM;
    }
    *ret = weir_bytes(bytes,
                      param->quoted ? weir__params_unquote(bytes, param->raw.len) : param->raw.len);
    return 0;
}

int weir__part_head_end(struct weir__part_head *head)
{
    struct weir_view value = weir_bytes(NULL, 0), rest = weir_bytes(NULL, 0);
    struct weir__param param;
    uint8_t *bytes;
    int r = only_one(head->fields, "content-type", &value);

    if (r >= 0) {
        r = only_one(head->fields, "content-disposition", &value);
    }
    if (r != 1 ||
        !weir_view_equal_nocase(weir__params_begin(value, &rest), weir_str("form-data"))) {
        return WEIR_EPROTO;
    }
    while ((r = weir__params_next(&rest, &param)) > 0) {
        if (weir_view_equal_nocase(param.name, weir_str("name"))) {
            r = keep(head, &param, &head->name);
        } else if (weir_view_equal_nocase(param.name, weir_str("filename"))) {
            r = keep(head, &param, &head->filename);
        }
        if (r < 0) {
            return r;
        }
    }
    if (r < 0 || weir_view_is_absent(head->name)) {
        return WEIR_EPROTO;
    }
    if (head->filename.len > 0) {
        bytes = weir__fields_keep(head->fields, head->filename);
        if (bytes == NULL) {
            return WEIR_ENOMEM;
        }
        value.len = weir__safe_filename(head->filename, bytes);
        head->safe_filename = weir_bytes(value.len > 0 ? bytes : NULL, value.len);
    }
    return 0;
}
