/* SPDX-License-Identifier: MIT */
/*
 * The event loop. A turn: run the ready fibers, run due timers, look for events (waiting only when nothing is ready),
 * let each event set bits and wake fibers. Edge-triggered throughout: whoever gets EAGAIN, or a short count, clears the
 * bit itself.
 */
#include "rt/loop.h"

#include <weir/err.h>
#include <weir/rt.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "rt/pipes.h"

#include <errno.h>
#include <malloc.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENT_BATCH 256
#define RUN_BATCH 1024      /* fibers run between two looks for events */
#define SWEEP_US 200000     /* how often idle stacks are looked for */
#define TRIM_HEAP_AFTER 256 /* stacks trimmed in one sweep */
#define COMPUTING_MS 200    /* a clock of a test's stands so long for a thread that computes */
#define EDGES (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

static __thread struct weir__loop *this_loop;

struct weir__loop *weir__loop_current(void)
{
    return this_loop;
}

int64_t weir__loop_clock_us(struct weir__loop *loop)
{
    return loop->clock(loop->clock_arg);
}

static void sweep(struct weir__timer *timer)
{
    struct weir__loop *loop = weir_list_entry(timer, struct weir__loop, sweep);

    /* Many at once: a burst is over, and has left holes in the heap. */
    if (weir__fiber_trim_parked(loop, loop->now_us - SWEEP_US / 2) >= TRIM_HEAP_AFTER) {
        malloc_trim(0);
    }
}

int weir__loop_create(weir__clock_fn *clock, void *clock_arg, struct weir__loop **ret)
{
    struct weir__loop *loop = weir_alloc0(sizeof(*loop));
    struct epoll_event event = {.events = EPOLLIN};

    if (loop == NULL) {
        return WEIR_ENOMEM;
    }
    loop->events = weir_alloc(EVENT_BATCH * sizeof(*loop->events));
    loop->scratch = weir_alloc(WEIR__SCRATCH_BYTES);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->events == NULL || loop->scratch == NULL || loop->epoll_fd < 0 || loop->wake_fd < 0 ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) != 0) {
        if (loop->epoll_fd >= 0) {
            close(loop->epoll_fd);
        }
        if (loop->wake_fd >= 0) {
            close(loop->wake_fd);
        }
        weir_free(loop->events);
        weir_free(loop->scratch);
        weir_free(loop);
        return WEIR_EIO;
    }
    loop->clock = clock != NULL ? clock : weir__clock_us;
    loop->clock_arg = clock_arg;
    loop->fake_clock = clock != NULL;
    loop->now_us = weir__loop_clock_us(loop);
    weir_list_init(&loop->ready);
    weir_list_init(&loop->yielded);
    weir_list_init(&loop->parked);
    weir_list_init(&loop->idle);
    weir_list_init(&loop->flushes);
    weir__stacks_init(&loop->stacks);
    weir__timer_init(&loop->sweep, sweep);
    pthread_mutex_init(&loop->shared.mutex, NULL);
    loop->shared.last = &loop->shared.first;
    this_loop = loop;
    *ret = loop;
    return 0;
}

static void run_tasks(struct weir__loop *loop)
{
    struct weir__task *task;
    uint64_t count;
    ssize_t got = read(loop->wake_fd, &count, sizeof(count));

    (void)got;
    pthread_mutex_lock(&loop->shared.mutex);
    task = loop->shared.first;
    loop->shared.first = NULL;
    loop->shared.last = &loop->shared.first;
    loop->shared.signaled = false;
    pthread_mutex_unlock(&loop->shared.mutex);
    while (task != NULL) {
        struct weir__task *next = task->next;

        task->run(task);
        task = next;
    }
}

void weir__loop_destroy(struct weir__loop *loop)
{
    if (loop == NULL) {
        return;
    }
    weir_assert(loop->live_fibers == 0);
    run_tasks(loop); /* they may own what they are embedded in */
    while (loop->exts != NULL) {
        struct weir__loop_ext *ext = loop->exts;

        loop->exts = ext->next;
        ext->destroy(ext);
    }
    while (loop->expected_tasks > 0) {
        run_tasks(loop); /* another thread is just about to post it */
    }
    if (loop->pools != NULL) {
        loop->pools_destroy(loop->pools);
    }
    weir__pipes_finish(loop);
    weir__timers_finish(&loop->timers);
    weir__stacks_finish(&loop->stacks);
    pthread_mutex_destroy(&loop->shared.mutex);
    close(loop->epoll_fd);
    close(loop->wake_fd);
    weir_free(loop->events);
    weir_free(loop->scratch);
    if (this_loop == loop) {
        this_loop = NULL;
    }
    weir_free(loop);
}

