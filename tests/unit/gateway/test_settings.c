/* SPDX-License-Identifier: MIT */
/* The table of settings: defaults, forms, ranges, messages, suggestions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <weir/err.h>

#include "nearest.h"
#include "quantity.h"
#include "settings.h"

static void defaults_are_the_documented_ones(void **state)
{
    static struct gw_settings s;

    (void)state;
    gw_settings_init(&s);
    assert_int_equal(s.upstream.timeouts.dial_ms, 3000);
    assert_int_equal(s.upstream.timeouts.response_head_ms, 60000);
    assert_int_equal(s.upstream.timeouts.first_byte_ms, 120000);
    assert_int_equal(s.upstream.timeouts.idle_ms, 300000);
    assert_int_equal(s.upstream.max_connections, 0);
    assert_int_equal(s.upstream.keepalive, 256);
    assert_int_equal(s.client.timeouts.head_ms, 10000);
    assert_int_equal(s.client.timeouts.keepalive_ms, 75000);
    assert_int_equal(s.client.timeouts.body_gap_ms, 30000);
    assert_int_equal(s.client.timeouts.stall_ms, 60000);
    assert_int_equal(s.client.min_rate, 256);
    assert_int_equal(s.timeout_status, 504);
    assert_int_equal(s.limits.memory, 0);
    assert_int_equal(s.limits.connections, 50000);
    assert_int_equal(s.limits.streams, 50000);
    assert_int_equal(s.limits.head_bytes, 32 * 1024);
    assert_int_equal(s.limits.target_bytes, 8 * 1024);
    assert_int_equal(s.limits.fields, 100);
    assert_int_equal(s.limits.body_bytes, 0);
    assert_int_equal(s.limits.upstream_head_bytes, 64 * 1024);
    assert_int_equal(s.half_close, GW_HALF_CLOSE_DENY);
    assert_int_equal(s.drain.bytes, 1024 * 1024);
    assert_int_equal(s.drain.time_ms, 5000);
    assert_int_equal(s.shutdown.grace_ms, 10000);
    assert_string_equal(s.access_log, "stdout");
    assert_int_equal(s.access_log_every_ms, 60000);
    assert_int_equal(s.forward.slow_bytes, 32 * 1024);
    assert_int_equal(s.forward.fast_bytes, 1024 * 1024);
    assert_int_equal(s.forward.fast_chunk, 512 * 1024);
    assert_int_equal(s.forward.fast_after, 1024 * 1024);
    assert_int_equal(s.forward.stall_reset_ms, 10);
    assert_int_equal(s.forward.stall_slow_ms, 50);
    assert_int_equal(gw_settings_check(&s, NULL), 0);
}

/* The help prints each row's default as KEY=VALUE: exactly those must be accepted, and change nothing. */
static void the_help_is_true(void **state)
{
    static struct gw_settings fresh;
    static struct gw_settings s;
    struct gw_problem problem;
    char *help = NULL;
    size_t size = 0;
    size_t rows = 0;
    FILE *out = open_memstream(&help, &size);

    (void)state;
    gw_settings_print_help(out);
    fclose(out);
    gw_settings_init(&fresh);
    gw_settings_init(&s);
    for (char *line = help; *line != '\0';) {
        size_t len = strcspn(line, "\n");

        if (len > 3 && memcmp(line, "  ", 2) == 0 && line[2] >= 'a' && line[2] <= 'z' &&
            memchr(line, '=', len) != NULL) {
            assert_int_equal(gw_settings_set(&s, weir_bytes(line + 2, len - 2), &problem), 0);
            rows++;
        }
        assert_true(len <= 140);
        line += len + (line[len] == '\n');
    }
    assert_int_equal(rows, gw_settings_count());
    assert_null(gw_settings_key(rows));
    assert_memory_equal(&s, &fresh, sizeof(s));
    assert_non_null(strstr(help,
                           "  upstream.timeouts.response_head=60s\n"
                           "      time from the request sent to the head of the answer; then 504\n"
                           "      from 1ms to 24h, or 0 for: no limit\n"));
    assert_non_null(strstr(help, "  half_close=deny\n"));
    free(help);
}

