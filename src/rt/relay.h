/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_RELAY_H
#define WEIR_RT_RELAY_H

#include <weir/blocking.h>

#include "base/list.h"
#include "rt/loop.h"

/*
 * Blocking jobs: a function runs on a pool's thread, and the fiber that started it carries out the calls which that
 * function makes of this library, one at a time. The thread itself touches nothing of the loop. What is shared is behind
 * two mutexes of the pool: its own (queue, state) and that of the worker (the call in hand).
 */
struct weir__relay_worker;

struct weir__relay {
    struct weir_list link; /* weir_blocking_pool.queue */
    int (*fn)(void *arg);
    void *arg;
    int result;
    struct weir__loop *loop;
    struct weir__fiber *fiber;
    struct weir__task task;
    bool posted; /* of the loop's thread: the thread has something for the fiber */
    bool taken;  /* behind the pool's mutex: a thread has it */
    struct weir__relay_worker *worker;
    /* Behind the worker's mutex. */
    void (*call)(void *arg); /* to be carried out; NULL: none */
    void *call_arg;
    bool answered, done;
};

/* The job this thread runs; NULL on every other thread. Looked at by each public call that needs a loop. */
extern __thread struct weir__relay *weir__relay_here __attribute__((tls_model("initial-exec")));

/*
 * Runs fn(arg) on a thread of the pool (NULL: the process's own) and waits for it, whatever happens meanwhile. Until it
 * has begun the wait may end with WEIR_EBUSY (no thread and no room; none within `wait_ms`, 0: no such bound),
 * WEIR_ECANCELED, WEIR_ENOMEM (no thread could be started). Returns 0 with what fn returned.
 * Context: fiber, suspends.
 */
int weir__relay_run(struct weir_blocking_pool *pool, int64_t wait_ms, int (*fn)(void *arg),
                    void *arg, int *ret);

/* Has the job's fiber call fn(arg), and waits until it has. Context: the thread of a job. */
void weir__relay_call(void (*fn)(void *arg), void *arg);

/* Ends the process's own pool; nothing may run in it. Context: any thread. */
void weir__relay_stop(void);

/*
 * The way of one public call from a job's thread to its fiber: WEIR__RELAY_n(type, name, call, types...) makes the static
 * function `name`, which has the fiber make the call with the same arguments. Macros, since each call has types of its
 * own. The public function begins with `if (weir__relay_here != NULL) return name(...)`.
 */
#define WEIR__RELAY_0(type, name, call)     \
    static void name##_run(void *arg)       \
    {                                       \
        *(type *)arg = call();              \
    }                                       \
    static type name(void)                  \
    {                                       \
        type ret;                           \
                                            \
        weir__relay_call(name##_run, &ret); \
        return ret;                         \
    }

#define WEIR__RELAY_1(type, name, call, A)   \
    struct name##_args {                     \
        A a;                                 \
        type ret;                            \
    };                                       \
    static void name##_run(void *arg)        \
    {                                        \
        struct name##_args *args = arg;      \
                                             \
        args->ret = call(args->a);           \
    }                                        \
    static type name(A a)                    \
    {                                        \
        struct name##_args args = {.a = a};  \
                                             \
        weir__relay_call(name##_run, &args); \
        return args.ret;                     \
    }

#define WEIR__RELAY_2(type, name, call, A, B)       \
    struct name##_args {                            \
        A a;                                        \
        B b;                                        \
        type ret;                                   \
    };                                              \
    static void name##_run(void *arg)               \
    {                                               \
        struct name##_args *args = arg;             \
                                                    \
        args->ret = call(args->a, args->b);         \
    }                                               \
    static type name(A a, B b)                      \
    {                                               \
        struct name##_args args = {.a = a, .b = b}; \
                                                    \
        weir__relay_call(name##_run, &args);        \
        return args.ret;                            \
    }

#define WEIR__RELAY_3(type, name, call, A, B, C)            \
    struct name##_args {                                    \
        A a;                                                \
        B b;                                                \
        C c;                                                \
        type ret;                                           \
    };                                                      \
    static void name##_run(void *arg)                       \
    {                                                       \
        struct name##_args *args = arg;                     \
                                                            \
        args->ret = call(args->a, args->b, args->c);        \
    }                                                       \
    static type name(A a, B b, C c)                         \
    {                                                       \
        struct name##_args args = {.a = a, .b = b, .c = c}; \
                                                            \
        weir__relay_call(name##_run, &args);                \
        return args.ret;                                    \
    }

#define WEIR__RELAY_4(type, name, call, A, B, C, D)                 \
    struct name##_args {                                            \
        A a;                                                        \
        B b;                                                        \
        C c;                                                        \
        D d;                                                        \
        type ret;                                                   \
    };                                                              \
    static void name##_run(void *arg)                               \
    {                                                               \
        struct name##_args *args = arg;                             \
                                                                    \
        args->ret = call(args->a, args->b, args->c, args->d);       \
    }                                                               \
    static type name(A a, B b, C c, D d)                            \
    {                                                               \
        struct name##_args args = {.a = a, .b = b, .c = c, .d = d}; \
                                                                    \
        weir__relay_call(name##_run, &args);                        \
        return args.ret;                                            \
    }

#define WEIR__RELAY_5(type, name, call, A, B, C, D, E)                      \
    struct name##_args {                                                    \
        A a;                                                                \
        B b;                                                                \
        C c;                                                                \
        D d;                                                                \
        E e;                                                                \
        type ret;                                                           \
    };                                                                      \
    static void name##_run(void *arg)                                       \
    {                                                                       \
        struct name##_args *args = arg;                                     \
                                                                            \
        args->ret = call(args->a, args->b, args->c, args->d, args->e);      \
    }                                                                       \
    static type name(A a, B b, C c, D d, E e)                               \
    {                                                                       \
        struct name##_args args = {.a = a, .b = b, .c = c, .d = d, .e = e}; \
                                                                            \
        weir__relay_call(name##_run, &args);                                \
        return args.ret;                                                    \
    }

/* The same for calls that return nothing. */
#define WEIR__RELAY_VOID_1(name, call, A) \
    static void name##_run(void *arg)     \
    {                                     \
        call(*(A *)arg);                  \
    }                                     \
    static void name(A a)                 \
    {                                     \
        weir__relay_call(name##_run, &a); \
    }

#define WEIR__RELAY_VOID_2(name, call, A, B)        \
    struct name##_args {                            \
        A a;                                        \
        B b;                                        \
    };                                              \
    static void name##_run(void *arg)               \
    {                                               \
        struct name##_args *args = arg;             \
                                                    \
        call(args->a, args->b);                     \
    }                                               \
    static void name(A a, B b)                      \
    {                                               \
        struct name##_args args = {.a = a, .b = b}; \
                                                    \
        weir__relay_call(name##_run, &args);        \
    }

#endif
