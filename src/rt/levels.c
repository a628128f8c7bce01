/* SPDX-License-Identifier: MIT */
/*
 * The set is drained whenever it reports, so the loop's edge-triggered watch on it misses nothing;
 * a set that will not drain is asked for again in the next turn.
 */
#include "rt/levels.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define ROUNDS 16 /* looks at the set before the loop's other events have their turn */

static void on_event(struct weir__watch *watch, uint8_t bits)
{
    struct weir__levels *levels = weir_list_entry(watch, struct weir__levels, watch);
    int count = 1;

    (void)bits;
    watch->ready = 0;
    for (int round = 0; round < ROUNDS && count > 0; round++) {
        struct epoll_event events[8];

        count = epoll_wait(watch->fd, events, sizeof(events) / sizeof(events[0]), 0);
        for (int i = 0; i < count; i++) {
            uint32_t seen = events[i].events;

            levels->on_ready(levels, events[i].data.fd, seen & (EPOLLIN | EPOLLERR | EPOLLHUP),
                             seen & (EPOLLOUT | EPOLLHUP));
        }
    }
    if (count > 0) {
        weir__watch_rearm(levels->loop, watch);
    }
    levels->on_batch_end(levels);
}

int weir__levels_open(struct weir__loop *loop, struct weir__levels *levels)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    int r;

    if (fd < 0) {
        return errno == EMFILE || errno == ENFILE ? WEIR_ELIMIT
               : errno == ENOMEM                  ? WEIR_ENOMEM
                                                  : WEIR_EIO;
    }
    levels->loop = loop;
    levels->watch = (struct weir__watch){.fd = -1, .on_event = on_event};
    r = weir__watch_open(loop, &levels->watch, fd);
    if (r < 0) {
        close(fd);
    }
    return r;
}

void weir__levels_close(struct weir__levels *levels)
{
    if (levels->loop != NULL) {
        weir__watch_close(levels->loop, &levels->watch);
    }
}

int weir__levels_set(struct weir__levels *levels, int fd, bool readable, bool writable)
{
    struct epoll_event event = {.events = (readable ? EPOLLIN : 0) | (writable ? EPOLLOUT : 0),
                                .data.fd = fd};
    int failed;

    if (!readable && !writable) {
        epoll_ctl(levels->watch.fd, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    failed = epoll_ctl(levels->watch.fd, EPOLL_CTL_MOD, fd, &event);
    if (failed && errno == ENOENT) {
        failed = epoll_ctl(levels->watch.fd, EPOLL_CTL_ADD, fd, &event);
    }
    if (!failed) {
        return 0;
    }
    return errno == ENOMEM || errno == ENOSPC ? WEIR_ENOMEM : WEIR_EIO;
}
