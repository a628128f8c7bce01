/* SPDX-License-Identifier: MIT */
/*
 * multipart/form-data as one source per part. Whatever the pieces are in which a body comes, the same bytes give the same
 * parts and fail alike. Invariants: data is handed on only when it cannot belong to a delimiter; each byte counts against
 * the limit of what it belongs to and against the total; every wait is inside pull(), so that a call that was not over in
 * time can be made again. It holds one chunk of the source, and one line of a header.
 */
#include "body/multipart.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/cleanup.h"
#include "body/decoded.h"
#include "body/params.h"
#include "bytes/chunk.h"
#include "http/request.h"
#include "rt/relay.h"
#include "stream/wait.h"

#include <stdatomic.h>

#define MULTIWEIR__PART_MAGIC 0x6d756c74u
#define MAX_HEADER_BYTES ((size_t)256 << 10)

/* Makes a failure final, unless it may pass. */
static int fail(struct weir_multipart *multipart, int r)
{
    if (weir__is_final(r) && multipart->final == WEIR__OPEN) {
        multipart->final = r;
        multipart->error = weir__stream_error(r, WEIR_SIDE_SOURCE, "multipart");
        weir__explain_inner(multipart->source, &multipart->error);
    }
    return r;
}

/* ---- bytes ---- */

/* The bytes at hand that are not done with. */
static struct weir_view rest(struct weir_multipart *multipart)
{
    struct weir_view view = weir_chunk_view(multipart->chunk);

    return weir_bytes(view.data + multipart->at, view.len - multipart->at);
}

/* Makes sure that there are some: 1, 0 at the source's end, or an error. */
static int pull(struct weir_multipart *multipart, int64_t deadline)
{
    size_t ask = WEIR_CHUNK_BYTES;
    int r;

    if (multipart->chunk != NULL && multipart->at < weir_chunk_len(multipart->chunk)) {
        return 1;
    }
    multipart->chunk = weir_chunk_unref(multipart->chunk);
    multipart->at = 0;
    if (multipart->total_left < ask) {
        ask = multipart->total_left > 0 ? (size_t)multipart->total_left : 1;
    }
    r = weir__next(multipart->source, ask, deadline, &multipart->chunk);
    if (r <= 0) {
        return r;
    }
    if (multipart->total_left == 0) {
        return WEIR_ELIMIT;
    }
    multipart->total_left -= weir_chunk_len(multipart->chunk);
    return 1;
}

/* The same where the source must not end. */
static int pull_more(struct weir_multipart *multipart, int64_t deadline)
{
    int r = pull(multipart, deadline);

    return r == 0 ? WEIR_ETRUNCATED : r;
}

/* The first `len` bytes of the run as a chunk. The piece itself is given away if it is not needed any more, and nobody
 * else looks at it. */
static int take_run(struct weir_multipart *multipart, size_t len, struct weir_chunk **ret)
{
    struct weir_chunk *chunk = multipart->chunk;
    bool is_last =
        len == multipart->run && multipart->at + len + multipart->after == weir_chunk_len(chunk);
    int r;

    if (is_last && atomic_load_explicit(&chunk->refs, memory_order_acquire) == 1) {
        weir__chunk_advance(chunk, multipart->at);
        weir__chunk_set_len(chunk, len);
        *ret = weir_take(multipart->chunk);
        multipart->at = multipart->run = multipart->after = 0;
        return 0;
    }
    r = weir_chunk_slice(chunk, multipart->at, len, ret);
    if (r == 0) {
        multipart->at += len;
        multipart->run -= len;
    }
    return r;
}

static int take_held(struct weir_multipart *multipart, size_t len, struct weir_chunk **ret)
{
    int r = weir_chunk_copy(weir_bytes(multipart->held.data, len), ret);

    if (r == 0) {
        multipart->held.data += len;
        multipart->held.len -= len;
    }
    return r;
}

