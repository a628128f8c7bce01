/* SPDX-License-Identifier: MIT */
#ifndef WEIR_HTTP_RANGE_H
#define WEIR_HTTP_RANGE_H

#include <stdint.h>

#include <weir/view.h>

/* One range of bytes, as asked for by a Range field (RFC 9110 14.1.2, 14.2). */
struct weir__range {
    uint64_t first, length; /* length >= 1; inside of the representation */
};

enum weir__range_kind {
    WEIR__RANGE_NONE,          /* not understood, or more than one: the whole is sent */
    WEIR__RANGE_ONE,           /* 206 */
    WEIR__RANGE_UNSATISFIABLE, /* 416 */
};

/* What a field's value asks for of a representation of `size` bytes; *ret is set for WEIR__RANGE_ONE. */
enum weir__range_kind weir__range_parse(struct weir_view value, uint64_t size,
                                        struct weir__range *ret);

#endif
