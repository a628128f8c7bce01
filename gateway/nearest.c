/* SPDX-License-Identifier: MIT */
/* "Did you mean": the edit distance between names, and the choice of the names worth suggesting. */
#include "nearest.h"

#include <stdint.h>

static uint8_t lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte | 0x20) : byte;
}

static uint8_t least(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

size_t gw_edits(struct weir_view a, struct weir_view b)
{
    /* The row being filled and the two above it; all distances fit a byte, for names are short. */
    uint8_t rows[3][GW_NEAREST_MAX + 1];
    uint8_t *before = rows[0];
    uint8_t *above = rows[1];
    uint8_t *row = rows[2];

    if (a.len > GW_NEAREST_MAX || b.len > GW_NEAREST_MAX) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= b.len; j++) {
        before[j] = 0;
        above[j] = (uint8_t)j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        uint8_t *free_row = before;

        row[0] = (uint8_t)i;
        for (size_t j = 1; j <= b.len; j++) {
            uint8_t x = lower(a.data[i - 1]);
            uint8_t y = lower(b.data[j - 1]);
            uint8_t best = (uint8_t)(above[j - 1] + (x != y));

            best = least(best, (uint8_t)(above[j] + 1));
            best = least(best, (uint8_t)(row[j - 1] + 1));
            if (i > 1 && j > 1 && x == lower(b.data[j - 2]) && lower(a.data[i - 2]) == y) {
                best = least(best, (uint8_t)(before[j - 2] + 1));
            }
            row[j] = best;
        }
        before = above;
        above = row;
        row = free_row;
    }
    return above[b.len];
}

static struct weir_view last_part(struct weir_view name)
{
    for (size_t i = name.len; i > 0; i--) {
        if (name.data[i - 1] == '.') {
            return weir_bytes(name.data + i, name.len - i);
        }
    }
    return name;
}

/* How far `name` is from what `candidate` might have been meant as; SIZE_MAX: too far. */
static size_t distance(struct weir_view name, struct weir_view candidate)
{
    size_t best = SIZE_MAX;
    struct weir_view tail = candidate;

    for (;;) {
        size_t shorter = name.len < tail.len ? name.len : tail.len;
        size_t allowed = shorter / 3 + (shorter > 1);
        size_t edits = gw_edits(name, tail);
        const uint8_t *dot = memchr(tail.data, '.', tail.len);

        /* A match of the whole wins over one of an end of the same quality. */
        if (edits <= allowed && 2 * edits + (tail.len != candidate.len) < best) {
            best = 2 * edits + (tail.len != candidate.len);
        }
        if (dot == NULL) {
            break;
        }
        tail.len -= (size_t)(dot + 1 - tail.data);
        tail.data = dot + 1;
    }
    if (best > 4 && name.len > 0 && weir_view_equal_nocase(last_part(name), last_part(candidate))) {
        best = 4;
    }
    return best;
}

size_t gw_nearest(struct weir_view name, size_t count, gw_name_at_fn *name_at, void *arg,
                  size_t max, size_t *ret)
{
    size_t best = SIZE_MAX;
    size_t found = 0;

    if (name.len == 0 || name.len > GW_NEAREST_MAX) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        size_t far = distance(name, weir_str(name_at(i, arg)));

        if (far < best) {
            best = far;
            found = 0;
        }
        if (far == best && far != SIZE_MAX && found < max) {
            ret[found++] = i;
        }
    }
    return found;
}