/* Looks for the delimiter in what is at hand. */
static void scan(struct weir_multipart *multipart)
{
    struct weir__boundary_step step = weir__boundary_scan(&multipart->boundary, rest(multipart));

    multipart->held = step.held;
    multipart->run = step.data;
    multipart->after = step.used - step.data;
    multipart->found = step.found;
}

/* The next data before the delimiter, at most max_bytes of it, or (`ret` NULL) all of it dropped. 1 with a chunk, 0 once the
 * delimiter has come. */
static int read_data(struct weir_multipart *multipart, size_t max_bytes, int64_t deadline,
                     struct weir_chunk **ret)
{
    uint64_t *left =
        multipart->state == WEIR__MULTIPART_DATA ? &multipart->part_left : &multipart->padding_left;

    for (;;) {
        size_t len = multipart->held.len > 0 ? multipart->held.len : multipart->run;
        int r;

        if (len > 0) {
            len = len < max_bytes ? len : max_bytes;
            len = len < *left ? len : (size_t)*left;
            if (len == 0) {
                return WEIR_ELIMIT;
            }
            *left -= len;
            if (ret != NULL) {
                r = multipart->held.len > 0 ? take_held(multipart, len, ret)
                                            : take_run(multipart, len, ret);
                return r < 0 ? r : 1;
            }
            if (multipart->held.len > 0) {
                multipart->held.data += len;
                multipart->held.len -= len;
            } else {
                multipart->at += len;
                multipart->run -= len;
            }
            continue;
        }
        multipart->at += multipart->after;
        multipart->after = 0;
        if (multipart->found) {
            multipart->found = false;
            multipart->state = WEIR__MULTIPART_LINE;
            multipart->line = LINE_START;
            multipart->header_bytes = 0;
            return 0;
        }
        r = pull_more(multipart, deadline);
        if (r < 0) {
            return r;
        }
        scan(multipart);
    }
}

/* ---- between two parts ---- */

/* One byte of the delimiter's line: 1 when it is over, 0 for more, or an error. */
static int line_byte(struct weir_multipart *multipart, uint8_t byte)
{
    switch ((enum weir__multipart_line)multipart->line) {
    case LINE_START:
        if (byte == '-') {
            multipart->line = LINE_DASH;
            return 0;
        }
        break;
    case LINE_DASH:
        multipart->last = true;
        multipart->line = LINE_PADDING;
        return byte == '-' ? 0 : WEIR_EPROTO;
    case LINE_PADDING:
        break;
    case LINE_CR:
        return byte == '\n' ? 1 : WEIR_EPROTO;
    }
    if (byte == '\r') {
        multipart->line = LINE_CR;
        return 0;
    }
    multipart->line = LINE_PADDING;
    if (byte != ' ' && byte != '\t') {
        return WEIR_EPROTO; /* longer than the boundary: whose delimiter that is two readers may see differently */
    }
    return ++multipart->header_bytes > multipart->limits.max_header_bytes ? WEIR_ELIMIT : 0;
}

static int begin_header(struct weir_multipart *multipart)
{
    if (multipart->parts == multipart->limits.max_parts) {
        return WEIR_ELIMIT;
    }
    multipart->parts++;
    multipart->header_bytes = 0;
    multipart->collected = 0;
    multipart->state = WEIR__MULTIPART_HEADER;
    return weir__part_head_init(&multipart->part.head);
}

static int read_line(struct weir_multipart *multipart, int64_t deadline)
{
    int r = 0;

    while (r == 0) {
        r = pull(multipart, deadline);
        if (r == 0 && multipart->last) {
            return 0; /* the last line need not end */
        }
        r = r > 0 ? line_byte(multipart, rest(multipart).data[0]) : r == 0 ? WEIR_ETRUNCATED : r;
        multipart->at += r >= 0;
    }
    if (r < 0) {
        return r;
    }
    if (multipart->last) {
        multipart->state = WEIR__MULTIPART_EPILOGUE;
        multipart->padding_left = multipart->limits.max_padding_bytes;
        return 1;
    }
    r = begin_header(multipart);
    return r < 0 ? r : 1;
}

