/* SPDX-License-Identifier: MIT */
/* A source of given bytes in given pieces, each in a block of exactly its size, so that a byte read too far is seen. */
#ifndef WEIR_TEST_BODY_PIECES_H
#define WEIR_TEST_BODY_PIECES_H

#include "../http/http_test.h"

struct pieces {
    const uint8_t *bytes;
    size_t len, at;
    size_t cut;     /* the first piece ends here; 0: nowhere */
    size_t most;    /* of one piece; 0: any */
    uint64_t seed;  /* not 0: pieces of 1 to `most` bytes by chance */
    unsigned dry;   /* so many asks in a row find nothing before each piece */
    unsigned asked; /* since the last piece */
    bool shared;    /* somebody else holds a reference to the last piece */
    int result;     /* at the end */
    unsigned cancels;
    struct weir_chunk *last;
};

static inline int pieces_next(void *state, size_t max_bytes, int64_t deadline,
                              struct weir_chunk **ret)
{
    struct pieces *pieces = state;
    size_t len = pieces->len - pieces->at;
    uint8_t *copy;
    int r;

    if (pieces->asked++ < pieces->dry) {
        return deadline == 0 ? WEIR_EAGAIN : WEIR_ETIMEDOUT;
    }
    pieces->asked = 0;
    if (len == 0) {
        return pieces->result;
    }
    if (pieces->at < pieces->cut && len > pieces->cut - pieces->at) {
        len = pieces->cut - pieces->at;
    }
    if (pieces->seed != 0) {
        size_t some = 1 + roll(&pieces->seed, (uint32_t)pieces->most);

        len = len < some ? len : some;
    } else if (pieces->most > 0 && len > pieces->most) {
        len = pieces->most;
    }
    len = len < max_bytes ? len : max_bytes;
    copy = malloc(len);
    memcpy(copy, pieces->bytes + pieces->at, len);
    r = weir_chunk_wrap(weir_bytes(copy, len), free, copy, ret);
    if (r < 0) {
        free(copy);
        return r;
    }
    pieces->at += len;
    if (pieces->shared) {
        weir_chunk_unref(pieces->last);
        pieces->last = weir_chunk_ref(*ret);
    }
    return 1;
}

static inline void pieces_cancel(void *state, enum weir_reason reason)
{
    (void)reason;
    ((struct pieces *)state)->cancels++;
}

static inline void pieces_destroy(void *state)
{
    struct pieces *pieces = state;

    pieces->last = weir_chunk_unref(pieces->last);
}

static const struct weir_source_ops pieces_ops = {
    .name = "pieces",
    .next = pieces_next,
    .cancel = pieces_cancel,
    .destroy = pieces_destroy,
};

static inline struct weir_source *pieces_source(struct pieces *pieces)
{
    struct weir_source *source = NULL;

    assert_int_equal(weir_source_create_take(&pieces_ops, pieces, &source), 0);
    return source;
}

#endif
