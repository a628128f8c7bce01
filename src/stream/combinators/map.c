/* SPDX-License-Identifier: MIT */
/* Chunk by chunk through a callback, in the fiber that pulls. Holds at most what is left of one result. */
#include "stream/combinators/combinator.h"

struct map {
    struct weir__wrap wrap;
    weir_map_fn *fn;
    void *arg;
    bool failed;
    struct weir__held held;
};

static int map_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct map *map = state;
    unsigned rounds = 0;

    map->wrap.again = false;
    if (map->held.chunk != NULL) {
        return weir__held_deliver(&map->held, max_bytes, ret);
    }
    for (;;) {
        struct weir_chunk *chunk, *mapped = NULL;
        /* Whole chunks, whatever the reader has room for: they may be records. */
        int r = weir__next(map->wrap.inner, WEIR_CHUNK_BYTES, deadline, &chunk);

        if (r <= 0) {
            return r;
        }
        r = map->fn(map->arg, chunk, &mapped);
        weir_chunk_unref(chunk);
        if (r > 0 && mapped != NULL) {
            return weir__held_take(&map->held, mapped, max_bytes, ret);
        }
        weir_chunk_unref(mapped);
        if (r != 0) {
            map->failed = true;
            weir_cancel(map->wrap.inner, WEIR_REASON_HANDLER);
            return weir__callback_error(r < 0 ? r : WEIR_EINVAL);
        }
        r = weir__combinator_turn(&rounds, deadline, &map->wrap.again);
        if (r < 0) {
            return r;
        }
    }
}

static void map_cancel(void *state, enum weir_reason reason)
{
    struct map *map = state;

    weir__held_drop(&map->held);
    weir_cancel(map->wrap.inner, reason);
}

static void map_destroy(void *state)
{
    weir__held_drop(&((struct map *)state)->held);
    weir__wrap_destroy(state);
}

static void map_explain(void *state, struct weir_error *ret)
{
    struct map *map = state;

    if (map->failed) {
        weir__explain_callback("map: callback", ret);
    } else {
        weir__explain_inner(map->wrap.inner, ret);
    }
}

static const struct weir_source_ops map_ops = {
    .name = "map",
    .next = map_next,
    .cancel = map_cancel,
    .destroy = map_destroy,
    .explain = map_explain,
    .arm = weir__wrap_arm,
};

int weir_map_create_take(struct weir_source *given, weir_map_fn *fn, void *arg,
                         struct weir_source **ret)
{
    struct map *map;
    int r;

    if (fn == NULL) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    r = weir__wrap_create_take(&map_ops, sizeof(*map), given, ret);
    if (r == 0) {
        map = (*ret)->state;
        map->fn = fn;
        map->arg = arg;
    }
    return r;
}
