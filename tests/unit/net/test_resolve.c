/* SPDX-License-Identifier: MIT */
/* Names, against a name server that misbehaves on request. */
#include "net_test.h"

#include "fake_dns.h"
#include "net/resolve.h"

#include <stdio.h>

static int resolve(const char *host, struct weir__resolve *wait)
{
    int r = weir__resolve_begin(weir_str(host), wait);

    while (r == 0 && !wait->done) {
        WEIR_IGNORE(weir__fiber_suspend(WEIR__NEVER));
    }
    weir__resolve_finish(wait);
    return r < 0 ? r : wait->code;
}

static unsigned last_byte(const struct weir__addr *addr)
{
    return ntohl(addr->of.v4.sin_addr.s_addr) & 0xff;
}

static void answers(void *arg)
{
    struct weir__resolve wait;
    bool v6_first;

    (void)arg;
    assert_int_equal(resolve("v4.test", &wait), 0);
    assert_int_equal(wait.count, 1);
    assert_int_equal(wait.addrs[0].of.any.sa_family, AF_INET);
    assert_int_equal(wait.addrs[0].of.v4.sin_port, 0);
    assert_int_equal(resolve("two.test", &wait), 0);
    assert_int_equal(wait.count, 2);
    assert_int_equal(resolve("both.test", &wait), 0);
    assert_int_equal(wait.count, 2);
    v6_first = wait.addrs[0].of.any.sa_family == AF_INET6;
    assert_int_equal(wait.addrs[v6_first ? 1 : 0].of.any.sa_family, AF_INET);
    assert_int_equal(wait.addrs[v6_first ? 0 : 1].of.any.sa_family, AF_INET6);
    assert_int_equal(resolve("many.test", &wait), 0);
    assert_int_equal(wait.count, WEIR__RESOLVE_MAX_ADDRS);
    assert_int_equal(resolve("localhost", &wait), 0);
    assert_true(wait.count >= 1);
}

static void failures(void *arg)
{
    struct weir__resolve wait;
    int64_t began = now_us();

    (void)arg;
    assert_int_equal(resolve("nx.test", &wait), WEIR_ENOTFOUND);
    assert_int_not_equal(wait.native, 0);
    assert_int_equal(resolve("empty.test", &wait), WEIR_ENOTFOUND);
    assert_true(now_us() - began < 700000);
    assert_int_equal(resolve("fail.test", &wait), WEIR_EIO);
    assert_int_not_equal(wait.native, 0);
    began = now_us();
    assert_int_equal(resolve("silent.test", &wait), WEIR_ETIMEDOUT);
    assert_true(now_us() - began > 250000 && now_us() - began < 3000000);
}

/* What is no message is not believed: an error, or no answer, in bounded time. */
static void garbage(void *arg)
{
    struct weir__resolve wait;
    int64_t began = now_us();

    (void)arg;
    assert_true(resolve("junk.test", &wait) < 0);
    assert_int_equal(wait.count, 0);
    assert_true(now_us() - began < 3000000);
    assert_int_equal(resolve("forged.test", &wait), 0);
    assert_int_equal(wait.count, 1);
    assert_int_equal(last_byte(&wait.addrs[0]), 1);
}

static void lost_datagrams(void *arg)
{
    struct weir__resolve wait;

    (void)arg;
    assert_int_equal(resolve("lost.test", &wait), 0);
    assert_int_equal(wait.count, 1);
}

static void truncated_goes_to_tcp(void *arg)
{
    struct fake_dns *dns = arg;
    struct weir__resolve wait;
    int64_t began;

    assert_int_equal(resolve("tc.test", &wait), 0);
    assert_int_equal(wait.count, 1);
    assert_true(atomic_load(&dns->tcp_questions) >= 1);
    began = now_us();
    assert_true(resolve("tcdead.test", &wait) < 0);
    assert_true(now_us() - began < 3000000);
    assert_int_equal(resolve("v4.test", &wait), 0);
}

static void no_server(void *arg)
{
    struct weir__resolve wait;
    uint16_t port;
    int holder =
        refused_port(&port); /* TCP: the UDP port of the same number is free too, most likely */
    char servers[32];

    (void)arg;
    snprintf(servers, sizeof(servers), "127.0.0.1:%u", port);
    weir__resolve_set_servers(servers);
    assert_true(resolve("v4.test", &wait) < 0);
    close(holder);
}

