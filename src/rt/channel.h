/* SPDX-License-Identifier: MIT */
#ifndef WEIR_RT_CHANNEL_H
#define WEIR_RT_CHANNEL_H

#include <stdbool.h>

#include <weir/channel.h>

#include "base/list.h"
#include "rt/fiber.h"

/* A place in the line of those that wait for a channel, on its fiber's stack. */
struct weir__channel_waiter {
    struct weir_list link; /* weir_channel.senders or .receivers */
    struct weir__fiber *fiber;
    size_t bytes; /* of the item it wants to send */
    bool sends;
};

/* Whether a send or a receive would answer without waiting, the waiter's place in the line considered. */
bool weir__channel_poll(struct weir_channel *channel, struct weir__channel_waiter *waiter);

/* Joins the line / leaves it; `his_turn`: the fiber has been told that it need not wait, and if it calls now, nobody who
 * waits goes before it. A waiter that never joined may leave. */
void weir__channel_arm(struct weir_channel *channel, struct weir__channel_waiter *waiter);
void weir__channel_disarm(struct weir_channel *channel, struct weir__channel_waiter *waiter,
                          bool his_turn);

#endif
