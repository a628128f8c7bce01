/* SPDX-License-Identifier: MIT */
/* The keys file, and who may pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <weir/err.h>

#include "auth/keys.h"

/* sha256("alpha-key") and so on. */
#define ALPHA "677509799af78b2efa2f2af71d0f906e0a0c50c048efd3b515625f788e92b99a"
#define BETA "7a3d637bc601f7000cc2c33141c8c8a7554e02e319fa8b293a0c88c613b77620"
#define GAMMA "36c2c0e2d54b8df7e21c9f9afc50a206f2595fc23531fe933e4788e699e0e59d"

static struct gw_problem problem;

static struct gw_keys *keys_of(const char *text)
{
    struct gw_keys *keys = NULL;
    int r = gw_keys_parse(weir_str(text), "keys.txt", &keys, &problem);

    if (r < 0) {
        print_error("%s\n", problem.text);
    }
    assert_int_equal(r, 0);
    return keys;
}

static void files_are_read(void **state)
{
    struct gw_keys *keys = keys_of("# comment\n"
                                   "\n"
                                   "   \t \n"
                                   "  alpha " ALPHA "\n"
                                   "beta\t" BETA "  methods=GET,POST\tprefix=/a,/b/ # why\r\n"
                                   "# gamma " GAMMA "\n"
                                   "!#$%&'*+-.^_`|~09azAZ " GAMMA " prefix=/");

    (void)state;
    assert_int_equal(gw_keys_count(keys), 3);
    gw_keys_destroy(keys);
    keys = keys_of("");
    assert_int_equal(gw_keys_count(keys), 0);
    gw_keys_destroy(keys);
    gw_keys_destroy(NULL);
}

