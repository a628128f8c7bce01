/* SPDX-License-Identifier: MIT */
/* Byte views: comparison and the few scanners that every parser shares. Never reads past a view's length. */
#include <weir/view.h>

#include <weir/err.h>

static inline uint8_t lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte | 0x20) : byte;
}

bool weir_view_equal(struct weir_view a, struct weir_view b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool weir_view_equal_nocase(struct weir_view a, struct weir_view b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (lower(a.data[i]) != lower(b.data[i])) {
            return false;
        }
    }
    return true;
}

bool weir_view_starts_with(struct weir_view view, struct weir_view prefix)
{
    return view.len >= prefix.len &&
           (prefix.len == 0 || memcmp(view.data, prefix.data, prefix.len) == 0);
}

struct weir_view weir_view_trim(struct weir_view view)
{
    while (view.len > 0 && (view.data[0] == ' ' || view.data[0] == '\t')) {
        view.data++;
        view.len--;
    }
    while (view.len > 0 && (view.data[view.len - 1] == ' ' || view.data[view.len - 1] == '\t')) {
        view.len--;
    }
    return view;
}

int weir_view_to_u64(struct weir_view view, uint64_t *ret)
{
    uint64_t value = 0;

    if (view.len == 0) {
        return WEIR_EINVAL;
    }
    for (size_t i = 0; i < view.len; i++) {
        uint8_t digit = (uint8_t)(view.data[i] - '0');

        if (digit > 9) {
            return WEIR_EINVAL;
        }
        if (value > (UINT64_MAX - digit) / 10) {
            return WEIR_ELIMIT;
        }
        value = value * 10 + digit;
    }
    *ret = value;
    return 0;
}

int weir_view_next_item(struct weir_view *list, struct weir_view *ret)
{
    while (list->len > 0) {
        const uint8_t *comma = memchr(list->data, ',', list->len);
        size_t len = comma != NULL ? (size_t)(comma - list->data) : list->len;
        struct weir_view item = weir_view_trim(weir_bytes(list->data, len));
        size_t step = comma != NULL ? len + 1 : len;

        list->data += step;
        list->len -= step;
        if (item.len > 0) {
            *ret = item;
            return 1;
        }
    }
    return 0;
}
