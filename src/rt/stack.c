/* SPDX-License-Identifier: MIT */
/*
 * Fiber stacks. A guard made with MADV_GUARD_INSTALL (Linux 6.13) lives in the page table and splits no mapping;
 * without it, mprotect makes two mappings a stack, so their number is capped below vm.max_map_count.
 */
#include "rt/stack.h"

#include <weir/err.h>
#include <weir/view.h>

#include "base/alloc.h"
#include "base/assert.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEGMENT_SLOTS 1024u
#define RESIDENT_FREE 128u
#define ADVICE_GUARD_INSTALL 102 /* MADV_GUARD_INSTALL, newer than the C library's headers */

static bool force_mprotect;
static _Atomic int64_t mprotected; /* live slots guarded by mprotect, all loops */

void weir__stacks_force_mprotect(bool force)
{
    force_mprotect = force;
}

static bool probe_cheap_guards(void)
{
    bool works;
    void *page = mmap(NULL, WEIR__PAGE_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (page == MAP_FAILED) {
        return false;
    }
    works = madvise(page, WEIR__PAGE_BYTES, ADVICE_GUARD_INSTALL) == 0;
    munmap(page, WEIR__PAGE_BYTES);
    return works;
}

/* (vm.max_map_count - 4096) / 2; the kernel's default where it can't be read. */
static int64_t mprotect_cap(void)
{
    char text[32];
    uint64_t count = 65530;
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        ssize_t len = read(fd, text, sizeof(text));

        if (len > 1) {
            WEIR_IGNORE(weir_view_to_u64(weir_bytes(text, (size_t)len - 1), &count));
        }
        close(fd);
    }
    return count > 8192 ? ((int64_t)count - 4096) / 2 : 1024;
}

void weir__stacks_init(struct weir__stacks *stacks)
{
    *stacks = (struct weir__stacks){.cheap_guards = !force_mprotect && probe_cheap_guards()};
}

void weir__stacks_finish(struct weir__stacks *stacks)
{
    weir_assert(stacks->live == 0);
    for (size_t i = 0; i < stacks->segment_count; i++) {
        if (!stacks->cheap_guards) {
            atomic_fetch_sub(&mprotected, stacks->segments[i].used);
        }
        munmap(stacks->segments[i].base, SEGMENT_SLOTS * WEIR__STACK_BYTES);
    }
    weir_free(stacks->segments);
    weir_free(stacks->free);
    *stacks = (struct weir__stacks){0};
}

static int add_segment(struct weir__stacks *stacks)
{
    struct weir__stack_segment *grown =
        weir_realloc(stacks->segments, (stacks->segment_count + 1) * sizeof(*grown));
    void *base;

    if (grown == NULL) {
        return WEIR_ENOMEM;
    }
    stacks->segments = grown;
    base = mmap(NULL, SEGMENT_SLOTS * WEIR__STACK_BYTES, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (base == MAP_FAILED) {
        return WEIR_ENOMEM;
    }
    /* A huge page would make the first touch of one stack cost 2 MiB. */
    madvise(base, SEGMENT_SLOTS * WEIR__STACK_BYTES, MADV_NOHUGEPAGE);
    stacks->segments[stacks->segment_count++] = (struct weir__stack_segment){.base = base};
    return 0;
}

static int new_slot(struct weir__stacks *stacks, uint8_t **ret_top)
{
    struct weir__stack_segment *segment;
    uint8_t *low;

    if (stacks->segment_count == 0 ||
        stacks->segments[stacks->segment_count - 1].used == SEGMENT_SLOTS) {
        int r = add_segment(stacks);

        if (r < 0) {
            return r;
        }
    }
    segment = &stacks->segments[stacks->segment_count - 1];
    low = segment->base + (size_t)segment->used * WEIR__STACK_BYTES;
    if (stacks->cheap_guards) {
        if (madvise(low, WEIR__PAGE_BYTES, ADVICE_GUARD_INSTALL) != 0) {
            return WEIR_ENOMEM;
        }
    } else {
        static _Atomic int64_t cap;

        if (atomic_load(&cap) == 0) {
            atomic_store(&cap, mprotect_cap());
        }
        if (atomic_fetch_add(&mprotected, 1) >= atomic_load(&cap)) {
            atomic_fetch_sub(&mprotected, 1);
            return WEIR_ELIMIT;
        }
        if (mprotect(low, WEIR__PAGE_BYTES, PROT_NONE) != 0) {
            atomic_fetch_sub(&mprotected, 1);
            return WEIR_ENOMEM;
        }
    }
    segment->used++;
    *ret_top = low + WEIR__STACK_BYTES;
    return 0;
}

int weir__stacks_get(struct weir__stacks *stacks, uint8_t **ret_top)
{
    int r;

    if (stacks->free_count > 0) {
        *ret_top = stacks->free[--stacks->free_count];
        stacks->resident -= stacks->resident > 0;
        stacks->live++;
        return 0;
    }
    /* Room for putting every slot back, taken before there is one more: putting back cannot fail. */
    if (stacks->free_capacity <= stacks->live) {
        size_t capacity = stacks->free_capacity == 0 ? 64 : stacks->free_capacity * 2;
        uint8_t **grown = weir_realloc(stacks->free, capacity * sizeof(*grown));

        if (grown == NULL) {
            return WEIR_ENOMEM;
        }
        stacks->free = grown;
        stacks->free_capacity = capacity;
    }
    r = new_slot(stacks, ret_top);
    if (r == 0) {
        stacks->live++;
    }
    return r;
}

void weir__stacks_put(struct weir__stacks *stacks, uint8_t *top)
{
    weir_assert(stacks->live > 0 && stacks->free_count < stacks->free_capacity);
    stacks->live--;
    if (stacks->resident >= RESIDENT_FREE) {
        size_t cold = stacks->free_count - stacks->resident;

        madvise(top - WEIR__STACK_BYTES + WEIR__PAGE_BYTES, WEIR__STACK_BYTES - WEIR__PAGE_BYTES,
                MADV_DONTNEED);
        stacks->free[stacks->free_count++] = stacks->free[cold];
        stacks->free[cold] = top;
        return;
    }
    stacks->resident++;
    stacks->free[stacks->free_count++] = top;
}

void weir__stack_trim(uint8_t *top, const void *lowest_used)
{
    uint8_t *low = top - WEIR__STACK_BYTES + WEIR__PAGE_BYTES;
    uint8_t *end = (uint8_t *)((uintptr_t)lowest_used & ~(uintptr_t)(WEIR__PAGE_BYTES - 1));

    if (end > low) {
        madvise(low, (size_t)(end - low), MADV_DONTNEED);
    }
}

bool weir__stacks_is_guard(const struct weir__stacks *stacks, const void *address)
{
    for (size_t i = 0; i < stacks->segment_count; i++) {
        uintptr_t offset = (uintptr_t)address - (uintptr_t)stacks->segments[i].base;

        if (offset < SEGMENT_SLOTS * WEIR__STACK_BYTES) {
            return offset % WEIR__STACK_BYTES < WEIR__PAGE_BYTES;
        }
    }
    return false;
}