static void mistakes_have_a_place(void **state)
{
#define LABEL64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define PLAIN                                                                                                         \
    "a prefix has no dot segments, empty segments, backslashes, bytes outside of visible ASCII, nor an encoded '.', " \
    "'/' or '\\'"
    static const char *const cases[][2] = {
        {"alpha", "1:6: the SHA-256 of the key is missing after the label"},
        {"\n\n  alpha  ", "3:10: the SHA-256 of the key is missing after the label"},
        {"alpha my-secret",
         "1:7: not a hexadecimal digit; the second field is the SHA-256 of the key"},
        {"alpha deadbeef", "1:7: a SHA-256 has 64 hexadecimal digits; these are fewer"},
        {"alpha " ALPHA "0", "1:7: a SHA-256 has 64 hexadecimal digits; these are more"},
        {"al(pha " ALPHA, "1:3: a label may have letters, digits and !#$%&'*+-.^_`|~ only"},
        {"\xef\xbb\xbf"
         "alpha " ALPHA,
         "1:1: a label may have letters, digits and !#$%&'*+-.^_`|~ only"},
        {LABEL64 "a " ALPHA, "1:1: the label is longer than 64 bytes"},
        {"a " ALPHA " prefix", "1:68: \"prefix\" is unknown; did you mean prefix=?"},
        {"a " ALPHA " prefx=/a", "1:68: \"prefx\" is unknown; did you mean prefix=?"},
        {"a " ALPHA " method=GET", "1:68: \"method\" is unknown; did you mean methods=?"},
        {"a " ALPHA " zzzzzzzz=1",
         "1:68: \"zzzzzzzz\" is unknown; only prefix= and methods= may follow"},
        {"a " ALPHA " prefix=/a prefix=/b", "1:78: prefix= is given twice"},
        {"a " ALPHA " methods=A methods=A", "1:78: methods= is given twice"},
        {"a " ALPHA " prefix=", "1:75: an item of the list is missing"},
        {"a " ALPHA " prefix=/a,,/b", "1:78: an item of the list is missing"},
        {"a " ALPHA " prefix=/a,", "1:78: an item of the list is missing"},
        {"a " ALPHA " prefix=a", "1:75: a prefix begins with /"},
        {"a " ALPHA " prefix=/a,b", "1:78: a prefix begins with /"},
        {"a " ALPHA " prefix=/a?b", "1:75: a prefix has no query"},
        {"a " ALPHA " prefix=/a/../b", "1:75: " PLAIN},
        {"a " ALPHA " prefix=//a", "1:75: " PLAIN},
        {"a " ALPHA " prefix=/%2E", "1:75: " PLAIN},
        {"a " ALPHA " prefix=/\xc3\xa4", "1:75: " PLAIN},
        {"a " ALPHA " methods=GET,P(ST", "1:81: not allowed in a method"},
        {"a " ALPHA " methods=GET,post", "1:80: methods are case-sensitive; write capitals"},
        {"a " ALPHA "\nb " BETA "\na " GAMMA, "3:1: the label is already in line 1"},
        {"a " ALPHA "\nb " BETA "\n\n c " ALPHA "\nd " ALPHA, "4:4: the hash is already in line 1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct gw_keys *keys = NULL;
        char message[300];

        snprintf(message, sizeof(message), "keys.txt:%s", cases[i][1]);
        assert_int_equal(gw_keys_parse(weir_str(cases[i][0]), "keys.txt", &keys, &problem),
                         WEIR_EINVAL);
        assert_string_equal(problem.text, message);
        assert_null(keys);
        /* What may be a key in the clear is never shown. */
        assert_null(strstr(problem.text, "secret"));
    }
}

static void hashes_may_have_capitals(void **state)
{
    char text[] = "a " ALPHA "\nb " ALPHA "\n";
    struct gw_keys *keys = NULL;

    (void)state;
    for (size_t i = 2; i < 66; i++) {
        text[i] = text[i] >= 'a' ? (char)(text[i] - 32) : text[i];
    }
    assert_int_equal(gw_keys_parse(weir_str(text), "k", &keys, &problem), WEIR_EINVAL);
    assert_string_equal(problem.text, "k:2:3: the hash is already in line 1");
}

static void files_are_loaded(void **state)
{
    char path[] = "/tmp/weir-keys-XXXXXX";
    static char big[GW_KEYS_FILE_MAX + 1];
    struct gw_keys *keys = NULL;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "a " ALPHA "\n", 67), 67);
    assert_int_equal(gw_keys_load(path, &keys, &problem), 0);
    assert_int_equal(gw_keys_count(keys), 1);
    gw_keys_destroy(keys);
    keys = NULL;
    memset(big, '\n', sizeof(big));
    assert_int_equal(pwrite(fd, big, sizeof(big) - 1, 0), sizeof(big) - 1);
    assert_int_equal(gw_keys_load(path, &keys, &problem), 0);
    gw_keys_destroy(keys);
    keys = NULL;
    assert_int_equal(pwrite(fd, big, sizeof(big), 0), sizeof(big));
    assert_int_equal(gw_keys_load(path, &keys, &problem), WEIR_ELIMIT);
    assert_non_null(strstr(problem.text, ": the file is larger than 1MiB"));
    close(fd);
    unlink(path);
    assert_int_equal(gw_keys_load(path, &keys, &problem), WEIR_EIO);
    assert_non_null(strstr(problem.text, ": cannot open: No such file or directory"));
    assert_int_equal(gw_keys_load("/", &keys, &problem), WEIR_EIO);
    assert_string_equal(problem.text, "/: cannot read: Is a directory");
    assert_null(keys);
}

static enum gw_verdict decide(const struct gw_keys *keys, const char *x_api_key,
                              const char *authorization, const char *method, const char *path,
                              const char **ret_label)
{
    return gw_keys_decide(keys, weir_str(x_api_key), weir_str(authorization), weir_str(method),
                          weir_str(path), ret_label);
}

