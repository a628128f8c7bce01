/* SPDX-License-Identifier: MIT */
#ifndef WEIR_NET_TCP_H
#define WEIR_NET_TCP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <weir/err.h>

#include "rt/loop.h"

/*
 * One connected TCP socket, and how far ahead of its reader it may be filled. Nothing here waits but the two calls that
 * say so.
 *
 * The pace of the sending side. What a proxy holds for a slow reader is mostly kernel memory, so a socket starts slow:
 * at most 32 KiB are unsent, and more is brought only when half of that has gone; then receive autotuning towards the producer
 * never grows for a reader that does not read. Once 1 MiB has gone out without a stall of 10 ms it is fast: 512 KiB at
 * a time with up to 1 MiB unsent. A stall of 50 ms makes it slow again.
 */
struct weir__pace {
    uint32_t slow_bytes, fast_bytes, fast_chunk, fast_after;
    uint32_t stall_reset_us, stall_slow_us;
};

extern const struct weir__pace weir__pace_default;

/* The given one, with the default for each field that is 0. */
struct weir__pace weir__pace_with(const struct weir__pace *given);

struct weir__tcp {
    struct weir__watch watch;
    struct weir__loop *loop;
    const struct weir__pace *pace;
    bool fast, stalled;
    bool of_file;    /* what was sent last lies in the page cache: it may be twice as much */
    bool held;       /* the receive buffer keeps its size */
    bool grown;      /* it was let grow: whoever sends here may run far ahead */
    uint32_t unsent; /* at most so much was unsent when the kernel was last asked ... */
    uint32_t
        unsent_at; /* ... with so many bytes sent, modulo 2^32: it is asked long before 4 GiB */
    uint32_t smooth_bytes; /* gone out since the last stall; stays at the largest value */
    int native;            /* the errno that ended it, or 0 */
    int64_t stalled_at_us;
    uint64_t received, sent;
};

/* Reads that ask for more than the slow amount follow: the kernel may tune the receive buffer from here on. */
void weir__tcp_let_grow(struct weir__tcp *tcp);

/* Holds it again for the next message, unless it has grown beyond weir__tcp_begin_small()'s size: then false. */
bool weir__tcp_hold_again(struct weir__tcp *tcp);

/* Before connect(): the peer may at first send some 40 KiB ahead, instead of 100, until the receive buffer may grow. */
void weir__tcp_begin_small(int fd);

/* The receive buffer keeps its size until something lets it grow. */
void weir__tcp_hold(struct weir__tcp *tcp);

/* What the sockets that are accepted from a listening one inherit, and so need not be told one by one. */
void weir__tcp_prepare_listener(int fd, const struct weir__pace *pace);

/* Takes a connected, non-blocking descriptor; it is closed when this fails. `pace` NULL: the default; borrowed.
 * The first: from a prepared listener, not held. The second: any other, held. Returns 0, WEIR_ENOMEM, WEIR_EIO. */
int weir__tcp_init_accepted_take(struct weir__tcp *tcp, struct weir__loop *loop, int fd,
                                 const struct weir__pace *pace);
int weir__tcp_init_take(struct weir__tcp *tcp, struct weir__loop *loop, int fd,
                        const struct weir__pace *pace);
void weir__tcp_close(struct weir__tcp *tcp);
/* Closes with a reset, so that no peer can take what it got for complete. */
void weir__tcp_reset(struct weir__tcp *tcp);

/* Reads what is there. Returns 1 with *ret_len > 0, 0 at the peer's FIN, WEIR_EAGAIN, WEIR_ERESET, WEIR_EIO. */
int weir__tcp_read(struct weir__tcp *tcp, uint8_t *data, size_t size, size_t *ret_len);

/* Writes what fits. Returns 0 with *ret_len >= 1, WEIR_EAGAIN, WEIR_ERESET (EPIPE too), WEIR_EIO. */
int weir__tcp_writev(struct weir__tcp *tcp, const struct iovec *iov, int count, size_t *ret_len);

/* Moves from a pipe to the socket; as weir__tcp_writev(). */
int weir__tcp_splice_out(struct weir__tcp *tcp, int pipe_fd, size_t size, size_t *ret_len);

/* Sends from a file: 0 with *ret_len, which is 0 where the file ends; WEIR_EUNSUPPORTED when it is the file that cannot; else
 * as weir__tcp_writev(). */
int weir__tcp_sendfile(struct weir__tcp *tcp, int fd, uint64_t offset, size_t size,
                       size_t *ret_len);

/* How much is worth bringing now: > 0 bytes with 0, or WEIR_EAGAIN: too much is unsent. */
int weir__tcp_room(struct weir__tcp *tcp, size_t *ret_room);

/* Waits for room / for a state in which a write takes something. Returns 0, WEIR_ETIMEDOUT. The caller looks itself
 * whether its stream is still wanted: a wake-up may come for that. Context: fiber, suspends. */
int weir__tcp_wait_room(struct weir__tcp *tcp, int64_t deadline_us, size_t *ret_room);

/* After weir__tcp_room() has said WEIR_EAGAIN no call has failed, so no edge is armed: asks the kernel to tell. */
void weir__tcp_arm_writable(struct weir__tcp *tcp);

/* Notes the begin of a wait for the socket. */
void weir__tcp_note_stall(struct weir__tcp *tcp);

/* Why the peer is gone, as far as the kernel tells; WEIR_REASON_NONE while it is there. */
enum weir_reason weir__tcp_gone(struct weir__tcp *tcp);

/* TCP as a source (until FIN) and a sink (weir_end() shuts the sending side down): the bare relay. The tcp must outlive
 * both. */
struct weir_source;
struct weir_sink;
void weir__tcp_source_init(struct weir_source *source, struct weir__tcp *tcp);
void weir__tcp_sink_init(struct weir_sink *sink, struct weir__tcp *tcp);

#endif
