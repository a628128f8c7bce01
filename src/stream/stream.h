/* SPDX-License-Identifier: MIT */
#ifndef WEIR_STREAM_STREAM_H
#define WEIR_STREAM_STREAM_H

#include <weir/stream.h>

/*
 * What a source and a sink look like inside: the operations, the sticky result, and who is in a call. Embedded in
 * protocol streams, or heap objects for those made by weir_source_create_take().
 */
#define WEIR__OPEN 1 /* `final` of a stream that may go on */

/* A struct weir_error as a stream keeps it; its code is `final`. */
struct weir__fault {
    int native;
    uint8_t side, reason;
    const char *where;
};

struct weir_source {
    uint32_t magic;
    int final; /* WEIR__OPEN, 0 after a verified end, or the error */
    bool busy, cancelled, embedded;
    uint8_t depth; /* of the combinators nested in it */
    const struct weir_source_ops *ops;
    void *state;
    struct weir__fault fault; /* if `final` is an error */
    struct weir_chunk *ahead; /* pulled by a select that only wanted to know; delivered first */
    struct weir_waker *waker; /* of the select that waits for it */
};

struct weir_sink {
    uint32_t magic;
    int final; /* WEIR__OPEN, 0 after a clean end, or the error */
    bool busy, aborted, embedded, refused;
    const struct weir_sink_ops *ops;
    void *state;
    struct weir__fault fault; /* if `final` is an error */
    struct weir_waker *waker; /* of the select that waits for it */
};

/* On the stack of who waits. */
struct weir_waker {
    struct weir__fiber *fiber;
};

void weir__source_init(struct weir_source *source, const struct weir_source_ops *ops, void *state);
void weir__sink_init(struct weir_sink *sink, const struct weir_sink_ops *ops, void *state);

/* weir_next() with a bound of the caller's; pipes and combinators use it. */
int weir__next(struct weir_source *source, size_t max_bytes, int64_t deadline,
               struct weir_chunk **ret);
/* weir_wait_writable() that also says how much is worth bringing. */
int weir__wait_writable(struct weir_sink *sink, int64_t deadline, size_t *ret_room);

/*
 * The loan of a descriptor, with the same care as a call: busy, cancelled meanwhile, sticky. lend: 0 with a loan (repay it
 * before anything else), WEIR_EUNSUPPORTED (use weir__next(), which also knows the end), or an error as of weir_next().
 * repay: as of repay_fd(). The end of the loan is no call of its own: a cancel in between makes it answer ECANCELED.
 */
int weir__source_lend(struct weir_source *source, int64_t deadline, struct weir_loan *ret);
/* The same by lend_file(). */
int weir__source_lend_file(struct weir_source *source, int64_t deadline, struct weir_loan *ret);
int weir__source_repay(struct weir_source *source, uint64_t taken, int native, bool at_eof);
bool weir__sink_can_take_fd(struct weir_sink *sink);
int weir__sink_take_fd(struct weir_sink *sink, int pipe_fd, size_t bytes, int64_t deadline);
bool weir__sink_can_take_file(struct weir_sink *sink);
int weir__sink_take_file(struct weir_sink *sink, int fd, uint64_t offset, size_t bytes,
                         int64_t deadline, size_t *ret_taken);

/*
 * For a select. poll: 1 if a call would answer now, 0 if not, WEIR_EBUSY if somebody is inside one. Of a source it is known
 * by pulling a chunk, which is kept and is the next one delivered. arm: as the operation; meanwhile the stream is busy, and
 * a cancel or an abort wakes. NULL disarms, also what was never armed.
 */
int weir__source_poll(struct weir_source *source);
int weir__sink_poll(struct weir_sink *sink);
/* Lets go of a chunk that was pulled and is not wanted: before the stream's memory goes. */
void weir__source_drop_ahead(struct weir_source *source);

/* What has become of a sink while nobody was looking: its peer has left (an error), or its end was reached behind the
 * back of the weir_end() that waits for it (0). Unless it is over already. */
void weir__sink_settle(struct weir_sink *sink, int r);

/* Fails a source that has not failed yet and that nobody is inside of, for good, without telling its peer: whoever has read some of it and could
 * not keep that must not let a later reader take the rest for the whole. */
void weir__source_fail(struct weir_source *source, int code, enum weir_reason reason);

/* Why a wait on the source would fail now, if it knows: explain() may turn the ECANCELED in `ret` into its own story. */
void weir__source_probe(struct weir_source *source, struct weir_error *ret);

struct weir__fault weir__fault_of(const struct weir_error *error);
/* The other way round; a `final` that is no error gives an empty one. */
struct weir_error weir__fault_error(const struct weir__fault *fault, int final);

/* The story of a failure as far as its code tells it; explain() knows more. */
struct weir_error weir__stream_error(int code, enum weir_side side, const char *name);

/* Whether a result is final for a source: not EAGAIN, ETIMEDOUT, EBUSY. */
static inline bool weir__is_final(int r)
{
    return r < 0 && r != WEIR_EAGAIN && r != WEIR_ETIMEDOUT && r != WEIR_EBUSY;
}

#endif
