/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BODY_CHARGED_H
#define WEIR_BODY_CHARGED_H

#include <weir/err.h>

#include "base/alloc.h"
#include "bytes/budget.h"

/* Heap memory that is held for a peer: charged to the process's budget for as long as it lives. */

/* 0, WEIR_EBUDGET or WEIR_ENOMEM. Context: any thread. */
static inline int weir__charged_alloc(size_t size, void **ret)
{
    int r = weir__budget_charge(weir__budget_process(), size);

    if (r < 0) {
        return r;
    }
    *ret = weir_alloc(size);
    if (*ret == NULL) {
        weir__budget_release(weir__budget_process(), size);
        return WEIR_ENOMEM;
    }
    return 0;
}

/* `size` is the one it was made with; NULL is fine. */
static inline void weir__charged_free(void *block, size_t size)
{
    if (block != NULL) {
        weir__budget_release(weir__budget_process(), size);
        weir_free(block);
    }
}

#endif
