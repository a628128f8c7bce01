/* SPDX-License-Identifier: MIT */
/* The process's budget for body bytes, and smaller ones of the same kind. */
#include "bytes/budget.h"

#include <weir/err.h>
#include <weir/view.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static struct weir__budget process;
static pthread_once_t process_once = PTHREAD_ONCE_INIT;
static atomic_bool process_ready; /* spares the many their pthread_once() */

/* A number from a one-line file; 0 when there is none ("max"). */
static uint64_t number_in(const char *path)
{
    char text[32];
    uint64_t number = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        ssize_t len = read(fd, text, sizeof(text));

        if (len > 1) {
            WEIR_IGNORE(weir_view_to_u64(weir_bytes(text, (size_t)len - 1), &number));
        }
        close(fd);
    }
    return number;
}

static void process_init(void)
{
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t group = number_in("/sys/fs/cgroup/memory.max");

    if (group > 0 && group < memory) {
        memory = group;
    }
    atomic_store(&process.limit, (size_t)(memory / 4));
    atomic_store_explicit(&process_ready, true, memory_order_release);
}

struct weir__budget *weir__budget_process(void)
{
    if (!atomic_load_explicit(&process_ready, memory_order_acquire)) {
        pthread_once(&process_once, process_init);
    }
    return &process;
}

int weir__budget_charge(struct weir__budget *budget, size_t bytes)
{
    size_t limit = atomic_load_explicit(&budget->limit, memory_order_relaxed);
    size_t now = atomic_fetch_add_explicit(&budget->used, bytes, memory_order_relaxed) + bytes;

    if (limit != 0 && now > limit) {
        atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
        return WEIR_EBUDGET;
    }
    if (now > atomic_load_explicit(&budget->peak, memory_order_relaxed)) {
        atomic_store_explicit(&budget->peak, now, memory_order_relaxed);
    }
    return 0;
}

void weir__budget_release(struct weir__budget *budget, size_t bytes)
{
    atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
}

size_t weir__budget_used(struct weir__budget *budget)
{
    return atomic_load_explicit(&budget->used, memory_order_relaxed);
}

void weir__budget_set_limit(struct weir__budget *budget, size_t limit)
{
    atomic_store(&budget->limit, limit);
}

bool weir__budget_is_over(struct weir__budget *budget, unsigned percent)
{
    size_t limit = atomic_load_explicit(&budget->limit, memory_order_relaxed);

    return limit != 0 && weir__budget_used(budget) >= limit / 100 * percent;
}
