/* SPDX-License-Identifier: MIT */
/*
 * The Range field. A server may ignore any Range (RFC 9110 14.2), and this one ignores what it does not understand
 * exactly, and each set of more than one: many small parts cost more than the whole. It does not look at If-Range.
 */
#include "http/range.h"

#include <weir/err.h>

/* Digits only; a number too large for us is as good as the largest. */
static int number(struct weir_view text, uint64_t *ret)
{
    int r = weir_view_to_u64(text, ret);

    if (r == WEIR_ELIMIT) {
        /* It stops at the digit that is too much: what follows has to be digits as well. */
        for (size_t i = 0; i < text.len; i++) {
            if (text.data[i] < '0' || text.data[i] > '9') {
                return WEIR_EINVAL;
            }
        }
        *ret = UINT64_MAX;
        r = 0;
    }
    return r;
}

/* "-N": the last N bytes. */
static enum weir__range_kind suffix(struct weir_view text, uint64_t size, struct weir__range *ret)
{
    uint64_t count;

    if (number(text, &count) < 0) {
        return WEIR__RANGE_NONE;
    }
    if (count == 0) {
        return WEIR__RANGE_UNSATISFIABLE;
    }
    if (size == 0) {
        return WEIR__RANGE_NONE; /* satisfiable, yet no Content-Range can say so */
    }
    count = count < size ? count : size;
    *ret = (struct weir__range){.first = size - count, .length = count};
    return WEIR__RANGE_ONE;
}

enum weir__range_kind weir__range_parse(struct weir_view value, uint64_t size,
                                        struct weir__range *ret)
{
    struct weir_view set, spec, another;
    uint64_t first, last;
    const uint8_t *dash;
    size_t before;

    if (value.len < 6 || !weir_view_equal_nocase(weir_bytes(value.data, 6), weir_str("bytes="))) {
        return WEIR__RANGE_NONE;
    }
    set = weir_bytes(value.data + 6, value.len - 6);
    if (set.len == 0 || set.data[0] == ' ' || set.data[0] == '\t') {
        return WEIR__RANGE_NONE; /* white space may stand around commas only */
    }
    if (weir_view_next_item(&set, &spec) == 0 || weir_view_next_item(&set, &another) != 0) {
        return WEIR__RANGE_NONE;
    }
    dash = memchr(spec.data, '-', spec.len);
    if (dash == NULL) {
        return WEIR__RANGE_NONE;
    }
    before = (size_t)(dash - spec.data);
    if (before == 0) {
        return suffix(weir_bytes(dash + 1, spec.len - 1), size, ret);
    }
    if (number(weir_bytes(spec.data, before), &first) < 0) {
        return WEIR__RANGE_NONE;
    }
    last = UINT64_MAX;
    if (before + 1 < spec.len && number(weir_bytes(dash + 1, spec.len - before - 1), &last) < 0) {
        return WEIR__RANGE_NONE;
    }
    if (last < first) {
        return WEIR__RANGE_NONE; /* invalid, RFC 9110 14.1.2 */
    }
    if (first >= size) {
        return WEIR__RANGE_UNSATISFIABLE;
    }
    last = last < size ? last : size - 1;
    *ret = (struct weir__range){.first = first, .length = last - first + 1};
    return WEIR__RANGE_ONE;
}
