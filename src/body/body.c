/* SPDX-License-Identifier: MIT */
/*
 * Bodies as a whole: collected into one block, or dropped. Invariant: of a source that fails here nothing more is
 * delivered to anybody, for what was read of it is gone.
 */
#include <weir/body.h>

#include "body/charged.h"
#include "bytes/chunk.h"
#include "http/stream.h"
#include "rt/relay.h"

#define FIRST_BYTES ((size_t)1024)

/* The memory behind the chunk that is given to the caller. */
struct block {
    size_t capacity;
    uint8_t bytes[];
};

struct collected {
    struct block *block; /* NULL: nothing has come */
    size_t len, max;
};

static int block_create(size_t capacity, struct block **ret)
{
    void *memory;
    int r;

    if (capacity > SIZE_MAX - sizeof(struct block)) {
        return WEIR_ENOMEM;
    }
    r = weir__charged_alloc(sizeof(struct block) + capacity, &memory);
    if (r == 0) {
        *ret = memory;
        (*ret)->capacity = capacity;
    }
    return r;
}

static void block_destroy(struct block *block)
{
    weir__charged_free(block, block != NULL ? sizeof(*block) + block->capacity : 0);
}

static void block_release(void *arg)
{
    block_destroy(arg);
}

/* Another block, with what there is in it. */
static int resize(struct collected *all, size_t capacity)
{
    struct block *block;
    int r = block_create(capacity, &block);

    if (r < 0) {
        return r;
    }
    if (all->len > 0) {
        memcpy(block->bytes, all->block->bytes, all->len);
    }
    block_destroy(all->block);
    all->block = block;
    return 0;
}

static int append(struct collected *all, struct weir_view bytes)
{
    size_t capacity = all->block != NULL ? all->block->capacity : 0;

    if (bytes.len > all->max - all->len) {
        return WEIR_ELIMIT; /* more than was declared: no wire does that */
    }
    if (bytes.len > capacity - all->len) {
        size_t wanted = capacity > 0 ? capacity : FIRST_BYTES;
        int r;

        while (wanted - all->len < bytes.len) {
            wanted = wanted > all->max / 2 ? all->max : wanted * 2;
        }
        r = resize(all, wanted < all->max ? wanted : all->max);
        if (r < 0) {
            return r;
        }
    }
    memcpy(all->block->bytes + all->len, bytes.data, bytes.len);
    all->len += bytes.len;
    return 0;
}

/* Gives the bytes away as a chunk. Memory that is mostly unused is not kept for long. */
static int hand_over(struct collected *all, struct weir_chunk **ret)
{
    int r;

    if (all->block == NULL) {
        r = weir_chunk_create(1, ret);
        if (r == 0) {
            (*ret)->len = 0;
        }
        return r;
    }
    if (all->block->capacity - all->len > 1024 + all->len / 4) {
        WEIR_IGNORE(resize(all, all->len));
    }
    r = weir_chunk_wrap(weir_bytes(all->block->bytes, all->len), block_release, all->block, ret);
    if (r == 0) {
        all->block = NULL;
    }
    return r;
}

/* Reads to the end, into `all` or (NULL) nowhere. */
static int read_to_end(struct weir_source *source, uint64_t max_bytes, int64_t deadline,
                       struct collected *all)
{
    uint64_t declared = weir__source_declared(source);
    uint64_t left = max_bytes;
    int r;

    if (declared != WEIR_LENGTH_UNKNOWN) {
        if (declared > max_bytes) {
            return WEIR_ELIMIT;
        }
        if (all != NULL) {
            all->max = (size_t)declared; /* never ahead of what has come, all the same */
        }
    }
    for (;;) {
        struct weir_chunk *chunk;
        size_t ask = left < WEIR_CHUNK_BYTES ? (size_t)left : WEIR_CHUNK_BYTES;

        r = weir__next(source, ask > 0 ? ask : 1, deadline, &chunk);
        if (r <= 0) {
            return r;
        }
        if (left == 0) {
            r = WEIR_ELIMIT;
        } else {
            left -= weir_chunk_len(chunk);
            r = all != NULL ? append(all, weir_chunk_view(chunk)) : 0;
        }
        weir_chunk_unref(chunk);
        if (r < 0) {
            return r;
        }
    }
}

/* What a failure means to the source, and to the caller. */
static int conclude(struct weir_source *source, int r)
{
    if (r == WEIR_EAGAIN) {
        r = WEIR_ETIMEDOUT;
    }
    if (r < 0 && r != WEIR_EBUSY) {
        weir__source_fail(source, r, r == WEIR_ETIMEDOUT ? WEIR_REASON_TIMEOUT : WEIR_REASON_LIMIT);
    }
    return r;
}

WEIR__RELAY_4(int, relay_read_all, weir_read_all, struct weir_source *, size_t, int64_t,
              struct weir_chunk **)

int weir_read_all(struct weir_source *source, size_t max_bytes, int64_t deadline,
                  struct weir_chunk **ret)
{
    if (weir__relay_here != NULL) {
        return relay_read_all(source, max_bytes, deadline, ret);
    }

    struct collected all = {.max = max_bytes};
    int r = read_to_end(source, max_bytes, deadline, &all);

    if (r == 0) {
        r = hand_over(&all, ret);
    }
    block_destroy(all.block);
    return conclude(source, r);
}

WEIR__RELAY_3(int, relay_discard, weir_discard, struct weir_source *, uint64_t, int64_t)

int weir_discard(struct weir_source *source, uint64_t max_bytes, int64_t deadline)
{
    if (weir__relay_here != NULL) {
        return relay_discard(source, max_bytes, deadline);
    }
    return conclude(source, read_to_end(source, max_bytes, deadline, NULL));
}
