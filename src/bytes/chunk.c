/* SPDX-License-Identifier: MIT */
/*
 * Chunks and the pools they come from. A buffer is taken from the running loop's free list of its size class, and put
 * into the list of whichever loop drops it; a thread without a loop uses the heap. Pools keep little: what is beyond
 * goes back to the heap.
 */
#include "bytes/chunk.h"

#include <weir/err.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "bytes/budget.h"
#include "rt/loop.h"
#include "rt/relay.h"

#include <stdatomic.h>

#define CHUNK_MAGIC 0x6368756eu

struct weir__buffer {
    uint32_t size_class;
    size_t capacity;
    struct weir__buffer *next; /* in a pool */
    struct weir_chunk first;
    uint8_t bytes[];
};

/* Wrapped memory: a chunk with the way to let it go. */
struct wrapped {
    struct weir_chunk chunk;
    void (*release)(void *arg);
    void *arg;
};

#define CLASS_COUNT 7
static const struct {
    size_t capacity;
    unsigned keep; /* at most so many free ones per loop */
} classes[CLASS_COUNT] = {
    {1024, 128}, {4096, 16}, {16384, 4}, {32768, 2}, {65536, 2}, {524288, 1}, {WEIR__CHUNK_MAX, 0},
};

struct weir__pools {
    struct {
        struct weir__buffer *first;
        unsigned count;
    } classes[CLASS_COUNT];
};

static void pools_trim(struct weir__pools *pools)
{
    for (size_t i = 0; i < CLASS_COUNT; i++) {
        while (pools->classes[i].first != NULL) {
            struct weir__buffer *buffer = pools->classes[i].first;

            pools->classes[i].first = buffer->next;
            weir_free(buffer);
        }
        pools->classes[i].count = 0;
    }
}

static void pools_destroy(struct weir__pools *pools)
{
    pools_trim(pools);
    weir_free(pools);
}

static struct weir__pools *pools_here(void)
{
    struct weir__loop *loop = weir__loop_current();

    if (loop == NULL) {
        return NULL;
    }
    if (loop->pools == NULL) {
        loop->pools = weir_alloc0(sizeof(*loop->pools));
        loop->pools_destroy = pools_destroy;
    }
    return loop->pools;
}

void weir__chunk_pool_trim(void)
{
    struct weir__pools *pools = pools_here();

    if (pools != NULL) {
        pools_trim(pools);
    }
}

int weir__chunk_alloc(size_t capacity, struct weir_chunk **ret)
{
    struct weir__pools *pools = pools_here();
    struct weir__buffer *buffer = NULL;
    uint32_t size_class = 0;
    int r;

    if (capacity == 0 || capacity > WEIR__CHUNK_MAX) {
        return WEIR_EINVAL;
    }
    while (classes[size_class].capacity < capacity) {
        size_class++;
    }
    if (classes[size_class].keep > 0) {
        capacity = classes[size_class].capacity;
    }
    r = weir__budget_charge(weir__budget_process(), capacity);
    if (r < 0) {
        return r;
    }
    if (pools != NULL && pools->classes[size_class].first != NULL) {
        buffer = pools->classes[size_class].first;
        pools->classes[size_class].first = buffer->next;
        pools->classes[size_class].count--;
    } else {
        buffer = weir_alloc(sizeof(*buffer) + capacity);
        if (buffer == NULL) {
            weir__budget_release(weir__budget_process(), capacity);
            return WEIR_ENOMEM;
        }
        buffer->size_class = size_class;
        buffer->capacity = capacity;
    }
    buffer->first = (struct weir_chunk){
        .magic = CHUNK_MAGIC, .refs = 1, .data = buffer->bytes, .len = capacity, .buffer = buffer};
    *ret = &buffer->first;
    return 0;
}

static void buffer_put(struct weir__buffer *buffer)
{
    struct weir__pools *pools;
    uint32_t size_class = buffer->size_class;

    weir__budget_release(weir__budget_process(), buffer->capacity);
    pools = pools_here();
    if (pools == NULL || pools->classes[size_class].count >= classes[size_class].keep) {
        weir_free(buffer);
        return;
    }
    buffer->next = pools->classes[size_class].first;
    pools->classes[size_class].first = buffer;
    pools->classes[size_class].count++;
}

int weir_chunk_create(size_t len, struct weir_chunk **ret)
{
    int r = weir__chunk_alloc(len, ret);

    if (r == 0) {
        (*ret)->len = len;
    }
    return r;
}

static void slice_parent_drop(void *parent)
{
    weir_chunk_unref(parent);
}

