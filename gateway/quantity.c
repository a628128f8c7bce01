/* SPDX-License-Identifier: MIT */
/* Durations and sizes, in both directions. */
#include "quantity.h"

#include <stdio.h>

#include <weir/err.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* Larger first: the order in which a duration names them. */
static const struct unit time_units[] = {
    {"h", 3600000},
    {"m", 60000},
    {"s", 1000},
    {"ms", 1},
};

static const struct unit size_units[] = {
    {"GiB", UINT64_C(1) << 30},
    {"MiB", UINT64_C(1) << 20},
    {"KiB", UINT64_C(1) << 10},
    {"B", 1},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Takes the bytes at the front that are digits, or that are not. */
static struct weir_view take_run(struct weir_view *text, bool digits)
{
    struct weir_view run = {text->data, 0};

    while (text->len > 0 && (text->data[0] >= '0' && text->data[0] <= '9') == digits) {
        text->data++;
        text->len--;
        run.len++;
    }
    return run;
}

/* number * factor + sum, within INT64_MAX. */
static int add(uint64_t *sum, uint64_t number, uint64_t factor)
{
    if (number > (uint64_t)INT64_MAX / factor || number * factor > (uint64_t)INT64_MAX - *sum) {
        return WEIR_ELIMIT;
    }
    *sum += number * factor;
    return 0;
}

int gw_duration_parse(struct weir_view text, int64_t *ret)
{
    uint64_t sum = 0;
    size_t next_unit = 0;
    bool over = false;

    if (weir_view_equal(text, weir_str("0"))) {
        *ret = 0;
        return 0;
    }
    if (text.len == 0) {
        return WEIR_EINVAL;
    }
    while (text.len > 0) {
        struct weir_view digits = take_run(&text, true);
        struct weir_view unit = take_run(&text, false);
        uint64_t number = 0;
        int r = weir_view_to_u64(digits, &number);

        if (r == WEIR_EINVAL) {
            return r;
        }
        while (next_unit < COUNT(time_units) &&
               !weir_view_equal(unit, weir_str(time_units[next_unit].name))) {
            next_unit++;
        }
        if (next_unit == COUNT(time_units)) {
            return WEIR_EINVAL;
        }
        /* The form is looked at to the end, so that "99999999999999999999x" is called malformed, not large. */
        over = over || r < 0 || add(&sum, number, time_units[next_unit].factor) < 0;
        next_unit++;
    }
    if (over) {
        return WEIR_ELIMIT;
    }
    *ret = (int64_t)sum;
    return 0;
}

int gw_size_parse(struct weir_view text, uint64_t *ret)
{
    struct weir_view digits = take_run(&text, true);
    uint64_t number = 0;
    uint64_t sum = 0;
    uint64_t factor = text.len == 0 ? 1 : 0;
    int r = weir_view_to_u64(digits, &number);

    if (r == WEIR_EINVAL) {
        return r;
    }
    for (size_t i = 0; i < COUNT(size_units); i++) {
        if (weir_view_equal(text, weir_str(size_units[i].name))) {
            factor = size_units[i].factor;
        }
    }
    if (factor == 0) {
        return WEIR_EINVAL;
    }
    if (r < 0 || add(&sum, number, factor) < 0) {
        return WEIR_ELIMIT;
    }
    *ret = sum;
    return 0;
}

struct gw_quantity_text gw_duration_text(int64_t ms)
{
    struct gw_quantity_text out = {"0"};
    uint64_t left = ms > 0 ? (uint64_t)ms : 0;
    size_t at = 0;

    for (size_t i = 0; i < COUNT(time_units); i++) {
        uint64_t number = left / time_units[i].factor;

        if (number > 0) {
            at += (size_t)snprintf(out.text + at, sizeof(out.text) - at, "%llu%s",
                                   (unsigned long long)number, time_units[i].name);
            left %= time_units[i].factor;
        }
    }
    return out;
}

struct gw_quantity_text gw_size_text(uint64_t bytes)
{
    struct gw_quantity_text out = {"0"};

    for (size_t i = 0; bytes > 0 && i < COUNT(size_units); i++) {
        if (bytes % size_units[i].factor == 0) {
            snprintf(out.text, sizeof(out.text), "%llu%s",
                     (unsigned long long)(bytes / size_units[i].factor), size_units[i].name);
            break;
        }
    }
    return out;
}
