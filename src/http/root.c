/* SPDX-License-Identifier: MIT */
/*
 * A directory whose contents may be opened, and nothing beside it. Every name is resolved by openat2() beneath it; links
 * of /proc are not followed. Invariant: a lookup on the pool holds a reference, so the descriptor is open while it runs.
 */
#include "http/root.h"

#include <weir/offload.h>

#include "base/alloc.h"
#include "base/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20 /* Linux 5.12; an older kernel answers EINVAL, and the pool looks */
#endif

#define ROOT_MAGIC 0x726f6f74u
#define RACES 32 /* so often a lookup may lose against somebody who renames directories */

struct weir_root {
    uint32_t magic;
    _Atomic unsigned refs;
    int fd;
};

struct lookup {
    struct weir_root *root;
    uint64_t resolve;
    int fd; /* or -1 and `native` */
    int native;
    struct stat status;
    char name[];
};

static int open_beneath(int dir, const char *name, uint64_t flags, uint64_t resolve)
{
    struct open_how how = {
        .flags = flags | O_CLOEXEC,
        .resolve = resolve | RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };

    return (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
}

static int code_of(int native)
{
    switch (native) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
    case ELOOP: /* too many links, or one where none may be */
    case EXDEV: /* out of the root */
    case ENXIO: /* a socket */
    case ENODEV:
    case EINVAL: /* no name on this file system */
    case EILSEQ:
        return WEIR_ENOTFOUND;
    case EACCES:
    case EPERM:
        return WEIR_EREFUSED;
    case EMFILE:
    case ENFILE:
    case EAGAIN: /* every try lost a race */
    case ETXTBSY:
        return WEIR_EBUSY;
    case ENOMEM:
        return WEIR_ENOMEM;
    default:
        return WEIR_EIO;
    }
}

int weir_root_open(const char *dir, struct weir_root **ret)
{
    struct weir_root *root;
    int fd, probe;

    if (dir == NULL) {
        return WEIR_EINVAL;
    }
    fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return code_of(errno);
    }
    probe = open_beneath(fd, ".", O_PATH | O_DIRECTORY, 0);
    if (probe < 0) {
        int r = errno == ENOSYS || errno == EPERM || errno == E2BIG || errno == EINVAL
                    ? WEIR_EUNSUPPORTED
                    : code_of(errno);

        close(fd);
        return r;
    }
    close(probe);
    root = weir_alloc(sizeof(*root));
    if (root == NULL) {
        close(fd);
        return WEIR_ENOMEM;
    }
    *root = (struct weir_root){.magic = ROOT_MAGIC, .refs = 1, .fd = fd};
    *ret = root;
    return 0;
}

static void root_unref(struct weir_root *root)
{
    if (atomic_fetch_sub_explicit(&root->refs, 1, memory_order_acq_rel) == 1) {
        close(root->fd);
        weir_free(root);
    }
}

void weir_root_destroy(struct weir_root *root)
{
    if (root != NULL) {
        weir_check(root, ROOT_MAGIC);
        root->magic = 0;
        root_unref(root);
    }
}

void weir_root_destroyp(struct weir_root **root)
{
    weir_root_destroy(*root);
    *root = NULL;
}

/* Not blocking: a pipe without a writer is opened, seen to be no file, and closed. */
static void look(struct lookup *lookup, uint64_t resolve)
{
    lookup->native = 0;
    lookup->fd = open_beneath(lookup->root->fd, lookup->name, O_RDONLY | O_NONBLOCK | O_NOCTTY,
                              lookup->resolve | resolve);
    if (lookup->fd < 0) {
        lookup->native = errno;
    } else if (fstat(lookup->fd, &lookup->status) != 0) {
        lookup->native = errno;
        close(lookup->fd);
        lookup->fd = -1;
    }
}

static int look_off_loop(void *arg)
{
    struct lookup *lookup = arg;

    for (int i = 0; i < RACES; i++) {
        look(lookup, 0);
        if (lookup->native != EAGAIN && lookup->native != EINTR) {
            break;
        }
    }
    return 0;
}

static void lookup_destroy(void *arg)
{
    struct lookup *lookup = arg;

    if (lookup->fd >= 0) {
        close(lookup->fd);
    }
    root_unref(lookup->root);
    weir_free(lookup);
}

int weir__root_lookup(struct weir_root *root, const char *name, const char *more, bool no_symlinks,
                      int *ret_fd, struct stat *ret_status)
{
    size_t len = strlen(name);
    size_t more_len = more != NULL ? strlen(more) : 0;
    struct lookup *lookup;
    int r = 0;

    weir_check(root, ROOT_MAGIC);
    lookup = weir_alloc(sizeof(*lookup) + len + more_len + 2);
    if (lookup == NULL) {
        return WEIR_ENOMEM;
    }
    *lookup =
        (struct lookup){.root = root, .resolve = no_symlinks ? RESOLVE_NO_SYMLINKS : 0, .fd = -1};
    memcpy(lookup->name, name, len);
    if (more != NULL) {
        lookup->name[len++] = '/';
        memcpy(lookup->name + len, more, more_len);
    }
    lookup->name[len + more_len] = '\0';
    atomic_fetch_add_explicit(&root->refs, 1, memory_order_relaxed);
    look(lookup, RESOLVE_CACHED);
    if (lookup->native == EAGAIN || lookup->native == EINVAL || lookup->native == EINTR) {
        r = weir_offload(look_off_loop, lookup, lookup_destroy, -1, NULL);
    }
    if (r < 0) {
        return r == WEIR_ECLOSED ? WEIR_EBUSY : r; /* the lookup is the pool's */
    }
    if (lookup->fd < 0) {
        r = code_of(lookup->native);
    } else {
        *ret_fd = lookup->fd;
        *ret_status = lookup->status;
        lookup->fd = -1;
    }
    lookup_destroy(lookup);
    return r;
}
