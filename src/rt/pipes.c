/* SPDX-License-Identifier: MIT */
/* The loop's few spare pipes. */
#include "rt/pipes.h"

#include <weir/err.h>

#include <fcntl.h>
#include <unistd.h>

int weir__pipes_get(struct weir__loop *loop, size_t capacity, struct weir__pipe_fds *ret)
{
    int fds[2];

    if (loop->pipe_count > 0) {
        loop->pipe_count--;
        *ret = (struct weir__pipe_fds){loop->pipe_fds[loop->pipe_count][0],
                                       loop->pipe_fds[loop->pipe_count][1]};
        return 0;
    }
    if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) {
        return WEIR_ELIMIT;
    }
    /* Socket pages are partly filled: twice the bytes, so that the slots do not run out first. An unprivileged process
     * over its quota keeps the default size, which works as well. */
    fcntl(fds[1], F_SETPIPE_SZ, (int)(2 * capacity));
    *ret = (struct weir__pipe_fds){fds[0], fds[1]};
    return 0;
}

void weir__pipes_put(struct weir__loop *loop, struct weir__pipe_fds *fds, bool empty)
{
    if (fds->read_fd < 0) {
        return;
    }
    if (empty && loop->pipe_count < WEIR__SPARE_PIPES) {
        loop->pipe_fds[loop->pipe_count][0] = fds->read_fd;
        loop->pipe_fds[loop->pipe_count][1] = fds->write_fd;
        loop->pipe_count++;
    } else {
        close(fds->read_fd);
        close(fds->write_fd);
    }
    *fds = (struct weir__pipe_fds){-1, -1};
}

void weir__pipes_finish(struct weir__loop *loop)
{
    while (loop->pipe_count > 0) {
        loop->pipe_count--;
        close(loop->pipe_fds[loop->pipe_count][0]);
        close(loop->pipe_fds[loop->pipe_count][1]);
    }
}
