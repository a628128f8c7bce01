/* SPDX-License-Identifier: MIT */
/*
 * A source of a part of a regular file. Invariant: `offset` is where the next byte comes from, whatever the descriptor's
 * own file offset is; that one is set for each loan, because splice() from a lent descriptor goes by it.
 */
#include <weir/sources.h>

#include "base/alloc.h"
#include "bytes/chunk.h"
#include "stream/stream.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

struct file_source {
    int fd;
    int native;
    off_t offset;
    uint64_t left;
};

static int failed(struct file_source *file, int native)
{
    file->native = native;
    return WEIR_EIO;
}

static int file_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct file_source *file = state;
    size_t len = max_bytes < WEIR_CHUNK_BYTES ? max_bytes : WEIR_CHUNK_BYTES;
    struct weir_chunk *chunk;
    ssize_t got;
    int r;

    (void)deadline;
    if (file->left == 0) {
        return 0;
    }
    len = file->left < len ? (size_t)file->left : len;
    r = weir_chunk_create(len, &chunk);
    if (r < 0) {
        return r;
    }
    do {
        got = pread(file->fd, weir_chunk_data(chunk), len, file->offset);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
        r = got < 0 ? failed(file, errno) : WEIR_ETRUNCATED;
        weir_chunk_unref(chunk);
        return r;
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

    close(file->fd);
    weir_free(file);
}

static void file_explain(void *state, struct weir_error *ret)
{
    ret->native = ((struct file_source *)state)->native;
}

static int file_lend_fd(void *state, int64_t deadline, struct weir_loan *ret)
{
    struct file_source *file = state;

    (void)deadline; /* a file is always readable */
    if (file->left == 0) {
        return WEIR_EUNSUPPORTED; /* next() tells the end */
    }
    if (lseek(file->fd, file->offset, SEEK_SET) < 0) {
        return failed(file, errno);
    }
    *ret = (struct weir_loan){.fd = file->fd, .max_bytes = file->left};
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
static int measure(int fd, uint64_t offset, uint64_t length, uint64_t *ret_length)
{
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
    *ret_length = length == WEIR_FILE_REST ? size - offset : length;
    return 0;
}

int weir_file_source_create_take(int fd, uint64_t offset, uint64_t length, struct weir_source **ret)
{
    struct file_source *file = NULL;
    int r = measure(fd, offset, length, &length);

    if (r == 0) {
        file = weir_alloc0(sizeof(*file));
        r = file == NULL ? WEIR_ENOMEM : 0;
    }
    if (r < 0) {
        if (fd >= 0) {
            close(fd);
        }
        return r;
    }
    *file = (struct file_source){.fd = fd, .offset = (off_t)offset, .left = length};
    return weir_source_create_take(&file_ops, file, ret);
}
