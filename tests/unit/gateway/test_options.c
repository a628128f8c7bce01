/* SPDX-License-Identifier: MIT */
/* The command line of `weir proxy`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <weir/err.h>

#include "options.h"

static struct gw_options options;
static struct gw_problem problem;

/* Parses up to eight arguments, ended by NULL. */
static int parse(const char *const *argv)
{
    char *copy[9] = {NULL};
    int argc = 0;

    for (; argv[argc] != NULL; argc++) {
        copy[argc] = (char *)(uintptr_t)argv[argc];
    }
    memset(&problem, 0, sizeof(problem));
    return gw_options_parse(argc, copy, &options, &problem);
}

#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})

static void a_full_line_is_taken(void **state)
{
    (void)state;
    assert_int_equal(PARSE("--listen", "127.0.0.1:8080", "--to", "http://localhost:9000",
                           "--threads=4", "--keys=keys.txt", "--set", "drain.time=1s"),
                     GW_OPTIONS_RUN);
    assert_string_equal(options.listen.host, "127.0.0.1");
    assert_int_equal(options.listen.port, 8080);
    assert_false(options.listen.is_ipv6);
    assert_string_equal(options.to.host, "localhost");
    assert_int_equal(options.to.port, 9000);
    assert_int_equal(options.threads, 4);
    assert_string_equal(options.keys_path, "keys.txt");
    assert_int_equal(options.settings.drain.time_ms, 1000);
    assert_int_equal(
        PARSE("--listen=:0", "--to=HTTP://a", "--set=drain.time=1s", "--set", "drain.time=2s"),
        GW_OPTIONS_RUN);
    assert_string_equal(options.listen.host, "");
    assert_int_equal(options.listen.port, 0);
    assert_int_equal(options.to.port, 80);
    assert_int_equal(options.threads, 0);
    assert_null(options.keys_path);
    assert_int_equal(options.settings.drain.time_ms, 2000);
}

static void addresses_are_read(void **state)
{
    (void)state;
    assert_int_equal(PARSE("--listen", "[::1]:8080", "--to", "http://[2001:db8::1]/"),
                     GW_OPTIONS_RUN);
    assert_string_equal(options.listen.host, "::1");
    assert_true(options.listen.is_ipv6);
    assert_string_equal(gw_address_print(&options.listen).text, "[::1]:8080");
    assert_string_equal(gw_address_print(&options.to).text, "[2001:db8::1]:80");
    assert_int_equal(PARSE("--listen", "my-host_1.example.:65535", "--to", "http://10.0.0.1:1"),
                     GW_OPTIONS_RUN);
    assert_string_equal(gw_address_print(&options.listen).text, "my-host_1.example.:65535");
    assert_string_equal(gw_address_print(&options.to).text, "10.0.0.1:1");
    assert_int_equal(PARSE("--listen", ":8080", "--to", "http://10.example:1"), GW_OPTIONS_RUN);
    assert_string_equal(gw_address_print(&options.listen).text, ":8080");
}

static void help_wins(void **state)
{
    (void)state;
    assert_int_equal(PARSE("--help"), GW_OPTIONS_HELP);
    assert_int_equal(PARSE("-h"), GW_OPTIONS_HELP);
    assert_int_equal(PARSE("--listen", ":1", "--help-settings"), GW_OPTIONS_HELP_SETTINGS);
    assert_int_equal(PARSE("--help=1"), WEIR_EINVAL);
    assert_string_equal(problem.text, "--help takes no value");
}