static void keys_are_found(void **state)
{
    static const struct {
        const char *x_api_key;
        const char *authorization;
        enum gw_verdict verdict;
        const char *label;
    } cases[] = {
        {NULL, NULL, GW_NO_KEY, NULL},
        {"", NULL, GW_NO_KEY, NULL},
        {" \t", "", GW_NO_KEY, NULL},
        {NULL, "Bearer", GW_NO_KEY, NULL},
        {NULL, "Bearer ", GW_NO_KEY, NULL},
        {NULL, "Bearer    ", GW_NO_KEY, NULL},
        {NULL, "Beareralpha-key", GW_NO_KEY, NULL},
        {NULL, "Bearer\talpha-key", GW_NO_KEY, NULL},
        {NULL, "Basic alpha-key", GW_NO_KEY, NULL},
        {NULL, "alpha-key", GW_NO_KEY, NULL},
        {"alpha-key", NULL, GW_ALLOW, "alpha"},
        {" alpha-key\t", NULL, GW_ALLOW, "alpha"},
        {"beta-key", NULL, GW_ALLOW, "beta"},
        {"gamma-key", NULL, GW_ALLOW, "gamma"},
        {NULL, "Bearer alpha-key", GW_ALLOW, "alpha"},
        {NULL, "bEARER   gamma-key ", GW_ALLOW, "gamma"},
        {"alpha-key", "Bearer alpha-key", GW_ALLOW, "alpha"},
        {"alpha-key", "Basic dTpw", GW_ALLOW, "alpha"},
        {"alpha-key", "Bearer beta-key", GW_UNKNOWN, NULL},
        {"alpha-key", "Bearer alpha-kez", GW_UNKNOWN, NULL},
        {"Alpha-key", NULL, GW_UNKNOWN, NULL},
        {"alpha-key, beta-key", NULL, GW_UNKNOWN, NULL},
        {"alpha-ke", NULL, GW_UNKNOWN, NULL},
        {ALPHA, NULL, GW_UNKNOWN, NULL},
        {NULL, "Bearer alpha-key beta-key", GW_UNKNOWN, NULL},
    };
    struct gw_keys *keys = keys_of("alpha " ALPHA "\nbeta " BETA "\ngamma " GAMMA "\n");
    struct gw_keys *none = keys_of("# nobody\n");

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *label = "untouched";

        assert_int_equal(decide(keys, cases[i].x_api_key, cases[i].authorization, "GET",
                                "/any/../thing", &label),
                         cases[i].verdict);
        if (cases[i].label == NULL) {
            assert_null(label);
        } else {
            assert_string_equal(label, cases[i].label);
        }
        assert_int_equal(
            decide(none, cases[i].x_api_key, cases[i].authorization, "GET", "/", &label),
            cases[i].verdict == GW_ALLOW ? GW_UNKNOWN : cases[i].verdict);
        assert_int_equal(
            decide(NULL, cases[i].x_api_key, cases[i].authorization, "GET", "/", &label),
            GW_NO_KEY);
    }
    gw_keys_destroy(keys);
    gw_keys_destroy(none);
}

static void methods_are_exact(void **state)
{
    struct gw_keys *keys = keys_of("alpha " ALPHA " methods=GET,POST");
    const char *label;

    (void)state;
    assert_int_equal(decide(keys, "alpha-key", NULL, "GET", "/", &label), GW_ALLOW);
    assert_int_equal(decide(keys, "alpha-key", NULL, "POST", "*", &label), GW_ALLOW);
    assert_int_equal(decide(keys, "alpha-key", NULL, "HEAD", "/", &label), GW_FORBIDDEN);
    assert_string_equal(label, "alpha");
    assert_int_equal(decide(keys, "alpha-key", NULL, "get", "/", &label), GW_FORBIDDEN);
    assert_int_equal(decide(keys, "alpha-key", NULL, "", "/", &label), GW_FORBIDDEN);
    assert_int_equal(decide(keys, "alpha-key", NULL, "GET,POST", "/", &label), GW_FORBIDDEN);
    gw_keys_destroy(keys);
}