int weir_chunk_copy(struct weir_view bytes, struct weir_chunk **ret)
{
    int r = weir_chunk_create(bytes.len, ret);

    if (r == 0) {
        memcpy((*ret)->data, bytes.data, bytes.len);
    }
    return r;
}

int weir_chunk_wrap(struct weir_view bytes, void (*release)(void *arg), void *arg,
                    struct weir_chunk **ret)
{
    struct wrapped *wrapped;

    if (bytes.data == NULL || bytes.len == 0) {
        return WEIR_EINVAL;
    }
    wrapped = weir_alloc(sizeof(*wrapped));
    if (wrapped == NULL) {
        return WEIR_ENOMEM;
    }
    *wrapped = (struct wrapped){.chunk = {.magic = CHUNK_MAGIC,
                                          .refs = 1,
                                          .data = (uint8_t *)(uintptr_t)bytes.data,
                                          .len = bytes.len},
                                .release = release,
                                .arg = arg};
    *ret = &wrapped->chunk;
    return 0;
}

int weir_chunk_slice(struct weir_chunk *chunk, size_t offset, size_t len, struct weir_chunk **ret)
{
    int r;

    weir_check(chunk, CHUNK_MAGIC);
    if (offset > chunk->len || len > chunk->len - offset) {
        return WEIR_EINVAL;
    }
    /* A slice keeps its parent, and with it the buffer and the credit. */
    r = weir_chunk_wrap(weir_bytes(chunk->data + offset, len), slice_parent_drop, chunk, ret);
    if (r == 0) {
        weir_chunk_ref(chunk);
    }
    return r;
}

struct weir_chunk *weir_chunk_ref(struct weir_chunk *chunk)
{
    weir_check(chunk, CHUNK_MAGIC);
    atomic_fetch_add_explicit(&chunk->refs, 1, memory_order_relaxed);
    return chunk;
}

static void return_credit(struct weir_chunk *chunk)
{
    if (chunk->credit != NULL) {
        void (*credit)(void *, size_t) = chunk->credit;

        chunk->credit = NULL;
        credit(chunk->credit_owner, chunk->credit_bytes);
    }
}

WEIR__RELAY_VOID_1(relay_chunk_detach, weir_chunk_detach, struct weir_chunk *)

void weir_chunk_detach(struct weir_chunk *chunk)
{
    if (weir__relay_here != NULL) {
        relay_chunk_detach(chunk);
        return;
    }
    weir_check(chunk, CHUNK_MAGIC);
    while (chunk->buffer == NULL && ((struct wrapped *)chunk)->release == slice_parent_drop) {
        chunk = ((struct wrapped *)chunk)->arg; /* the credit is the parent's */
    }
    return_credit(chunk);
}

struct weir_chunk *weir_chunk_unref(struct weir_chunk *chunk)
{
    if (chunk == NULL) {
        return NULL;
    }
    weir_check(chunk, CHUNK_MAGIC);
    /* The only reference needs no atomic step: nobody else can take one. */
    if (atomic_load_explicit(&chunk->refs, memory_order_acquire) != 1 &&
        atomic_fetch_sub_explicit(&chunk->refs, 1, memory_order_acq_rel) != 1) {
        return NULL;
    }
    return_credit(chunk);
    chunk->magic = 0;
    if (chunk->buffer != NULL) {
        buffer_put(chunk->buffer);
    } else {
        struct wrapped *wrapped = (struct wrapped *)chunk;

        if (wrapped->release != NULL) {
            wrapped->release(wrapped->arg);
        }
        weir_free(wrapped);
    }
    return NULL;
}

void weir_chunk_unrefp(struct weir_chunk **chunk)
{
    *chunk = weir_chunk_unref(*chunk);
}

struct weir_view weir_chunk_view(struct weir_chunk *chunk)
{
    weir_check(chunk, CHUNK_MAGIC);
    return weir_bytes(chunk->data, chunk->len);
}

size_t weir_chunk_len(struct weir_chunk *chunk)
{
    weir_check(chunk, CHUNK_MAGIC);
    return chunk->len;
}

uint8_t *weir_chunk_data(struct weir_chunk *chunk)
{
    weir_check(chunk, CHUNK_MAGIC);
    return chunk->data;
}

size_t weir__chunk_footprint(struct weir_chunk *chunk)
{
    return chunk->buffer != NULL ? chunk->buffer->capacity : chunk->len;
}

void weir__chunk_set_len(struct weir_chunk *chunk, size_t len)
{
    weir_debug_assert(len > 0 && len <= chunk->len);
    chunk->len = len;
}

void weir__chunk_advance(struct weir_chunk *chunk, size_t bytes)
{
    weir_debug_assert(bytes < chunk->len);
    chunk->data += bytes;
    chunk->len -= bytes;
}