struct weir__loop_ext *weir__loop_ext_find(struct weir__loop *loop, const void *key)
{
    struct weir__loop_ext *ext = loop->exts;

    while (ext != NULL && ext->key != key) {
        ext = ext->next;
    }
    return ext;
}

void weir__loop_ext_add(struct weir__loop *loop, struct weir__loop_ext *ext)
{
    ext->next = loop->exts;
    loop->exts = ext;
}

void weir__loop_stop(struct weir__loop *loop)
{
    loop->stopping = true;
}

void weir__loop_post(struct weir__loop *loop, struct weir__task *task)
{
    bool signal;

    task->next = NULL;
    pthread_mutex_lock(&loop->shared.mutex);
    *loop->shared.last = task;
    loop->shared.last = &task->next;
    signal = !loop->shared.signaled;
    loop->shared.signaled = true;
    if (signal) {
        /* Under the lock: the loop cannot take the last task and go before this write. */
        uint64_t one = 1;
        ssize_t written = write(loop->wake_fd, &one, sizeof(one));

        (void)written; /* a full counter wakes as well */
    }
    pthread_mutex_unlock(&loop->shared.mutex);
}

void weir__loop_expect(struct weir__loop *loop, int count)
{
    loop->expected_tasks = (size_t)((ptrdiff_t)loop->expected_tasks + count);
}

void weir__flush_soon(struct weir__loop *loop, struct weir__flush *flush)
{
    if (weir_list_is_empty(&flush->link)) {
        weir_list_push_back(&loop->flushes, &flush->link);
    }
}

static void run_flushes(struct weir__loop *loop)
{
    struct weir_list *link;

    while ((link = weir_list_pop_front(&loop->flushes)) != NULL) {
        struct weir__flush *flush = weir_list_entry(link, struct weir__flush, link);

        flush->flush(flush);
    }
}

/* Bounded: fibers that keep waking one another must not hold off timers and events. */
static void run_ready(struct weir__loop *loop)
{
    run_flushes(loop);
    for (int left = RUN_BATCH; left > 0; left--) {
        struct weir_list *link = weir_list_pop_front(&loop->ready);
        struct weir__fiber *fiber;

        if (link == NULL) {
            return;
        }
        fiber = weir_list_entry(link, struct weir__fiber, link);
        fiber->queued = false;
        weir__fiber_resume(fiber);
        run_flushes(loop);
    }
}

static void dispatch(struct weir__watch *watch, uint32_t events)
{
    uint8_t bits = 0;
    uint8_t fresh;

    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        bits |= WEIR__CAN_READ;
    }
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
        bits |= WEIR__CAN_WRITE;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP)) {
        bits |= WEIR__PEER_FIN;
    }
    if (events & (EPOLLHUP | EPOLLERR)) {
        bits |= WEIR__PEER_GONE;
    }
    fresh = bits & (uint8_t)~watch->ready;
    watch->ready |= bits;
    if (watch->reader != NULL && (bits & WEIR__CAN_READ)) {
        weir__fiber_wake(watch->reader);
    }
    if (watch->writer != NULL && (bits & WEIR__CAN_WRITE)) {
        weir__fiber_wake(watch->writer);
    }
    if (watch->on_event != NULL) {
        watch->on_event(watch, fresh);
    }
}

static int wait_ms(struct weir__loop *loop)
{
    int64_t next, left_ms, now_us;

    if (!weir_list_is_empty(&loop->ready) || !weir_list_is_empty(&loop->yielded)) {
        return 0;
    }
    next = weir__timers_next(&loop->timers);
    if (next == WEIR__NEVER) {
        return -1;
    }
    if (loop->fake_clock) {
        return loop->computing > 0 ? COMPUTING_MS : 0;
    }
    if (next <= loop->now_us) {
        return 0;
    }
    now_us = weir__loop_clock_us(loop); /* the fibers of this turn have taken their time */
    if (next <= now_us) {
        return 0;
    }
    left_ms = (next - now_us + 999) / 1000;
    return left_ms > 3600000 ? 3600000 : (int)left_ms;
}

