/* SPDX-License-Identifier: MIT */
/*
 * A source of a part of a regular file. Invariant: `offset` is where the next byte comes from, whatever the descriptor's
 * own file offset is; that one is set for each loan, because splice() from a lent descriptor goes by it.
 *
 * A read takes what the page cache has; only what must come from the disk goes to a thread of the pool. Such a job has its
 * own reference to the descriptor: whoever waits for it may give up, and the source may go, while it runs.
 *
 * A descriptor is lent for bytes that are in the page cache: whoever sends from it does so on the loop's thread, and the
 * kernel would make it wait there for the disk. To ask by a read that must not wait is no innocent question: where it misses,
 * the kernel fetches that one page, so that the next one who asks at that place is told it is there, and it is alone. Hence
 * cachestat() comes first, which fetches nothing; places to look at are not the same twice; and after a miss the pool brings
 * the whole window, never only what was missed. It asks for the window behind that as well, so that disk and network work
 * side by side, and what was asked for is not looked at but waited for by the pool. Where cachestat() does not answer, each
 * page is looked at: a look at some of them would miss holes.
 */
#include "stream/file.h"

#include <weir/offload.h>
#include <weir/sources.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/stall.h"
#include "bytes/chunk.h"
#include "rt/loop.h"
#include "stream/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#define WARM_BYTES ((uint64_t)1 << 20) /* so much is made sure of at once */
#define WARM_STEP ((uint64_t)128 << 10)

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* Linux 6.5; the same number everywhere */
#endif

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
    off_t warm_to; /* up to here it was in the page cache when last looked at */
    bool asked;    /* the pool has asked for what lies behind warm_to: it may be on its way */
    uint32_t chance;
};

/* One read on the pool; without a chunk it only brings `len` bytes into the page cache. */
struct job {
    struct opened *opened;
    struct weir_chunk *chunk;
    off_t offset;
    uint64_t len;
    ssize_t got;
    int native;
    bool asked; /* without a chunk: it was not all there, so the next window is asked for too */
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
    weir_chunk_unref(job->chunk); /* NULL is fine */
    weir_free(job);
}

static uint64_t page_bytes(void)
{
    long bytes = sysconf(_SC_PAGESIZE);

    return bytes > 0 ? (uint64_t)bytes : 4096;
}

static bool is_there(int fd, off_t at)
{
    uint8_t byte;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};

    return preadv2(fd, &part, 1, at, RWF_NOWAIT) >=
           0; /* also behind the end of a file that has shrunk */
}

/* Touches every page, so that none is on its way still when it returns. */
static void bring(struct job *job)
{
    int fd = job->opened->fd;
    uint64_t page = page_bytes();
    uint8_t byte;

    for (uint64_t at = 0; at < job->len; at = at / page * page + page) {
        if (!job->asked && !is_there(fd, job->offset + (off_t)at)) {
            job->asked = true;
            posix_fadvise(fd, job->offset, (off_t)(job->len + WARM_BYTES), POSIX_FADV_WILLNEED);
        }
        if (job->asked && pread(fd, &byte, 1, job->offset + (off_t)at) <= 0) {
            return; /* whoever sends it will see for himself */
        }
    }
}

