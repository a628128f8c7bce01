/* SPDX-License-Identifier: MIT */
#ifndef WEIR_CHUNK_H
#define WEIR_CHUNK_H

#include <weir/view.h>

WEIR_BEGIN_DECLS

/*
 * A chunk: a ref-counted run of bytes in motion. Its bytes do not change once it has been handed on and stay valid
 * until the last reference is dropped, whatever happens to the stream it came from. A chunk that was received carries
 * its flow-control credit: dropping the last reference is what opens the peer's window again. Memory is charged by
 * the size of the underlying buffer to the process's budget.
 */
struct weir_chunk;

/**
 * A new chunk of `len` bytes for the caller to fill through weir_chunk_data().
 *
 * len  1 byte to 1 MiB.
 * ret  given: weir_chunk_unref() it.
 *
 * Returns 0, WEIR_EINVAL (0 or over 1 MiB), WEIR_ENOMEM, WEIR_EBUDGET (the process holds all it may).
 * Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_chunk_create(size_t len, struct weir_chunk **ret);

/** A new chunk with a copy of the bytes; otherwise as weir_chunk_create(). Context: any thread.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_chunk_copy(struct weir_view bytes, struct weir_chunk **ret);

/**
 * A chunk around memory of the caller's own, without a copy.
 *
 * bytes    kept: must stay valid and unchanged until `release` is called (forever when it is NULL).
 * release  called once when the last reference is dropped, perhaps on another thread; NULL for static memory.
 *          Not called when this call fails.
 *
 * Returns 0, WEIR_EINVAL (empty), WEIR_ENOMEM. Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_chunk_wrap(struct weir_view bytes, void (*release)(void *arg),
                                            void *arg, struct weir_chunk **ret);

/**
 * A chunk over a part of another one; both share the bytes, and the buffer lives as long as either.
 *
 * Returns 0, WEIR_EINVAL (empty or out of range), WEIR_ENOMEM. Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_chunk_slice(struct weir_chunk *chunk, size_t offset, size_t len,
                                             struct weir_chunk **ret);

/** One more reference to the same chunk. Context: any thread.  Since: 0.1. */
WEIR_API struct weir_chunk *weir_chunk_ref(struct weir_chunk *chunk);

/** Drops a reference; with the last one the credit returns to the peer's window. Always returns NULL, so that
 * `chunk = weir_chunk_unref(chunk)` leaves nothing dangling; NULL is fine. Context: any thread.  Since: 0.1. */
WEIR_API struct weir_chunk *weir_chunk_unref(struct weir_chunk *chunk);

/** For the cleanup attribute. Context: any thread.  Since: 0.1. */
WEIR_API void weir_chunk_unrefp(struct weir_chunk **chunk);

/** The bytes, borrowed for as long as the caller's reference. Context: any thread.  Since: 0.1. */
WEIR_API struct weir_view weir_chunk_view(struct weir_chunk *chunk);

/** Their number, at least 1; 0 only of an empty body that weir_read_all() has read. Context: any thread.  Since: 0.1. */
WEIR_API size_t weir_chunk_len(struct weir_chunk *chunk);

/** The bytes to write into: only while the caller has the one reference, that is between weir_chunk_create() and the
 * first hand-over. Context: any thread.  Since: 0.1. */
WEIR_API uint8_t *weir_chunk_data(struct weir_chunk *chunk);

/**
 * Returns the chunk's credit to the peer now, although the bytes are kept: for an application that collects bodies
 * in memory of its own accounting. Without it a body held back is a window held back. The bytes stay valid until the
 * last reference is dropped, and their buffer stays charged to the process's budget (memory_bytes of a server), which is
 * the bound of what is left. The credit is the chunk's, not a reference's: it returns for all who hold the chunk, and on a
 * slice it is that of the chunk it was cut from. Idempotent; a chunk without credit is left as it is.
 * Context: the stream's loop.  Since: 0.1.
 */
WEIR_API void weir_chunk_detach(struct weir_chunk *chunk);

WEIR_END_DECLS

#endif
