/* SPDX-License-Identifier: MIT */
/* SHA-256 (FIPS 180-4) of what passes. Only a verified end gives a digest: a truncated body has none. */
#include "stream/combinators/combinator.h"

#include <nettle/sha2.h>

struct hash {
    struct weir__wrap wrap;
    struct sha256_ctx context;
    bool ended;
    uint8_t digest[WEIR_SHA256_BYTES];
};

static int hash_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct hash *hash = state;
    int r = weir__next(hash->wrap.inner, max_bytes, deadline, ret);

    if (r == 1) {
        struct weir_view view = weir_chunk_view(*ret);

        sha256_update(&hash->context, view.len, view.data);
    } else if (r == 0) {
        sha256_digest(&hash->context, sizeof(hash->digest), hash->digest);
        hash->ended = true;
    }
    return r;
}

static const struct weir_source_ops hash_ops = {
    .name = "hash",
    .next = hash_next,
    .cancel = weir__wrap_cancel,
    .destroy = weir__wrap_destroy,
    .explain = weir__wrap_explain,
};

int weir_hash_create_take(struct weir_source *given, struct weir_source **ret)
{
    int r = weir__wrap_create_take(&hash_ops, sizeof(struct hash), given, ret);

    if (r == 0) {
        sha256_init(&((struct hash *)(*ret)->state)->context);
    }
    return r;
}

int weir_hash_digest(struct weir_source *hash, uint8_t ret[WEIR_SHA256_BYTES])
{
    struct hash *state;

    if (hash == NULL || hash->ops != &hash_ops) {
        return WEIR_EINVAL;
    }
    state = hash->state;
    if (!state->ended) {
        return WEIR_ESTATE;
    }
    memcpy(ret, state->digest, sizeof(state->digest));
    return 0;
}
