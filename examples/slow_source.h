/* SPDX-License-Identifier: MIT */
#ifndef WEIR_EXAMPLES_SLOW_SOURCE_H
#define WEIR_EXAMPLES_SLOW_SOURCE_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <weir/rt.h>
#include <weir/stream.h>

/*
 * A source of one's own, in about 60 lines: numbered lines, one every pause_ms. It produces when it is asked, keeps the
 * caller's deadline, and says why it failed. Everything else (one reader, sticky results, cancel while it waits) is
 * done by the library around it.
 */
struct slow_source {
    uint64_t line, lines;
    int64_t pause_ms;
    int64_t due; /* when the next line may go; 0: not asked for yet */
    char text[32];
    size_t len, at; /* the part of the present line that has gone */
};

static int slow_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct slow_source *slow = state;
    size_t len;
    int r;

    if (slow->at == slow->len) {
        int64_t until;

        if (slow->line == slow->lines) {
            return 0;
        }
        if (slow->due == 0) {
            slow->due = weir_after_ms(slow->pause_ms);
        }
        if (deadline == 0 && weir_now() < slow->due) {
            return WEIR_EAGAIN;
        }
        until = deadline < 0 || slow->due < deadline ? slow->due : deadline;
        r = until > weir_now() ? weir_sleep(until) : 0;
        if (r < 0) {
            return r; /* WEIR_ECANCELED: whoever asked is gone */
        }
        if (weir_now() < slow->due) {
            return WEIR_ETIMEDOUT; /* nothing is lost: the line is due as before */
        }
        slow->due = 0;
        slow->line++;
        slow->at = 0;
        slow->len =
            (size_t)snprintf(slow->text, sizeof(slow->text), "line %" PRIu64 "\n", slow->line);
    }
    len = slow->len - slow->at;
    if (len > max_bytes) {
        len = max_bytes;
    }
    r = weir_chunk_copy(weir_bytes(slow->text + slow->at, len), ret);
    if (r < 0) {
        return r;
    }
    slow->at += len;
    return 1;
}

static void slow_destroy(void *state)
{
    free(state);
}

static inline int slow_source_create(uint64_t lines, int64_t pause_ms, struct weir_source **ret)
{
    static const struct weir_source_ops ops = {
        .name = "slow lines", .next = slow_next, .destroy = slow_destroy};
    struct slow_source *slow = calloc(1, sizeof(*slow));

    if (slow == NULL) {
        return WEIR_ENOMEM;
    }
    slow->lines = lines;
    slow->pause_ms = pause_ms;
    return weir_source_create_take(&ops, slow, ret);
}

#endif
