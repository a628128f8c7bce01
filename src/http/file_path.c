/* SPDX-License-Identifier: MIT */
/*
 * From a path of a request to the name of a file. Strict, for what is decoded twice or tidied up is how names escape:
 * the kernel's bounds are the wall, this is the gate before it.
 */
#include "http/file_path.h"

#include <weir/err.h>

static int hex(uint8_t digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* The next byte of a segment, decoded, or -1. */
static int next_byte(struct weir_view path, bool plain, size_t *at)
{
    uint8_t octet = path.data[*at];

    *at += 1;
    if (octet == '%' && !plain) {
        int high = path.len - *at >= 2 ? hex(path.data[*at]) : -1;
        int low = path.len - *at >= 2 ? hex(path.data[*at + 1]) : -1;

        if (high < 0 || low < 0) {
            return -1;
        }
        *at += 2;
        octet = (uint8_t)(high << 4 | low);
        if (octet == '/') {
            return -1;
        }
    }
    return octet < 0x20 || octet == 0x7f || octet == '\\' ? -1 : octet;
}

/* Whether a decoded segment may be asked for. */
static int judge(const char *segment, size_t len, bool dotfiles)
{
    if (len == 0) {
        return WEIR_ENOTFOUND;
    }
    if (segment[0] == '.') {
        if (len == 1 || (len == 2 && segment[1] == '.')) {
            return WEIR_EINVAL;
        }
        return dotfiles ? 0 : WEIR_ENOTFOUND;
    }
    return 0;
}

int weir__file_path_decode(struct weir_view path, bool plain, bool dotfiles, char *out,
                           size_t *ret_len, bool *ret_is_dir)
{
    size_t at = path.len > 0 && path.data[0] == '/';
    size_t len = 0, segment = 0;
    int worst = 0;

    /* To the end whatever is found: a name that nobody can have is that also behind one that is not there. */
    while (at < path.len) {
        int r = 0;

        if (path.data[at] == '/') {
            at++;
            r = judge(out + segment, len - segment, dotfiles);
            out[len++] = '/';
            segment = len;
        } else {
            int octet = next_byte(path, plain, &at);

            if (octet < 0) {
                return WEIR_EINVAL;
            }
            out[len++] = (char)octet;
        }
        if (r == WEIR_EINVAL) {
            return r;
        }
        worst = r < 0 ? r : worst;
    }
    *ret_is_dir = path.len > 0 && len == segment;
    if (len > segment) {
        int r = judge(out + segment, len - segment, dotfiles);

        worst = r < 0 && worst != WEIR_EINVAL ? r : worst;
    } else if (len > 0) {
        len--; /* the slash at the end */
    } else {
        out[len++] = '.';
    }
    if (worst < 0) {
        return worst;
    }
    out[len] = '\0';
    *ret_len = len;
    return 0;
}
