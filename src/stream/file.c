/* SPDX-License-Identifier: MIT */
/*
 * A source of a part of a regular file. Invariant: `offset` is where the next byte comes from, whatever the descriptor's
 * own file offset is; that one is set for each loan, because splice() from a lent descriptor goes by it.
 *
 * A read takes what the page cache has; only what must come from the disk goes to a thread of the pool. Such a job has its
 * own reference to the descriptor: whoever waits for it may give up, and the source may go, while it runs.
 */
#include <weir/offload.h>
#include <weir/sources.h>

#include "base/alloc.h"
#include "base/stall.h"
#include "bytes/chunk.h"
#include "rt/loop.h"
#include "stream/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

struct opened {
    _Atomic unsigned refs;
    int fd;
};

struct file_source {
    struct opened *opened;
    bool in_memory; /* a file system without a disk: to read is to copy */
    int native;
    off_t offset;
    uint64_t left;
};

/* One read on the pool. */
struct job {
    struct opened *opened;
    struct weir_chunk *chunk;
    off_t offset;
    ssize_t got;
    int native;
};

static void opened_unref(struct opened *opened)
{
    if (atomic_fetch_sub_explicit(&opened->refs, 1, memory_order_acq_rel) == 1) {
        close(opened->fd);
        weir_free(opened);
    }
}

static void job_destroy(void *arg)
{
    struct job *job = arg;

    opened_unref(job->opened);
    weir_chunk_unref(job->chunk);
    weir_free(job);
}

static int job_run(void *arg)
{
    struct job *job = arg;

    do {
        job->got = pread(job->opened->fd, weir_chunk_data(job->chunk), weir_chunk_len(job->chunk),
                         job->offset);
    } while (job->got < 0 && errno == EINTR);
    job->native = errno;
    return 0;
}

static int failed(struct file_source *file, int native)
{
    file->native = native;
    return WEIR_EIO;
}

/* Reads what needs no disk. Returns 0 and what was read (-1: failed), or WEIR_EAGAIN. */
static int read_now(struct file_source *file, struct weir_chunk *chunk, int64_t deadline,
                    ssize_t *ret_got)
{
    struct iovec part = {.iov_base = weir_chunk_data(chunk), .iov_len = weir_chunk_len(chunk)};
    int fd = file->opened->fd;

    *ret_got = preadv2(fd, &part, 1, file->offset, file->in_memory ? 0 : RWF_NOWAIT);
    file->native = errno;
    if (*ret_got < 0 && file->native == EOPNOTSUPP && deadline == 0) {
        /* A file system that cannot say: then it may have to wait here. */
        *ret_got = preadv2(fd, &part, 1, file->offset, 0);
        file->native = errno;
    }
    if (*ret_got >= 0 ||
        (file->native != EAGAIN && file->native != EOPNOTSUPP && file->native != EINTR)) {
        return 0;
    }
    if (deadline == 0) {
        /* So that a later call finds it in memory. */
        posix_fadvise(fd, file->offset, (off_t)part.iov_len, POSIX_FADV_WILLNEED);
    }
    return WEIR_EAGAIN;
}

/* Reads on the pool. Returns 0 and what was read (-1: failed), or a result of next(): the job may then still fill in the
 * chunk, which nobody looks at any more. */
static int read_off_loop(struct file_source *file, struct weir_chunk *chunk, int64_t deadline,
                         ssize_t *ret_got)
{
    struct weir__fiber *fiber = weir__fiber_current();
    enum weir__stall_state before;
    struct job *job = weir_alloc0(sizeof(*job));
    int r;

    if (job == NULL) {
        return WEIR_ENOMEM;
    }
    atomic_fetch_add_explicit(&file->opened->refs, 1, memory_order_relaxed);
    *job = (struct job){
        .opened = file->opened, .chunk = weir_chunk_ref(chunk), .offset = file->offset};
    before =
        weir__stall_enter(fiber->stall, WEIR__STALL_WAIT_SOURCE, weir__loop_clock_us(fiber->loop));
    r = weir_offload(job_run, job, job_destroy, deadline, NULL);
    weir__stall_enter(fiber->stall, before, weir__loop_clock_us(fiber->loop));
    if (r == 0) {
        *ret_got = job->got;
        file->native = job->native;
        job_destroy(job);
    } else if (r == WEIR_EBUSY || r == WEIR_ECLOSED) {
        /* No thread to be had: better that the loop waits for the disk than that the stream fails. */
        *ret_got =
            pread(file->opened->fd, weir_chunk_data(chunk), weir_chunk_len(chunk), file->offset);
        file->native = errno;
        r = 0;
    }
    return r;
}