struct sharer {
    const char *host;
    int64_t patience_ms;
    int code;
    size_t count;
};

static int share(void *arg)
{
    struct sharer *sharer = arg;
    int64_t until_us = weir__loop_current()->now_us + sharer->patience_ms * 1000;
    struct weir__resolve wait;
    int r = weir__resolve_begin(weir_str(sharer->host), &wait);

    while (r == 0 && !wait.done) {
        r = weir__fiber_suspend(until_us);
    }
    sharer->code = r < 0 ? r : wait.code;
    sharer->count = wait.count;
    weir__resolve_finish(&wait);
    return 0;
}

static void run_sharers(struct sharer *sharers, size_t count)
{
    struct weir_scope *scope;

    assert_int_equal(weir_scope_open(&scope), 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(weir_scope_spawn(scope, share, &sharers[i]), 0);
    }
    assert_int_equal(weir_scope_join(scope, -1), 0);
    weir_scope_close(scope);
}

static void overlapping_lookups_are_shared(void *arg)
{
    struct fake_dns *dns = arg;
    struct sharer sharers[20];

    for (int i = 0; i < 20; i++) {
        sharers[i] = (struct sharer){i % 2 ? "v4.test" : "V4.TEST", 2000, -1, 0};
    }
    run_sharers(sharers, 20);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(sharers[i].code, 0);
        assert_int_equal(sharers[i].count, 1);
    }
    assert_int_equal(atomic_load(&dns->questions), 2); /* A and AAAA */
}

/* Those who give up leave the others waiting, and the last one leaves the lookup behind. */
static void waiters_come_and_go(void *arg)
{
    struct sharer sharers[6];

    (void)arg;
    for (int i = 0; i < 6; i++) {
        sharers[i] = (struct sharer){"silent.test", i < 5 ? 10 * (i + 1) : 5000, -1, 0};
    }
    run_sharers(sharers, 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(sharers[i].code, WEIR_ETIMEDOUT);
    }
    sharers[0] = (struct sharer){"silent.test", 10, -1, 0};
    run_sharers(sharers, 1); /* still in flight when the loop goes */
}

/* Many names at once, over many turns of the loop; then too many. */
static void many_names(void *arg)
{
    static struct sharer sharers[200];
    static char names[200][32];
    static struct weir__resolve waits[WEIR__RESOLVE_MAX_LOOKUPS];
    struct weir__resolve extra;

    (void)arg;
    for (int i = 0; i < 200; i++) {
        snprintf(names[i], sizeof(names[i]), "v4.n%d.test", i);
        sharers[i] = (struct sharer){names[i], 5000, -1, 0};
    }
    run_sharers(sharers, 200);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(sharers[i].code, 0);
    }
    weir__resolve_set_patience(20000, 1);
    for (int i = 0; i < WEIR__RESOLVE_MAX_LOOKUPS; i++) {
        char name[32];

        snprintf(name, sizeof(name), "silent.n%d.test", i);
        assert_int_equal(weir__resolve_begin(weir_str(name), &waits[i]), 0);
    }
    assert_int_equal(weir__resolve_begin(weir_str("v4.test"), &extra), WEIR_ELIMIT);
    for (int i = 0; i < WEIR__RESOLVE_MAX_LOOKUPS; i++) {
        weir__resolve_finish(&waits[i]);
    }
}

#define CASE(name)                                 \
    static void test_##name(void **state)          \
    {                                              \
        struct fake_dns dns;                       \
        (void)state;                               \
        assert_int_equal(fake_dns_start(&dns), 0); \
        run_in_fiber(name, &dns);                  \
        fake_dns_stop(&dns);                       \
    }

CASE(answers)
CASE(failures)
CASE(garbage)
CASE(lost_datagrams)
CASE(truncated_goes_to_tcp)
CASE(no_server)
CASE(overlapping_lookups_are_shared)
CASE(waiters_come_and_go)
CASE(many_names)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_lost_datagrams),
        cmocka_unit_test(test_truncated_goes_to_tcp),
        cmocka_unit_test(test_no_server),
        cmocka_unit_test(test_overlapping_lookups_are_shared),
        cmocka_unit_test(test_waiters_come_and_go),
        cmocka_unit_test(test_many_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
