/* SPDX-License-Identifier: MIT */
/*
 * Random and half-right bytes thrown at everything that parses text from outside. Nothing is expected but an answer;
 * the sanitizers watch. Each input lies in a block of its exact size. The sequence is the same in every run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <weir/err.h>

#include "access_log.h"
#include "auth/keys.h"
#include "options.h"
#include "settings.h"

#define ROUNDS 200000
#define MAX_BYTES 300

static uint64_t seed;

/* xorshift64* */
static uint32_t next_random(uint32_t below)
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (uint32_t)((seed * UINT64_C(2685821657736338717)) >> 33) % below;
}

static const char *const pieces[] = {
    "upstream.timeouts.",
    "response_head",
    "limits.memory",
    "access_log",
    "half_close",
    "client.min_rate",
    "=",
    "=",
    "0",
    "1",
    "9223372036854775807",
    "18446744073709551615",
    "h",
    "m",
    "s",
    "ms",
    "KiB",
    "GiB",
    "/s",
    "deny",
    ".",
    "label",
    " ",
    "\t",
    "\n",
    "\r\n",
    "#",
    "prefix=",
    "methods=",
    "GET",
    ",",
    "/a",
    "/",
    "..",
    "%2e",
    "%25",
    "\\",
    "677509799af78b2efa2f2af71d0f906e0a0c50c048efd3b515625f788e92b99a",
    "deadbeef",
    "http://",
    "[::1]",
    ":",
    "8080",
    "127.0.0.1",
    "@",
    "?",
    "--set",
    "--listen",
    "--to",
    "Bearer ",
    "\xc3\xa4",
    "\xf0\x9f",
    "\"",
};

/* Either plain noise, or pieces of right input with noise between them. */
static size_t fill(uint8_t *text)
{
    size_t want = next_random(next_random(4) == 0 ? MAX_BYTES : 40);
    bool is_noise = next_random(4) == 0;
    size_t len = 0;

    while (len < want) {
        const char *piece = pieces[next_random(sizeof(pieces) / sizeof(pieces[0]))];
        size_t piece_len = strlen(piece);

        if (is_noise || next_random(8) == 0) {
            text[len++] = (uint8_t)next_random(256);
        } else if (len + piece_len <= MAX_BYTES) {
            memcpy(text + len, piece, piece_len);
            len += piece_len;
        } else {
            break;
        }
    }
    return len;
}

/* A block of exactly these bytes. */
static uint8_t *exact(const uint8_t *text, size_t len)
{
    uint8_t *copy = malloc(len + (len == 0));

    assert_non_null(copy);
    memcpy(copy, text, len);
    return copy;
}

static void check_problem(const struct gw_problem *problem)
{
    size_t len = strnlen(problem->text, sizeof(problem->text));

    assert_true(len > 0 && len < sizeof(problem->text));
    for (size_t i = 0; i < len; i++) {
        assert_true(problem->text[i] >= ' ' && problem->text[i] < 0x7f);
    }
}

static void settings_bear_any_bytes(void **state)
{
    static struct gw_settings settings;
    static struct gw_settings before;
    uint8_t text[MAX_BYTES];
    size_t good = 0;

    (void)state;
    seed = 42;
    gw_settings_init(&settings);
    for (int i = 0; i < ROUNDS; i++) {
        struct gw_problem problem = {""};
        size_t prefix = 0;
        size_t len;
        uint8_t *copy;

        /* Half of them with a key that exists, so that the values are reached. */
        if (next_random(2) == 0) {
            const char *key = gw_settings_key(next_random((uint32_t)gw_settings_count()));

            prefix = strlen(key) + 1;
            memcpy(text, key, prefix - 1);
            text[prefix - 1] = '=';
            len = prefix + next_random(24);
            for (size_t j = prefix; j < len; j++) {
                static const char bytes[] = "0123456789hmsKMGiB/. \xff";

                text[j] = (uint8_t)bytes[next_random(sizeof(bytes))];
            }
        } else {
            len = fill(text);
        }
        copy = exact(text, len);
        before = settings;
        if (gw_settings_set(&settings, weir_bytes(copy, len), &problem) < 0) {
            check_problem(&problem);
            assert_memory_equal(&settings, &before, sizeof(settings));
        } else {
            good++;
        }
        free(copy);
    }
    assert_true(good > 100);
}