static int file_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct file_source *file = state;
    size_t len = max_bytes < WEIR_CHUNK_BYTES ? max_bytes : WEIR_CHUNK_BYTES;
    struct weir_chunk *chunk;
    ssize_t got;
    int r;

    if (file->left == 0) {
        return 0;
    }
    len = file->left < len ? (size_t)file->left : len;
    r = weir_chunk_create(len, &chunk);
    if (r < 0) {
        return r;
    }
    r = read_now(file, chunk, deadline, &got);
    if (r == WEIR_EAGAIN && deadline != 0) {
        r = read_off_loop(file, chunk, deadline, &got);
    }
    if (r < 0) {
        weir_chunk_unref(chunk);
        return r;
    }
    if (got <= 0) {
        weir_chunk_unref(chunk);
        return got < 0 ? WEIR_EIO : WEIR_ETRUNCATED;
    }
    weir__chunk_set_len(chunk, (size_t)got);
    file->offset += got;
    file->left -= (uint64_t)got;
    *ret = chunk;
    return 1;
}

static void file_destroy(void *state)
{
    struct file_source *file = state;

    opened_unref(file->opened);
    weir_free(file);
}

static void file_explain(void *state, struct weir_error *ret)
{
    if (ret->code == WEIR_EIO) {
        ret->native = ((struct file_source *)state)->native;
    }
}

static int file_lend_fd(void *state, int64_t deadline, struct weir_loan *ret)
{
    struct file_source *file = state;

    (void)deadline; /* a file is always readable */
    if (file->left == 0) {
        return WEIR_EUNSUPPORTED; /* next() tells the end */
    }
    if (lseek(file->opened->fd, file->offset, SEEK_SET) < 0) {
        return failed(file, errno);
    }
    *ret = (struct weir_loan){.fd = file->opened->fd, .max_bytes = file->left};
    return 0;
}

static int file_repay_fd(void *state, uint64_t taken, int native, bool at_eof)
{
    struct file_source *file = state;

    file->offset += (off_t)taken;
    file->left -= taken;
    if (native != 0 && native != EAGAIN) {
        return failed(file, native);
    }
    if (file->left == 0) {
        return 0;
    }
    return at_eof ? WEIR_ETRUNCATED : 1;
}

static const struct weir_source_ops file_ops = {
    .name = "file",
    .next = file_next,
    .destroy = file_destroy,
    .explain = file_explain,
    .lend_fd = file_lend_fd,
    .repay_fd = file_repay_fd,
};

/* Checks the part against the file as it is now. */
static int measure(int fd, uint64_t offset, uint64_t length, uint64_t *ret_length,
                   bool *ret_in_memory)
{
    struct statfs system;
    struct stat status;
    uint64_t size;

    if (fd < 0) {
        return WEIR_EINVAL;
    }
    if (fstat(fd, &status) != 0) {
        return WEIR_EIO;
    }
    if (!S_ISREG(status.st_mode)) {
        return WEIR_EUNSUPPORTED;
    }
    size = (uint64_t)status.st_size;
    if (offset > size || (length != WEIR_FILE_REST && length > size - offset)) {
        return WEIR_EINVAL;
    }
    *ret_in_memory =
        fstatfs(fd, &system) == 0 && (system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC);
    *ret_length = length == WEIR_FILE_REST ? size - offset : length;
    return 0;
}

int weir_file_source_create_take(int fd, uint64_t offset, uint64_t length, struct weir_source **ret)
{
    struct file_source *file = NULL;
    struct opened *opened = NULL;
    bool in_memory = false;
    int r = measure(fd, offset, length, &length, &in_memory);

    if (r == 0) {
        file = weir_alloc0(sizeof(*file));
        opened = weir_alloc0(sizeof(*opened));
        r = file == NULL || opened == NULL ? WEIR_ENOMEM : 0;
    }
    if (r < 0) {
        weir_free(file);
        weir_free(opened);
        if (fd >= 0) {
            close(fd);
        }
        return r;
    }
    opened->fd = fd;
    opened->refs = 1;
    *file = (struct file_source){
        .opened = opened, .in_memory = in_memory, .offset = (off_t)offset, .left = length};
    return weir_source_create_take(&file_ops, file, ret);
}
