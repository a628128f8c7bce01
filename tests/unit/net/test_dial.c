/* SPDX-License-Identifier: MIT */
/* Dialling real loopback sockets, by address and by name; listening. */
#include "net_test.h"

#include "fake_dns.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/resource.h>

static void listen_on(const char *host, uint16_t port, int *ret_fd, uint16_t *ret_port)
{
    assert_int_equal(weir__listen(weir_str(host), port, 0, false, NULL, ret_fd, ret_port, NULL), 0);
    assert_int_not_equal(*ret_port, 0);
}

static void assert_connected(int fd)
{
    int on = 0;
    socklen_t len = sizeof(on);

    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
    assert_true(on != 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
}

static void literals(void *arg)
{
    static const char *const listeners[] = {"127.0.0.1", "::1", "[::1]", "*", ""};
    static const char *const targets[] = {"127.0.0.1", "::1", "[::1]", "::1", "127.0.0.1"};

    (void)arg;
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        int listener, fd, accepted, on = 0;
        socklen_t len = sizeof(on);
        uint16_t port;

        listen_on(listeners[i], 0, &listener, &port);
        assert_int_equal(dial_for(targets[i], port, 1000, &fd, NULL), 0);
        accepted = accept(listener, NULL, NULL);
        assert_int_equal(getsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
        assert_true(on != 0);
        assert_connected(fd);
        close(accepted);
        close(listener);
    }
}

static void bad_hosts(void *arg)
{
    static const char *const hosts[] = {
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a b",
        "a/b",
        "1.2.3",
        "127.1",
        "256.1.1.1",
        "0x7f.1",
        "0x7f000001",
        "1.2.3.4.",
        "[127.0.0.1]",
        "[::1",
        "[]",
        "::1]",
        "fe80::1%lo",
        "a\nb",
        "\xc3\xa4.test",
        "a.b.0xff",
        "2130706433",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test",
    };
    struct weir_error error;
    char longest[300];
    int fd = -7;

    (void)arg;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        assert_int_equal(dial_for(hosts[i], 1, 1000, &fd, &error), WEIR_EINVAL);
        assert_int_equal(error.code, WEIR_EINVAL);
        assert_ptr_equal(error.where, weir__dial_resolve);
    }
    for (size_t i = 0; i < sizeof(longest); i++) {
        longest[i] = i % 2 ? '.' : 'a';
    }
    longest[sizeof(longest) - 1] = 0;
    assert_int_equal(dial_for(longest, 1, 1000, &fd, &error), WEIR_EINVAL);
    assert_int_equal(dial_for("127.0.0.1", 0, 1000, &fd, &error), WEIR_EINVAL);
    assert_int_equal(weir__dial(&(struct weir__dial_opts){.host = weir_bytes("a\0b", 3),
                                                          .port = 1,
                                                          .deadline_us = WEIR__NEVER},
                                &fd, &error),
                     WEIR_EINVAL);
    assert_int_equal(fd, -7);
}

static void refused(void *arg)
{
    struct weir_error error;
    uint16_t port;
    int fd = -7;
    int holder = refused_port(&port);

    (void)arg;
    assert_int_equal(dial_for("127.0.0.1", port, 1000, &fd, &error), WEIR_EREFUSED);
    assert_int_equal(error.code, WEIR_EREFUSED);
    assert_int_equal(error.native, ECONNREFUSED);
    assert_ptr_equal(error.where, weir__dial_connect);
    assert_int_equal(error.side, WEIR_SIDE_NONE);
    assert_int_equal(dial_for("two.test", port, 1000, &fd, &error), WEIR_EREFUSED);
    assert_int_equal(dial_for("both.test", port, 1000, &fd, NULL), WEIR_EREFUSED);
    assert_int_equal(dial_for("localhost", port, 1000, &fd, &error), WEIR_EREFUSED);
    assert_int_equal(fd, -7);
    close(holder);
}

static void timed_out(void *arg)
{
    struct deaf deaf;
    struct weir_error error;
    int64_t began;
    int fd = -7;

    (void)arg;
    deaf_start(&deaf, "127.0.0.1", 0);
    began = now_us();
    assert_int_equal(dial_for("127.0.0.1", deaf.port, 100, &fd, &error), WEIR_ETIMEDOUT);
    assert_true(now_us() - began >= 95000 && now_us() - began < 600000);
    assert_int_equal(error.reason, WEIR_REASON_TIMEOUT);
    assert_ptr_equal(error.where, weir__dial_connect);
    assert_int_equal(dial_for("127.0.0.1", deaf.port, 0, &fd, &error), WEIR_ETIMEDOUT);
    assert_int_equal(fd, -7);
    deaf_stop(&deaf);
}

