/* SPDX-License-Identifier: MIT */
/* A fiber that runs out of stack is named, in a child process that dies of it; other faults die as
 * they always did. */
#include "rt_test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rt/overflow.h"

struct death {
    int signal, status;
    char words[512];
};

static int dig(int depth)
{
    volatile char hole[512];

    hole[0] = (char)depth;
    if (depth == INT32_MAX) {
        return 0;
    }
    return dig(depth + 1) + hole[0];
}

static void overflow_in_fiber(void *arg)
{
    *(volatile int *)arg = dig(0);
}

static void touch_nowhere(void *arg)
{
    volatile int *volatile nowhere = (volatile int *)(uintptr_t)16;

    (void)arg;
    *nowhere = 1;
}

static void send_itself(void *arg)
{
    (void)arg;
    raise(SIGSEGV);
}

static void exit_with_42(int number)
{
    (void)number;
    _exit(42);
}

enum { MPROTECT = 1, HANDLER_BEFORE = 2 };

static void die_in_child(void (*entry)(void *arg), int options)
{
    struct rlimit no_core = {0, 0};
    static int result;

    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGSEGV,
           options & HANDLER_BEFORE ? exit_with_42 : SIG_DFL); /* the test library has its own */
    signal(SIGBUS, SIG_DFL);
    weir__stacks_force_mprotect(options & MPROTECT);
    if (weir__loop_create(NULL, NULL, &loop) < 0 || weir__overflow_handler_install() < 0 ||
        weir__overflow_handler_install() < 0) {
        _exit(3);
    }
    start(entry, &result);
    weir__loop_run_until_idle(loop);
    _exit(4);
}

static struct death death_of(void (*entry)(void *arg), int options)
{
    struct death death = {0};
    int ends[2];
    size_t len = 0;
    ssize_t got;
    int status = 0;
    pid_t child;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        die_in_child(entry, options);
    }
    close(ends[1]);
    while ((got = read(ends[0], death.words + len, sizeof(death.words) - 1 - len)) > 0) {
        len += (size_t)got;
    }
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    death.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    death.status = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    return death;
}

static const char first_words[] = "weir: fiber stack overflow: ";

static void an_overflow_is_named(void **state)
{
    (void)state;
    for (int options = 0; options <= MPROTECT; options++) {
        struct death death = death_of(overflow_in_fiber, options);

        assert_int_equal(death.signal, SIGSEGV);
        assert_memory_equal(death.words, first_words, sizeof(first_words) - 1);
        assert_non_null(strchr(death.words, '\n'));
        assert_null(strchr(strchr(death.words, '\n') + 1, '\n')); /* once */
    }
}

static void other_faults_are_not(void **state)
{
    struct death death = death_of(touch_nowhere, 0);

    (void)state;
    assert_int_equal(death.signal, SIGSEGV);
    assert_string_equal(death.words, "");
    death = death_of(send_itself, 0);
    assert_int_equal(death.signal, SIGSEGV);
    assert_string_equal(death.words, "");
}

static void the_handler_before_is_called(void **state)
{
    struct death death = death_of(touch_nowhere, HANDLER_BEFORE);

    (void)state;
    assert_int_equal(death.status, 42);
    assert_string_equal(death.words, "");
    death = death_of(overflow_in_fiber, HANDLER_BEFORE);
    assert_int_equal(death.status, 42);
    assert_memory_equal(death.words, first_words, sizeof(first_words) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_overflow_is_named),
        cmocka_unit_test(other_faults_are_not),
        cmocka_unit_test(the_handler_before_is_called),
    };

    if (WEIR__ASAN || WEIR__TSAN || on_valgrind()) {
        assert_int_equal(weir__overflow_handler_install(), 0);
        return 77; /* skipped: they have handlers of their own */
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
