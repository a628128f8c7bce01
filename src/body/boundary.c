/* SPDX-License-Identifier: MIT */
/* The search for a delimiter, piece by piece. */
#include "body/boundary.h"

static bool is_boundary_byte(uint8_t byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= 'a' && byte <= 'z') || (byte != 0 && strchr("'()+_,-./:=? ", byte) != NULL);
}

bool weir__boundary_init(struct weir__boundary *boundary, struct weir_view text)
{
    if (text.len == 0 || text.len > WEIR__BOUNDARY_MAX || text.data[text.len - 1] == ' ') {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (!is_boundary_byte(text.data[i])) {
            return false;
        }
    }
    memcpy(boundary->text, "\r\n--", 4);
    memcpy(boundary->text + 4, text.data, text.len);
    boundary->len = 4 + text.len;
    weir__boundary_begin(boundary);
    return true;
}

void weir__boundary_begin(struct weir__boundary *boundary)
{
    boundary->matched = boundary->unsent = 2;
}

/* Goes on with what is held back. False: it was no delimiter. */
static bool go_on(struct weir__boundary *boundary, struct weir_view bytes,
                  struct weir__boundary_step *ret)
{
    size_t left = boundary->len - boundary->matched;
    size_t len = bytes.len < left ? bytes.len : left;

    if (memcmp(bytes.data, boundary->text + boundary->matched, len) != 0) {
        ret->held =
            weir_bytes(boundary->text + boundary->unsent, boundary->matched - boundary->unsent);
        boundary->matched = 0;
        return false;
    }
    boundary->matched += len;
    ret->used = len;
    ret->found = len == left;
    return true;
}

struct weir__boundary_step weir__boundary_scan(struct weir__boundary *boundary,
                                               struct weir_view bytes)
{
    struct weir__boundary_step step = {0};
    const uint8_t *at;
    size_t tail;

    if (boundary->matched > 0 && go_on(boundary, bytes, &step)) {
        return step;
    }
    if (step.held.len > 0) {
        return step;
    }
    boundary->unsent = 0;
    at = memmem(bytes.data, bytes.len, boundary->text, boundary->len);
    if (at != NULL) {
        step.data = (size_t)(at - bytes.data);
        step.used = step.data + boundary->len;
        step.found = true;
        boundary->matched = boundary->len;
        return step;
    }
    step.data = step.used = bytes.len;
    tail = bytes.len < boundary->len - 1 ? bytes.len : boundary->len - 1;
    at = memrchr(bytes.data + bytes.len - tail, '\r', tail);
    if (at != NULL) {
        tail = (size_t)(bytes.data + bytes.len - at);
        if (memcmp(at, boundary->text, tail) == 0) {
            step.data = bytes.len - tail;
            boundary->matched = tail;
        }
    }
    return step;
}
