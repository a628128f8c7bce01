/* SPDX-License-Identifier: MIT */
#ifndef WEIR_COMPRESS_H
#define WEIR_COMPRESS_H

#include <weir/middleware.h>
#include <weir/stream.h>

WEIR_BEGIN_DECLS

/*
 * Content codings (RFC 9110 8.4.1): encoders as sources and as sinks, decoders as sources, and the middleware that
 * negotiates. An encoder never holds a byte back that its reader could have: when no more input is there it flushes, so
 * each event of a stream leaves at once, decodable. Each holds one chunk of input and one of output besides the state of its
 * library, and all of that is charged to the process's budget: by default at most 300 KiB for gzip, 1 MiB for zstd and 2 MiB
 * for brotli to encode, and the window (32 KiB, 8 MiB, 16 MiB) and some 200 KiB to decode.
 */
enum weir_coding {
    WEIR_CODING_IDENTITY = 0,
    WEIR_CODING_GZIP, /* "gzip", "x-gzip" (RFC 1952) */
    WEIR_CODING_DEFLATE, /* "deflate": the zlib format (RFC 1950), not the bare one that some senders mean */
    WEIR_CODING_BROTLI, /* "br" (RFC 7932) */
    WEIR_CODING_ZSTD,   /* "zstd" (RFC 8878, windows up to 8 MiB) */
};
#define WEIR_CODINGS 5

/** The coding's name in field lines, static; "identity" for what is none. Context: any thread.  Since: 0.1. */
WEIR_API const char *weir_coding_name(enum weir_coding coding);

/**
 * The coding of that name, compared without case.
 * Returns 0, or WEIR_EUNSUPPORTED: `ret` is untouched. Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_coding_parse(struct weir_view name, enum weir_coding *ret);

/* ---- encoding ---- */

struct weir_encode_opts {
    int level; /* 1 fast to 9 small; 0 = the coding's own default: gzip 6, zstd 3, brotli 4 */
    unsigned
        window_bits; /* log2 of the window: gzip 9 to 15, brotli 10 to 24, zstd 10 to 23; 0 = 15, 16, 16 */
    bool
        for_events; /* of a long stream of small pieces: defaults that take less memory (gzip 32 KiB, zstd 250 KiB,
                             brotli 600 KiB) */
    bool
        flush_each; /* a sink: each emit is flushed by itself, whatever else is emitted before the fiber waits */
};

/**
 * A source of the inner one's bytes, compressed as gzip. When the inner source would block (asked with deadline 0) what
 * was taken from it is flushed and delivered. It ends, and writes the format's end, only after the inner one has ended
 * verified; a failure of the inner one comes through after the bytes before it, without an end of the format.
 *
 * given  cancelled and destroyed with the new one.
 * opts   borrowed, NULL for the defaults.
 * ret    given: weir_source_destroy() it.
 *
 * Returns 0, WEIR_EINVAL (NULL, an option out of range), WEIR_ENOMEM, WEIR_EBUDGET; `given` is then destroyed.
 * Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_gzip_take(struct weir_source *given,
                                           const struct weir_encode_opts *opts,
                                           struct weir_source **ret);
/** The same as Brotli. Context: loop or fiber.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_brotli_take(struct weir_source *given,
                                             const struct weir_encode_opts *opts,
                                             struct weir_source **ret);
/** The same as Zstandard. Context: loop or fiber.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_zstd_take(struct weir_source *given,
                                           const struct weir_encode_opts *opts,
                                           struct weir_source **ret);
/** The same in any coding but WEIR_CODING_IDENTITY (WEIR_EINVAL). Context: loop or fiber.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_encode_take(struct weir_source *given, enum weir_coding coding,
                                             const struct weir_encode_opts *opts,
                                             struct weir_source **ret);

/**
 * A sink that compresses what is emitted into the inner one. What was accepted is flushed when the fiber waits or ends,
 * when 16 KiB have come together, by weir_flush(), and with opts->flush_each at the end of each emit. An emit waits while
 * the inner sink has no room. One without waiting is taken if the inner sink has room; what comes of it and does not fit is
 * kept, and goes before anything else does. weir_end() writes the format's end and passes the trailers on; an abort passes
 * on, without an end of the format.
 *
 * given  destroyed with the new one.
 * opts   borrowed, NULL for the defaults.
 * ret    given: weir_sink_destroy() it.
 *
 * Returns 0, WEIR_EINVAL (NULL, no such coding, an option out of range), WEIR_ENOMEM, WEIR_EBUDGET; `given` is then destroyed,
 * which aborts it. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_compress_sink_take(struct weir_sink *given,
                                                    enum weir_coding coding,
                                                    const struct weir_encode_opts *opts,
                                                    struct weir_sink **ret);

/* ---- decoding ---- */

