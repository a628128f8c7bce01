/* SPDX-License-Identifier: MIT */
#ifndef GW_AUTH_KEYS_FILE_H
#define GW_AUTH_KEYS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/view.h>

/* What the reader of the keys file makes and the decision uses. Private to gateway/auth. */

#define GW_DIGEST_BYTES 32

/* Views and label point into gw_keys.text. */
struct gw_key {
    const char *label;
    struct weir_view prefixes; /* separated by commas; absent: every path */
    struct weir_view methods;  /* the same */
    size_t line;
    size_t label_column;
    size_t digest_column;
    uint8_t digest[GW_DIGEST_BYTES];
};

struct gw_keys {
    struct gw_key *list;
    size_t count;
    char *text; /* our copy of the file */
};

/*
 * Whether a path means to any server what it says: begins with '/', no empty segment but the last, no dot segment, and
 * nothing that decodes to '.', '/', '\' or a control character.
 */
bool gw_path_is_plain(struct weir_view path);

#endif
