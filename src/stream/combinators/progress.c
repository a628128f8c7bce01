/* SPDX-License-Identifier: MIT */
/*
 * Counts what passes and reports it now and then. No timer of its own: it looks at the clock when bytes pass, and once more
 * at the end or a failure. Bytes may still move inside the kernel.
 */
#include "stream/combinators/combinator.h"

struct progress {
    struct weir__wrap wrap;
    struct weir_progress_opts opts;
    int64_t begun_us; /* 0: not begun */
    int64_t told_us;
    uint64_t bytes, told_bytes;
};

static uint64_t per_second(uint64_t bytes, int64_t us)
{
    return us > 0 ? (uint64_t)((double)bytes * 1e6 / (double)us) : 0;
}

static void tell(struct progress *progress, int64_t now_us, bool ended, int result)
{
    struct weir_progress report = {
        .bytes = progress->bytes,
        .elapsed_ms = (now_us - progress->begun_us) / 1000,
        .bytes_per_s =
            per_second(progress->bytes - progress->told_bytes, now_us - progress->told_us),
        .mean_bytes_per_s = per_second(progress->bytes, now_us - progress->begun_us),
        .is_last = ended,
        .result = result,
    };

    progress->told_us = now_us;
    progress->told_bytes = progress->bytes;
    progress->opts.fn(progress->opts.arg, &report);
}

static void begin(struct progress *progress)
{
    if (progress->begun_us == 0) {
        progress->begun_us = weir__loop_current()->now_us;
        progress->told_us = progress->begun_us;
    }
}

/* After `bytes` more, with a result as of next(). */
static void count(struct progress *progress, uint64_t bytes, int r)
{
    int64_t now_us = weir__loop_current()->now_us;

    progress->bytes += bytes;
    if (r == 0 || weir__is_final(r)) {
        tell(progress, now_us, true, r);
    } else if ((progress->opts.every_bytes > 0 &&
                progress->bytes - progress->told_bytes >= progress->opts.every_bytes) ||
               (bytes > 0 && progress->opts.every_ms > 0 &&
                (now_us - progress->told_us) / 1000 >= progress->opts.every_ms)) {
        tell(progress, now_us, false, 0);
    }
}

static int progress_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct progress *progress = state;
    int r;

    begin(progress);
    r = weir__next(progress->wrap.inner, max_bytes, deadline, ret);
    count(progress, r == 1 ? weir_chunk_len(*ret) : 0, r);
    return r;
}

/* No more at once than to the next report, or than a chunk may have: reports are as close as those of a copy. */
static uint64_t most_at_once(const struct progress *progress)
{
    uint64_t since = progress->bytes - progress->told_bytes;
    uint64_t left = progress->opts.every_bytes > since ? progress->opts.every_bytes - since : 0;

    return progress->opts.every_bytes == 0 ? UINT64_MAX
           : left > WEIR_CHUNK_BYTES       ? left
                                           : WEIR_CHUNK_BYTES;
}

static int progress_lend(struct progress *progress, weir__lend_fn *lend, int64_t deadline,
                         struct weir_loan *ret)
{
    int r;

    begin(progress);
    r = lend(progress->wrap.inner, deadline, ret);
    if (r < 0 && r != WEIR_EUNSUPPORTED) {
        count(progress, 0, r);
    }
    if (r == 0 && ret->max_bytes > most_at_once(progress)) {
        ret->max_bytes = most_at_once(progress);
    }
    return r;
}

static int progress_lend_fd(void *state, int64_t deadline, struct weir_loan *ret)
{
    return progress_lend(state, weir__source_lend, deadline, ret);
}

static int progress_lend_file(void *state, int64_t deadline, struct weir_loan *ret)
{
    return progress_lend(state, weir__source_lend_file, deadline, ret);
}

static int progress_repay_fd(void *state, uint64_t taken, int native, bool at_eof)
{
    struct progress *progress = state;
    int r = weir__source_repay(progress->wrap.inner, taken, native, at_eof);

    count(progress, taken, r);
    return r;
}

static const struct weir_source_ops progress_ops = {
    .name = "progress",
    .next = progress_next,
    .cancel = weir__wrap_cancel,
    .arm = weir__wrap_arm,
    .destroy = weir__wrap_destroy,
    .explain = weir__wrap_explain,
    .lend_fd = progress_lend_fd,
    .lend_file = progress_lend_file,
    .repay_fd = progress_repay_fd,
};

int weir_progress_create_take(struct weir_source *given, const struct weir_progress_opts *opts,
                              struct weir_source **ret)
{
    int r;

    if (opts == NULL || opts->fn == NULL || opts->every_ms < 0) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    r = weir__wrap_create_take(&progress_ops, sizeof(struct progress), given, ret);
    if (r == 0) {
        ((struct progress *)(*ret)->state)->opts = *opts;
    }
    return r;
}
