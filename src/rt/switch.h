/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_SWITCH_H
#define WEIR_RT_SWITCH_H

#include <stddef.h>

/*
 * The context switch of Boost.Context (its assembly has a stable C interface but no C header), and the hooks by which
 * AddressSanitizer, ThreadSanitizer and valgrind follow it.
 */
struct weir__transfer {
    void *context; /* where the switch came from */
    void *data;    /* what it handed over */
};

struct weir__transfer jump_fcontext(void *to, void *data);
void *make_fcontext(void *stack_top, size_t size, void (*entry)(struct weir__transfer));

#if defined(__has_feature)
#define WEIR__HAS_FEATURE(name) __has_feature(name)
#else
#define WEIR__HAS_FEATURE(name) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || WEIR__HAS_FEATURE(address_sanitizer)
#define WEIR__ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define WEIR__ASAN 0
#endif

#if defined(__SANITIZE_THREAD__) || WEIR__HAS_FEATURE(thread_sanitizer)
#define WEIR__TSAN 1
#include <sanitizer/tsan_interface.h>
#else
#define WEIR__TSAN 0
#endif

#if WEIR__ASAN || WEIR__TSAN || defined(WEIR_HAVE_VALGRIND)
#define WEIR__FIBER_HOOKS 1
#endif

#endif
