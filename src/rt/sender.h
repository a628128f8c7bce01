/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_SENDER_H
#define WEIR_RT_SENDER_H

#include <weir/mailbox.h>

/* Drops a handle of a mailbox, whatever thread it was bound to. Context: any thread. */
void weir__sender_drop(struct weir_sender *sender);

/* Ends the calling fiber's mailbox, for one that goes on to another request: that gets a new one.
 * Senders of the old one get WEIR_ECLOSED. Context: fiber. */
void weir__mailbox_end(void);

#endif