static int job_run(void *arg)
{
    struct job *job = arg;

    if (job->chunk == NULL) {
        bring(job);
        return 0;
    }
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

/* Runs a copy of a job on the pool. Returns 0 and what it read, WEIR_EBUSY or WEIR_ECLOSED when there is no thread for it,
 * or a result of next(): it may then still fill in the chunk, which nobody looks at any more. */
static int run_job(struct file_source *file, const struct job *what, int64_t deadline,
                   ssize_t *ret_got)
{
    struct weir__fiber *fiber = weir__fiber_current();
    enum weir__stall_state before;
    struct job *job = weir_alloc(sizeof(*job));
    int r;

    if (job == NULL) {
        return WEIR_ENOMEM;
    }
    *job = *what;
    job->opened = file->opened;
    atomic_fetch_add_explicit(&file->opened->refs, 1, memory_order_relaxed);
    if (job->chunk != NULL) {
        weir_chunk_ref(job->chunk);
    }
    before =
        weir__stall_enter(fiber->stall, WEIR__STALL_WAIT_SOURCE, weir__loop_clock_us(fiber->loop));
    r = weir_offload(job_run, job, job_destroy, deadline, NULL);
    weir__stall_enter(fiber->stall, before, weir__loop_clock_us(fiber->loop));
    if (r == 0) {
        *ret_got = job->got;
        file->native = job->native;
        file->asked = job->chunk == NULL ? job->asked : file->asked;
        job_destroy(job);
    }
    return r;
}

static int read_off_loop(struct file_source *file, struct weir_chunk *chunk, int64_t deadline,
                         ssize_t *ret_got)
{
    int r = run_job(file, &(struct job){.chunk = chunk, .offset = file->offset}, deadline, ret_got);

    if (r == WEIR_EBUSY || r == WEIR_ECLOSED) {
        /* No thread to be had: better that the loop waits for the disk than that the stream fails. */
        *ret_got =
            pread(file->opened->fd, weir_chunk_data(chunk), weir_chunk_len(chunk), file->offset);
        file->native = errno;
        r = 0;
    }
    return r;
}

static _Atomic bool old_kernel;

void weir__file_without_cachestat(bool without)
{
    atomic_store_explicit(&old_kernel, without, memory_order_relaxed);
}

/* Whether the page cache has a page for each of them, read or on its way: 1, 0, or -1 when the kernel does not say. */
static int has_pages(struct file_source *file, uint64_t len)
{
    struct {
        uint64_t offset, len;
    } range = {.offset = (uint64_t)file->offset, .len = len};
    struct {
        uint64_t cached, dirty, writeback, evicted, recently_evicted;
    } pages;
    uint64_t page = page_bytes();

    if (atomic_load_explicit(&old_kernel, memory_order_relaxed) ||
        syscall(SYS_cachestat, file->opened->fd, &range, &pages, 0) != 0) {
        return -1; /* an older kernel, or a file that is not ours to ask about */
    }
    return pages.cached >= (range.offset + len - 1) / page - range.offset / page + 1;
}

/* Looks at one place of each step and at the last byte, or at each page. */
static bool look(struct file_source *file, uint64_t len, bool each)
{
    int fd = file->opened->fd;
    uint64_t step = each ? page_bytes() : WARM_STEP;

    for (uint64_t at = 0; at < len; at += step) {
        uint64_t span = len - at < step ? len - at : step;

        file->chance = file->chance * 1664525u + 1013904223u;
        if (!is_there(fd, file->offset + (off_t)(at + (each ? 0 : (file->chance >> 8) % span)))) {
            return false;
        }
    }
    return is_there(fd, file->offset + (off_t)len - 1);
}

/* Sees to it that bytes at the offset are in memory, and says how many. Returns 0 or a result of lend_fd(). */
static int warm(struct file_source *file, int64_t deadline, uint64_t *ret_bytes)
{
    uint64_t len = file->left < WARM_BYTES ? file->left : WARM_BYTES;
    ssize_t got;

    if (file->in_memory) {
        *ret_bytes = file->left;
        return 0;
    }
    if (file->offset >= file->warm_to) {
        int pages = file->asked && deadline != 0 ? 0 : has_pages(file, len);
        bool there;

        errno = 0;
        /* Without waiting there is no second look; and some looks alone would not do. */
        there = pages != 0 && look(file, len, deadline == 0 || pages < 0);

        if (!there && deadline == 0) {
            if (errno == EOPNOTSUPP) {
                return WEIR_EUNSUPPORTED; /* a file system that cannot say: it never would; next() reads */
            }
            posix_fadvise(file->opened->fd, file->offset, (off_t)len, POSIX_FADV_WILLNEED);
            return WEIR_EAGAIN;
        }
        if (!there) {
            int r =
                run_job(file, &(struct job){.offset = file->offset, .len = len}, deadline, &got);

            /* Without a thread the loop waits: better than that the stream fails. */
            if (r < 0 && r != WEIR_EBUSY && r != WEIR_ECLOSED && r != WEIR_ENOMEM) {
                return r;
            }
        }
        file->warm_to = file->offset + (off_t)len;
    }
    len = (uint64_t)(file->warm_to - file->offset);
    *ret_bytes = len < file->left ? len : file->left;
    return 0;
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

static int file_lend_file(void *state, int64_t deadline, struct weir_loan *ret)
{
    struct file_source *file = state;
    uint64_t bytes;
    int r;

    if (file->left == 0) {
        return WEIR_EUNSUPPORTED; /* next() tells the end */
    }
    r = warm(file, deadline, &bytes);
    if (r == 0) {
        *ret = (struct weir_loan){
            .fd = file->opened->fd, .max_bytes = bytes, .offset = (uint64_t)file->offset};
    }
    return r;
}

/* To be read as a stream: from where the descriptor stands. */
static int file_lend_fd(void *state, int64_t deadline, struct weir_loan *ret)
{
    int r = file_lend_file(state, deadline, ret);

    if (r == 0 && lseek(ret->fd, (off_t)ret->offset, SEEK_SET) < 0) {
        return failed(state, errno);
    }
    return r;
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
    .lend_file = file_lend_file,
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
    *file = (struct file_source){.opened = opened,
                                 .in_memory = in_memory,
                                 .offset = (off_t)offset,
                                 .left = length,
                                 .chance = (uint32_t)((uintptr_t)file >> 4) ^
                                           (uint32_t)weir__clock_us(NULL)};
    return weir_source_create_take(&file_ops, file, ret);
}
