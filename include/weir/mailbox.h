/* SPDX-License-Identifier: MIT */
#ifndef WEIR_MAILBOX_H
#define WEIR_MAILBOX_H

#include <stddef.h>
#include <stdint.h>

#include <weir/err.h>
#include <weir/view.h>

WEIR_BEGIN_DECLS

/*
 * The way from other threads into a handler. Each fiber has one bounded mailbox, made with its
 * first sender handle. Any thread that holds a handle may send; sending never blocks, so a full
 * mailbox is the sender's to deal with. The handler receives in its own time. When the last handle
 * has been dropped and all is received, it learns that nothing more can come; when the handler has
 * ended, senders learn that.
 */
struct weir_sender;
struct weir_chunk;

/* A message. The sender fills in what it needs, all-zero is fine; the meaning of `tag` and `data`
 * is between the two sides. */
struct weir_msg {
    uint32_t tag;
    size_t bytes; /* what it counts for in the mailbox */
    void *data;   /* the payload, or NULL */
    /* Frees the payload; called on any thread, must neither block nor suspend. May be NULL. */
    void (*destroy)(void *data);
    struct weir_view text; /* what weir_msg_text() returns; valid for as long as the payload */
};

/**
 * Bounds of the calling fiber's mailbox; messages that are in it already stay.
 *
 * max_messages  0: 256.
 * max_bytes     0: 1048576; a single message over it is taken by an empty mailbox.
 *
 * Returns 0 or WEIR_ENOMEM. Context: fiber.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_mailbox_config(size_t max_messages, size_t max_bytes);

/**
 * A handle by which other threads and fibers send to the calling fiber.
 *
 * Returns the handle, given: weir_sender_unref() it, on any thread; or NULL, out of memory.
 * Context: fiber.  Since: 0.1.
 */
WEIR_API struct weir_sender *weir_sender_create(void);

/** One more handle to the same mailbox. Context: any thread.  Since: 0.1. */
WEIR_API struct weir_sender *weir_sender_ref(struct weir_sender *sender);

/** Drops a handle; with the last one weir_receive() answers 0 once all is received. Always returns
 * NULL; NULL is fine.
 * Context: any thread.  Since: 0.1. */
WEIR_API struct weir_sender *weir_sender_unref(struct weir_sender *sender);

/** For the cleanup attribute. Context: any thread.  Since: 0.1. */
WEIR_API void weir_sender_unrefp(struct weir_sender **sender);

/**
 * Ties one handle to the life of the calling thread: if the thread ends without having dropped it,
 * it is dropped then, so that a thread that died cannot leave a handler waiting. A
 * weir_sender_unref() by this thread undoes it.
 *
 * sender  a handle of the caller's, as returned by create or ref.
 *
 * Returns 0 or WEIR_ENOMEM (the handle stays as it was). Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_sender_bind(struct weir_sender *sender);

/**
 * Sends a message; never blocks.
 *
 * msg  the struct is copied; the payload is given when the call returns 0, on every error it is
 *      still the caller's.
 *
 * Returns 0, WEIR_EFLOW (the mailbox is full, nothing was taken), WEIR_ECLOSED (the worker has
 * finished), WEIR_EINVAL (no sender), WEIR_ENOMEM. Context: any thread.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_send(struct weir_sender *sender, const struct weir_msg *msg);

/** Sends a copy of the text with tag 0, counted by its length; otherwise as weir_send().
 * Context: any thread.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_send_text(struct weir_sender *sender, struct weir_view text);

/** Sends a chunk with tag 0 as `data` and as the message's text, without a copy. The chunk is
 * borrowed: the message has its own reference. Otherwise as weir_send(). Context: any thread.
 * Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_send_chunk(struct weir_sender *sender, struct weir_chunk *chunk);

/**
 * Takes the oldest message out of the calling fiber's mailbox, waiting while it is empty.
 *
 * ret  given: weir_msg_drop() it, or take over its `data`; untouched unless the call returns 1.
 *
 * Returns 1 with a message, 0 when all is received and the last sender was dropped, or
 *   WEIR_EAGAIN     (deadline 0) nothing yet;
 *   WEIR_ETIMEDOUT  nothing until the deadline;
 *   WEIR_ECANCELED  the client is gone, or the scope was cancelled; nothing was taken;
 *   WEIR_ESTATE     the fiber never made a sender, so nothing could ever come.
 * Context: fiber, suspends.  Since: 0.1.
 */
WEIR_API WEIR_NODISCARD int weir_receive(int64_t deadline, struct weir_msg *ret);

/** The same for the oldest message with that tag; others stay where they are, and fill the mailbox.
 * 0 means that no such message is left or can come. Context: fiber, suspends.  Since: 0.1. */
WEIR_API WEIR_NODISCARD int weir_receive_tag(uint32_t tag, int64_t deadline, struct weir_msg *ret);

/** The text of a message, borrowed until it is dropped; the absent view when it has none.
 * Context: any thread.  Since: 0.1. */
WEIR_API struct weir_view weir_msg_text(const struct weir_msg *msg);

/** Frees the payload and zeroes the message; a zeroed one is fine.
 * Context: any thread.  Since: 0.1. */
WEIR_API void weir_msg_drop(struct weir_msg *msg);

WEIR_END_DECLS

#endif