static void values_are_taken(void **state)
{
    static const struct {
        const char *text;
        size_t offset;
        int64_t value;
    } cases[] = {
#define AT(field) offsetof(struct gw_settings, field)
        {"upstream.timeouts.response_head=4s", AT(upstream.timeouts.response_head_ms), 4000},
        {"upstream.timeouts.response_head=0", AT(upstream.timeouts.response_head_ms), 0},
        {"upstream.timeouts.response_head=0s", AT(upstream.timeouts.response_head_ms), 0},
        {"upstream.timeouts.idle=1m30s", AT(upstream.timeouts.idle_ms), 90000},
        {"upstream.timeouts.idle=1h2m3s4ms", AT(upstream.timeouts.idle_ms), 3723004},
        {"upstream.timeouts.idle=24h", AT(upstream.timeouts.idle_ms), 86400000},
        {"upstream.timeouts.dial=250ms", AT(upstream.timeouts.dial_ms), 250},
        {"upstream.max_connections=7", AT(upstream.max_connections), 7},
        {"client.min_rate=0", AT(client.min_rate), 0},
        {"client.min_rate=1KiB/s", AT(client.min_rate), 1024},
        {"client.min_rate=1KiB", AT(client.min_rate), 1024},
        {"limits.memory=4MiB", AT(limits.memory), 4 << 20},
        {"limits.memory=4194304", AT(limits.memory), 4 << 20},
        {"limits.body_bytes=1B", AT(limits.body_bytes), 1},
        {"limits.body_bytes=9223372036854775807", AT(limits.body_bytes), INT64_MAX},
        {"limits.body_bytes=8589934591GiB", AT(limits.body_bytes), INT64_C(8589934591) << 30},
        {"drain.time=0", AT(drain.time_ms), 0},
        {"access_log_every=0", AT(access_log_every_ms), 0},
    };
    static struct gw_settings s;

    (void)state;
    gw_settings_init(&s);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t value;

        assert_int_equal(gw_settings_set(&s, weir_str(cases[i].text), NULL), 0);
        memcpy(&value, (char *)&s + cases[i].offset, sizeof(value));
        assert_true(value == cases[i].value);
    }
    assert_int_equal(gw_settings_set(&s, weir_str("timeout_status=408"), NULL), 0);
    assert_int_equal(s.timeout_status, 408);
    assert_int_equal(gw_settings_set(&s, weir_str("half_close=allow"), NULL), 0);
    assert_int_equal(s.half_close, GW_HALF_CLOSE_ALLOW);
    assert_int_equal(gw_settings_set(&s, weir_str("access_log=/var/log/a=b.log"), NULL), 0);
    assert_string_equal(s.access_log, "/var/log/a=b.log");
}