/* Drops what stands behind the last delimiter: 0 at the end. */
static int read_epilogue(struct weir_multipart *multipart, int64_t deadline)
{
    int r;

    while ((r = pull(multipart, deadline)) > 0) {
        size_t len = rest(multipart).len;

        if (len > multipart->padding_left) {
            return WEIR_ELIMIT;
        }
        multipart->padding_left -= len;
        multipart->at += len;
    }
    return r;
}

/* ---- headers ---- */

/* Adds to the line that comes in pieces. */
static int collect(struct weir_multipart *multipart, struct weir_view bytes)
{
    size_t size = multipart->collected + bytes.len;
    struct weir_chunk *larger;
    int r;

    if (multipart->collecting == NULL || weir_chunk_len(multipart->collecting) < size) {
        r = weir__chunk_alloc(size, &larger); /* classes of sizes: it grows by a factor */
        if (r < 0) {
            return r;
        }
        if (multipart->collected > 0) {
            memcpy(weir_chunk_data(larger), weir_chunk_data(multipart->collecting),
                   multipart->collected);
        }
        weir_chunk_unref(multipart->collecting);
        multipart->collecting = larger;
    }
    memcpy(weir_chunk_data(multipart->collecting) + multipart->collected, bytes.data, bytes.len);
    multipart->collected = size;
    return 0;
}

/* The next header line with its end, borrowed until the next call: 0 or an error. */
static int next_header_line(struct weir_multipart *multipart, int64_t deadline,
                            struct weir_view *ret)
{
    for (;;) {
        int r = pull_more(multipart, deadline);
        struct weir_view view;
        const uint8_t *end;

        if (r < 0) {
            return r;
        }
        view = rest(multipart);
        end = memchr(view.data, '\n', view.len);
        view.len = end != NULL ? (size_t)(end - view.data) + 1 : view.len;
        if (view.len > multipart->limits.max_header_bytes - multipart->header_bytes) {
            return WEIR_ELIMIT;
        }
        if (end == NULL || multipart->collected > 0) {
            r = collect(multipart, view);
            if (r < 0) {
                return r;
            }
        }
        multipart->header_bytes += view.len;
        multipart->at += view.len;
        if (end != NULL) {
            *ret = multipart->collected == 0
                       ? view
                       : weir_bytes(weir_chunk_data(multipart->collecting), multipart->collected);
            multipart->collected = 0;
            return 0;
        }
    }
}

/* 1 once the part's header is complete. */
static int read_header(struct weir_multipart *multipart, int64_t deadline)
{
    for (;;) {
        struct weir_view line;
        int r = next_header_line(multipart, deadline, &line);

        if (r < 0) {
            return r;
        }
        if (line.len < 2 || line.data[line.len - 2] != '\r') {
            return WEIR_EPROTO;
        }
        line.len -= 2;
        r = line.len > 0 ? weir__part_head_add(&multipart->part.head, line,
                                               multipart->limits.max_header_lines)
                         : weir__part_head_end(&multipart->part.head);
        if (r < 0) {
            return r;
        }
        if (line.len == 0) {
            return 1;
        }
    }
}

/* ---- a part ---- */

static int part_next(void *state, size_t max_bytes, int64_t deadline, struct weir_chunk **ret)
{
    struct weir_multipart *multipart = state;

    if (multipart->state != WEIR__MULTIPART_DATA) {
        return 0;
    }
    return fail(multipart, read_data(multipart, max_bytes, deadline, ret));
}

static void part_cancel(void *state, enum weir_reason reason)
{
    struct weir_multipart *multipart = state;

    if (multipart->part.body.busy) {
        weir_cancel(multipart->source, reason); /* nothing less ends the wait inside */
    }
}

static void part_destroy(void *state)
{
    ((struct weir_multipart *)state)->open = false;
}