static void prefixes_match_by_segment(void **state)
{
    static const struct {
        const char *path;
        bool is_allowed;
    } cases[] = {
        {"/a", true},
        {"/a/", true},
        {"/a/b", true},
        {"/a?x=/../", true},
        {"/a/b?x", true},
        {"/a/b.c/..d/e..", true},
        {"/a/...", true},
        {"/a/b;v=1", true},
        {"/a/%20b", true},
        {"/a/%c3%a4", true},
        {"/a/100%25", true},
        {"/a/%25zz", true},
        {"/b/", true},
        {"/b/x", true},
        {"/c/d", true},
        {"/c/d/e", true},
        {"", false},
        {"*", false},
        {"a", false},
        {"/", false},
        {"/ab", false},
        {"/A", false},
        {"/%61", false},
        {"/a;x=1", false},
        {"/b", false},
        {"/b?/", false},
        {"/c", false},
        {"/c/de", false},
        {"//a", false},
        {"/x/a", false},
        {"/a/..", false},
        {"/a/.", false},
        {"/a/../x", false},
        {"/a/./x", false},
        {"/a/x/../../y", false},
        {"/x/../a", false},
        {"/a/..;/x", false},
        {"/a/.;v=1/x", false},
        {"/a//x", false},
        {"/a//", false},
        {"/a/%2e%2e/x", false},
        {"/a/%2E./x", false},
        {"/a/.%2e", false},
        {"/a/b%2ec", false},
        {"/a/%2fx", false},
        {"/a/%2Fx", false},
        {"/a/%5cx", false},
        {"/a/%5Cx", false},
        {"/a/%252e%252e/x", false},
        {"/a/%25252e/x", false},
        {"/a/%25%32%65/x", false},
        {"/a/%c0%ae%c0%ae/x", false},
        {"/a/%C1%9c", false},
        {"/a/%00", false},
        {"/a/%0d%0a", false},
        {"/a/%1f", false},
        {"/a/%7f", false},
        {"/a/%", false},
        {"/a/%2", false},
        {"/a/%zz", false},
        {"/a/%u002e", false},
        {"/a/\\..\\x", false},
        {"/a\\b", false},
        {"/a/#x", false},
        {"/a/ x", false},
        {"/a/\tx", false},
        {"/a/\xc3\xa4", false},
        {"/a/\x7f", false},
        {"http://h/a", false},
    };
    struct gw_keys *keys =
        keys_of("alpha " ALPHA " prefix=/a,/b/,/c/d\nbeta " BETA " prefix=/\ngamma " GAMMA);
    const char *label;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t len = strlen(cases[i].path);
        /* A copy of the exact size, so that a sanitizer sees a step over its end. */
        char *copy = malloc(len + 1);
        enum gw_verdict verdict;

        assert_non_null(copy);
        memcpy(copy, cases[i].path, len);
        verdict = gw_keys_decide(keys, weir_str("alpha-key"), weir_str(NULL), weir_str("GET"),
                                 weir_bytes(copy, len), &label);
        if (verdict != (cases[i].is_allowed ? GW_ALLOW : GW_FORBIDDEN)) {
            fail_msg("%s", cases[i].path);
        }
        /* An unrestricted key may go anywhere. */
        assert_int_equal(gw_keys_decide(keys, weir_str("gamma-key"), weir_str(NULL),
                                        weir_str("GET"), weir_bytes(copy, len), &label),
                         GW_ALLOW);
        free(copy);
    }
    assert_int_equal(decide(keys, "beta-key", NULL, "GET", "/", &label), GW_ALLOW);
    assert_int_equal(decide(keys, "beta-key", NULL, "GET", "/x/y", &label), GW_ALLOW);
    assert_int_equal(decide(keys, "beta-key", NULL, "GET", "/x/../y", &label), GW_FORBIDDEN);
    gw_keys_destroy(keys);
}

static void many_keys_are_found(void **state)
{
    const int count = 2000;
    char *text = malloc((size_t)count * 80);
    size_t at = 0;
    struct gw_keys *keys;
    const char *label;

    (void)state;
    assert_non_null(text);
    for (int i = 0; i < count; i++) {
        at += (size_t)snprintf(text + at, 80, "k%d %.60s%04x\n", i, ALPHA, (unsigned)i);
    }
    at += (size_t)snprintf(text + at, 80, "last " BETA "\n");
    keys = keys_of(text);
    assert_int_equal(gw_keys_count(keys), count + 1);
    assert_int_equal(decide(keys, "beta-key", NULL, "GET", "/", &label), GW_ALLOW);
    assert_string_equal(label, "last");
    assert_int_equal(decide(keys, "gamma-key", NULL, "GET", "/", &label), GW_UNKNOWN);
    gw_keys_destroy(keys);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read),
        cmocka_unit_test(mistakes_have_a_place),
        cmocka_unit_test(hashes_may_have_capitals),
        cmocka_unit_test(files_are_loaded),
        cmocka_unit_test(keys_are_found),
        cmocka_unit_test(methods_are_exact),
        cmocka_unit_test(prefixes_match_by_segment),
        cmocka_unit_test(many_keys_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
