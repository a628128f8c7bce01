/* SPDX-License-Identifier: MIT */
/*
 * Who may pass. Decisions are plain functions of the file and the request: no state, no clock, no I/O.
 *
 * The scan compares the presented key's hash with every key's, without a branch that depends on either, so its time
 * tells nothing about which key matched or how nearly.
 */
#include "auth/keys.h"

#include <weir/err.h>

#include "alloc.h"
#include "auth/keys_file.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

/* All ones if the digests are equal, else 0. No early end. */
static size_t equal_mask(const uint8_t *a, const uint8_t *b)
{
    uint8_t differ = 0;

    for (size_t i = 0; i < GW_DIGEST_BYTES; i++) {
        differ |= (uint8_t)(a[i] ^ b[i]);
    }
    /* differ - 1 borrows out of the low byte only for 0. */
    return (size_t)0 - ((((size_t)differ - 1) >> 8) & 1);
}

static int hash_key(struct weir_view key, uint8_t digest[GW_DIGEST_BYTES])
{
    return gnutls_hash_fast(GNUTLS_DIG_SHA256, key.data, key.len, digest) < 0 ? WEIR_EIO : 0;
}

/* The credentials of the scheme Bearer (RFC 6750 2.1); absent for any other scheme, and for none. */
static struct weir_view bearer_of(struct weir_view authorization)
{
    const struct weir_view absent = {NULL, 0};
    struct weir_view value = weir_view_trim(authorization);
    struct weir_view scheme;

    if (value.len < 7) {
        return absent;
    }
    scheme = weir_bytes(value.data, 6);
    if (!weir_view_equal_nocase(scheme, weir_str("Bearer")) || value.data[6] != ' ') {
        return absent;
    }
    return weir_view_trim(weir_bytes(value.data + 6, value.len - 6));
}

static uint8_t lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte | 0x20) : byte;
}

static bool is_hex(uint8_t byte)
{
    return (byte >= '0' && byte <= '9') || (lower(byte) >= 'a' && lower(byte) <= 'f');
}

/*
 * Whether an escape at `at` may turn into something else than the character it stands for: a '.', '/' or '\', a control
 * character, the lead byte of an overlong form (0xc0, 0xc1), a '%' that may begin another escape once decoded, or no
 * escape at all.
 */
static bool is_tricky_escape(struct weir_view path, size_t at)
{
    uint8_t high;
    uint8_t low;

    if (path.len - at < 3 || !is_hex(path.data[at + 1]) || !is_hex(path.data[at + 2])) {
        return true;
    }
    high = lower(path.data[at + 1]);
    low = lower(path.data[at + 2]);
    if (high == '2' && low == '5') {
        return path.len - at > 3 && (is_hex(path.data[at + 3]) || path.data[at + 3] == '%');
    }
    return (high == '2' && (low == 'e' || low == 'f')) || (high == '5' && low == 'c') ||
           high == '0' || high == '1' || (high == '7' && low == 'f') ||
           (high == 'c' && (low == '0' || low == '1'));
}

bool gw_path_is_plain(struct weir_view path)
{
    size_t start = 0;

    if (path.len == 0 || path.data[0] != '/') {
        return false;
    }
    for (size_t i = 0; i < path.len; i++) {
        uint8_t byte = path.data[i];

        if (byte <= ' ' || byte >= 0x7f || byte == '\\' || byte == '#' ||
            (byte == '%' && is_tricky_escape(path, i))) {
            return false;
        }
    }
    /* Segments: none empty but the last, none of dots; some servers cut them at ';' first ("/a/..;/b"). */
    for (size_t i = 1; i <= path.len; i++) {
        struct weir_view segment;
        const uint8_t *semicolon;

        if (i < path.len && path.data[i] != '/') {
            continue;
        }
        segment = weir_bytes(path.data + start + 1, i - start - 1);
        if (segment.len == 0 && i < path.len) {
            return false;
        }
        semicolon = segment.len > 0 ? memchr(segment.data, ';', segment.len) : NULL;
        if (semicolon != NULL) {
            segment.len = (size_t)(semicolon - segment.data);
        }
        if (weir_view_equal(segment, weir_str(".")) || weir_view_equal(segment, weir_str(".."))) {
            return false;
        }
        start = i;
    }
    return true;
}

static bool is_within(struct weir_view path, struct weir_view prefix)
{
    return weir_view_starts_with(path, prefix) &&
           (path.len == prefix.len || prefix.data[prefix.len - 1] == '/' ||
            path.data[prefix.len] == '/');
}

static bool may_reach(const struct gw_key *key, struct weir_view path)
{
    struct weir_view prefixes = key->prefixes;
    struct weir_view prefix;
    const uint8_t *query = path.len > 0 ? memchr(path.data, '?', path.len) : NULL;

    if (weir_view_is_absent(prefixes)) {
        return true;
    }
    if (query != NULL) {
        path.len = (size_t)(query - path.data);
    }
    if (!gw_path_is_plain(path)) {
        return false;
    }
    while (weir_view_next_item(&prefixes, &prefix) > 0) {
        if (is_within(path, prefix)) {
            return true;
        }
    }
    return false;
}

static bool may_use(const struct gw_key *key, struct weir_view method)
{
    struct weir_view methods = key->methods;
    struct weir_view one;

    if (weir_view_is_absent(methods)) {
        return true;
    }
    while (weir_view_next_item(&methods, &one) > 0) {
        if (weir_view_equal(one, method)) {
            return true;
        }
    }
    return false;
}

enum gw_verdict gw_keys_decide(const struct gw_keys *keys, struct weir_view x_api_key,
                               struct weir_view authorization, struct weir_view method,
                               struct weir_view path, const char **ret_label)
{
    struct weir_view plain = weir_view_trim(x_api_key);
    struct weir_view bearer = bearer_of(authorization);
    uint8_t digest[GW_DIGEST_BYTES];
    uint8_t other[GW_DIGEST_BYTES];
    size_t index = 0; /* of the match, counted from 1 */

    *ret_label = NULL;
    if (keys == NULL || (plain.len == 0 && bearer.len == 0)) {
        return GW_NO_KEY;
    }
    if (hash_key(plain.len > 0 ? plain : bearer, digest) < 0) {
        return GW_UNKNOWN;
    }
    if (plain.len > 0 && bearer.len > 0 &&
        (hash_key(bearer, other) < 0 || equal_mask(digest, other) == 0)) {
        return GW_UNKNOWN;
    }
    for (size_t i = 0; i < keys->count; i++) {
        index |= (i + 1) & equal_mask(digest, keys->list[i].digest);
    }
    if (index == 0) {
        return GW_UNKNOWN;
    }
    *ret_label = keys->list[index - 1].label;
    if (!may_use(&keys->list[index - 1], method) || !may_reach(&keys->list[index - 1], path)) {
        return GW_FORBIDDEN;
    }
    return GW_ALLOW;
}

size_t gw_keys_count(const struct gw_keys *keys)
{
    return keys->count;
}

void gw_keys_destroy(struct gw_keys *keys)
{
    if (keys == NULL) {
        return;
    }
    gw_free(keys->list);
    gw_free(keys->text);
    gw_free(keys);
}
