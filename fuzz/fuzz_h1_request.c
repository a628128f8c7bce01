/* SPDX-License-Identifier: MIT */
/*
 * Request heads. Pieces change nothing; views stay inside; what was accepted keeps its meaning when it is composed
 * again, which it could not if a byte of it were a line's end to someone.
 */
#include "fuzz.h"

#include "h1/compose.h"
#include "h1/parse.h"

#include <weir/err.h>

enum { FIELDS = 100 };

static const struct weir__h1_limits limits = {8192, 32768, FIELDS};
static const struct weir__h1_limits wide_limits = {8192, 65536, FIELDS};

static void claim_inside(struct weir_view view, struct weir_view all)
{
    FUZZ_CLAIM(view.data >= all.data && view.data + view.len <= all.data + all.len);
}

static void claim_same_in_pieces(const uint8_t *data, size_t size, int expected, size_t len,
                                 int status)
{
    struct weir__h1_scan scan = {0};
    uint32_t seed = fuzz_seed(data, size);
    size_t have = 0;
    size_t got_len = 0;
    int got_status = 0;
    int r = 0;

    while (r == 0 && have < size) {
        uint8_t *copy;

        have += fuzz_piece(&seed, size - have);
        copy = fuzz_copy(data, have);
        r = weir__h1_scan_head(&scan, &limits, true, weir_bytes(copy, have), &got_len, &got_status);
        free(copy);
    }
    FUZZ_CLAIM(r == expected && got_len == len && got_status == status);
}

static void claim_round_trip(const struct weir__h1_head *head)
{
    static uint8_t bytes[65536];
    static struct weir_field fields[FIELDS];
    struct weir__h1_out out = {.data = bytes, .cap = sizeof(bytes)};
    struct weir__h1_head again = {.fields = fields, .field_cap = FIELDS};
    int status;

    FUZZ_CLAIM(weir__h1_compose_request(&out, head->method, head->target) == 0);
    FUZZ_CLAIM(weir__h1_compose_fields(&out, head->fields, head->field_count) == 0);
    FUZZ_CLAIM(weir__h1_compose_end(&out) == 0);
    FUZZ_CLAIM(
        weir__h1_parse_request(weir_bytes(out.data, out.len), &wide_limits, &again, &status) == 0);
    FUZZ_CLAIM(again.framing == head->framing && again.length == head->length);
    FUZZ_CLAIM(again.keep_alive == head->keep_alive && again.upgrade == head->upgrade);
    FUZZ_CLAIM(weir_view_equal(again.host, head->host));
    FUZZ_CLAIM(again.field_count == head->field_count);
    for (size_t i = 0; i < head->field_count; i++) {
        FUZZ_CLAIM(weir_view_equal(again.fields[i].name, head->fields[i].name));
        FUZZ_CLAIM(weir_view_equal(again.fields[i].value, head->fields[i].value));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct weir_field fields[FIELDS];
    struct weir__h1_scan scan = {0};
    struct weir__h1_head head = {.fields = fields, .field_cap = FIELDS};
    size_t len = 0;
    int status = 0;
    int r = weir__h1_scan_head(&scan, &limits, true, weir_bytes(data, size), &len, &status);
    uint8_t *copy;
    struct weir_view all;

    claim_same_in_pieces(data, size, r, len, status);
    if (r <= 0) {
        return 0;
    }
    FUZZ_CLAIM(len <= size && len <= limits.head_bytes);
    copy = fuzz_copy(data, len);
    all = weir_bytes(copy, len);
    r = weir__h1_parse_request(all, &limits, &head, &status);
    if (r == 0) {
        claim_inside(head.method, all);
        claim_inside(head.target, all);
        FUZZ_CLAIM(head.field_count <= FIELDS && head.minor >= 0 && head.minor <= 1);
        FUZZ_CLAIM(head.framing != WEIR__H1_UNTIL_CLOSE);
        FUZZ_CLAIM(head.framing == WEIR__H1_LENGTH || head.length == 0);
        for (size_t i = 0; i < head.field_count; i++) {
            claim_inside(head.fields[i].name, all);
            claim_inside(head.fields[i].value, all);
        }
        if (head.minor == 1) {
            claim_inside(head.host, all);
            claim_round_trip(&head);
        }
    } else {
        FUZZ_CLAIM(status == 400 || status == 414 || status == 431 || status == 501 ||
                   status == 505);
    }
    free(copy);
    return 0;
}
