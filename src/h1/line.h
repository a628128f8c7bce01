/* SPDX-License-Identifier: MIT */
#ifndef WEIR_H1_LINE_H
#define WEIR_H1_LINE_H

#include "h1/scan.h"
#include <weir/fields.h>

#include <weir/err.h>
#include <weir/view.h>

#include <stdint.h>

/*
 * Takes one field line, its CRLF included, off [*at, end): a token, the colon right after it, text without controls
 * but HTAB. That refuses obs-fold, a blank before the colon, an empty name, bare CR and LF, NUL. Returns 0 or
 * WEIR_EPROTO; *at moves only with 0.
 */
static inline int weir__h1_take_field(const uint8_t **at, const uint8_t *end,
                                      struct weir_field *ret)
{
    const uint8_t *name = *at;
    const uint8_t *p = name;
    const uint8_t *value;
    const uint8_t *value_end;

    while (p < end && weir__h1_is(*p, WEIR__H1_TOKEN)) {
        p++;
    }
    if (p == name || p == end || *p != ':') {
        return WEIR_EPROTO;
    }
    ret->name = weir_bytes(name, (size_t)(p - name));
    p++;
    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }
    value = p;
    while (p < end && weir__h1_is(*p, WEIR__H1_TEXT)) {
        p++;
    }
    if (end - p < 2 || p[0] != '\r' || p[1] != '\n') {
        return WEIR_EPROTO;
    }
    value_end = p;
    while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t')) {
        value_end--;
    }
    ret->value = weir_bytes(value, (size_t)(value_end - value));
    *at = p + 2;
    return 0;
}

#endif
