/* SPDX-License-Identifier: MIT */
/* Which coding a client gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <weir/compress.h>

#include "compress/decide.h"

enum {
    ID = WEIR_CODING_IDENTITY,
    GZ = WEIR_CODING_GZIP,
    DE = WEIR_CODING_DEFLATE,
    BR = WEIR_CODING_BROTLI,
    ZS = WEIR_CODING_ZSTD
};

static enum weir_coding ask(const char *first, const char *second, const enum weir_coding *order,
                            bool *ret_refused)
{
    struct weir_fields *fields;
    enum weir_coding coding;

    assert_int_equal(weir_fields_create(&fields), 0);
    assert_int_equal(weir_fields_add(fields, weir_str("Accept"), weir_str("br")), 0);
    if (first != NULL) {
        assert_int_equal(weir_fields_add(fields, weir_str("accept-encoding"), weir_str(first)), 0);
    }
    if (second != NULL) {
        assert_int_equal(weir_fields_add(fields, weir_str("Accept-Encoding"), weir_str(second)), 0);
    }
    coding = weir_coding_negotiate(fields, order, ret_refused);
    weir_fields_destroy(fields);
    return coding;
}

static void the_highest_q_then_the_order(void **state)
{
    static const struct {
        const char *first, *second;
        int coding;
        bool refused;
    } cases[] = {
        {NULL, NULL, ID, false},
        {"", NULL, ID, false},
        {"gzip", NULL, GZ, false},
        {"x-gzip", NULL, GZ, false},
        {"GZIP", NULL, GZ, false},
        {"gzip, deflate, br", NULL, BR, false},
        {"gzip, deflate, br, zstd", NULL, ZS, false},
        {"gzip", "br", BR, false},
        {"deflate", NULL, ID, false}, /* not in the usual order */
        {"compress", NULL, ID, false},
        {"gzip;q=1.0, br;q=0.5", NULL, GZ, false},
        {"gzip;q=0.5, br;q=0.501", NULL, BR, false},
        {"gzip ; q=0.3 , br ;q=0.2", NULL, GZ, false},
        {"gzip;Q=0.3", NULL, GZ, false},
        {"gzip;q=0", NULL, ID, false},
        {"gzip;q=0.000", NULL, ID, false},
        {"*", NULL, ZS, false},
        {"*, zstd;q=0", NULL, BR, false},
        {"gzip, *;q=0", NULL, GZ, true},
        {"*;q=0", NULL, ID, true},
        {"*;q=0, identity", NULL, ID, false},
        {"identity", NULL, ID, false},
        {"identity, gzip", NULL, GZ, false},
        {"identity;q=1, gzip;q=0.5", NULL, ID, false},
        {"identity;q=0.2, gzip;q=0.5", NULL, GZ, false},
        {"identity;q=0", NULL, ID, true},
        {"identity;q=0, gzip;q=0.1", NULL, GZ, true},
        /* what cannot be read does not count */
        {"gzip;q=1.5", NULL, ID, false},
        {"gzip;q=2", NULL, ID, false},
        {"gzip;q=", NULL, ID, false},
        {"gzip;q=x", NULL, ID, false},
        {"gzip;q=0.1234", NULL, ID, false},
        {"gzip;q=1.001", NULL, ID, false},
        {"gzip;q=-1", NULL, ID, false},
        {"gzip;level=9", NULL, ID, false},
        {"gzip;", NULL, ID, false},
        {";q=1", NULL, ID, false},
        {",,gzip,,", NULL, GZ, false},
        {"gzip br", NULL, ID, false},
        {"gzip;q=1.", NULL, GZ, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool refused = !cases[i].refused;
        int coding = (int)ask(cases[i].first, cases[i].second, NULL, &refused);

        if (coding != cases[i].coding || refused != cases[i].refused) {
            fail_msg("%s: %d", cases[i].first != NULL ? cases[i].first : "(none)", coding);
        }
    }
    assert_int_equal(weir_coding_negotiate(NULL, NULL, NULL), ID);
}

static void the_order_can_be_chosen(void **state)
{
    static const enum weir_coding gzip_first[WEIR_CODINGS] = {WEIR_CODING_GZIP, WEIR_CODING_BROTLI},
                                  only_deflate[WEIR_CODINGS] = {WEIR_CODING_DEFLATE},
                                  full[WEIR_CODINGS] = {WEIR_CODING_DEFLATE, WEIR_CODING_BROTLI,
                                                        WEIR_CODING_ZSTD, WEIR_CODING_GZIP,
                                                        WEIR_CODING_GZIP},
                                  strange[WEIR_CODINGS] = {(enum weir_coding)77, WEIR_CODING_GZIP};

    (void)state;
    assert_int_equal(ask("zstd, br, gzip", NULL, gzip_first, NULL), GZ);
    assert_int_equal(ask("zstd, br", NULL, gzip_first, NULL), BR);
    assert_int_equal(ask("zstd", NULL, gzip_first, NULL), ID);
    assert_int_equal(ask("gzip, deflate", NULL, only_deflate, NULL), DE);
    assert_int_equal(ask("*", NULL, full, NULL), DE);
    assert_int_equal(ask("gzip", NULL, full, NULL), GZ);
    assert_int_equal(ask("gzip", NULL, strange, NULL), GZ);
}

static void names_there_and_back(void **state)
{
    enum weir_coding coding = WEIR_CODING_ZSTD;

    (void)state;
    for (int i = 0; i < WEIR_CODINGS; i++) {
        assert_int_equal(
            weir_coding_parse(weir_str(weir_coding_name((enum weir_coding)i)), &coding), 0);
        assert_int_equal(coding, i);
    }
    assert_string_equal(weir_coding_name((enum weir_coding)50), "identity");
    coding = WEIR_CODING_ZSTD;
    assert_int_equal(weir_coding_parse(weir_str("lzma"), &coding), WEIR_EUNSUPPORTED);
    assert_int_equal(weir_coding_parse(weir_str(""), &coding), WEIR_EUNSUPPORTED);
    assert_int_equal(coding, WEIR_CODING_ZSTD);
}

static void types_that_are_worth_it(void **state)
{
    static const struct {
        const char *type;
        bool worth, events;
    } cases[] = {
        {"text/html", true, false},
        {"Text/Plain; charset=utf-8", true, false},
        {"text/event-stream", true, true},
        {"text/event-stream;charset=utf-8", true, true},
        {"application/x-ndjson", true, true},
        {"application/json", true, false},
        {"application/problem+json", true, false},
        {"application/json ; a=b", true, false},
        {"application/wasm", true, false},
        {"image/svg+xml", true, false},
        {"application/javascript", true, false},
        {"image/png", false, false},
        {"image/jpeg", false, false},
        {"video/mp4", false, false},
        {"application/zip", false, false},
        {"application/gzip", false, false},
        {"application/octet-stream", false, false},
        {"application/pdf", false, false},
        {"font/woff2", false, false},
        {"", false, false},
        {";", false, false},
        {"textual/x", false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool events = !cases[i].events;

        if (weir__compress_is_type(weir_str(cases[i].type), &events) != cases[i].worth ||
            events != cases[i].events) {
            fail_msg("%s", cases[i].type);
        }
    }
    bool events;
    assert_false(weir__compress_is_type(weir_bytes(NULL, 0), &events));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_highest_q_then_the_order),
        cmocka_unit_test(the_order_can_be_chosen),
        cmocka_unit_test(names_there_and_back),
        cmocka_unit_test(types_that_are_worth_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
