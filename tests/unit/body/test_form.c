/* SPDX-License-Identifier: MIT */
/* URL-encoded forms: what they decode to, what is refused, and how much of it is taken. */
#include "../http/http_test.h"

#include <weir/form.h>

/* A text in a block of exactly its size, and what becomes of it as "name=value;" with bytes that are no letters as <xx>. */
static int parse(struct weir_view text, const struct weir_form_limits *limits, char *ret,
                 size_t size)
{
    WEIR_CLEANUP(weir_form_destroyp) struct weir_form *form = NULL;
    uint8_t *copy = malloc(text.len > 0 ? text.len : 1);
    size_t len = 0;
    int r;

    if (text.len > 0) {
        memcpy(copy, text.data, text.len);
    }
    r = weir_form_parse(weir_bytes(copy, text.len), limits, &form);
    free(copy);
    ret[0] = '\0';
    if (r < 0) {
        assert_null(form);
        return r;
    }
    for (size_t i = 0; i < weir_form_count(form); i++) {
        struct weir_form_field field = weir_form_at(form, i);
        struct weir_view views[2] = {field.name, field.value};

        for (size_t k = 0; k < 2; k++) {
            assert_false(weir_view_is_absent(views[k]));
            for (size_t j = 0; j < views[k].len; j++) {
                uint8_t byte = views[k].data[j];
                bool plain = byte > 0x20 && byte < 0x7f && byte != '=' && byte != ';';

                len += (size_t)snprintf(ret + len, size - len, plain ? "%c" : "<%02x>", byte);
            }
            len += (size_t)snprintf(ret + len, size - len, "%c", k == 0 ? '=' : ';');
        }
    }
    assert_true(weir_view_is_absent(weir_form_at(form, weir_form_count(form)).name));
    return 0;
}

static const struct {
    const char *text;
    int result;
    const char *fields;
} cases[] = {
    {"", 0, ""},
    {"&", 0, ""},
    {"&&&", 0, ""},
    {"a", 0, "a=;"},
    {"a=", 0, "a=;"},
    {"=", 0, "=;"},
    {"=b", 0, "=b;"},
    {"a=b", 0, "a=b;"},
    {"a=b=c", 0, "a=b<3d>c;"},
    {"a=1&b=2&a=3", 0, "a=1;b=2;a=3;"},
    {"a=1&&b=2&", 0, "a=1;b=2;"},
    {"&a=1", 0, "a=1;"},
    {"a+b=c+d", 0, "a<20>b=c<20>d;"},
    {"a=b c", 0, "a=b<20>c;"},
    {"a%20b=%63", 0, "a<20>b=c;"},
    {"a=%00%0d%0a%ff%FF%7f", 0, "a=<00><0d><0a><ff><ff><7f>;"},
    {"a=%26%3D%25%2B", 0, "a=&<3d>%+;"},
    {"a=%2541", 0, "a=%41;"},
    {"a=1;b=2", 0, "a=1<3b>b<3d>2;"},
    {"a=\xc3\xa9", 0, "a=<c3><a9>;"},
    {"%61=%62", 0, "a=b;"},
    {"a=%", WEIR_EPROTO, NULL},
    {"a=%4", WEIR_EPROTO, NULL},
    {"a=%4&b=1", WEIR_EPROTO, NULL},
    {"a=%&41=1", WEIR_EPROTO, NULL},
    {"a=%g1", WEIR_EPROTO, NULL},
    {"a=%1g", WEIR_EPROTO, NULL},
    {"a=%%41", WEIR_EPROTO, NULL},
    {"a=% 1", WEIR_EPROTO, NULL},
    {"a=%+1", WEIR_EPROTO, NULL},
    {"a=%-1", WEIR_EPROTO, NULL},
    {"a=%0x", WEIR_EPROTO, NULL},
    {"a%=1", WEIR_EPROTO, NULL},
    {"a%4=1", WEIR_EPROTO, NULL},
    {"a=1\r\n", WEIR_EPROTO, NULL},
    {"a=1\n", WEIR_EPROTO, NULL},
    {"a\t=1", WEIR_EPROTO, NULL},
    {"a=\x7f", WEIR_EPROTO, NULL},
    {"a=\x01", WEIR_EPROTO, NULL},
};

static void what_forms_decode_to(void **state)
{
    char fields[256];

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int r = parse(weir_str(cases[i].text), NULL, fields, sizeof(fields));

        if (r != cases[i].result || strcmp(fields, r == 0 ? cases[i].fields : "") != 0) {
            fail_msg("%s: %d %s", cases[i].text, r, fields);
        }
    }
    assert_int_equal(parse(weir_bytes("a=\0", 3), NULL, fields, sizeof(fields)), WEIR_EPROTO);
    assert_int_equal(parse(weir_bytes(NULL, 0), NULL, fields, sizeof(fields)), 0);
}

static void limits_are_exact(void **state)
{
    char fields[256];
    struct weir_form_limits limits = {0};

    (void)state;
    for (size_t max = 1; max < 12; max++) {
        limits = (struct weir_form_limits){.max_bytes = max};
        assert_int_equal(parse(weir_str("a=1&b=2"), &limits, fields, sizeof(fields)),
                         max < 7 ? WEIR_ELIMIT : 0);
        limits = (struct weir_form_limits){.max_fields = max};
        assert_int_equal(parse(weir_str("a&&b&c=&=d&"), &limits, fields, sizeof(fields)),
                         max < 4 ? WEIR_ELIMIT : 0);
    }
}

