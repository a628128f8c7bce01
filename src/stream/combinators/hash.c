/* SPDX-License-Identifier: MIT */
/* SHA-256 (FIPS 180-4) of what passes. Only a verified end gives a digest: a truncated body has none. */
#include "stream/combinators/combinator.h"

#include <nettle/sha2.h>

struct hash {
    struct weir__wrap wrap;
    struct sha256_ctx context;
    weir_hash_fn *fn;
    void *arg;
};

static int hash_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct hash *hash = state;
    int r = weir__next(hash->wrap.inner, max_bytes, deadline, ret);

    if (r == 1) {
        struct weir_view view = weir_chunk_view(*ret);

        sha256_update(&hash->context, view.len, view.data);
    } else if (r == 0) {
        uint8_t digest[WEIR_SHA256_BYTES];

        sha256_digest(&hash->context, sizeof(digest), digest);
        hash->fn(hash->arg, digest);
    }
    return r;
}

static const struct weir_source_ops hash_ops = {
    .name = "hash",
    .next = hash_next,
    .cancel = weir__wrap_cancel,
    .arm = weir__wrap_arm,
    .destroy = weir__wrap_destroy,
    .explain = weir__wrap_explain,
};

int weir_hash_create_take(struct weir_source *given, weir_hash_fn *fn, void *arg,
                          struct weir_source **ret)
{
    struct hash *hash;
    int r;

    if (fn == NULL) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    r = weir__wrap_create_take(&hash_ops, sizeof(*hash), given, ret);
    if (r == 0) {
        hash = (*ret)->state;
        sha256_init(&hash->context);
        hash->fn = fn;
        hash->arg = arg;
    }
    return r;
}