#define WEIR_RATIO_ANY UINT32_MAX /* no ratio is too high */

struct weir_decode_opts {
    uint64_t
        max_bytes; /* of output; 0 = no bound: what is decoded is never more than one chunk at a time */
    uint32_t max_ratio;   /* output to input; 0 = 100; WEIR_RATIO_ANY */
    uint64_t grace_bytes; /* of output before the ratio is looked at; 0 = 65536 */
};

/**
 * A source of the inner one's bytes, decoded. What can be decoded of what has arrived is delivered without waiting for
 * more. Members (gzip) and frames (zstd) may follow one another.
 *
 * coding  WEIR_CODING_IDENTITY gives back the inner source, with max_bytes as its limit.
 * opts    borrowed, NULL for the defaults.
 *
 * Its failures, besides those of the inner source, are final: WEIR_ETRUNCATED (the inner source ended, verified, before the
 * format did; also when there is not a byte), WEIR_EPROTO (no such format, a wrong checksum, a window over the bound, bytes
 * behind the end), WEIR_ELIMIT (max_bytes, max_ratio), WEIR_ENOMEM, WEIR_EBUDGET. The inner source is then cancelled.
 *
 * Returns 0, WEIR_EINVAL, WEIR_ENOMEM, WEIR_EBUDGET; `given` is then destroyed. Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_decode_take(struct weir_source *given, enum weir_coding coding,
                                             const struct weir_decode_opts *opts,
                                             struct weir_source **ret);

/**
 * The same for the value of a Content-Encoding field: the codings are undone in reverse order (RFC 9110 8.4). At most two;
 * "identity" is none. The options hold for each by itself.
 *
 * content_encoding  borrowed; absent or empty for none.
 *
 * Returns as weir_decode_take(), or WEIR_EUNSUPPORTED (a coding that is not known: 415) or WEIR_ELIMIT (more than two).
 * Context: loop or fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_decode_all_take(struct weir_source *given,
                                                 struct weir_view content_encoding,
                                                 const struct weir_decode_opts *opts,
                                                 struct weir_source **ret);

/* ---- negotiation ---- */

/**
 * The coding for a reply by the request's Accept-Encoding lines (RFC 9110 12.5.3): the highest q-value wins, then the
 * order. Without such a line, and where nothing better is acceptable, it is WEIR_CODING_IDENTITY. An element that cannot be
 * read counts as absent.
 *
 * fields  of the request, borrowed; NULL for none.
 * order   of the server's preference, up to the first WEIR_CODING_IDENTITY; NULL for zstd, br, gzip.
 * ret_identity_refused  may be NULL; whether the client does not take identity ("identity;q=0", "*;q=0").
 *
 * Context: any thread.  Since: 0.1.
 */
WEIR_API enum weir_coding weir_coding_negotiate(struct weir_fields *fields,
                                                const enum weir_coding order[WEIR_CODINGS],
                                                bool *ret_identity_refused);

struct weir_compress_opts {
    enum weir_coding order
        [WEIR_CODINGS]; /* up to the first WEIR_CODING_IDENTITY; none = zstd, br, gzip; events: zstd,
                                             gzip, br */
    uint64_t min_bytes; /* a shorter reply of known length is left alone; 0 = 1024 */
    int level;          /* 1 to 9 for whichever coding; 0 = the coding's default */
};

/**
 * Middleware: compresses replies. It leaves alone: 1xx, 204, 206, 304; requests with Range, replies with Content-Range; what
 * has a Content-Encoding already; Cache-Control: no-transform on either side; gRPC; types that are not worth it (it takes
 * text, JSON, XML, JavaScript, SVG, WebAssembly, event streams, NDJSON and the like); short replies. A client that refuses
 * identity gets any type and length compressed. Where a reply could have been compressed it adds Vary: Accept-Encoding; where
 * it is, it sets Content-Encoding, drops Content-Length, Accept-Ranges and digests, and makes a strong ETag weak (RFC 9110
 * 8.8.1). HEAD gets the same head as GET; 304 the same ETag as the 200 before. Event streams and NDJSON are flushed with each
 * emit. Where there is no memory for an encoder the reply goes as it is. A declared length is still checked.
 *
 * arg  const struct weir_compress_opts *, borrowed; NULL for the defaults.
 *
 * Returns as weir_chain_run(), or WEIR_EINVAL (a level out of range).  Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API int weir_compress(struct weir_req *req, const struct weir_chain *next, void *arg);

WEIR_END_DECLS

#endif