static void mistakes_are_named(void **state)
{
#define DURATION "a duration with units h, m, s, ms, such as 1m30s; from 1ms to 1h"
#define HEAD "a size in B, KiB, MiB or GiB, such as 64KiB; from 1KiB to 512KiB"
    static const struct {
        const char *text;
        int code;
        const char *message;
    } cases[] = {
        {"", WEIR_EINVAL, "\"\" is not of the form KEY=VALUE"},
        {"=4s", WEIR_EINVAL, "\"=4s\" is not of the form KEY=VALUE"},
        {"drain.time", WEIR_EINVAL, "\"drain.time\" is not of the form KEY=VALUE"},
        {"upstream.timeouts.dial=3", WEIR_EINVAL, "upstream.timeouts.dial: \"3\" is not " DURATION},
        {"upstream.timeouts.dial=", WEIR_EINVAL, "upstream.timeouts.dial: \"\" is not " DURATION},
        {"upstream.timeouts.dial=3s1m", WEIR_EINVAL,
         "upstream.timeouts.dial: \"3s1m\" is not " DURATION},
        {"upstream.timeouts.dial=3s3s", WEIR_EINVAL,
         "upstream.timeouts.dial: \"3s3s\" is not " DURATION},
        {"upstream.timeouts.dial=-3s", WEIR_EINVAL,
         "upstream.timeouts.dial: \"-3s\" is not " DURATION},
        {"upstream.timeouts.dial=1.5s", WEIR_EINVAL,
         "upstream.timeouts.dial: \"1.5s\" is not " DURATION},
        {"upstream.timeouts.dial= 3s", WEIR_EINVAL,
         "upstream.timeouts.dial: \" 3s\" is not " DURATION},
        {"upstream.timeouts.dial=3S", WEIR_EINVAL,
         "upstream.timeouts.dial: \"3S\" is not " DURATION},
        {"upstream.timeouts.dial=99999999999999999999x", WEIR_EINVAL,
         "upstream.timeouts.dial: \"99999999999999999999x\" is not " DURATION},
        {"upstream.timeouts.dial=0", WEIR_ELIMIT,
         "upstream.timeouts.dial: \"0\" is out of range; it must be from 1ms to 1h"},
        {"upstream.timeouts.dial=3601s", WEIR_ELIMIT,
         "upstream.timeouts.dial: \"3601s\" is out of range; it must be from 1ms to 1h"},
        {"upstream.timeouts.dial=99999999999999999999h", WEIR_ELIMIT,
         "upstream.timeouts.dial: \"99999999999999999999h\" is out of range; it must be from 1ms to 1h"},
        {"upstream.timeouts.dial=9223372036854775807h", WEIR_ELIMIT,
         "upstream.timeouts.dial: \"9223372036854775807h\" is out of range; it must be from 1ms to 1h"},
        {"limits.head_bytes=32KB", WEIR_EINVAL, "limits.head_bytes: \"32KB\" is not " HEAD},
        {"limits.head_bytes=KiB", WEIR_EINVAL, "limits.head_bytes: \"KiB\" is not " HEAD},
        {"limits.head_bytes=1 KiB", WEIR_EINVAL, "limits.head_bytes: \"1 KiB\" is not " HEAD},
        {"limits.head_bytes=2MiB", WEIR_ELIMIT,
         "limits.head_bytes: \"2MiB\" is out of range; it must be from 1KiB to 512KiB"},
        {"limits.head_bytes=18446744073709551616GiB", WEIR_ELIMIT,
         "limits.head_bytes: \"18446744073709551616GiB\" is out of range; it must be from 1KiB to 512KiB"},
        {"limits.memory=1", WEIR_ELIMIT,
         "limits.memory: \"1\" is out of range; it must be at least 1MiB, or 0 for: 25 % of the memory of the "
         "machine or the cgroup"},
        {"limits.fields=ten", WEIR_EINVAL,
         "limits.fields: \"ten\" is not a whole number; from 8 to 1000"},
        {"limits.fields=99999999999999999999", WEIR_ELIMIT,
         "limits.fields: \"99999999999999999999\" is out of range; it must be from 8 to 1000"},
        {"timeout_status=500", WEIR_EINVAL, "timeout_status: \"500\" is not 504 or 408"},
        {"half_close=Deny", WEIR_EINVAL, "half_close: \"Deny\" is not deny or allow"},
        {"access_log=", WEIR_EINVAL,
         "access_log: \"\" is not a path (at most 511 bytes), stdout, stderr or off"},
        {"drain.time=\n\x7f\"", WEIR_EINVAL,
         "drain.time: \"\\x0a\\x7f\\\"\" is not a duration with units h, m, s, ms, such as 1m30s; from 0 to 1h, 0 "
         "for: close at once"},
    };
    static struct gw_settings fresh;
    static struct gw_settings s;

    (void)state;
    gw_settings_init(&fresh);
    gw_settings_init(&s);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gw_problem problem;

        assert_int_equal(gw_settings_set(&s, weir_str(cases[i].text), &problem), cases[i].code);
        assert_string_equal(problem.text, cases[i].message);
    }
    assert_memory_equal(&s, &fresh, sizeof(s));
}