/* The first address stays silent: the second is tried 250 ms later and wins. */
static void second_address_wins(void *arg)
{
    struct deaf deaf;
    uint16_t port;
    int64_t began, took;
    int listener, fd;

    (void)arg;
    deaf_start(&deaf, "127.0.0.1", 0);
    listen_on("127.0.0.2", deaf.port, &listener, &port);
    began = now_us();
    assert_int_equal(dial_for("two.test", port, 5000, &fd, NULL), 0);
    took = now_us() - began;
    assert_true(took >= 240000 && took < 900000);
    assert_connected(fd);
    close(listener);
    deaf_stop(&deaf);
}

/* The first address refuses: the second is tried at once. */
static void refusal_makes_room(void *arg)
{
    uint16_t port;
    int64_t began;
    int listener, fd;

    (void)arg;
    listen_on("127.0.0.2", 0, &listener, &port);
    began = now_us();
    assert_int_equal(dial_for("two.test", port, 5000, &fd, NULL), 0);
    assert_true(now_us() - began < 200000);
    assert_connected(fd);
    close(listener);
    /* Of both families only the second listens. */
    listen_on("127.0.0.1", 0, &listener, &port);
    began = now_us();
    assert_int_equal(dial_for("both.test", port, 5000, &fd, NULL), 0);
    assert_true(now_us() - began < 200000);
    assert_connected(fd);
    close(listener);
}

/* The third of many is reached while the first two are still silent; those are closed. */
static void attempts_overlap(void *arg)
{
    struct deaf first, second;
    uint16_t port;
    int64_t began, took;
    int listener, fd;

    (void)arg;
    deaf_start(&first, "127.0.0.1", 0);
    deaf_start(&second, "127.0.0.2", first.port);
    listen_on("127.0.0.3", first.port, &listener, &port);
    began = now_us();
    assert_int_equal(dial_for("many.test", port, 5000, &fd, NULL), 0);
    took = now_us() - began;
    assert_true(took >= 490000 && took < 1400000);
    assert_connected(fd);
    close(listener);
    deaf_stop(&second);
    deaf_stop(&first);
}

static void families(void *arg)
{
    uint16_t port;
    int listener, fd;

    (void)arg;
    listen_on("::1", 0, &listener, &port);
    assert_int_equal(dial_for("v6.test", port, 1000, &fd, NULL), 0);
    assert_connected(fd);
    assert_int_equal(dial_for("both.test", port, 1000, &fd, NULL), 0);
    assert_connected(fd);
    close(listener);
    listen_on("*", 0, &listener, &port);
    assert_int_equal(dial_for("v4.test", port, 1000, &fd, NULL), 0);
    assert_connected(fd);
    assert_int_equal(dial_for("V4.TEST.", port, 1000, &fd, NULL), 0);
    assert_connected(fd);
    assert_int_equal(dial_for("localhost", port, 1000, &fd, NULL), 0);
    assert_connected(fd);
    close(listener);
}

struct cancelled {
    const char *host;
    uint16_t port;
    int result, fd;
    int64_t ended_us;
    struct weir_error error;
};

static int dial_child(void *arg)
{
    struct cancelled *job = arg;

    job->result = dial_for(job->host, job->port, 5000, &job->fd, &job->error);
    job->ended_us = now_us();
    return 0;
}

static void cancel_one(const char *host, uint16_t port)
{
    struct cancelled job = {.host = host, .port = port, .fd = -7};
    struct weir_scope *scope;
    int64_t began;
    int fds = open_fds();

    assert_int_equal(weir_scope_open(&scope), 0);
    assert_int_equal(weir_scope_spawn(scope, dial_child, &job), 0);
    assert_int_equal(weir_sleep(weir_after_ms(30)), 0);
    assert_int_equal(job.result, 0);
    began = now_us();
    weir_scope_cancel(scope);
    WEIR_IGNORE(weir_scope_join(scope, -1));
    assert_int_equal(job.result, WEIR_ECANCELED);
    assert_int_equal(job.error.reason, WEIR_REASON_CANCELED);
    assert_int_equal(job.error.side, WEIR_SIDE_SELF);
    assert_int_equal(job.fd, -7);
    assert_true(job.ended_us - began < 50000);
    if (port != 1) {
        assert_int_equal(
            open_fds(),
            fds + (host[0] != '1')); /* only the resolver's epoll set, if that was made */
    }
    weir_scope_close(scope);
}

static int cancel_in_phases(void *arg)
{
    struct deaf deaf;

    (void)arg;
    deaf_start(&deaf, "127.0.0.1", 0);
    cancel_one("127.0.0.1", deaf.port);
    cancel_one("v4.test", deaf.port);
    cancel_one("silent.test", 1);
    deaf_stop(&deaf);
    return 0;
}

