/* SPDX-License-Identifier: MIT */
/*
 * multipart/form-data: the first line is the Content-Type, the rest the body. Read whole, in pieces, byte by byte and in
 * small asks it gives the same parts and the same result; skipped parts change nothing about the others; file
 * names are harmless. Limits are small, so that they are met.
 */
#include "fuzz.h"

#include <weir/multipart.h>

#include "body/part_head.h"
#include "stream/stream.h"

struct feed {
    const uint8_t *bytes;
    size_t len, most; /* of a piece; 0: by chance */
    uint32_t seed;
};

static void feed_release(void *arg)
{
    free(arg);
}

static int feed_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct feed *feed = state;
    size_t len = feed->most > 0 ? feed->most : fuzz_piece(&feed->seed, feed->len);
    uint8_t *copy;

    (void)deadline;
    if (feed->len == 0) {
        return 0;
    }
    len = len < feed->len ? len : feed->len;
    len = len < max_bytes ? len : max_bytes;
    copy = fuzz_copy(feed->bytes, len);
    feed->bytes += len;
    feed->len -= len;
    FUZZ_CLAIM(weir_chunk_wrap(weir_bytes(copy, len), feed_release, copy, ret) == 0);
    return 1;
}

static const struct weir_source_ops feed_ops = {.name = "feed", .next = feed_next};

struct seen {
    int opened, result;
    size_t parts, data;
    uint32_t names; /* a hash of all that is said of the parts */
};

static uint32_t mix(uint32_t hash, struct weir_view view)
{
    for (size_t i = 0; i < view.len; i++) {
        hash = (hash ^ view.data[i]) * 16777619u;
    }
    return (hash ^ (weir_view_is_absent(view) ? 7u : 1u)) * 16777619u;
}

static void claim_harmless(struct weir_view name)
{
    uint8_t again[WEIR__SAFE_FILENAME_MAX];

    if (weir_view_is_absent(name)) {
        return;
    }
    FUZZ_CLAIM(name.len > 0 && name.len <= WEIR__SAFE_FILENAME_MAX);
    FUZZ_CLAIM(name.data[0] != '.' && name.data[0] != '-' && name.data[0] != ' ');
    for (size_t i = 0; i < name.len; i++) {
        FUZZ_CLAIM(name.data[i] >= 0x20 && name.data[i] != '/' && name.data[i] != '\\');
    }
    FUZZ_CLAIM(weir__safe_filename(name, again) == name.len);
    FUZZ_CLAIM(memcmp(again, name.data, name.len) == 0);
}

static void see_part(struct weir_part *part, size_t ask, bool skip, uint8_t *data, struct seen *ret)
{
    struct weir_chunk *chunk;
    int r;

    ret->parts++;
    ret->names = mix(ret->names, weir_part_name(part));
    ret->names = mix(ret->names, weir_part_filename(part));
    ret->names = mix(ret->names, weir_part_safe_filename(part));
    ret->names = mix(ret->names, weir_part_content_type(part));
    FUZZ_CLAIM(!weir_view_is_absent(weir_part_name(part)));
    FUZZ_CLAIM(weir_fields_count(weir_part_fields(part)) >= 1);
    claim_harmless(weir_part_safe_filename(part));
    while (!skip && (r = weir__next(weir_part_body(part), ask, -1, &chunk)) > 0) {
        struct weir_view view = weir_chunk_view(chunk);

        FUZZ_CLAIM(view.len > 0 && view.len <= ask);
        memcpy(data + ret->data, view.data, view.len);
        ret->data += view.len;
        weir_chunk_unref(chunk);
    }
}

/* `ret->data` bytes are in `data`, which has room for as many as the body. */
static void see(struct weir_view type, struct weir_view body, size_t most, size_t ask, bool skip,
                uint8_t *data, struct seen *ret)
{
    static const struct weir_multipart_limits limits = {
        .max_parts = 6,
        .max_header_bytes = 300,
        .max_header_lines = 5,
        .max_part_bytes = 700,
        .max_total_bytes = 2000,
        .max_padding_bytes = 50,
    };
    struct feed feed = {body.data, body.len, most, fuzz_seed(body.data, body.len)};
    struct weir_multipart *multipart;
    struct weir_source *source;
    struct weir_part *part;

    *ret = (struct seen){.names = 1};
    FUZZ_CLAIM(weir_source_create_take(&feed_ops, &feed, &source) == 0);
    ret->opened = weir_multipart_open(source, type, &limits, &multipart);
    if (ret->opened == 0) {
        while ((ret->result = weir_multipart_next(multipart, -1, &part)) > 0) {
            see_part(part, ask, skip, data, ret);
        }
        FUZZ_CLAIM(ret->result == 0 || ret->result == WEIR_ELIMIT || ret->result == WEIR_EPROTO ||
                   ret->result == WEIR_ETRUNCATED);
        FUZZ_CLAIM(ret->result < 0 || feed.len == 0);
        FUZZ_CLAIM(ret->parts <= limits.max_parts && ret->data <= 2000 && ret->data <= body.len);
        weir_multipart_destroy(multipart);
    } else {
        FUZZ_CLAIM(ret->opened == WEIR_EPROTO || ret->opened == WEIR_EUNSUPPORTED);
    }
    weir_source_destroy(source);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        size_t most, ask;
        bool skip;
    } ways[] = {{0, WEIR_CHUNK_BYTES, false},
                {1, WEIR_CHUNK_BYTES, false},
                {SIZE_MAX, 1, false},
                {0, 7, false},
                {3, 2, false},
                {SIZE_MAX, 1, true},
                {1, 1, true}};
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    struct weir_view type, body;
    struct seen whole, other;
    uint8_t *type_copy, *first, *second;

    if (end == NULL) {
        return 0;
    }
    type_copy = fuzz_copy(data, (size_t)(end - data));
    type = weir_bytes(type_copy, (size_t)(end - data));
    body = weir_bytes(end + 1, size - type.len - 1);
    first = malloc(size);
    second = malloc(size);
    FUZZ_CLAIM(first != NULL && second != NULL);
    see(type, body, SIZE_MAX, WEIR_CHUNK_BYTES, false, first, &whole);
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        see(type, body, ways[i].most, ways[i].ask, ways[i].skip, second, &other);
        FUZZ_CLAIM(other.opened == whole.opened && other.result == whole.result);
        FUZZ_CLAIM(other.parts == whole.parts && other.names == whole.names);
        FUZZ_CLAIM(ways[i].skip ||
                   (other.data == whole.data && memcmp(first, second, whole.data) == 0));
    }
    free(first);
    free(second);
    free(type_copy);
    return 0;
}