static void mistakes_are_named(void **state)
{
#define LISTEN "--listen: "
#define TO "--to: "
#define ONLY "; only http://HOST:PORT"
    static const char *const cases[][3] = {
        {"--listen", "8080",
         LISTEN "\"8080\" has no port; expected HOST:PORT, [IPV6]:PORT or :PORT"},
        {"--listen", "", LISTEN "\"\" has no host"},
        {"--listen", "a:", LISTEN "\"\" is not a port; it must be a number from 0 to 65535"},
        {"--listen", "a:b", LISTEN "\"b\" is not a port; it must be a number from 0 to 65535"},
        {"--listen", "a:65536",
         LISTEN "\"65536\" is not a port; it must be a number from 0 to 65535"},
        {"--listen", "a:+1", LISTEN "\"+1\" is not a port; it must be a number from 0 to 65535"},
        {"--listen", "::1:80",
         LISTEN "\"::1:80\": write an IPv6 address in brackets, as in [::1]:8080"},
        {"--listen", "[::1]",
         LISTEN "\"[::1]\" has no port; expected HOST:PORT, [IPV6]:PORT or :PORT"},
        {"--listen", "[::1", LISTEN "\"[::1\" has no closing bracket"},
        {"--listen", "[::g]:1", LISTEN "\"::g\" is not an IPv6 address"},
        {"--listen", "[]:1", LISTEN "\"\" is not an IPv6 address"},
        {"--listen", "[127.0.0.1]:1", LISTEN "\"127.0.0.1\" is not an IPv6 address"},
        {"--listen", "[::1]x:1", LISTEN "\"[::1]x:1\": only :PORT may follow the bracket"},
        {"--listen", "999.1.1.1:1", LISTEN "\"999.1.1.1\" is neither a host name nor an address"},
        {"--listen", "127.1:1", LISTEN "\"127.1\" is neither a host name nor an address"},
        {"--listen", "a..b:1", LISTEN "\"a..b\" is neither a host name nor an address"},
        {"--listen", "-a:1", LISTEN "\"-a\" is neither a host name nor an address"},
        {"--listen", "a-.b:1", LISTEN "\"a-.b\" is neither a host name nor an address"},
        {"--listen", "a b:1", LISTEN "\"a b\" is neither a host name nor an address"},
        {"--listen", "*:1", LISTEN "\"*\" is neither a host name nor an address"},
        {"--listen", "\xc3\xa4:1", LISTEN "\"\\xc3\\xa4\" is neither a host name nor an address"},
        {"--to", "https://a:1", TO "https is not supported in this version" ONLY},
        {"--to", "HTTPS://a:1", TO "https is not supported in this version" ONLY},
        {"--to", "ftp://a:1", TO "scheme \"ftp\" is not supported" ONLY},
        {"--to", "://a:1", TO "scheme \"\" is not supported" ONLY},
        {"--to", "a:1", TO "\"a:1\" is not of the form http://HOST:PORT"},
        {"--to", "http:a", TO "\"http:a\" is not of the form http://HOST:PORT"},
        {"--to", "", TO "\"\" is not of the form http://HOST:PORT"},
        {"--to", "http://", TO "\"\" has no host"},
        {"--to", "http:///", TO "the URL must not have a path" ONLY},
        {"--to", "http://:80", TO "\":80\" has no host"},
        {"--to", "http://a:0", TO "\"0\" is not a port; it must be a number from 1 to 65535"},
        {"--to", "http://a:", TO "\"\" is not a port; it must be a number from 1 to 65535"},
        {"--to", "http://a:1/b", TO "the URL must not have a path" ONLY},
        {"--to", "http://a:1//", TO "the URL must not have a path" ONLY},
        {"--to", "http://a:1?b", TO "the URL must not have a query" ONLY},
        {"--to", "http://a:1/?b", TO "the URL must not have a query" ONLY},
        {"--to", "http://a:1#b", TO "the URL must not have a fragment" ONLY},
        {"--to", "http://u:secret@a:1", TO "the URL must not have a user name or password" ONLY},
        {"--to", "http://::1", TO "\"::1\": write an IPv6 address in brackets, as in [::1]:8080"},
        {"--threads", "0", "--threads: \"0\" is not a number from 1 to 1024"},
        {"--threads", "1025", "--threads: \"1025\" is not a number from 1 to 1024"},
        {"--threads", "two", "--threads: \"two\" is not a number from 1 to 1024"},
        {"--keys", "", "--keys: the name of the file is empty"},
        {"--set", "drain.tiem=1s",
         "--set: unknown setting \"drain.tiem\"; did you mean drain.time?"},
        {"--set", "half_close=x", "--set: half_close: \"x\" is not deny or allow"},
        {"--lisen", ":1", "unknown option \"--lisen\"; did you mean --listen?"},
        {"-listen", ":1", "unknown option \"-listen\"; did you mean --listen?"},
        {"--zzzzzzzz", ":1", "unknown option \"--zzzzzzzz\"; --help lists them"},
        {"--", ":1", "unknown option \"--\"; --help lists them"},
        {"-", ":1", "unexpected argument \"-\""},
        {"proxy", ":1", "unexpected argument \"proxy\""},
        {"", ":1", "unexpected argument \"\""},
        {"--listen", NULL, "--listen needs a value: HOST:PORT"},
        {"--listen", ":1", "--to http://HOST:PORT is missing"},
        {"--to", "http://a", "--listen HOST:PORT is missing"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(PARSE(cases[i][0], cases[i][1]), WEIR_EINVAL);
        assert_string_equal(problem.text, cases[i][2]);
    }
    assert_int_equal(PARSE("--listen", ":1", "--listen", ":2"), WEIR_EINVAL);
    assert_string_equal(problem.text, "--listen is given twice");
    assert_int_equal(
        PARSE("--listen", ":1", "--to", "http://a", "--set", "forward.fast_bytes=16KiB"),
        WEIR_EINVAL);
    assert_string_equal(
        problem.text,
        "forward.slow_bytes (32KiB) must not be larger than forward.fast_bytes (16KiB)");
}

static void long_hosts_are_refused(void **state)
{
    char text[700];

    (void)state;
    memset(text, 'a', sizeof(text));
    memcpy(text + 63, ":1", 3);
    assert_int_equal(PARSE("--listen", text, "--to", "http://a"), GW_OPTIONS_RUN);
    memset(text, 'a', sizeof(text));
    memcpy(text + 64, ":1", 3);
    assert_int_equal(PARSE("--listen", text, "--to", "http://a"), WEIR_EINVAL);
    for (size_t i = 0; i < 600; i++) {
        text[i] = i % 2 == 0 ? 'a' : '.';
    }
    memcpy(text + 600, ":1", 3);
    assert_int_equal(PARSE("--listen", text, "--to", "http://a"), WEIR_EINVAL);
    memset(text, ':', 600);
    text[0] = '[';
    memcpy(text + 600, "]:1", 4);
    assert_int_equal(PARSE("--listen", text, "--to", "http://a"), WEIR_EINVAL);
}

static void the_help_names_every_option(void **state)
{
    static const char *const names[] = {"--listen", "--to",   "--threads",      "--keys",
                                        "--set",    "--help", "--help-settings"};
    char *help = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&help, &size);

    (void)state;
    gw_options_print_help(out);
    fclose(out);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_non_null(strstr(help, names[i]));
    }
    free(help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_line_is_taken),
        cmocka_unit_test(addresses_are_read),
        cmocka_unit_test(help_wins),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(long_hosts_are_refused),
        cmocka_unit_test(the_help_names_every_option),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
