/* SPDX-License-Identifier: MIT */
/* The handler that names a fiber's stack overflow. It runs on a signal stack and only reads memory
 * and writes. */
#include "rt/overflow.h"

#include <weir/err.h>

#include "rt/loop.h"
#include "rt/switch.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#if WEIR__ASAN || WEIR__TSAN

int weir__overflow_handler_install(void)
{
    return 0;
}

#else

#define SIGNAL_STACK_BYTES ((size_t)64 * 1024)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* the thread's signal stack */
static int key_error;
static struct sigaction before_segv, before_bus;

static void name_it(const void *address)
{
    static const char text[] =
        "weir: fiber stack overflow: fault in the guard page of a 64 KiB fiber stack at 0x";
    char digits[2 * sizeof(uintptr_t) + 1];
    uintptr_t rest = (uintptr_t)address;
    ssize_t written = write(STDERR_FILENO, text, sizeof(text) - 1);

    for (size_t i = sizeof(digits) - 1; i-- > 0; rest >>= 4) {
        digits[i] = "0123456789abcdef"[rest & 15];
    }
    digits[sizeof(digits) - 1] = '\n';
    written = write(STDERR_FILENO, digits, sizeof(digits));
    (void)written;
}

/* Hands the signal on to whom it would have gone without us. */
static void pass_on(int number, siginfo_t *info, void *context, const struct sigaction *before)
{
    if ((before->sa_flags & SA_SIGINFO) && before->sa_sigaction != NULL) {
        before->sa_sigaction(number, info, context);
        return;
    }
    if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
        before->sa_handler(number);
        return;
    }
    /* The faulting instruction runs again and meets the default action; a signal that was sent is
     * sent again. */
    sigaction(number, before, NULL);
    if (info->si_code <= 0) {
        raise(number);
    }
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    struct weir__loop *loop = weir__loop_current();

    if (loop != NULL && info->si_code > 0 && weir__stacks_is_guard(&loop->stacks, info->si_addr)) {
        name_it(info->si_addr);
    }
    pass_on(number, info, context, number == SIGSEGV ? &before_segv : &before_bus);
}

static void thread_ends(void *stack)
{
    stack_t off = {.ss_flags = SS_DISABLE};

    sigaltstack(&off, NULL);
    munmap(stack, SIGNAL_STACK_BYTES);
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigemptyset(&action.sa_mask);
    key_error = pthread_key_create(&key, thread_ends);
    if (key_error == 0) {
        sigaction(SIGSEGV, &action, &before_segv);
        sigaction(SIGBUS, &action, &before_bus);
    }
}

int weir__overflow_handler_install(void)
{
    stack_t present;
    stack_t own = {.ss_size = SIGNAL_STACK_BYTES};

    pthread_once(&once, install);
    if (key_error != 0) {
        return WEIR_ENOMEM;
    }
    if (pthread_getspecific(key) != NULL ||
        (sigaltstack(NULL, &present) == 0 && !(present.ss_flags & SS_DISABLE))) {
        return 0; /* the program has given this thread one */
    }
    own.ss_sp =
        mmap(NULL, SIGNAL_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (own.ss_sp == MAP_FAILED) {
        return WEIR_ENOMEM;
    }
    if (sigaltstack(&own, NULL) != 0 || pthread_setspecific(key, own.ss_sp) != 0) {
        stack_t off = {.ss_flags = SS_DISABLE};

        sigaltstack(&off, NULL);
        munmap(own.ss_sp, SIGNAL_STACK_BYTES);
        return WEIR_ENOMEM;
    }
    return 0;
}

#endif