static void part_explain(void *state, struct weir_error *ret)
{
    struct weir_multipart *multipart = state;

    if (multipart->error.code == ret->code) {
        *ret = multipart->error;
    }
}

static int64_t part_arm(void *state, struct weir_waker *waker)
{
    return weir_source_arm(((struct weir_multipart *)state)->source, waker);
}

static const struct weir_source_ops part_ops = {
    .name = "part",
    .next = part_next,
    .cancel = part_cancel,
    .destroy = part_destroy,
    .explain = part_explain,
    .arm = part_arm,
};

static void open_part(struct weir_multipart *multipart)
{
    multipart->state = WEIR__MULTIPART_DATA;
    multipart->part_left = multipart->limits.max_part_bytes;
    weir__boundary_begin(&multipart->boundary);
    weir__source_init(&multipart->part.body, &part_ops, multipart);
    multipart->part.magic = WEIR__PART_MAGIC;
    multipart->open = true;
}

/* Nobody may read on in it: what comes will be dropped. */
static void close_part(struct weir_multipart *multipart)
{
    if (multipart->open) {
        multipart->open = false;
        weir_cancel(&multipart->part.body, WEIR_REASON_ABANDONED);
    }
    if (multipart->part.magic != 0) {
        multipart->part.magic = 0;
        weir__part_head_finish(&multipart->part.head);
    }
}

/* 1 with a part, 0 at the end. */
static int advance(struct weir_multipart *multipart, int64_t deadline)
{
    for (;;) {
        int r = 0;

        switch ((enum weir__multipart_state)multipart->state) {
        case WEIR__MULTIPART_PREAMBLE:
        case WEIR__MULTIPART_DATA:
            r = read_data(multipart, WEIR_CHUNK_BYTES, deadline, NULL);
            break;
        case WEIR__MULTIPART_LINE:
            r = read_line(multipart, deadline);
            if (r == 0) {
                return 0;
            }
            break;
        case WEIR__MULTIPART_HEADER:
            r = read_header(multipart, deadline);
            if (r > 0) {
                open_part(multipart);
                return 1;
            }
            break;
        case WEIR__MULTIPART_EPILOGUE:
            return read_epilogue(multipart, deadline);
        }
        if (r < 0) {
            return r;
        }
    }
}

WEIR__RELAY_3(int, relay_multipart_next, weir_multipart_next, struct weir_multipart *, int64_t,
              struct weir_part **)

int weir_multipart_next(struct weir_multipart *multipart, int64_t deadline, struct weir_part **ret)
{
    if (weir__relay_here != NULL) {
        return relay_multipart_next(multipart, deadline, ret);
    }

    int r;

    weir_check(multipart, MULTIWEIR__PART_MAGIC);
    if (multipart->busy || (multipart->open && multipart->part.body.busy)) {
        return WEIR_EBUSY;
    }
    close_part(multipart);
    if (multipart->final != WEIR__OPEN) {
        return multipart->final;
    }
    multipart->busy = true;
    r = fail(multipart, advance(multipart, deadline));
    multipart->busy = false;
    if (r == 0) {
        multipart->final = 0;
    } else if (r > 0) {
        *ret = &multipart->part;
    }
    return r;
}

void weir_multipart_error(struct weir_multipart *multipart, struct weir_error *ret)
{
    weir_check(multipart, MULTIWEIR__PART_MAGIC);
    *ret = multipart->error;
}

/* ---- life ---- */

static int set_limits(struct weir_multipart *multipart, const struct weir_multipart_limits *limits)
{
    struct weir_multipart_limits *own = &multipart->limits;

    if (limits != NULL) {
        *own = *limits;
    }
    own->max_parts = own->max_parts > 0 ? own->max_parts : 100;
    own->max_header_bytes = own->max_header_bytes > 0 ? own->max_header_bytes : 8192;
    own->max_header_lines = own->max_header_lines > 0 ? own->max_header_lines : 20;
    own->max_part_bytes = own->max_part_bytes > 0 ? own->max_part_bytes : UINT64_C(64) << 20;
    own->max_total_bytes = own->max_total_bytes > 0 ? own->max_total_bytes : UINT64_C(256) << 20;
    own->max_padding_bytes = own->max_padding_bytes > 0 ? own->max_padding_bytes : 4096;
    multipart->total_left = own->max_total_bytes;
    multipart->padding_left = own->max_padding_bytes;
    return own->max_header_bytes > MAX_HEADER_BYTES || own->max_header_lines > 1000 ? WEIR_EINVAL
                                                                                    : 0;
}

