/* SPDX-License-Identifier: MIT */
#ifndef WEIR_FILES_H
#define WEIR_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/http.h>

WEIR_BEGIN_DECLS

/*
 * Files as replies, and the preconditions of requests (RFC 9110 13, 14). A root is a directory that was opened once: the
 * kernel resolves each name below it, and no name, link or mount of a name leads out (openat2 with RESOLVE_BENEATH; a
 * kernel without it is refused, for nothing else is as strong). A reply has a validator and a length; a single range of
 * it may be asked for. The bytes go from the page cache to a plain socket inside the kernel, as fast as the client takes
 * them. A file that shrinks while it is sent is a visible abort; of one that grows the declared length is sent.
 */
struct weir_root;

/**
 * Opens a directory to serve files from. Its contents may change, and it may be renamed, while it is open.
 *
 * dir  copied; a link to a directory is fine.
 * ret  given: weir_root_destroy() it, after the last request that uses it.
 *
 * Returns 0, or
 *   WEIR_ENOTFOUND      it is not there, or no directory;
 *   WEIR_EREFUSED       no permission;
 *   WEIR_EUNSUPPORTED   the kernel does not know openat2() (Linux 5.6), or a sandbox forbids it;
 *   WEIR_EBUSY (no descriptor left), WEIR_EIO, WEIR_ENOMEM, WEIR_EINVAL (NULL).
 * Context: any thread; may block for the disk.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_root_open(const char *dir, struct weir_root **ret);

/** Closes it; NULL is fine. Context: any thread.  Since: 0.1. */
WEIR_API void weir_root_destroy(struct weir_root *root);

/** For the cleanup attribute. Since: 0.1. */
WEIR_API void weir_root_destroyp(struct weir_root **root);

/* All-zero is the default. Strings and fields are borrowed for the call. */
struct weir_file_opts {
    const char *type;           /* Content-Type; NULL: by the name's suffix */
    const char *cache_control;  /* Cache-Control; NULL: none */
    const char *index;          /* what a directory is answered with: "index.html"; NULL: nothing */
    struct weir_fields *fields; /* further lines of the reply */
    bool plain;                 /* the path is a name as it is, without percent-encoding */
    bool dotfiles;              /* also names that begin with a dot */
    bool no_symlinks; /* none on the way; else those that stay below the root are followed */
};

/**
 * Replies with a file below a root, to GET and HEAD: 200, 206 with a range, 304, 412 or 416, as the request's preconditions
 * and its Range say; 405 with Allow to other methods; 301 to the path with a slash for a directory that has an index. Sent
 * with it: Content-Type (nosniff), Content-Length, Last-Modified, a strong ETag made of the time of the last change, size
 * and inode, Accept-Ranges. Preconditions are evaluated in the order of RFC 9110 13.2.2, Range after If-Range; more than
 * one range, or one that cannot be read, gets the whole file.
 *
 * Looking a name up takes what the kernel has in memory; what needs the disk is done by a thread of the offload pool while
 * the fiber waits. So it is with the contents: a MiB at a time is brought to the page cache before it is sent from there.
 *
 * path  borrowed; as weir_req_path() gives it, or a part of that; with or without a slash in front. Decoded once,
 *       strictly: no ".", "..", empty segment, backslash, control byte, encoded slash or malformed escape.
 * opts  borrowed, NULL for the defaults.
 *
 * Returns 0 when it has replied, or, with nothing begun, so that the handler may reply itself or return the code:
 *   WEIR_ENOTFOUND (404)   not there, no regular file, not to be named (a dot in front, an empty segment), a link that leads
 *                          out of the root, or a name that is too long;
 *   WEIR_EINVAL (400)      the path can be nobody's name;
 *   WEIR_EREFUSED (403)    no permission to read it;
 *   WEIR_EBUSY (503)       no descriptor or no thread left for it, or it changed all the time;
 *   WEIR_ETIMEDOUT, WEIR_ECANCELED, WEIR_ENOMEM, WEIR_EIO;
 * or an error of weir_stream_begin(), weir_pipe() or weir_end(); WEIR_ETRUNCATED: the file has shrunk, and the client saw
 * an abort.
 *
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_reply_file(struct weir_req *req, struct weir_root *root,
                                            struct weir_view path,
                                            const struct weir_file_opts *opts);

/* What weir_static() serves; the caller's, for as long as the handler is in use. */
struct weir_static {
    struct weir_root *root;     /* required */
    const char *prefix;         /* of the request's path, taken off it: "/assets/"; NULL: "/" */
    struct weir_file_opts file; /* `index` too is only what is said here */
};

/**
 * A handler: the files below a root, named by the request's path behind a prefix. For a route with a wildcard, or alone.
 * The prefix is compared byte by byte with the path as it was sent; other paths are WEIR_ENOTFOUND.
 *
 * arg  a struct weir_static.
 *
 * Returns as weir_reply_file(). Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API int weir_static(struct weir_req *req, void *arg);

/**
 * What the request's preconditions say of a representation (RFC 9110 13.2.2): If-Match, If-Unmodified-Since, If-None-Match,
 * If-Modified-Since. To be asked where the reply would else be a success. Dates that cannot be read are ignored, lists of
 * tags that cannot be read match nothing. Range and If-Range are not looked at.
 *
 * etag           borrowed, as the field says it ("\"v1\"", "W/\"v1\""); absent: the representation has none.
 * last_modified  seconds since 1970; -1: not known.
 *
 * Returns 0 (perform the method), 304 or 412 (reply with that: weir_reply_empty(), with the ETag, Cache-Control, Vary that
 * a 200 would have), or WEIR_EINVAL (`etag` is no entity tag). Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_req_is_fresh(struct weir_req *req, struct weir_view etag,
                                              int64_t last_modified);

/*
 *     static int page(struct weir_req *req, void *arg)
 *     {
 *         return weir_reply_file(req, arg, weir_req_path(req), &(struct weir_file_opts){.index = "index.html"});
 *     }
 */

WEIR_END_DECLS

#endif
