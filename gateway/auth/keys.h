/* SPDX-License-Identifier: MIT */
#ifndef GW_AUTH_KEYS_H
#define GW_AUTH_KEYS_H

#include <stddef.h>

#include <weir/view.h>

#include "problem.h"

/*
 * The keys file: who may pass, and where to. The file holds hashes, never keys. One key a line:
 *
 *     # label  sha256 of the key, in hex  what it may do; without these: everything
 *     reports  5e884898da28...1542d8      prefix=/v1/reports,/v1/files  methods=GET,HEAD
 *
 * A prefix matches by segment: /a matches /a and /a/b, not /ab; "/a/" only what is below. Methods are exact: GET does
 * not imply HEAD. The object is read-only once made, so any thread may ask it.
 */

/* A larger file is refused. */
#define GW_KEYS_FILE_MAX (1024 * 1024)

struct gw_keys;

enum gw_verdict {
    GW_ALLOW,
    GW_NO_KEY,    /* 401: none was presented */
    GW_UNKNOWN,   /* 401: not one of ours, or two different ones were presented */
    GW_FORBIDDEN, /* 403: a good key, but not for this path or method */
};

/**
 * Reads the keys from a text.
 *
 * text     borrowed.
 * file     its name, for messages.
 * ret      given: gw_keys_destroy() it. Untouched on failure.
 * problem  on failure the first mistake as file:line:col: text. Never shows the second field, which might be a key
 *          that somebody forgot to hash.
 *
 * Returns 0, or WEIR_EINVAL, WEIR_ELIMIT (over GW_KEYS_FILE_MAX), WEIR_ENOMEM. Context: any thread.
 */
WEIR_NODISCARD int gw_keys_parse(struct weir_view text, const char *file, struct gw_keys **ret,
                                 struct gw_problem *problem);

/**
 * The same from a file, which is read at once, to its end. May block: call it before the loops run.
 *
 * Returns as gw_keys_parse(), or WEIR_EIO. Context: any thread.
 */
WEIR_NODISCARD int gw_keys_load(const char *path, struct gw_keys **ret, struct gw_problem *problem);

/* NULL is fine. */
void gw_keys_destroy(struct gw_keys *keys);

/* How many keys there are. None is legal: nobody passes. */
size_t gw_keys_count(const struct gw_keys *keys);

/**
 * Decides about a request before anything is dialled or read. Takes the same time whichever key matches, or none.
 *
 * x_api_key      the value of X-Api-Key; absent if there is no such field. A repeated field must come joined by commas
 *                (it is then unknown), never as its first value.
 * authorization  the value of Authorization, likewise. Only the scheme Bearer is looked at.
 * path           of the request target, as it came; a query is ignored. One that holds dot segments, empty segments,
 *                a backslash or an encoded form of '.', '/' or '\' is within no prefix, for the upstream may resolve
 *                it to another place.
 * ret_label      the key's label (lives as long as `keys`) for GW_ALLOW and GW_FORBIDDEN, else NULL.
 *
 * Context: any thread.
 */
enum gw_verdict gw_keys_decide(const struct gw_keys *keys, struct weir_view x_api_key,
                               struct weir_view authorization, struct weir_view method,
                               struct weir_view path, const char **ret_label);

#endif
