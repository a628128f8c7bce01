/* SPDX-License-Identifier: MIT */
#ifndef GW_JOURNAL_H
#define GW_JOURNAL_H

#include <weir/experimental/observe.h>

#include "errors.h"
#include "gateway.h"

/*
 * What is noted of one request on its way, and the record made of it: one at the end, and one each period while it
 * lives. Small, for it lives on the handler's stack.
 */
struct gw_journal {
    struct gw_gateway *gateway;
    struct weir_req *req;
    struct weir_exchange *exchange; /* NULL: not yet, or no more */
    char *texts;                    /* method, path, peer; NULL when nothing is logged */
    uint32_t method_len, path_len, peer_len;
    const char *label; /* of the key */
    int status;
    int64_t admitted_us, connected_us, answered_us; /* 0: not reached */
    struct gw_error verdict; /* outcome and who ended it; all zero: complete */
    struct weir_error cause;
};

/* Copies what the record needs of the head, which may be dropped from then on. */
void gw_journal_begin(struct gw_journal *journal, struct gw_gateway *gateway, struct weir_req *req);

/* Notes the time of a step, if anybody will read it. */
static inline void gw_journal_note(struct gw_journal *journal, int64_t *step_us)
{
    if (journal->texts != NULL) {
        *step_us = weir_clock_us();
    }
}

/* Writes the record of this moment. */
void gw_journal_write(struct gw_journal *journal, enum gw_record_kind kind);

/* Frees the copies. */
void gw_journal_finish(struct gw_journal *journal);

/* The record of a message that no handler saw. arg: struct gw_gateway. */
void gw_journal_reject(const struct weir_reject *reject, void *arg);

#endif
