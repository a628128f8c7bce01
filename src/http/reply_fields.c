/* SPDX-License-Identifier: MIT */
/* The fields of a reply: what the handler gives, and what its kind of reply sets. Knows nothing of framing. */
#include "http/reply_fields.h"

#include <weir/err.h>

#include "base/cleanup.h"

/* Whether the reply's own field stands in place of a given one. */
static bool is_replaced(struct weir_view name, const struct weir__reply_field *own, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (own[i].fixed && weir_view_equal_nocase(name, weir_str(own[i].name))) {
            return true;
        }
    }
    return false;
}

int weir__reply_fields(struct weir_fields *given, const struct weir__reply_field *own, size_t count,
                       struct weir_fields **ret)
{
    WEIR_CLEANUP(weir_fields_destroyp) struct weir_fields *all = NULL;
    int r = weir_fields_create(&all);

    for (size_t i = 0; r == 0 && i < weir_fields_count(given); i++) {
        struct weir_field field = weir_fields_at(given, i);

        if (!is_replaced(field.name, own, count)) {
            r = weir_fields_add_borrowed(all, field.name, field.value);
        }
    }
    for (size_t i = 0; r == 0 && i < count; i++) {
        struct weir_view name = weir_str(own[i].name);

        if (own[i].fixed || weir_view_is_absent(weir_fields_get(given, name))) {
            r = weir_fields_add_borrowed(all, name, own[i].value);
        }
    }
    if (r == 0) {
        *ret = weir_take(all);
    }
    return r;
}