/* What the library takes ends here, so it is here that more of it is refused: by name, with the range. */
static void bounds_are_the_librarys(void **state)
{
    static const struct {
        const char *key;
        const char *good;
        const char *bad;
        const char *range;
    } cases[] = {
        {"forward.fast_chunk", "1MiB", "1048577", "from 4KiB to 1MiB"},
        {"forward.slow_bytes", "1MiB", "1048577", "from 4KiB to 1MiB"},
        {"forward.fast_bytes", "64MiB", "67108865", "from 4KiB to 64MiB"},
        {"forward.fast_after", "2GiB", "2147483649",
         "from 0 to 2GiB, 0 for: from the second write on"},
        {"limits.head_bytes", "512KiB", "524289", "from 1KiB to 512KiB"},
        {"limits.upstream_head_bytes", "512KiB", "524289", "from 1KiB to 512KiB"},
        {"limits.fields", "1000", "1001", "from 8 to 1000"},
    };
    static struct gw_settings s;

    (void)state;
    gw_settings_init(&s);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gw_problem problem;
        char text[80];
        char message[200];

        snprintf(text, sizeof(text), "%s=%s", cases[i].key, cases[i].good);
        assert_int_equal(gw_settings_set(&s, weir_str(text), &problem), 0);
        snprintf(text, sizeof(text), "%s=%s", cases[i].key, cases[i].bad);
        snprintf(message, sizeof(message), "%s: \"%s\" is out of range; it must be %s",
                 cases[i].key, cases[i].bad, cases[i].range);
        assert_int_equal(gw_settings_set(&s, weir_str(text), &problem), WEIR_ELIMIT);
        assert_string_equal(problem.text, message);
    }
    assert_int_equal(gw_settings_check(&s, NULL), 0);
}

static void unknown_keys_get_the_nearest(void **state)
{
    static const char *const cases[][2] = {
        {"response_head", "; did you mean upstream.timeouts.response_head?"},
        {"respone_head", "; did you mean upstream.timeouts.response_head?"},
        {"timeout.response_head", "; did you mean upstream.timeouts.response_head?"},
        {"timeouts.response_head", "; did you mean upstream.timeouts.response_head?"},
        {"upstream.response_head", "; did you mean upstream.timeouts.response_head?"},
        {"upstream.timeouts.response-head", "; did you mean upstream.timeouts.response_head?"},
        {"upstream.timeouts.resposne_head", "; did you mean upstream.timeouts.response_head?"},
        {"Upstream.Timeouts.Dial", "; did you mean upstream.timeouts.dial?"},
        {"upstraem.timeouts.dial", "; did you mean upstream.timeouts.dial?"},
        {"dial", "; did you mean upstream.timeouts.dial?"},
        {"stall", "; did you mean client.timeouts.stall?"},
        {"keepalive", "; did you mean upstream.keepalive or client.timeouts.keepalive?"},
        {"head", "; did you mean client.timeouts.head?"},
        {"limits.header_bytes", "; did you mean limits.head_bytes?"},
        {"timeout-status", "; did you mean timeout_status?"},
        {"halfclose", "; did you mean half_close?"},
        {"accesslog", "; did you mean access_log?"},
        {"minrate", "; did you mean client.min_rate?"},
        {"forward.stall", "; did you mean client.timeouts.stall?"},
        {"zzzzzzzz", "; --help-settings lists them all"},
        {"x", "; --help-settings lists them all"},
        {".", "; --help-settings lists them all"},
        {"....", "; --help-settings lists them all"},
    };
    static struct gw_settings s;

    (void)state;
    gw_settings_init(&s);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gw_problem problem;
        char text[80];
        char message[200];

        snprintf(text, sizeof(text), "%s=4s", cases[i][0]);
        snprintf(message, sizeof(message), "unknown setting \"%s\"%s", cases[i][0], cases[i][1]);
        assert_int_equal(gw_settings_set(&s, weir_str(text), &problem), WEIR_ENOTFOUND);
        assert_string_equal(problem.text, message);
    }
}