static void keys_bear_any_bytes(void **state)
{
    static const char start[] =
        "a 677509799af78b2efa2f2af71d0f906e0a0c50c048efd3b515625f788e92b99a ";
    uint8_t text[MAX_BYTES + sizeof(start)];
    size_t good = 0;

    (void)state;
    seed = 43;
    for (int i = 0; i < ROUNDS; i++) {
        struct gw_problem problem = {""};
        struct gw_keys *keys = NULL;
        /* Half of them behind the start of a good line, so that the attributes are reached. */
        size_t prefix = next_random(2) == 0 ? sizeof(start) - 1 : 0;
        size_t len = prefix + fill(text + prefix);
        uint8_t *copy;

        memcpy(text, start, prefix);
        copy = exact(text, len);
        if (gw_keys_parse(weir_bytes(copy, len), "f", &keys, &problem) < 0) {
            check_problem(&problem);
            assert_null(keys);
        } else {
            gw_keys_destroy(keys);
            good++;
        }
        free(copy);
    }
    assert_true(good > 1000);
}

static void decisions_bear_any_bytes(void **state)
{
    struct gw_keys *keys = NULL;
    uint8_t text[MAX_BYTES];
    size_t allowed = 0;

    (void)state;
    seed = 44;
    assert_int_equal(
        gw_keys_parse(
            weir_str(
                "a 677509799af78b2efa2f2af71d0f906e0a0c50c048efd3b515625f788e92b99a prefix=/a"),
            "f", &keys, NULL),
        0);
    for (int i = 0; i < ROUNDS / 4; i++) {
        const char *label;
        size_t len = fill(text);
        uint8_t *copy = exact(text, len);
        struct weir_view any = weir_bytes(copy, len);
        enum gw_verdict verdict;

        /* Random bytes are no key. */
        verdict = gw_keys_decide(keys, any, any, any, any, &label);
        assert_true(verdict == GW_NO_KEY || verdict == GW_UNKNOWN);
        verdict = gw_keys_decide(keys, weir_str("alpha-key"), weir_str(NULL), any, any, &label);
        assert_true(verdict == GW_ALLOW || verdict == GW_FORBIDDEN);
        if (verdict == GW_ALLOW) {
            const uint8_t *query = memchr(copy, '?', len);

            len = query != NULL ? (size_t)(query - copy) : len;
            assert_true(len >= 2 && memcmp(copy, "/a", 2) == 0 && (len == 2 || copy[2] == '/'));
            assert_null(memmem(copy, len, "/../", 4));
            assert_null(memmem(copy, len, "%2e", 3));
            assert_null(memmem(copy, len, "//", 2));
            assert_null(memchr(copy, '\\', len));
            allowed++;
        }
        free(copy);
    }
    assert_true(allowed > 10);
    gw_keys_destroy(keys);
}

static void options_bear_any_bytes(void **state)
{
    static struct gw_options options;
    uint8_t text[MAX_BYTES];

    (void)state;
    seed = 45;
    for (int i = 0; i < ROUNDS / 4; i++) {
        static char names[3][16] = {"--listen", "--to", "--set"};
        struct gw_problem problem = {""};
        size_t len = fill(text);
        char *copy = malloc(len + 1);
        char *argv[3] = {names[next_random(3)], copy, NULL};
        int argc = 1 + (int)next_random(2);
        int r;

        assert_non_null(copy);
        memcpy(copy, text, len);
        copy[len] = '\0';
        r = gw_options_parse(argc, argc == 1 ? argv + 1 : argv, &options, &problem);
        if (r < 0) {
            check_problem(&problem);
        }
        free(copy);
    }
}

static void records_bear_any_bytes(void **state)
{
    static char line[GW_LINE_BYTES];
    uint8_t text[MAX_BYTES];

    (void)state;
    seed = 46;
    for (int i = 0; i < ROUNDS / 4; i++) {
        size_t len = fill(text);
        uint8_t *copy = exact(text, len);
        struct gw_record record = {.path = weir_bytes(copy, len), .peer = weir_bytes(copy, len)};
        size_t out = gw_record_format(&record, line, sizeof(line));

        assert_true(out > 0);
        assert_ptr_equal(memchr(line, '\n', out), line + out - 1);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_bear_any_bytes),  cmocka_unit_test(keys_bear_any_bytes),
        cmocka_unit_test(decisions_bear_any_bytes), cmocka_unit_test(options_bear_any_bytes),
        cmocka_unit_test(records_bear_any_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
