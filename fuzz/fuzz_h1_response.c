/* SPDX-License-Identifier: MIT */
/* Response heads and trailer sections: the same claims as for requests. */
#include "fuzz.h"

#include "h1/compose.h"
#include "h1/parse.h"

#include <weir/err.h>

enum { FIELDS = 200 };

static const struct weir__h1_limits limits = {0, 65536, FIELDS};
static const struct weir__h1_limits wide_limits = {0, 131072, FIELDS};

static void claim_inside(struct weir_view view, struct weir_view all)
{
    FUZZ_CLAIM(view.data >= all.data && view.data + view.len <= all.data + all.len);
}

static void claim_same_in_pieces(const uint8_t *data, size_t size, int expected, size_t len)
{
    struct weir__h1_scan scan = {0};
    uint32_t seed = fuzz_seed(data, size);
    size_t have = 0;
    size_t got_len = 0;
    int status = 0;
    int r = 0;

    while (r == 0 && have < size) {
        uint8_t *copy;

        have += fuzz_piece(&seed, size - have);
        copy = fuzz_copy(data, have);
        r = weir__h1_scan_head(&scan, &limits, false, weir_bytes(copy, have), &got_len, &status);
        free(copy);
    }
    FUZZ_CLAIM(r == expected && got_len == len && (r < 0 ? status == 502 : status == 0));
}

static void claim_round_trip(const struct weir__h1_head *head, const char *method)
{
    static uint8_t bytes[131072];
    static struct weir_field fields[FIELDS];
    struct weir__h1_out out = {.data = bytes, .cap = sizeof(bytes)};
    struct weir__h1_head again = {.fields = fields, .field_cap = FIELDS};

    FUZZ_CLAIM(weir__h1_compose_status(&out, head->status, head->reason) == 0);
    FUZZ_CLAIM(weir__h1_compose_fields(&out, head->fields, head->field_count) == 0);
    FUZZ_CLAIM(weir__h1_compose_end(&out) == 0);
    FUZZ_CLAIM(weir__h1_parse_response(weir_bytes(out.data, out.len), &wide_limits,
                                       weir_str(method), &again) == 0);
    FUZZ_CLAIM(again.framing == head->framing && again.length == head->length);
    FUZZ_CLAIM(again.status == head->status && weir_view_equal(again.reason, head->reason));
    FUZZ_CLAIM(again.field_count == head->field_count && again.upgrade == head->upgrade);
    for (size_t i = 0; i < head->field_count; i++) {
        FUZZ_CLAIM(weir_view_equal(again.fields[i].name, head->fields[i].name));
        FUZZ_CLAIM(weir_view_equal(again.fields[i].value, head->fields[i].value));
    }
}

static void run_head(struct weir_view all, const char *method)
{
    static struct weir_field fields[FIELDS];
    struct weir__h1_head head = {.fields = fields, .field_cap = FIELDS};

    if (weir__h1_parse_response(all, &limits, weir_str(method), &head) != 0) {
        return;
    }
    FUZZ_CLAIM(head.status >= 100 && head.status <= 599);
    FUZZ_CLAIM(head.framing != WEIR__H1_UNTIL_CLOSE || !head.keep_alive);
    FUZZ_CLAIM(head.framing == WEIR__H1_LENGTH || head.length == 0);
    claim_inside(head.reason, all);
    for (size_t i = 0; i < head.field_count; i++) {
        claim_inside(head.fields[i].name, all);
        claim_inside(head.fields[i].value, all);
    }
    claim_round_trip(&head, method);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct weir_field fields[FIELDS];
    struct weir__h1_scan scan = {0};
    size_t len = 0;
    size_t count = 0;
    int status = 0;
    int r = weir__h1_scan_head(&scan, &limits, false, weir_bytes(data, size), &len, &status);
    uint8_t *copy = fuzz_copy(data, size);

    claim_same_in_pieces(data, size, r, len);
    if (weir__h1_parse_trailers(weir_bytes(copy, size), fields, FIELDS, &count) == 0) {
        FUZZ_CLAIM(count <= FIELDS);
    }
    free(copy);
    if (r > 0) {
        FUZZ_CLAIM(len <= size && len <= limits.head_bytes);
        copy = fuzz_copy(data, len);
        run_head(weir_bytes(copy, len), "GET");
        run_head(weir_bytes(copy, len), "HEAD");
        run_head(weir_bytes(copy, len), "CONNECT");
        free(copy);
    }
    return 0;
}
