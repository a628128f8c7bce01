/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_MAILBOX_H
#define WEIR_RT_MAILBOX_H

#include <stdbool.h>

#include <weir/mailbox.h>

/* Whether weir_receive() (NULL), or weir_receive_tag(), would answer without waiting; if not, the fiber is woken when that
 * may have changed. Takes nothing. Context: fiber. */
bool weir__mailbox_poll(const uint32_t *tag);

/* Both of them in one: tag NULL is any. */
int weir__mailbox_receive(const uint32_t *tag, int64_t deadline, struct weir_msg *ret);

#endif
