/* SPDX-License-Identifier: MIT */
/* A source of bytes in memory: one copy, charged to the process's budget, delivered in slices. */
#include <weir/sources.h>

#include "base/alloc.h"
#include "bytes/budget.h"
#include "stream/stream.h"

struct copy {
    size_t len;
    uint8_t bytes[];
};

struct bytes_source {
    struct weir_chunk *whole; /* NULL: empty */
    size_t offset;
};

static void copy_release(void *arg)
{
    struct copy *copy = arg;

    weir__budget_release(weir__budget_process(), copy->len);
    weir_free(copy);
}

static int copy_create(struct weir_view bytes, struct weir_chunk **ret)
{
    struct copy *copy;
    int r = weir__budget_charge(weir__budget_process(), bytes.len);

    if (r < 0) {
        return r;
    }
    copy = bytes.len <= SIZE_MAX - sizeof(*copy) ? weir_alloc(sizeof(*copy) + bytes.len) : NULL;
    if (copy == NULL) {
        weir__budget_release(weir__budget_process(), bytes.len);
        return WEIR_ENOMEM;
    }
    copy->len = bytes.len;
    memcpy(copy->bytes, bytes.data, bytes.len);
    r = weir_chunk_wrap(weir_bytes(copy->bytes, copy->len), copy_release, copy, ret);
    if (r < 0) {
        copy_release(copy);
    }
    return r;
}

static int bytes_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct bytes_source *source = state;
    size_t left = source->whole != NULL ? weir_chunk_len(source->whole) - source->offset : 0;
    size_t len = left < max_bytes ? left : max_bytes;
    int r;

    (void)deadline;
    if (left == 0) {
        return 0;
    }
    r = weir_chunk_slice(source->whole, source->offset, len, ret);
    if (r < 0) {
        return r;
    }
    source->offset += len;
    return 1;
}

static void bytes_destroy(void *state)
{
    struct bytes_source *source = state;

    weir_chunk_unref(source->whole);
    weir_free(source);
}

static const struct weir_source_ops bytes_ops = {
    .name = "bytes",
    .next = bytes_next,
    .destroy = bytes_destroy,
};

int weir_bytes_source_create(struct weir_view bytes, struct weir_source **ret)
{
    struct bytes_source *source = weir_alloc0(sizeof(*source));
    int r = 0;

    if (source == NULL) {
        return WEIR_ENOMEM;
    }
    if (bytes.len > 0) {
        r = copy_create(bytes, &source->whole);
    }
    if (r < 0) {
        weir_free(source);
        return r;
    }
    return weir_source_create_take(&bytes_ops, source, ret);
}
