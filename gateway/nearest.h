/* SPDX-License-Identifier: MIT */
#ifndef GW_NEAREST_H
#define GW_NEAREST_H

#include <stddef.h>

#include <weir/view.h>

/* Names longer than this are compared by nobody: no suggestion. */
#define GW_NEAREST_MAX 64

/*
 * Edits (insert, delete, replace, swap of neighbours; ASCII case ignored) between two names: Damerau-Levenshtein, each
 * place edited once. SIZE_MAX when one is longer than GW_NEAREST_MAX. Context: any thread.
 */
size_t gw_edits(struct weir_view a, struct weir_view b);

/* The i-th of a list of names. */
typedef const char *(gw_name_at_fn)(size_t i, void *arg);

/*
 * Finds what was meant by `name` among `count` dotted names; `name_at(i, arg)` gives the i-th. A name counts as near
 * when few edits lie between the two, or between `name` and the end of a candidate from one of its dots on
 * ("response_head"), or when the last parts agree ("upstream.response_head").
 *
 * ret  indices of the nearest, best first, at most `max`; more than one only where they are equally near.
 *
 * Returns how many; 0: nothing is near. Context: any thread.
 */
size_t gw_nearest(struct weir_view name, size_t count, gw_name_at_fn *name_at, void *arg,
                  size_t max, size_t *ret);

#endif
