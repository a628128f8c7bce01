/* SPDX-License-Identifier: MIT */
/*
 * A client's file name as one harmless component of a path. The result is valid UTF-8, has no separator, is not "." or
 * "..", hides nothing from whoever looks at a list of files, and is no option of a command.
 */
#include "body/part_head.h"

/* The length of the UTF-8 sequence at the front, with its code point; 0 if there is none (RFC 3629 4). */
static size_t decode_utf8(struct weir_view text, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t first = text.data[0];
    size_t len = first < 0x80    ? 1
                 : first < 0xc2  ? 0
                 : first < 0xe0  ? 2
                 : first < 0xf0  ? 3
                 : first <= 0xf4 ? 4
                                 : 0;
    uint32_t point = len == 1 ? first : first & (0x7fu >> len);

    if (len == 0 || len > text.len) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((text.data[i] & 0xc0) != 0x80) {
            return 0;
        }
        point = point << 6 | (text.data[i] & 0x3f);
    }
    if (point < least[len] || (point >= 0xd800 && point <= 0xdfff) || point > 0x10ffff) {
        return 0;
    }
    *ret = point;
    return len;
}

static bool is_between(uint32_t point, uint32_t from, uint32_t to)
{
    return point >= from && point <= to;
}

static bool is_bad(uint32_t point)
{
    if (point < 0x80) {
        return point < 0x20 || point == 0x7f || strchr("<>:\"|?*/\\", (int)point) != NULL;
    }
    /* C1 controls; soft hyphen; zero widths and marks; line ends, embeddings, overrides; isolates; BOM; specials; tags */
    return is_between(point, 0x80, 0x9f) || point == 0xad || point == 0x61c ||
           is_between(point, 0x200b, 0x200f) || is_between(point, 0x2028, 0x202e) ||
           is_between(point, 0x2060, 0x206f) || point == 0xfeff ||
           is_between(point, 0xfff9, 0xffff) || is_between(point, 0xe0000, 0xe0fff);
}

size_t weir__safe_filename(struct weir_view name, uint8_t *out)
{
    size_t len = 0;

    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] == '/' || name.data[i] == '\\') {
            name.data += i + 1;
            name.len -= i + 1;
            i = SIZE_MAX; /* from the front again */
        }
    }
    while (name.len > 0 && (name.data[0] == '.' || name.data[0] == ' ')) {
        name.data++;
        name.len--;
    }
    while (name.len > 0) {
        uint32_t point = 0;
        size_t bytes = decode_utf8(name, &point);
        bool good = bytes > 0 && !is_bad(point);
        size_t room = good ? bytes : 1;

        if (len + room > WEIR__SAFE_FILENAME_MAX) {
            break;
        }
        if (good) {
            memmove(out + len, name.data, bytes);
        } else {
            out[len] = '_';
        }
        len += room;
        name.data += bytes > 0 ? bytes : 1;
        name.len -= bytes > 0 ? bytes : 1;
    }
    while (len > 0 && (out[len - 1] == '.' || out[len - 1] == ' ')) {
        len--;
    }
    if (len > 0 && out[0] == '-') {
        out[0] = '_';
    }
    return len;
}
