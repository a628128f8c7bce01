/* SPDX-License-Identifier: MIT */
/*
 * The key check takes the same time however near a wrong key comes, and whichever key is the right one. Time is counted
 * in instructions: the program runs itself under callgrind, once for each keys file, always with the same request. What
 * differs between the files are bytes of hashes only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "auth/keys.h"

/* sha256("alpha-key"), and what differs from it in the first, the middle, the last, and every byte. */
#define RIGHT "677509799af78b2efa2f2af71d0f906e0a0c50c048efd3b515625f788e92b99a"
#define FIRST "987509799af78b2efa2f2af71d0f906e0a0c50c048efd3b515625f788e92b99a"
#define INNER "677509799af78b2efa2f2af71d0f906ef50c50c048efd3b515625f788e92b99a"
#define FINAL "677509799af78b2efa2f2af71d0f906e0a0c50c048efd3b515625f788e92b965"
#define OTHER1 "988af686650874d105d0d508e2f06f91f5f3af3fb7102c4aea9da087716d4665"
#define OTHER2 "10027e0eed80fc598d585d806a78e7197d7b27b73f98a4c26215280ff9e5ceed"
#define OTHER3 "feec90e0036e12b763b6b36e849609f79395c959d1764a2c8cfbc6e1170b2003"

static const char *const files[][3] = {
    {OTHER1, OTHER2, OTHER3}, {FIRST, OTHER2, OTHER3}, {INNER, OTHER2, OTHER3},
    {FINAL, OTHER2, OTHER3},  {OTHER1, OTHER2, FINAL}, {FIRST, INNER, FINAL},
    {RIGHT, OTHER2, OTHER3},  {OTHER1, RIGHT, OTHER3}, {OTHER1, OTHER2, RIGHT},
    {FIRST, FINAL, RIGHT},
};

enum { FILES = sizeof(files) / sizeof(files[0]), WRONG_FILES = 6 };

/* Counted by its name: it must stay a call. */
__attribute__((noinline)) enum gw_verdict counted_decision(const struct gw_keys *keys);

enum gw_verdict counted_decision(const struct gw_keys *keys)
{
    const char *label;
    enum gw_verdict verdict = gw_keys_decide(keys, weir_str("alpha-key"), weir_bytes(NULL, 0),
                                             weir_str("GET"), weir_str("/reports/1"), &label);

    __asm__ volatile("" ::"r"(label) : "memory");
    return verdict;
}

/* One decision with the i-th file. The exit status is the verdict. */
static int decide(size_t i)
{
    struct gw_problem problem;
    struct gw_keys *keys = NULL;
    enum gw_verdict verdict;
    char text[400];

    snprintf(text, sizeof(text), "a %s\nb %s\nc %s\n", files[i][0], files[i][1], files[i][2]);
    if (gw_keys_parse(weir_str(text), "keys", &keys, &problem) < 0) {
        return 99;
    }
    verdict = counted_decision(keys);
    gw_keys_destroy(keys);
    return (int)verdict;
}

/* How many instructions the decision with the i-th file takes; the arguments of all runs are of one length. */
static unsigned long long count(size_t i, enum gw_verdict *ret_verdict)
{
    static char self[1024];
    static char command[2000];
    static char line[1000];
    unsigned long long instructions = 0;
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    FILE *out;
    int status;

    assert_true(len > 0);
    snprintf(command, sizeof(command),
             "exec valgrind --tool=callgrind --callgrind-out-file=/dev/null "
             "--toggle-collect='counted_decision*' '%s' %zu 2>&1",
             self, i);
    out = popen(command, "r");
    assert_non_null(out);
    while (fgets(line, sizeof(line), out) != NULL) {
        const char *at = strstr(line, "Collected : ");

        if (at != NULL) {
            instructions = strtoull(at + 12, NULL, 10);
        }
    }
    status = pclose(out);
    assert_true(WIFEXITED(status));
    *ret_verdict = (enum gw_verdict)WEXITSTATUS(status);
    return instructions;
}

static void every_decision_takes_the_same_time(void **state)
{
    unsigned long long first[2] = {0, 0};

    (void)state;
    for (size_t i = 0; i < FILES; i++) {
        bool is_right = i >= WRONG_FILES;
        enum gw_verdict verdict;
        unsigned long long instructions = count(i, &verdict);

        assert_int_equal(verdict, is_right ? GW_ALLOW : GW_UNKNOWN);
        print_message("file %zu: %llu instructions\n", i, instructions);
        /* A hash alone takes more: they were counted. */
        assert_true(instructions > 1000);
        if (first[is_right] == 0) {
            first[is_right] = instructions;
        }
        assert_true(instructions == first[is_right]);
    }
    /* Who is known is asked for method and path besides, which the answer tells anyway. */
    assert_true(first[1] - first[0] < 200);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_decision_takes_the_same_time),
    };

    if (argc == 2 && argv[1][0] >= '0' && argv[1][0] < '0' + FILES) {
        return decide((size_t)(argv[1][0] - '0'));
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
