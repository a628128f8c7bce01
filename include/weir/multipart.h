/* SPDX-License-Identifier: MIT */
#ifndef WEIR_MULTIPART_H
#define WEIR_MULTIPART_H

#include <weir/http.h>

WEIR_BEGIN_DECLS

/*
 * multipart/form-data (RFC 7578, RFC 2046 5.1) as a stream: one part after the other, each with a source for its bytes. A
 * part is pulled from the body as it is read, so an upload of any size takes the memory of one chunk and one part's header,
 * and a slow reader slows the client down. Nothing is put into files.
 *
 * What is ambiguous is refused, for what two programs read differently can be used against one of them: a delimiter that is
 * followed by anything but its line's end, bare line feeds in a header, folded or repeated header lines, a part without a
 * name.
 */
struct weir_multipart;
struct weir_part;

/* All-zero: the defaults. One more than any of these is WEIR_ELIMIT (413). */
struct weir_multipart_limits {
    size_t max_parts;        /* [100] */
    size_t max_header_bytes; /* of one part, line ends included, up to 256 KiB [8 KiB] */
    size_t max_header_lines; /* of one part, up to 1,000 [20] */
    uint64_t
        max_part_bytes; /* of one part, read or skipped; UINT64_MAX: no bound but the next [64 MiB] */
    uint64_t max_total_bytes; /* of everything; UINT64_MAX: no bound but the body's own [256 MiB] */
    size_t max_padding_bytes; /* before the first delimiter, and after the last one [4 KiB] */
};

/**
 * Begins to read parts from a source; nothing is read yet. Until the reader is destroyed the source is its alone; when it
 * was destroyed before weir_multipart_next() has returned 0, it has taken an unknown part of it.
 *
 * source        borrowed until weir_multipart_destroy().
 * content_type  borrowed: the Content-Type that came with it, with its boundary.
 * limits        copied, NULL for the defaults.
 * ret           given: weir_multipart_destroy() it.
 *
 * Returns 0, WEIR_EUNSUPPORTED (no multipart/form-data: 415 is what to reply), WEIR_EPROTO (no boundary, or none that is
 * allowed), WEIR_EINVAL (an impossible limit), WEIR_ENOMEM. Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_multipart_open(struct weir_source *source,
                                                struct weir_view content_type,
                                                const struct weir_multipart_limits *limits,
                                                struct weir_multipart **ret);

/** The same of a request's body and its Content-Type field, of which there must be one: none is WEIR_EUNSUPPORTED, two are
 * WEIR_EPROTO. A handler that returns WEIR_EUNSUPPORTED replies with 415. A Content-Encoding is undone as by weir_req_decoded_body(), with its failures, by a ratio of at most 100. To be
 * destroyed before the handler returns. Context: fiber.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_req_multipart(struct weir_req *req,
                                               const struct weir_multipart_limits *limits,
                                               struct weir_multipart **ret);

/**
 * Goes on to the next part. What is left of the one before is read and dropped, within the limits; its body, if somebody
 * still has it, answers WEIR_ECANCELED.
 *
 * deadline  absolute, monotonic ms; 0 = don't wait, -1 = only the source's own clocks.
 * ret       borrowed until the next call or weir_multipart_destroy(). Untouched at the end and on errors.
 *
 * Returns 1 with a part, 0 when the last delimiter and the verified end of the source have come, or
 *   WEIR_EAGAIN (deadline 0), WEIR_ETIMEDOUT   not yet: call again;
 *   WEIR_EBUSY        another fiber is in a call on it, or on the part's body; it is as it was;
 *   WEIR_ETRUNCATED   the source ended before the last delimiter;
 *   WEIR_EPROTO       what came is no multipart/form-data;
 *   WEIR_ELIMIT       over a limit;
 *   WEIR_ENOMEM, WEIR_EBUDGET, any final error of the source: final, as are the three above. The source is not cancelled:
 *                     a client can still read the answer.
 *
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_multipart_next(struct weir_multipart *multipart, int64_t deadline,
                                                struct weir_part **ret);

/** Why it failed. Before a failure the code is 0. Context: fiber.  Since: 0.1. */
WEIR_API void weir_multipart_error(struct weir_multipart *multipart, struct weir_error *ret);

/** Frees it, its part and every view into that; the source is left where it is. No fiber may be in a call on it or on the
 * part's body. NULL is fine. Context: loop or fiber, never suspends.  Since: 0.1. */
WEIR_API void weir_multipart_destroy(struct weir_multipart *multipart);

/** For the cleanup attribute. Since: 0.1. */
WEIR_API void weir_multipart_destroyp(struct weir_multipart **multipart);

/* ---- a part; all views are borrowed, as the part is ---- */

/** The form field's name, as sent but for the backslashes before quotes; never absent, perhaps empty. Percent signs are
 * left alone: browsers write %22, %0D and %0A for what cannot stand in a name. Context: fiber.  Since: 0.1. */
WEIR_API struct weir_view weir_part_name(struct weir_part *part);

/**
 * The file name that the client claims, as sent; absent if the part is no file. Not to be used as a path, nor as a part of
 * one: it may be "../../etc/passwd", "C:\x", or hold any byte but controls. `filename*` is not looked at (RFC 7578 4.2).
 * Context: fiber.  Since: 0.1.
 */
WEIR_API struct weir_view weir_part_filename(struct weir_part *part);

/**
 * The same as one component of a path at most: what follows the last slash or backslash, with controls, invalid UTF-8,
 * invisible and direction-changing characters and any of <>:"|?* each replaced by '_', so is a '-' in front; without dots
 * and spaces in front and behind; at most 255 bytes. Absent if nothing is left, or it is no file. Two parts may have the
 * same one, and a file of that name may be there already.
 * Context: fiber.  Since: 0.1.
 */
WEIR_API struct weir_view weir_part_safe_filename(struct weir_part *part);

/** Its Content-Type, as sent; "text/plain" without one (RFC 7578 4.4). Context: fiber.  Since: 0.1. */
WEIR_API struct weir_view weir_part_content_type(struct weir_part *part);

/** All its header lines, borrowed. A Content-Transfer-Encoding is not undone (RFC 7578 4.7). Context: fiber.  Since: 0.1. */
WEIR_API struct weir_fields *weir_part_fields(struct weir_part *part);

/**
 * Its bytes, borrowed: weir_next(), weir_read_all() or weir_pipe() it. Ends where the part does; fails as
 * weir_multipart_next(), which then fails alike. Cancelled it only ends this part, unless another fiber waits in it: that
 * one can be reached only through the source, which is then cancelled.
 * Context: fiber.  Since: 0.1.
 */
WEIR_API struct weir_source *weir_part_body(struct weir_part *part);

WEIR_END_DECLS

/*
 * Example: every file of a form goes to a store, every other field into a small buffer.
 *
 *     struct weir_multipart *form = NULL;
 *     struct weir_part *part;
 *     int r = weir_req_multipart(req, NULL, &form);
 *
 *     while (r >= 0 && (r = weir_multipart_next(form, weir_after_ms(30000), &part)) > 0) {
 *         if (weir_view_is_absent(weir_part_filename(part))) {
 *             r = keep_field(weir_part_name(part), weir_part_body(part));
 *         } else {
 *             r = store(weir_part_safe_filename(part), weir_part_body(part));
 *         }
 *     }
 *     weir_multipart_destroy(form);
 *     return r < 0 ? r : weir_reply_empty(req, 204, NULL);
 */

#endif