static void cancel_before_and_meanwhile(void *arg)
{
    struct weir_scope scope;
    struct weir_error error;
    int fd = -7;

    cancel_in_phases(arg);
    weir__scope_init(&scope, weir__fiber_current());
    weir__fiber_current()->scope = &scope;
    weir_scope_cancel(&scope);
    assert_int_equal(dial_for("127.0.0.1", 1, 1000, &fd, &error), WEIR_ECANCELED);
    assert_int_equal(dial_for("silent.test", 1, 1000, &fd, &error), WEIR_ECANCELED);
    assert_int_equal(weir_sleep(weir_after_ms(1)), WEIR_ECANCELED); /* it was not consumed */
    /* Cleanup may dial: it is shielded. */
    weir__shield_begin();
    assert_int_equal(dial_for("nx.test", 1, 1000, &fd, &error), WEIR_ENOTFOUND);
    weir__shield_end();
    weir__fiber_current()->scope = NULL;
    weir__scope_finish(&scope);
}

static void no_descriptors(void *arg)
{
    struct rlimit old, low;
    struct weir_error error;
    uint16_t port;
    int listener, fd;

    (void)arg;
    listen_on("127.0.0.1", 0, &listener, &port);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    fd = dup(listener); /* the lowest free one */
    close(fd);
    low = (struct rlimit){(rlim_t)fd, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_int_equal(dial_for("127.0.0.1", port, 1000, &fd, &error), WEIR_ELIMIT);
    assert_int_equal(error.native, EMFILE);
    assert_int_equal(error.side, WEIR_SIDE_SELF);
    assert_int_equal(dial_for("v4.test", port, 1000, &fd, &error), WEIR_ELIMIT);
    assert_ptr_equal(error.where, weir__dial_resolve);
    assert_int_equal(weir__listen(weir_str(""), 0, 0, false, NULL, &fd, NULL, &error), WEIR_ELIMIT);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(dial_for("v4.test", port, 1000, &fd, &error), 0);
    close(fd);
    close(listener);
}

static void out_of_memory(void *arg)
{
    struct weir_error error;
    uint16_t port;
    int listener, fd = -7, r;

    (void)arg;
    listen_on("127.0.0.1", 0, &listener, &port);
    for (int n = 1; n < 50; n++) {
        weir__alloc_fail_at(n);
        r = dial_for("v4.test", port, 1000, &fd, &error);
        weir__alloc_fail_at(0);
        if (r == 0) {
            close(fd);
            break;
        }
        assert_int_equal(r, WEIR_ENOMEM);
        assert_int_equal(error.code, WEIR_ENOMEM);
    }
    assert_int_equal(r, 0);
    close(listener);
}

static void listening(void *arg)
{
    struct weir_error error;
    uint16_t port, again = 0;
    int first, second = -7;

    (void)arg;
    listen_on("127.0.0.1", 0, &first, &port);
    assert_true(fcntl(first, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(first, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(
        weir__listen(weir_str("127.0.0.1"), port, 0, false, NULL, &second, &again, &error),
        WEIR_EBUSY);
    assert_int_equal(error.native, EADDRINUSE);
    assert_string_equal(error.where, "bind");
    close(first);
    assert_int_equal(
        weir__listen(weir_str("192.0.2.77"), 0, 0, false, NULL, &second, &again, &error), WEIR_EIO);
    assert_int_equal(error.native, EADDRNOTAVAIL);
    assert_int_equal(
        weir__listen(weir_str("localhost"), 0, 0, false, NULL, &second, &again, &error),
        WEIR_EINVAL);
    assert_int_equal(weir__listen(weir_str("[::1"), 0, 0, false, NULL, &second, &again, NULL),
                     WEIR_EINVAL);
    assert_int_equal(second, -7);
    assert_int_equal(again, 0);
    assert_int_equal(weir__listen(weir_str("*"), 0, 0, true, NULL, &first, &port, NULL), 0);
    assert_int_equal(weir__listen(weir_str("*"), port, 0, true, NULL, &second, &again, NULL), 0);
    assert_int_equal(port, again);
    close(first);
    close(second);
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

CASE(literals)
CASE(bad_hosts)
CASE(refused)
CASE(timed_out)
CASE(second_address_wins)
CASE(refusal_makes_room)
CASE(attempts_overlap)
CASE(families)
CASE(cancel_before_and_meanwhile)
CASE(no_descriptors)
CASE(out_of_memory)
CASE(listening)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_literals),
        cmocka_unit_test(test_bad_hosts),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_timed_out),
        cmocka_unit_test(test_second_address_wins),
        cmocka_unit_test(test_refusal_makes_room),
        cmocka_unit_test(test_attempts_overlap),
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_cancel_before_and_meanwhile),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_listening),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
