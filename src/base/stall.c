/* SPDX-License-Identifier: MIT */
/* Stall clocks. Invariant: the sum of spent_us plus (now - since) of a running clock equals now - begun. */
#include "base/stall.h"

void weir__stall_begin(struct weir__stall *stall, enum weir__stall_state state, int64_t now_us)
{
    *stall = (struct weir__stall){
        .begun_us = now_us, .since_us = now_us, .state = (uint8_t)state, .running = 1};
}

enum weir__stall_state weir__stall_enter(struct weir__stall *stall, enum weir__stall_state state,
                                         int64_t now_us)
{
    enum weir__stall_state before;

    if (stall == NULL || !stall->running) {
        return state;
    }
    before = (enum weir__stall_state)stall->state;
    stall->spent_us[before] += now_us - stall->since_us;
    stall->since_us = now_us;
    stall->state = (uint8_t)state;
    return before;
}

void weir__stall_end(struct weir__stall *stall, int64_t now_us)
{
    weir__stall_enter(stall, WEIR__STALL_HELD, now_us);
    stall->running = 0;
}

int64_t weir__stall_spent(const struct weir__stall *stall, enum weir__stall_state state,
                          int64_t now_us)
{
    int64_t spent = stall->spent_us[state];

    return stall->running && stall->state == state ? spent + now_us - stall->since_us : spent;
}

const char *weir__stall_name(enum weir__stall_state state)
{
    static const char *const names[WEIR__STALL_STATES] = {
        [WEIR__STALL_HELD] = "gateway",
        [WEIR__STALL_WAIT_SOURCE] = "wait_upstream",
        [WEIR__STALL_MOVING] = "moving",
        [WEIR__STALL_STREAM_WINDOW] = "stream_window",
        [WEIR__STALL_CONN_WINDOW] = "conn_window",
        [WEIR__STALL_SOCKET] = "socket",
        [WEIR__STALL_SHAPED] = "shaped",
    };

    return names[state];
}
