/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BYTES_BUDGET_H
#define WEIR_BYTES_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Who holds how many bytes. Every buffer of body bytes is charged to the process's budget and, when it is held for a
 * stream, to that stream's as well. Counters are atomics: the only thing loops share.
 */
struct weir__budget {
    _Atomic size_t used, peak;
    _Atomic size_t limit; /* 0: none */
};

/* The one of the process. Its limit defaults to a quarter of the memory this process may have. */
struct weir__budget *weir__budget_process(void);

/* Returns 0 or WEIR_EBUDGET: nothing was charged. Context: any thread. */
int weir__budget_charge(struct weir__budget *budget, size_t bytes);
void weir__budget_release(struct weir__budget *budget, size_t bytes);
size_t weir__budget_used(struct weir__budget *budget);
void weir__budget_set_limit(struct weir__budget *budget, size_t limit);
/* Whether `percent` of the limit is in use. */
bool weir__budget_is_over(struct weir__budget *budget, unsigned percent);

#endif