static void long_texts_are_cut_in_messages(void **state)
{
    static struct gw_settings s;
    struct gw_problem problem;
    static char text[5000];

    (void)state;
    gw_settings_init(&s);
    memset(text, 0xff, sizeof(text));
    text[4000] = '=';
    assert_int_equal(gw_settings_set(&s, weir_bytes(text, sizeof(text)), &problem), WEIR_ENOTFOUND);
    assert_true(strlen(problem.text) < 200);
    memcpy(text, "access_log=", 11);
    memset(text + 11, 'x', sizeof(text) - 11);
    assert_int_equal(gw_settings_set(&s, weir_bytes(text, 11 + GW_PATH_MAX), NULL), WEIR_EINVAL);
    assert_int_equal(gw_settings_set(&s, weir_bytes(text, 11 + GW_PATH_MAX - 1), NULL), 0);
    assert_int_equal(strlen(s.access_log), GW_PATH_MAX - 1);
    assert_int_equal(gw_settings_set(&s, weir_bytes("access_log=a\0b", 14), NULL), WEIR_EINVAL);
}

static void contradictions_are_refused(void **state)
{
    static struct gw_settings s;
    struct gw_problem problem;

    (void)state;
    gw_settings_init(&s);
    assert_int_equal(gw_settings_set(&s, weir_str("forward.fast_bytes=16KiB"), NULL), 0);
    assert_int_equal(gw_settings_check(&s, &problem), WEIR_EINVAL);
    assert_string_equal(
        problem.text,
        "forward.slow_bytes (32KiB) must not be larger than forward.fast_bytes (16KiB)");
    gw_settings_init(&s);
    assert_int_equal(gw_settings_set(&s, weir_str("forward.stall_slow=9ms"), NULL), 0);
    assert_int_equal(gw_settings_check(&s, &problem), WEIR_EINVAL);
    assert_string_equal(
        problem.text,
        "forward.stall_reset (10ms) must not be longer than forward.stall_slow (9ms)");
}

static void edits_are_counted(void **state)
{
    (void)state;
    assert_int_equal(gw_edits(weir_str(""), weir_str("")), 0);
    assert_int_equal(gw_edits(weir_str(""), weir_str("abc")), 3);
    assert_int_equal(gw_edits(weir_str("abc"), weir_str("")), 3);
    assert_int_equal(gw_edits(weir_str("kitten"), weir_str("sitting")), 3);
    assert_int_equal(gw_edits(weir_str("ab"), weir_str("BA")), 1);
    assert_int_equal(gw_edits(weir_str("ca"), weir_str("abc")), 3);
    assert_int_equal(gw_edits(weir_str("abcdef"), weir_str("badcfe")), 3);
}

static void quantities_are_printed_short(void **state)
{
    (void)state;
    assert_string_equal(gw_duration_text(0).text, "0");
    assert_string_equal(gw_duration_text(90000).text, "1m30s");
    assert_string_equal(gw_duration_text(3600001).text, "1h1ms");
    assert_string_equal(gw_duration_text(INT64_MAX).text, "2562047788015h12m55s807ms");
    assert_string_equal(gw_size_text(0).text, "0");
    assert_string_equal(gw_size_text(1).text, "1B");
    assert_string_equal(gw_size_text(1536).text, "1536B");
    assert_string_equal(gw_size_text(32768).text, "32KiB");
    assert_string_equal(gw_size_text(UINT64_C(3) << 30).text, "3GiB");
    assert_string_equal(gw_size_text(UINT64_MAX).text, "18446744073709551615B");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_documented_ones),
        cmocka_unit_test(the_help_is_true),
        cmocka_unit_test(values_are_taken),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(bounds_are_the_librarys),
        cmocka_unit_test(unknown_keys_get_the_nearest),
        cmocka_unit_test(long_texts_are_cut_in_messages),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(edits_are_counted),
        cmocka_unit_test(quantities_are_printed_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
