/* SPDX-License-Identifier: MIT */
#ifndef WEIR_BYTES_CHUNK_H
#define WEIR_BYTES_CHUNK_H

#include <weir/chunk.h>

/*
 * Inside a chunk. A buffer and its chunk are one block from the loop's pool; a slice is a small block that holds a
 * reference to its parent.
 */
#define WEIR__CHUNK_MAX ((size_t)1 << 20)

struct weir__buffer;

struct weir_chunk {
    uint32_t magic;
    _Atomic uint32_t refs;
    uint8_t *data;
    size_t len;
    struct weir__buffer *buffer;               /* NULL: wrapped memory */
    void (*credit)(void *owner, size_t bytes); /* flow control; NULL: none, or returned already */
    void *credit_owner;
    size_t credit_bytes;
};

/* As weir_chunk_create(), the usual way on a loop: `capacity` bytes of room, of which the caller then keeps `len` with
 * weir__chunk_set_len(). Context: any thread. */
int weir__chunk_alloc(size_t capacity, struct weir_chunk **ret);

/* Cuts a chunk nobody else has seen to the bytes that were filled in. */
void weir__chunk_set_len(struct weir_chunk *chunk, size_t len);

/* Drops bytes from the front of a chunk nobody else has seen. */
void weir__chunk_advance(struct weir_chunk *chunk, size_t bytes);

/* The memory behind it, as far as it is ours: the buffer's whole size. */
size_t weir__chunk_footprint(struct weir_chunk *chunk);

/* Gives back the buffers that the calling loop's pool keeps. */
void weir__chunk_pool_trim(void);

#endif
