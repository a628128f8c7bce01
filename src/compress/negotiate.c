/* SPDX-License-Identifier: MIT */
/* Which coding a client wants: Accept-Encoding (RFC 9110 12.5.3), and the names of codings. Knows no reply. */
#include <weir/compress.h>
#include <weir/fields.h>

#define UNSEEN (-1)
#define Q_ONE 1000 /* q-values have three decimals (RFC 9110 12.4.2) */

static const struct {
    const char *name;
    enum weir_coding coding;
} names[] = {
    {"identity", WEIR_CODING_IDENTITY}, {"gzip", WEIR_CODING_GZIP},
    {"deflate", WEIR_CODING_DEFLATE},   {"br", WEIR_CODING_BROTLI},
    {"zstd", WEIR_CODING_ZSTD},         {"x-gzip", WEIR_CODING_GZIP},
};
#define NAMES (sizeof(names) / sizeof(names[0]))

const char *weir_coding_name(enum weir_coding coding)
{
    for (size_t i = 0; i < NAMES; i++) {
        if (names[i].coding == coding) {
            return names[i].name;
        }
    }
    return names[0].name;
}

int weir_coding_parse(struct weir_view name, enum weir_coding *ret)
{
    for (size_t i = 0; i < NAMES; i++) {
        if (weir_view_equal_nocase(name, weir_str(names[i].name))) {
            *ret = names[i].coding;
            return 0;
        }
    }
    return WEIR_EUNSUPPORTED;
}

/* "0.25" in thousandths, or UNSEEN for what is no q-value. */
static int parse_q(struct weir_view text)
{
    int q, unit = Q_ONE / 10;

    if (text.len == 0 || text.len > 5 || text.data[0] < '0' || text.data[0] > '1' ||
        (text.len > 1 && text.data[1] != '.')) {
        return UNSEEN;
    }
    q = (text.data[0] - '0') * Q_ONE;
    for (size_t i = 2; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return UNSEEN;
        }
        q += (text.data[i] - '0') * unit;
        unit /= 10;
    }
    return q <= Q_ONE ? q : UNSEEN;
}

/* One element: "name" or "name;q=0.5". Returns its q and the name, or UNSEEN. */
static int parse_element(struct weir_view element, struct weir_view *ret_name)
{
    const uint8_t *semicolon = memchr(element.data, ';', element.len);
    struct weir_view weight;

    if (semicolon == NULL) {
        *ret_name = element;
        return Q_ONE;
    }
    *ret_name = weir_view_trim(weir_bytes(element.data, (size_t)(semicolon - element.data)));
    weight = weir_view_trim(
        weir_bytes(semicolon + 1, element.len - (size_t)(semicolon - element.data) - 1));
    if (weight.len < 3 || (weight.data[0] | 0x20) != 'q' || weight.data[1] != '=') {
        return UNSEEN;
    }
    return parse_q(weir_bytes(weight.data + 2, weight.len - 2));
}

/* What the request's lines say of each coding, and of "*". Returns whether there is any line. */
static bool read_lines(struct weir_fields *fields, int q[WEIR_CODINGS], int *ret_any)
{
    bool seen = false;

    for (size_t i = 0; i < weir_fields_count(fields); i++) {
        struct weir_field field = weir_fields_at(fields, i);
        struct weir_view element, name;

        if (!weir_view_equal_nocase(field.name, weir_str("Accept-Encoding"))) {
            continue;
        }
        seen = true;
        while (weir_view_next_item(&field.value, &element) == 1) {
            enum weir_coding coding;
            int value = parse_element(element, &name);

            if (value == UNSEEN) {
                continue;
            }
            if (weir_view_equal(name, weir_str("*"))) {
                *ret_any = value;
            } else if (weir_coding_parse(name, &coding) == 0) {
                q[coding] = value;
            }
        }
    }
    return seen;
}

enum weir_coding weir_coding_negotiate(struct weir_fields *fields,
                                       const enum weir_coding order[WEIR_CODINGS],
                                       bool *ret_identity_refused)
{
    static const enum weir_coding usual[WEIR_CODINGS] = {WEIR_CODING_ZSTD, WEIR_CODING_BROTLI,
                                                         WEIR_CODING_GZIP};
    int q[WEIR_CODINGS] = {UNSEEN, UNSEEN, UNSEEN, UNSEEN, UNSEEN};
    int any = UNSEEN, best_q = 0;
    enum weir_coding best = WEIR_CODING_IDENTITY;
    bool seen = read_lines(fields, q, &any);

    if (ret_identity_refused != NULL) {
        *ret_identity_refused =
            q[WEIR_CODING_IDENTITY] == 0 || (q[WEIR_CODING_IDENTITY] == UNSEEN && any == 0);
    }
    if (!seen) {
        return WEIR_CODING_IDENTITY;
    }
    if (order == NULL || order[0] == WEIR_CODING_IDENTITY) {
        order = usual;
    }
    for (size_t i = 0; i < WEIR_CODINGS && order[i] != WEIR_CODING_IDENTITY; i++) {
        int value = order[i] > 0 && order[i] < WEIR_CODINGS ? q[order[i]] : 0;

        value = value == UNSEEN ? any : value;
        if (value > best_q) {
            best_q = value;
            best = order[i];
        }
    }
    return q[WEIR_CODING_IDENTITY] > best_q ? WEIR_CODING_IDENTITY : best;
}
