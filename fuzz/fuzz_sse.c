/* SPDX-License-Identifier: MIT */
/*
 * The decoder of event streams: whole and in pieces it gives the same events and the same end, never more than its limits,
 * and what it gave reads the same when it is written as an event again.
 */
#include "fuzz.h"

#include <weir/err.h>

#include "bytes/budget.h"
#include "stream/combinators/sse_decode.h"

/* All events as one text: lengths and bytes. */
struct told {
    uint8_t *bytes;
    size_t len, capacity;
    unsigned events;
    int result;
};

static void tell(struct told *told, const void *bytes, size_t len)
{
    if (told->len + len > told->capacity) {
        told->capacity = (told->len + len) * 2;
        told->bytes = realloc(told->bytes, told->capacity);
        FUZZ_CLAIM(told->bytes != NULL);
    }
    if (len > 0) {
        memcpy(told->bytes + told->len, bytes, len);
    }
    told->len += len;
}

static void tell_view(struct told *told, struct weir_view view)
{
    tell(told, &view.len, sizeof(view.len));
    tell(told, view.data, view.len);
}

/* The event, written by the rules, is read as itself. */
static void claim_same_again(const struct weir_sse_event *event)
{
    struct weir__sse_decoder decoder;
    struct weir_sse_event again;
    struct told text = {0};
    size_t used;

    tell(&text, "event: ", 7);
    tell(&text, event->type.data, event->type.len);
    tell(&text, "\nid: ", 5);
    tell(&text, event->id.data, event->id.len);
    tell(&text, "\ndata: ", 7);
    for (size_t i = 0; i < event->data.len; i++) {
        if (event->data.data[i] == '\n') {
            tell(&text, "\ndata: ", 7);
        } else {
            tell(&text, event->data.data + i, 1);
        }
    }
    tell(&text, "\n\n", 2);
    weir__sse_decoder_init(&decoder, text.len, 100);
    FUZZ_CLAIM(weir__sse_decode(&decoder, weir_bytes(text.bytes, text.len), &used, &again) == 1);
    FUZZ_CLAIM(used == text.len);
    FUZZ_CLAIM(weir_view_equal(again.type, event->type));
    FUZZ_CLAIM(weir_view_equal(again.id, event->id));
    FUZZ_CLAIM(weir_view_equal(again.data, event->data));
    weir__sse_decoder_finish(&decoder);
    free(text.bytes);
}

static void decode(const uint8_t *data, size_t size, size_t limit, bool in_pieces,
                   struct told *told)
{
    struct weir__sse_decoder decoder;
    struct weir_sse_event event;
    uint32_t seed = fuzz_seed(data, size);
    size_t at = 0;
    int r = 0;

    weir__sse_decoder_init(&decoder, limit, 10);
    while (r >= 0 && at < size) {
        size_t len = in_pieces ? fuzz_piece(&seed, size - at) : size - at;
        uint8_t *piece = fuzz_copy(data + at, len);
        size_t used = 0;

        for (size_t done = 0; r >= 0 && done < len; done += used) {
            r = weir__sse_decode(&decoder, weir_bytes(piece + done, len - done), &used, &event);
            FUZZ_CLAIM(used <= len - done && (r != 0 || used == len - done));
            if (r == 1) {
                told->events++;
                FUZZ_CLAIM(used > 0 && event.type.len > 0 && event.id.len <= 10);
                FUZZ_CLAIM(event.data.len < limit);
                tell_view(told, event.type);
                tell_view(told, event.id);
                tell_view(told, event.data);
                tell(told, &event.retry_ms, sizeof(event.retry_ms));
                claim_same_again(&event);
            }
        }
        free(piece);
        at += len;
        FUZZ_CLAIM(weir__budget_used(weir__budget_process()) <= 3 * limit + 2 * 10);
    }
    FUZZ_CLAIM(r >= 0 || r == WEIR_ELIMIT);
    told->result = r < 0 ? r : 0;
    tell_view(told, weir_bytes(decoder.last_id.bytes, r < 0 ? 0 : decoder.last_id.len));
    weir__sse_decoder_finish(&decoder);
    FUZZ_CLAIM(weir__budget_used(weir__budget_process()) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t limits[] = {8, 40, 500, 100000};
    struct told whole = {0}, pieces = {0};

    if (size < 1) {
        return 0;
    }
    decode(data + 1, size - 1, limits[data[0] % 4], false, &whole);
    decode(data + 1, size - 1, limits[data[0] % 4], true, &pieces);
    FUZZ_CLAIM(whole.result == pieces.result && whole.events == pieces.events);
    FUZZ_CLAIM(whole.len == pieces.len && memcmp(whole.bytes, pieces.bytes, whole.len) == 0);
    free(whole.bytes);
    free(pieces.bytes);
    return 0;
}
