/* SPDX-License-Identifier: MIT */
/*
 * Accounts of held bytes. The one difficulty is a chunk that is dropped on another thread while the account's loop
 * ends: whoever sets POSTED first posts the task, and a loop that closes an account with a task on its way waits for it.
 */
#include "bytes/account.h"

#include "base/assert.h"

#include <stdatomic.h>

static void unref(struct weir__account *account)
{
    if (atomic_fetch_sub_explicit(&account->refs, 1, memory_order_acq_rel) == 1) {
        account->ops->destroy(account);
    }
}

static void run_posted(struct weir__task *task)
{
    struct weir__account *account = weir_list_entry(task, struct weir__account, task);
    uint8_t before = atomic_fetch_and(&account->state, (uint8_t)~WEIR__ACCOUNT_POSTED);

    if (before & WEIR__ACCOUNT_CLOSED) {
        weir__loop_expect(account->ops->loop(account), -1);
    } else {
        account->ops->released(account);
    }
    unref(account);
}

void weir__account_init(struct weir__account *account, const struct weir__account_ops *ops)
{
    *account = (struct weir__account){.task = {.run = run_posted}, .ops = ops};
    atomic_init(&account->refs, 1);
}

void weir__account_close(struct weir__account *account)
{
    if (atomic_fetch_or(&account->state, WEIR__ACCOUNT_CLOSED) & WEIR__ACCOUNT_POSTED) {
        weir__loop_expect(account->ops->loop(account), 1);
    }
    unref(account);
}

/* A chunk's credit comes back. */
static void come_off(void *owner, size_t bytes)
{
    struct weir__account *account = owner;

    atomic_fetch_sub_explicit(&account->held, bytes, memory_order_relaxed);
    if (atomic_load_explicit(&account->state, memory_order_acquire) & WEIR__ACCOUNT_CLOSED) {
        unref(account);
    } else if (weir__loop_current() == account->ops->loop(account)) {
        account->ops->released(account);
        unref(account);
    } else if (atomic_fetch_or(&account->state, WEIR__ACCOUNT_POSTED) == 0) {
        weir__loop_post(account->ops->loop(account),
                        &account->task); /* this chunk's reference is the task's now */
    } else {
        /* Closed meanwhile, or the task is on its way already and will see these bytes too. */
        unref(account);
    }
}

void weir__account_charge(struct weir__account *account, struct weir_chunk *chunk)
{
    if (chunk->credit == NULL) {
        chunk->credit = come_off;
        chunk->credit_owner = account;
        chunk->credit_bytes = weir__chunk_footprint(chunk);
        atomic_fetch_add_explicit(&account->held, chunk->credit_bytes, memory_order_relaxed);
        atomic_fetch_add_explicit(&account->refs, 1, memory_order_relaxed);
    }
}

size_t weir__account_held(struct weir__account *account)
{
    return atomic_load_explicit(&account->held, memory_order_relaxed);
}