/* With a clock of its own the loop does not wait: the time jumps to what comes next. */
static void jump_ahead(struct weir__loop *loop)
{
    int64_t next = weir__timers_next(&loop->timers);

    if (weir_list_is_empty(&loop->ready) && weir_list_is_empty(&loop->yielded) &&
        next != WEIR__NEVER && next > weir__loop_clock_us(loop)) {
        *(int64_t *)loop->clock_arg = next;
    }
}

static void look_for_events(struct weir__loop *loop)
{
    int count = epoll_wait(loop->epoll_fd, loop->events, EVENT_BATCH, wait_ms(loop));

    if (loop->fake_clock && count <= 0) {
        jump_ahead(loop);
    }
    loop->now_us = weir__loop_clock_us(loop);
    loop->event_count = count;
    for (int i = 0; i < loop->event_count; i++) {
        struct weir__watch *watch = loop->events[i].data.ptr;
        uint32_t events = loop->events[i].events;

        if (events == 0) {
            continue; /* closed by an earlier event of this batch */
        }
        if (watch == NULL) {
            run_tasks(loop);
        } else {
            dispatch(watch, events);
        }
    }
    loop->event_count = 0;
}

static void turn(struct weir__loop *loop)
{
    struct weir_list *link;

    if (loop->sweep.position == 0 && !weir_list_is_empty(&loop->parked) && !loop->fake_clock) {
        WEIR_IGNORE(weir__timer_start(&loop->timers, &loop->sweep, loop->now_us + SWEEP_US));
    }
    look_for_events(loop);
    weir__timers_run(&loop->timers, loop->now_us);
    while ((link = weir_list_pop_front(&loop->yielded)) != NULL) {
        weir_list_push_back(&loop->ready, link);
    }
    run_ready(loop);
}

void weir__loop_run(struct weir__loop *loop)
{
    loop->stopping = false;
    run_ready(loop);
    while (!loop->stopping) {
        turn(loop);
    }
}

void weir__loop_run_until_idle(struct weir__loop *loop)
{
    run_ready(loop);
    while (loop->live_fibers > 0) {
        turn(loop);
    }
}

int weir__watch_open(struct weir__loop *loop, struct weir__watch *watch, int fd)
{
    struct epoll_event event = {.events = EDGES, .data.ptr = watch};

    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        return errno == ENOMEM || errno == ENOSPC ? WEIR_ENOMEM : WEIR_EIO;
    }
    watch->fd = fd;
    watch->ready = 0;
    return 0;
}

int weir__watch_release(struct weir__loop *loop, struct weir__watch *watch)
{
    int fd = watch->fd;

    if (fd < 0) {
        return -1;
    }
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    for (int i = 0; i < loop->event_count; i++) {
        if (loop->events[i].data.ptr == watch) {
            loop->events[i].events = 0;
        }
    }
    watch->fd = -1;
    return fd;
}

void weir__watch_close(struct weir__loop *loop, struct weir__watch *watch)
{
    int fd = weir__watch_release(loop, watch);

    if (fd >= 0) {
        close(fd);
    }
}

void weir__watch_rearm(struct weir__loop *loop, struct weir__watch *watch)
{
    struct epoll_event event = {.events = EDGES, .data.ptr = watch};

    epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event);
}

int weir__watch_wait_readable(struct weir__watch *watch, int64_t deadline_us)
{
    int r = 0;

    watch->reader = weir__fiber_current();
    while (r == 0 && !(watch->ready & (WEIR__CAN_READ | WEIR__PEER_GONE))) {
        r = weir__fiber_suspend(deadline_us);
    }
    watch->reader = NULL;
    return watch->ready & (WEIR__CAN_READ | WEIR__PEER_GONE) ? 0 : r;
}

int weir__watch_wait_writable(struct weir__watch *watch, int64_t deadline_us)
{
    int r = 0;

    watch->writer = weir__fiber_current();
    while (r == 0 && !(watch->ready & (WEIR__CAN_WRITE | WEIR__PEER_GONE))) {
        r = weir__fiber_suspend(deadline_us);
    }
    watch->writer = NULL;
    return watch->ready & (WEIR__CAN_WRITE | WEIR__PEER_GONE) ? 0 : r;
}
