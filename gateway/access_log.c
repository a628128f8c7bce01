/* SPDX-License-Identifier: MIT */
/*
 * Where the lines go. A descriptor that we opened is non-blocking. One that we were given (stdout, stderr) shares its
 * flags with other processes, a terminal's shell for one, and must not be switched: it is opened anew where that means
 * the same place, else asked with poll(2) before each line, which is exact for a pipe as long as a line is no longer
 * than PIPE_BUF.
 */
#include "access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(GW_LINE_BYTES <= PIPE_BUF, "a line must be atomic on a pipe");

static void start(struct gw_access_log *log, int fd, enum gw_log_how how)
{
    log->fd = fd;
    log->how = how;
    atomic_init(&log->torn, false);
    atomic_init(&log->written, 0);
    atomic_init(&log->dropped, 0);
}

int gw_access_log_init_fd(struct gw_access_log *log, int fd, const char *name,
                          struct gw_problem *problem)
{
    enum gw_log_how how = GW_LOG_WRITE;
    char path[40];
    struct stat info;
    int own = -1;

    if (fstat(fd, &info) < 0) {
        gw_problem_set(problem, "access_log: %s: %s", name, strerror(errno));
        return WEIR_EIO;
    }
    if (!S_ISREG(info.st_mode) && !S_ISSOCK(info.st_mode)) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        own = open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    }
    if (own < 0) {
        /* A file opened anew would have an offset of its own, and what others write to this one would hit our lines. */
        own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        how = S_ISREG(info.st_mode)    ? GW_LOG_WRITE
              : S_ISSOCK(info.st_mode) ? GW_LOG_SOCKET
                                       : GW_LOG_POLLED;
    }
    if (own < 0) {
        gw_problem_set(problem, "access_log: %s: %s", name, strerror(errno));
        return WEIR_EIO;
    }
    if (S_ISREG(info.st_mode)) {
        int flags = fcntl(own, F_GETFL);

        /* Harmless to those who share it, and a file cut by a log rotation begins at 0 again. */
        if (flags >= 0) {
            WEIR_IGNORE(fcntl(own, F_SETFL, flags | O_APPEND));
        }
    }
    start(log, own, how);
    return 0;
}

int gw_access_log_init(struct gw_access_log *log, const char *target, struct gw_problem *problem)
{
    int fd;

    if (strcmp(target, "off") == 0) {
        start(log, -1, GW_LOG_OFF);
        return 0;
    }
    if (strcmp(target, "stdout") == 0) {
        return gw_access_log_init_fd(log, STDOUT_FILENO, target, problem);
    }
    if (strcmp(target, "stderr") == 0) {
        return gw_access_log_init_fd(log, STDERR_FILENO, target, problem);
    }
    fd = open(target, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0640);
    if (fd < 0) {
        gw_problem_set(problem, "access_log: cannot open %s: %s", gw_quote(weir_str(target)).text,
                       errno == ENXIO ? "nobody reads from it" : strerror(errno));
        return WEIR_EIO;
    }
    start(log, fd, GW_LOG_WRITE);
    return 0;
}

void gw_access_log_finish(struct gw_access_log *log)
{
    if (log->how != GW_LOG_OFF) {
        close(log->fd);
        log->fd = -1;
        log->how = GW_LOG_OFF;
    }
}

bool gw_access_log_is_on(const struct gw_access_log *log)
{
    return log->how != GW_LOG_OFF;
}

/* One system call, or two for a descriptor that has to be asked first. */
static ssize_t write_now(const struct gw_access_log *log, struct iovec *parts, int count)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
    struct pollfd ask = {.fd = log->fd, .events = POLLOUT};

    switch (log->how) {
    case GW_LOG_SOCKET:
        return sendmsg(log->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    case GW_LOG_POLLED:
        if (poll(&ask, 1, 0) != 1 || (ask.revents & POLLOUT) == 0) {
            return -1;
        }
        return writev(log->fd, parts, count);
    case GW_LOG_WRITE:
        return count == 1 ? write(log->fd, parts[0].iov_base, parts[0].iov_len)
                          : writev(log->fd, parts, count);
    case GW_LOG_OFF:
        break;
    }
    return -1;
}

bool gw_access_log_write(struct gw_access_log *log, const char *line, size_t len)
{
    struct iovec parts[2] = {{(void *)(uintptr_t) "\n", 1}, {(void *)(uintptr_t)line, len}};
    bool after_torn;
    ssize_t n = -1;
    size_t all;

    if (log->how == GW_LOG_OFF) {
        return false;
    }
    if (len == 0) {
        atomic_fetch_add_explicit(&log->dropped, 1, memory_order_relaxed);
        return false;
    }
    after_torn = atomic_load_explicit(&log->torn, memory_order_relaxed) &&
                 atomic_exchange_explicit(&log->torn, false, memory_order_relaxed);
    all = len + after_torn;
    do {
        n = after_torn ? write_now(log, parts, 2) : write_now(log, parts + 1, 1);
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t)all) {
        atomic_fetch_add_explicit(&log->written, 1, memory_order_relaxed);
        return true;
    }
    /* A full disk may have taken a part; the mark stays until a line of its own could begin. */
    if (n > 0 || after_torn) {
        atomic_store_explicit(&log->torn, true, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&log->dropped, 1, memory_order_relaxed);
    return false;
}