static void the_default_limits(void **state)
{
    size_t size = ((size_t)1 << 20) + 1;
    char *text = malloc(size);
    struct weir_form *form = NULL;

    (void)state;
    memset(text, 'a', size);
    assert_int_equal(weir_form_parse(weir_bytes(text, size), NULL, &form), WEIR_ELIMIT);
    assert_int_equal(weir_form_parse(weir_bytes(text, size - 1), NULL, &form), 0);
    assert_int_equal(weir_form_at(form, 0).name.len, size - 1);
    weir_form_destroyp(&form);
    for (size_t i = 0; i < 2001; i++) {
        text[i] = i % 2 ? '&' : 'a';
    }
    assert_int_equal(weir_form_parse(weir_bytes(text, 1999), NULL, &form), 0);
    assert_int_equal(weir_form_count(form), 1000);
    weir_form_destroyp(&form);
    assert_int_equal(weir_form_parse(weir_bytes(text, 2001), NULL, &form), WEIR_ELIMIT);
    free(text);
}

static void by_name(void **state)
{
    WEIR_CLEANUP(weir_form_destroyp) struct weir_form *form = NULL;
    struct weir_view value = weir_str("untouched");
    size_t at = 0;

    (void)state;
    assert_int_equal(weir_form_parse(weir_str("a=1&b=2&%61=3&A=4&c"), NULL, &form), 0);
    assert_true(weir_view_equal(weir_form_get(form, "a"), weir_str("1")));
    assert_true(weir_view_equal(weir_form_get(form, "A"), weir_str("4")));
    assert_false(weir_view_is_absent(weir_form_get(form, "c")));
    assert_int_equal(weir_form_get(form, "c").len, 0);
    assert_true(weir_view_is_absent(weir_form_get(form, "d")));
    assert_int_equal(weir_form_next(form, "a", &at, &value), 1);
    assert_true(weir_view_equal(value, weir_str("1")));
    assert_int_equal(weir_form_next(form, "a", &at, &value), 1);
    assert_true(weir_view_equal(value, weir_str("3")));
    assert_int_equal(weir_form_next(form, "a", &at, &value), 0);
    assert_true(weir_view_equal(value, weir_str("3")));
    weir_form_destroy(NULL);
}

/* ---- of a request ---- */

struct posting {
    const char *types[2];
    const char *text;
    struct weir_form_limits limits;
    int result;
    size_t count; /* of fields */
};

static int reads_form(struct weir_req *req, void *arg)
{
    WEIR_CLEANUP(weir_form_destroyp) struct weir_form *form = NULL;
    struct posting *posting = arg;
    int r = 0;

    for (size_t i = 0; r == 0 && i < 2 && posting->types[i] != NULL; i++) {
        if (weir_req_fields(req) == NULL) { /* the memory transport sends none of its own */
            r = weir_fields_create(&req->fields);
        }
        if (r == 0) {
            r = weir_fields_add(req->fields, weir_str("Content-Type"), weir_str(posting->types[i]));
        }
    }
    assert_int_equal(r, 0);
    r = weir_form_read(req, &posting->limits, weir_after_ms(1000), &form);
    assert_int_equal(r, posting->result);
    assert_int_equal(form != NULL ? weir_form_count(form) : 0, posting->count);
    if (posting->count > 0) {
        assert_true(weir_view_equal(weir_form_get(form, "name"), weir_str("J\xc3\xbcrgen X")));
    }
    return r < 0 ? r : weir_reply_empty(req, 200, NULL);
}

#define TYPE "application/x-www-form-urlencoded"
#define TEXT "name=J%C3%BCrgen+X&n=1"

static void a_request_with_a_form(void **state)
{
    static struct posting postings[] = {
        {{TYPE}, TEXT, {0}, 0, 2},
        {{"Application/X-WWW-Form-URLEncoded ; charset=UTF-8"}, TEXT, {0}, 0, 2},
        {{TYPE ";"}, TEXT, {0}, 0, 2},
        {{TYPE}, TEXT, {.max_bytes = sizeof(TEXT) - 1, .max_fields = 2}, 0, 2},
        {{TYPE}, TEXT, {.max_bytes = sizeof(TEXT) - 2}, WEIR_ELIMIT, 0},
        {{TYPE}, TEXT, {.max_fields = 1}, WEIR_ELIMIT, 0},
        {{TYPE}, "", {0}, 0, 0},
        {{TYPE}, "a=%4x", {0}, WEIR_EPROTO, 0},
        {{NULL}, TEXT, {0}, WEIR_EUNSUPPORTED, 0},
        {{"text/plain"}, TEXT, {0}, WEIR_EUNSUPPORTED, 0},
        {{TYPE "x"}, TEXT, {0}, WEIR_EUNSUPPORTED, 0},
        {{TYPE, TYPE}, TEXT, {0}, WEIR_EPROTO, 0},
        {{TYPE, "text/plain"}, TEXT, {0}, WEIR_EPROTO, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(postings); i++) {
        for (int known = 0; known < 2; known++) {
            size_t len = strlen(postings[i].text);
            struct weir__memory_step steps[] = {
                {.at_ms = 3, .act = WEIR__MEMORY_SEND, .bytes = len, .data = postings[i].text},
                {.at_ms = 4, .act = WEIR__MEMORY_SEND_END},
            };
            struct scene scene = {
                .handler = reads_form,
                .arg = &postings[i],
                .steps = len > 0 ? steps : steps + 1,
                .count = len > 0 ? 2 : 1,
                .opts = {.body_length = known ? len : WEIR_LENGTH_UNKNOWN, .max_read = 1 + i % 5}};

            play(&scene);
            assert_int_equal(scene.result.status, postings[i].result == WEIR_EUNSUPPORTED ? 415
                                                  : postings[i].result < 0
                                                      ? weir_err_status(postings[i].result)
                                                      : 200);
            assert_true(scene.result.ended);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_forms_decode_to),  cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(the_default_limits),    cmocka_unit_test(by_name),
        cmocka_unit_test(a_request_with_a_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
