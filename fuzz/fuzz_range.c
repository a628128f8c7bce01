/* SPDX-License-Identifier: MIT */
/*
 * Range fields: what is accepted lies inside of the representation and says the same when it is written out again; a
 * second reader, written in another way, agrees. The same bytes as entity tags, a date and a path: they are read within
 * their bounds, and what a path is decoded to never leads upwards.
 */
#include "fuzz.h"

#include "http/conditional.h"
#include "http/date.h"
#include "http/file_path.h"
#include "http/range.h"

#include <weir/err.h>

/* One range by a scan from left to right; numbers stop at the largest. */
static enum weir__range_kind oracle(const uint8_t *text, size_t len, uint64_t size,
                                    struct weir__range *ret)
{
    uint64_t numbers[2] = {0, 0};
    size_t digits[2] = {0, 0};
    size_t at = 6, side = 0;

    if (len < 6 || text[5] != '=') {
        return WEIR__RANGE_NONE;
    }
    for (size_t i = 0; i < 5; i++) {
        if ((text[i] | 0x20) != "bytes"[i]) {
            return WEIR__RANGE_NONE;
        }
    }
    if (len > 6 && (text[6] == ' ' || text[6] == '\t')) {
        return WEIR__RANGE_NONE;
    }
    while (at < len && (text[at] == ',' || text[at] == ' ' || text[at] == '\t')) {
        at++;
    }
    for (; at < len && ((text[at] >= '0' && text[at] <= '9') || text[at] == '-'); at++) {
        if (text[at] == '-') {
            if (side++ == 1) {
                return WEIR__RANGE_NONE;
            }
            continue;
        }
        if (__builtin_mul_overflow(numbers[side], 10u, &numbers[side]) ||
            __builtin_add_overflow(numbers[side], (uint64_t)(text[at] - '0'), &numbers[side])) {
            numbers[side] = UINT64_MAX;
        }
        digits[side]++;
        while (numbers[side] == UINT64_MAX && at + 1 < len && text[at + 1] >= '0' &&
               text[at + 1] <= '9') {
            at++;
        }
    }
    for (size_t rest = at; rest < len; rest++) {
        if (text[rest] != ',' && text[rest] != ' ' && text[rest] != '\t') {
            return WEIR__RANGE_NONE;
        }
    }
    if (side != 1 || digits[0] + digits[1] == 0) {
        return WEIR__RANGE_NONE;
    }
    if (digits[0] == 0) {
        if (numbers[1] == 0) {
            return WEIR__RANGE_UNSATISFIABLE;
        }
        *ret = (struct weir__range){.first = numbers[1] < size ? size - numbers[1] : 0,
                                    .length = numbers[1] < size ? numbers[1] : size};
        return size > 0 ? WEIR__RANGE_ONE : WEIR__RANGE_NONE;
    }
    if (digits[1] > 0 && numbers[1] < numbers[0]) {
        return WEIR__RANGE_NONE;
    }
    if (numbers[0] >= size) {
        return WEIR__RANGE_UNSATISFIABLE;
    }
    *ret = (struct weir__range){.first = numbers[0], .length = size - numbers[0]};
    if (digits[1] > 0 && numbers[1] < size) {
        ret->length = numbers[1] - numbers[0] + 1;
    }
    return WEIR__RANGE_ONE;
}

static void claim_range(const uint8_t *text, size_t len, uint64_t size)
{
    struct weir__range range = {0, 0}, again = {0, 0}, other = {0, 0};
    enum weir__range_kind kind = weir__range_parse(weir_bytes(text, len), size, &range);
    char written[64];

    FUZZ_CLAIM(kind == oracle(text, len, size, &other));
    if (kind != WEIR__RANGE_ONE) {
        FUZZ_CLAIM(range.length == 0);
        return;
    }
    FUZZ_CLAIM(range.length >= 1 && range.first < size && range.length <= size - range.first);
    FUZZ_CLAIM(range.first == other.first && range.length == other.length);
    snprintf(written, sizeof(written), "bytes=%llu-%llu", (unsigned long long)range.first,
             (unsigned long long)(range.first + range.length - 1));
    FUZZ_CLAIM(weir__range_parse(weir_str(written), size, &again) == WEIR__RANGE_ONE);
    FUZZ_CLAIM(again.first == range.first && again.length == range.length);
}

static void claim_date(const uint8_t *text, size_t len)
{
    char written[WEIR__DATE_BYTES];
    int64_t seconds = 0, again = -1;

    if (weir__http_date_parse(weir_bytes(text, len), 1700000000, &seconds) == 0) {
        size_t size = weir__http_date_format(seconds, written);

        if (size > 0) {
            FUZZ_CLAIM(weir__http_date_parse(weir_bytes(written, size), 0, &again) == 0);
            FUZZ_CLAIM(again == seconds);
        } else {
            FUZZ_CLAIM(seconds < 0 || seconds >= 253402300800);
        }
    }
}

static void claim_path(const uint8_t *text, size_t len)
{
    char *out = malloc(len + 2);
    size_t out_len = 0;
    bool is_dir = false;

    FUZZ_CLAIM(out != NULL);
    if (weir__file_path_decode(weir_bytes(text, len), false, true, out, &out_len, &is_dir) == 0) {
        FUZZ_CLAIM(strlen(out) == out_len && out_len > 0 && out[0] != '/');
        FUZZ_CLAIM(strstr(out, "//") == NULL && strchr(out, '\\') == NULL);
        FUZZ_CLAIM(strcmp(out, "..") != 0 && strncmp(out, "../", 3) != 0);
        FUZZ_CLAIM(strstr(out, "/../") == NULL);
        FUZZ_CLAIM(out_len < 3 || strcmp(out + out_len - 3, "/..") != 0);
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct weir_view etags[] = {{(const uint8_t *)"\"a\"", 3},
                                             {(const uint8_t *)"W/\"a\"", 5}};
    static const char *const names[] = {"If-None-Match", "If-Match", "If-Modified-Since",
                                        "If-Unmodified-Since", "If-Range"};
    uint64_t total = 0;
    uint8_t *text;

    if (size < 8) {
        return 0;
    }
    memcpy(&total, data, 8);
    data += 8;
    size -= 8;
    text = fuzz_copy(data, size);
    claim_range(text, size, total);
    claim_range(text, size, total % 16);
    claim_date(text, size);
    claim_path(text, size);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct weir_fields *fields = NULL;

        FUZZ_CLAIM(weir_fields_create(&fields) == 0);
        if (weir_fields_add(fields, weir_str(names[i]), weir_bytes(text, size)) == 0) {
            int status =
                weir__conditional_status(fields, true, etags[total & 1], 784111777, 1700000000);

            FUZZ_CLAIM(status == 0 || status == 304 || status == 412);
            /* Only a strong tag, or the very date, lets a range count. */
            if (i == 4 && weir__conditional_allows_range(fields, etags[1], -1, 1700000000)) {
                FUZZ_CLAIM(false);
            }
        }
        weir_fields_destroy(fields);
    }
    free(text);
    return 0;
}