static int find_boundary(struct weir_multipart *multipart, struct weir_view content_type)
{
    struct weir_view params = weir_bytes(NULL, 0), found = weir_bytes(NULL, 0);
    struct weir__param param;
    int r;

    if (!weir_view_equal_nocase(weir__params_begin(content_type, &params),
                                weir_str("multipart/form-data"))) {
        return WEIR_EUNSUPPORTED;
    }
    while ((r = weir__params_next(&params, &param)) > 0) {
        if (weir_view_equal_nocase(param.name, weir_str("boundary"))) {
            if (!weir_view_is_absent(found)) {
                return WEIR_EPROTO;
            }
            found = param.raw;
        }
    }
    return r == 0 && weir__boundary_init(&multipart->boundary, found) ? 0 : WEIR_EPROTO;
}

int weir_multipart_open(struct weir_source *source, struct weir_view content_type,
                        const struct weir_multipart_limits *limits, struct weir_multipart **ret)
{
    struct weir_multipart *multipart;
    int r;

    if (source == NULL) {
        return WEIR_EINVAL;
    }
    multipart = weir_alloc0(sizeof(*multipart));
    if (multipart == NULL) {
        return WEIR_ENOMEM;
    }
    multipart->magic = MULTIWEIR__PART_MAGIC;
    multipart->final = WEIR__OPEN;
    multipart->source = source;
    r = set_limits(multipart, limits);
    if (r == 0) {
        r = find_boundary(multipart, content_type);
    }
    if (r < 0) {
        weir_multipart_destroy(multipart);
        return r;
    }
    *ret = multipart;
    return 0;
}

int weir_req_multipart(struct weir_req *req, const struct weir_multipart_limits *limits,
                       struct weir_multipart **ret)
{
    WEIR_CLEANUP(weir_source_destroyp) struct weir_source *decoded = NULL;
    struct weir_source *body;
    struct weir_view type;
    int r = weir__req_content_type(req, &type);
    uint8_t unread = WEIR__UNREAD_TYPE;

    if (r == 0) {
        r = weir__req_plain_body(req, &body, &decoded);
        unread = r < 0 ? req->unread : unread;
    }
    if (r == 0) {
        r = weir_multipart_open(body, type, limits, ret);
    }
    req->unread = r == WEIR_EUNSUPPORTED ? unread : WEIR__UNREAD_NOT;
    if (r == 0) {
        (*ret)->own_source = weir_take(decoded);
    }
    return r;
}

WEIR__RELAY_VOID_1(relay_multipart_destroy, weir_multipart_destroy, struct weir_multipart *)

void weir_multipart_destroy(struct weir_multipart *multipart)
{
    if (weir__relay_here != NULL) {
        relay_multipart_destroy(multipart);
        return;
    }
    if (multipart == NULL) {
        return;
    }
    weir_check(multipart, MULTIWEIR__PART_MAGIC);
    weir_assert(!multipart->busy && !(multipart->open && multipart->part.body.busy));
    close_part(multipart);
    weir__part_head_finish(&multipart->part.head);
    weir_chunk_unref(multipart->chunk);
    weir_chunk_unref(multipart->collecting);
    weir_source_destroy(multipart->own_source);
    multipart->magic = 0;
    weir_free(multipart);
}

void weir_multipart_destroyp(struct weir_multipart **multipart)
{
    weir_multipart_destroy(*multipart);
    *multipart = NULL;
}
