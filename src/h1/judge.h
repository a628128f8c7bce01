/* SPDX-License-Identifier: MIT */
#ifndef WEIR_H1_JUDGE_H
#define WEIR_H1_JUDGE_H

#include "h1/parse.h"

#include <weir/export.h>
#include <weir/view.h>

#include <stdbool.h>
#include <stdint.h>

/* What the fields say of the framing, before method and status are looked at. */
struct weir__h1_facts {
    uint64_t length;
    bool has_length;
    bool is_chunked;
    bool needs_split; /* tabs around a framing field's value: llhttp 8 takes only blanks there */
};

/* llhttp's verdict. */
enum weir__h1_verdict {
    WEIR__H1_AGREED,
    WEIR__H1_REFUSED,
    WEIR__H1_UNKNOWN_METHOD,
};

/**
 * Lets llhttp read a head that our splitter has accepted and compares: the target, each field's name and value by
 * address, version, status, length, coding and where the head ends.
 *
 * bytes  the head without an empty line before it.
 * Context: any thread.
 */
WEIR_NODISCARD enum weir__h1_verdict weir__h1_judge(struct weir_view bytes, bool is_request,
                                                    const struct weir__h1_head *head,
                                                    const struct weir__h1_facts *facts);

#endif
