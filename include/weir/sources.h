/* SPDX-License-Identifier: MIT */
#ifndef WEIR_SOURCES_H
#define WEIR_SOURCES_H

#include <weir/stream.h>

WEIR_BEGIN_DECLS

/*
 * Sources to begin with: bytes in memory, a file, a channel between two fibers of a loop, and a fiber that generates.
 * Those on the wire come from requests and responses; one of the caller's own from weir_source_create_take().
 */

/**
 * A source of the bytes given; they are copied once and delivered in slices of that copy.
 *
 * bytes  copied; empty ones give a source that has ended.
 *
 * Returns 0, WEIR_ENOMEM, WEIR_EBUDGET. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_bytes_source_create(struct weir_view bytes,
                                                     struct weir_source **ret);

/* As the length of a file source: all from the offset to the end that the file has now. */
#define WEIR_FILE_REST UINT64_MAX

/**
 * A source of a part of a regular file, in pieces of at most 64 KiB. What is in the page cache is read at once, what is not
 * by a thread of the offload pool while the fiber waits (with deadline 0: WEIR_EAGAIN, and the kernel is told to fetch it).
 * Where the sink allows, the bytes go from the page cache to it inside the kernel, a MiB at a time being brought there by a
 * thread of the pool before.
 * A file that turns out shorter than it was promised here is a final WEIR_ETRUNCATED; bytes that are appended meanwhile are
 * not read.
 *
 * fd      given: closed by weir_source_destroy(), and when this call fails. Its file offset is changed.
 * length  in bytes, 0 included, or WEIR_FILE_REST.
 *
 * Returns 0, WEIR_EINVAL (a part that the file does not have), WEIR_EUNSUPPORTED (no regular file), WEIR_EIO,
 * WEIR_ENOMEM. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_file_source_create_take(int fd, uint64_t offset, uint64_t length,
                                                         struct weir_source **ret);

/**
 * A bounded channel of bytes between two fibers of one loop: what is emitted into the sink comes out of the source, in
 * order, without a copy. An emit waits while the chunk does not fit; into an empty channel any chunk fits, so it holds at
 * most the larger of its limit and one chunk, and never more than 64 chunks. weir_end() is the verified end and does not
 * wait for the reader; trailers are dropped.
 *
 * An abort of the sink, or destroying it before its end, fails the source after the bytes emitted before: with WEIR_ELIMIT,
 * WEIR_ESTALLED, WEIR_EPROTO, WEIR_ETRUNCATED or WEIR_ECANCELED where the reason says so, else with WEIR_ERESET. A cancel of
 * the source, or destroying it before its end, drops what is held and fails the sink with WEIR_ECLOSED. Both carry the
 * reason (WEIR_REASON_ABANDONED for destroying). A cancel of the waiting fiber's scope ends its wait with WEIR_ECANCELED.
 *
 * limit_bytes  up to 16 MiB; 0 = 65536.
 * ret_sink, ret_source  given, each to be destroyed by itself, in any order.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_channel_pair(size_t limit_bytes, struct weir_sink **ret_sink,
                                              struct weir_source **ret_source);

/**
 * What generates a stream: emits into `out` and ends it with weir_end(). It may block in any call. Once the source is
 * cancelled or destroyed every wait answers WEIR_ECANCELED and every emit WEIR_ECLOSED or WEIR_ECANCELED, and it should
 * return.
 *
 * out  borrowed until it returns.
 *
 * Returns what weir_end() returned, or an error: the source then fails with that code, after the bytes emitted before.
 * Returning 0 without weir_end() is no clean end: the source fails with WEIR_ERESET, WEIR_REASON_ABANDONED.
 */
typedef int(weir_generator_fn)(struct weir_sink *out, void *arg);

struct weir_generator_opts {
    size_t window_bytes; /* may be generated ahead of the reader, up to 16 MiB; 0 = 65536 */
    void (*release)(
        void *arg); /* called once fn has returned or will never run; NULL: arg needs none */
};

/**
 * A source whose bytes a fiber of its own generates. The fiber starts at the first weir_next(), so a source that nobody
 * reads costs none. weir_source_destroy() does not wait for it: it runs home on its own, after the source is gone.
 * It is cancelled with the scope of the fiber that made the first weir_next(), too.
 *
 * arg   kept until opts->release is called: it must not live on the caller's stack unless the source was read to its end.
 * opts  borrowed, NULL for the defaults.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM (release is not called when this call fails). The first weir_next() also fails with
 * WEIR_ENOMEM or WEIR_ELIMIT when there is no stack left. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_source_from_fiber(weir_generator_fn *fn, void *arg,
                                                   const struct weir_generator_opts *opts,
                                                   struct weir_source **ret);

WEIR_END_DECLS

/*
 * Example: a report that is generated row by row, never more than 64 KiB ahead of its reader.
 *
 *     static int rows(struct weir_sink *out, void *arg)
 *     {
 *         struct report *report = arg;
 *         int r = 0;
 *
 *         while (r == 0 && report_next(report)) {
 *             r = weir_emit_bytes(out, report_row(report), -1);
 *         }
 *         return r < 0 ? r : weir_end(out, NULL);
 *     }
 *
 *     r = weir_source_from_fiber(rows, report, &(struct weir_generator_opts){.release = report_free}, &source);
 */

#endif
