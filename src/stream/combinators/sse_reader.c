/* SPDX-License-Identifier: MIT */
/* Events out of a source of bytes. Holds what is left of one chunk, and what the decoder holds of one event. */
#include "stream/combinators/combinator.h"
#include "stream/combinators/sse_decode.h"

#include "base/assert.h"
#include "rt/relay.h"

#define READER_MAGIC 0x73736572u

struct weir_sse_reader {
    uint32_t magic;
    bool busy;
    int failed; /* the decoder's error; 0: none */
    struct weir_source *inner;
    struct weir_chunk *input;
    size_t at;
    struct weir__sse_decoder decoder;
};

static int fail(struct weir_sse_reader *reader, int r)
{
    reader->failed = r;
    reader->input = weir_chunk_unref(reader->input);
    weir_cancel(reader->inner, WEIR_REASON_LIMIT);
    return r;
}

static int read_event(struct weir_sse_reader *reader, int64_t deadline, struct weir_sse_event *ret)
{
    unsigned rounds = 0;
    size_t used;
    int r = weir__sse_decode(&reader->decoder, (struct weir_view){0}, &used, ret);

    if (r < 0) {
        return fail(reader, r);
    }
    /* The event before is no longer valid: while this call waits, its memory is free. */
    for (;;) {
        struct weir_view view;

        if (reader->input == NULL) {
            /* Also after an end: a failure stays, and what was not ended by a blank line is no event. */
            r = weir__next(reader->inner, WEIR_CHUNK_BYTES, deadline, &reader->input);
            if (r <= 0) {
                return r;
            }
            reader->at = 0;
        }
        view = weir_chunk_view(reader->input);
        r = weir__sse_decode(&reader->decoder,
                             weir_bytes(view.data + reader->at, view.len - reader->at), &used, ret);
        if (r < 0) {
            return fail(reader, r);
        }
        reader->at += used;
        if (reader->at == view.len) {
            reader->input = weir_chunk_unref(reader->input);
        }
        if (r == 1) {
            return 1;
        }
        r = weir__combinator_turn(&rounds, deadline, &(bool){false});
        if (r < 0) {
            return r;
        }
    }
}

WEIR__RELAY_3(int, relay_sse_reader_next, weir_sse_reader_next, struct weir_sse_reader *, int64_t,
              struct weir_sse_event *)

int weir_sse_reader_next(struct weir_sse_reader *reader, int64_t deadline,
                         struct weir_sse_event *ret)
{
    int r;

    if (weir__relay_here != NULL) {
        return relay_sse_reader_next(reader, deadline, ret);
    }
    weir_check(reader, READER_MAGIC);
    if (reader->failed < 0) {
        return reader->failed;
    }
    if (reader->busy) {
        return WEIR_EBUSY;
    }
    if (reader->inner->final != WEIR__OPEN && reader->inner->final == WEIR_ECANCELED) {
        return WEIR_ECANCELED; /* a cancel drops what is held */
    }
    reader->busy = true;
    r = read_event(reader, deadline, ret);
    reader->busy = false;
    return r;
}

struct weir_view weir_sse_reader_last_id(struct weir_sse_reader *reader)
{
    weir_check(reader, READER_MAGIC);
    return weir_bytes(reader->decoder.last_id.bytes, reader->decoder.last_id.len);
}

int64_t weir_sse_reader_retry_ms(struct weir_sse_reader *reader)
{
    weir_check(reader, READER_MAGIC);
    return reader->decoder.retry_ms;
}

void weir_sse_reader_error(struct weir_sse_reader *reader, struct weir_error *ret)
{
    weir_check(reader, READER_MAGIC);
    if (reader->failed < 0) {
        *ret = weir__stream_error(reader->failed, WEIR_SIDE_SELF, "sse");
    } else {
        weir_source_error(reader->inner, ret);
    }
}

void weir_sse_reader_cancel(struct weir_sse_reader *reader, enum weir_reason reason)
{
    weir_check(reader, READER_MAGIC);
    weir_cancel(reader->inner, reason);
}

void weir_sse_reader_destroy(struct weir_sse_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    weir_check(reader, READER_MAGIC);
    weir_assert(!reader->busy);
    weir_chunk_unref(reader->input);
    weir_source_destroy(reader->inner);
    weir__sse_decoder_finish(&reader->decoder);
    reader->magic = 0;
    weir_free(reader);
}

void weir_sse_reader_destroyp(struct weir_sse_reader **reader)
{
    weir_sse_reader_destroy(*reader);
    *reader = NULL;
}

int weir_sse_reader_create_take(struct weir_source *given, const struct weir_sse_limits *limits,
                                struct weir_sse_reader **ret)
{
    static const struct weir_sse_limits defaults;
    struct weir_sse_reader *reader;
    size_t event, id;

    limits = limits != NULL ? limits : &defaults;
    event = limits->max_event_bytes != 0 ? limits->max_event_bytes : (size_t)1 << 20;
    id = limits->max_id_bytes != 0 ? limits->max_id_bytes : 1024;
    if (given == NULL || event > WEIR_AHEAD_MAX || id > WEIR_CHUNK_BYTES) {
        weir_source_destroy(given);
        return WEIR_EINVAL;
    }
    reader = weir_alloc0(sizeof(*reader));
    if (reader == NULL) {
        weir_source_destroy(given);
        return WEIR_ENOMEM;
    }
    reader->magic = READER_MAGIC;
    reader->inner = given;
    weir__sse_decoder_init(&reader->decoder, event, id);
    *ret = reader;
    return 0;
}
