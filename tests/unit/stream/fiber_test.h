/* SPDX-License-Identifier: MIT */
#ifndef WEIR_TESTS_FIBER_TEST_H
#define WEIR_TESTS_FIBER_TEST_H

#include "stream_test.h"

/* A test whose body runs in a fiber on a fake clock. */
static inline void fiber_test(void (*fn)(void *arg))
{
    struct world world;

    assert_true(world_run(&world, fn, &world));
}
#define FIBER_TEST(name)                \
    static void name##_body(void *arg); \
    static void name(void **state)      \
    {                                   \
        (void)state;                    \
        fiber_test(name##_body);        \
    }                                   \
    static void name##_body(void *arg __attribute__((unused)))

/* Text, in chunks as a '|' cuts it; then the result. Each piece comes after delay_ms. */
struct text_source {
    const char *at;
    int result;
    int64_t delay_ms;
    bool waited, cancelled;
    unsigned calls;
    struct weir__fiber *waiter;
};

static inline int text_next(void *state, size_t max_bytes, int64_t deadline,
                            struct weir_chunk **ret)
{
    struct text_source *text = state;
    size_t len = strcspn(text->at, "|");
    struct weir_view piece;

    text->calls++;
    if (text->delay_ms > 0 && !text->waited) {
        if (deadline == 0) {
            return WEIR_EAGAIN;
        }
        if (weir_sleep(weir_after_ms(text->delay_ms)) < 0 || text->cancelled) {
            return WEIR_ECANCELED;
        }
        text->waited = true;
    }
    if (len == 0) {
        return text->result;
    }
    piece = weir_bytes(text->at, len < max_bytes ? len : max_bytes);
    text->at += piece.len + (piece.len == len && text->at[len] == '|');
    text->waited = false;
    return weir_chunk_copy(piece, ret) < 0 ? WEIR_ENOMEM : 1;
}

static inline void text_cancel(void *state, enum weir_reason reason)
{
    (void)reason;
    ((struct text_source *)state)->cancelled = true;
}

static const struct weir_source_ops text_ops = {
    .name = "text", .next = text_next, .cancel = text_cancel};

static inline struct weir_source *text_source(struct text_source *text, const char *content)
{
    struct weir_source *source = NULL;

    text->at = content;
    assert_int_equal(weir_source_create_take(&text_ops, text, &source), 0);
    return source;
}

/* Everything a source gives, with a '|' after each chunk; returns its result. */
static inline int read_text(struct weir_source *source, char *out, size_t size)
{
    struct weir_chunk *chunk;
    size_t len = 0;
    int r;

    while ((r = weir_next(source, -1, &chunk)) > 0) {
        struct weir_view view = weir_chunk_view(chunk);

        assert_true(len + view.len + 2 < size);
        memcpy(out + len, view.data, view.len);
        len += view.len;
        out[len++] = '|';
        weir_chunk_unref(chunk);
    }
    out[len] = '\0';
    return r;
}

#define expect_text(source, wanted, wanted_result)                       \
    do {                                                                 \
        static char text_got[4096];                                      \
        int text_result = read_text(source, text_got, sizeof(text_got)); \
        assert_string_equal(text_got, wanted);                           \
        assert_int_equal(text_result, wanted_result);                    \
    } while (0)

#endif
