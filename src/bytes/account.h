/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BYTES_ACCOUNT_H
#define WEIR_BYTES_ACCOUNT_H

#include "bytes/chunk.h"
#include "rt/loop.h"

/*
 * How many received bytes of one connection or stream are in somebody's hands: each chunk is charged when it is handed
 * out, and comes off when its last reference is dropped or it is detached, on whatever thread. The account is embedded
 * by its owner, whose memory lives until the last charged chunk is gone.
 */
struct weir__account;

struct weir__account_ops {
    /* Its loop. Context: any thread. */
    struct weir__loop *(*loop)(struct weir__account *account);
    /* Bytes have come back, on the account's loop; once for several when they come from other threads. Never after
     * weir__account_close(). */
    void (*released)(struct weir__account *account);
    /* Nothing refers to it any more: the owner's memory may be freed. Context: any thread. */
    void (*destroy)(struct weir__account *account);
};

struct weir__account {
    struct weir__task task; /* tells the loop what another thread has dropped */
    const struct weir__account_ops *ops;
    _Atomic size_t held;
    _Atomic uint32_t refs; /* its owner's, one per charged chunk, and one of the task */
    _Atomic uint8_t state; /* the bits below */
};
#define WEIR__ACCOUNT_POSTED ((uint8_t)1) /* the task is on its way */
#define WEIR__ACCOUNT_CLOSED ((uint8_t)2)

void weir__account_init(struct weir__account *account, const struct weir__account_ops *ops);

/* The owner is done: destroy() is called, now or with the last chunk. Context: the account's loop. */
void weir__account_close(struct weir__account *account);

/* Charges the chunk's buffer to it. A chunk that carries a credit already keeps that one. Context: the account's loop. */
void weir__account_charge(struct weir__account *account, struct weir_chunk *chunk);

/* Bytes held now. Context: any thread. */
size_t weir__account_held(struct weir__account *account);

#endif
