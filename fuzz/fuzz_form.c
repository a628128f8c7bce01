/* SPDX-License-Identifier: MIT */
/*
 * URL-encoded forms: what is read is what a plain decoder reads, and encoded anew, every byte of it, it is read as the same
 * fields again.
 */
#include "fuzz.h"

#include <weir/err.h>
#include <weir/form.h>

#define MAX_FIELDS 50

static size_t put(char *text, size_t len, struct weir_view view)
{
    static const char digits[] = "0123456789abcdefABCDEF";

    for (size_t i = 0; i < view.len; i++) {
        uint8_t high = view.data[i] >> 4, low = view.data[i] & 15;

        text[len++] = '%';
        text[len++] = digits[high > 9 && i % 2 ? high + 6 : high];
        text[len++] = digits[low > 9 && i % 3 ? low + 6 : low];
    }
    return len;
}

/* The bytes of all fields, decoded as simply as can be: separators are dropped. */
static size_t decode(const uint8_t *data, size_t size, uint8_t *out)
{
    bool in_name = true;
    size_t len = 0;

    for (size_t i = 0; i < size; i++) {
        if (data[i] == '&' || (data[i] == '=' && in_name)) {
            in_name = data[i] == '&';
        } else if (data[i] == '%') {
            char hex[3] = {(char)data[i + 1], (char)data[i + 2], '\0'};

            out[len++] = (uint8_t)strtoul(hex, NULL, 16);
            i += 2;
        } else {
            out[len++] = data[i] == '+' ? ' ' : data[i];
        }
    }
    return len;
}

static void claim_same(struct weir_form *form, const uint8_t *data, size_t size)
{
    char *text = malloc(size * 3 + 2 * MAX_FIELDS + 1);
    uint8_t *plain = malloc(size + 1);
    struct weir_form *again;
    size_t len = 0, at = 0, plain_len;

    FUZZ_CLAIM(text != NULL && plain != NULL);
    plain_len = decode(data, size, plain);
    for (size_t i = 0; i < weir_form_count(form); i++) {
        struct weir_form_field field = weir_form_at(form, i);

        FUZZ_CLAIM(!weir_view_is_absent(field.name) && !weir_view_is_absent(field.value));
        FUZZ_CLAIM(field.name.len + field.value.len <= plain_len - at);
        FUZZ_CLAIM(memcmp(plain + at, field.name.data, field.name.len) == 0);
        at += field.name.len;
        FUZZ_CLAIM(memcmp(plain + at, field.value.data, field.value.len) == 0);
        at += field.value.len;
        len = put(text, len, field.name);
        text[len++] = '=';
        len = put(text, len, field.value);
        text[len++] = '&';
    }
    FUZZ_CLAIM(at == plain_len);
    FUZZ_CLAIM(weir_form_parse(weir_bytes(text, len), NULL, &again) == 0);
    FUZZ_CLAIM(weir_form_count(again) == weir_form_count(form));
    for (size_t i = 0; i < weir_form_count(form); i++) {
        FUZZ_CLAIM(weir_view_equal(weir_form_at(again, i).name, weir_form_at(form, i).name));
        FUZZ_CLAIM(weir_view_equal(weir_form_at(again, i).value, weir_form_at(form, i).value));
    }
    weir_form_destroy(again);
    free(text);
    free(plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct weir_form_limits limits = {.max_bytes = 4000, .max_fields = MAX_FIELDS};
    uint8_t *copy = fuzz_copy(data, size);
    struct weir_form *form;
    int r = weir_form_parse(weir_bytes(copy, size), &limits, &form);

    FUZZ_CLAIM(r == 0 || r == WEIR_EPROTO || r == WEIR_ELIMIT);
    FUZZ_CLAIM(r != 0 || (size <= 4000 && weir_form_count(form) <= MAX_FIELDS));
    if (r == 0) {
        free(copy); /* a form has its own bytes */
        copy = NULL;
        claim_same(form, data, size);
        weir_form_destroy(form);
    }
    free(copy);
    return 0;
}
