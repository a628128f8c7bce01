/* SPDX-License-Identifier: MIT */
/*
 * The chunk decoder: fed whole, fed in pieces and compacted in pieces it says the same; and llhttp decodes whatever it
 * accepts to the same payload with the same end. Where llhttp refuses extensions or trailers that the grammar
 * allows, what it saw before must still be what we saw.
 */
#include "fuzz.h"

#include "h1/chunked.h"
#include "h1/parse.h"

#include <weir/err.h>

#include <llhttp.h>

struct decoded {
    int state;
    size_t used;
    size_t len;
    uint8_t *payload;
    uint8_t trailers[WEIR__H1_TRAILER_BYTES];
    size_t trailers_len;
    uint32_t extension_bytes;
};

static void take(struct decoded *ret, const uint8_t *data, size_t len)
{
    if (len > 0) {
        memcpy(ret->payload + ret->len, data, len);
        ret->len += len;
    }
}

static void decode(const uint8_t *data, size_t size, bool in_pieces, bool compacting,
                   struct decoded *ret)
{
    struct weir__h1_chunked decoder;
    uint32_t seed = fuzz_seed(data, size);
    size_t at = 0;
    int r = 0;

    weir__h1_chunked_init(&decoder);
    ret->len = 0;
    while (r == 0 && at < size) {
        size_t len = in_pieces ? fuzz_piece(&seed, size - at) : size - at;
        uint8_t *piece = fuzz_copy(data + at, len);
        size_t done = 0;

        while (r == 0 && done < len) {
            size_t used = 0;
            struct weir_view run = {0};

            if (compacting) {
                size_t n = weir__h1_chunked_compact(&decoder, piece + done, len - done, &used, &r);

                FUZZ_CLAIM(n <= used);
                take(ret, piece + done, n);
            } else {
                r = weir__h1_chunked_feed(&decoder, weir_bytes(piece + done, len - done), &used,
                                          &run);
                FUZZ_CLAIM((r == WEIR__H1_PAYLOAD) == (run.len > 0));
                take(ret, run.data, run.len);
                r = r == WEIR__H1_PAYLOAD ? 0 : r;
            }
            FUZZ_CLAIM(used <= len - done && (used > 0 || r != 0));
            done += r < 0 ? 0 : used;
            if (r == WEIR__H1_TRAILERS) {
                weir__h1_chunked_keep_trailers(&decoder, ret->trailers, sizeof(ret->trailers));
                r = 0;
            }
        }
        free(piece);
        at += done;
    }
    ret->state = r;
    ret->used = at;
    ret->trailers_len = weir__h1_chunked_trailers(&decoder).len;
    ret->extension_bytes = decoder.extension_bytes;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    take(parser->data, (const uint8_t *)at, len);
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    (void)parser;
    return HPE_PAUSED;
}

static void claim_oracle_agrees(const uint8_t *data, size_t size, const struct decoded *ours)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const llhttp_settings_t settings = {
        .on_body = on_body,
        .on_message_complete = on_message_complete,
    };
    struct decoded *theirs = malloc(sizeof(*theirs));
    llhttp_t parser;
    llhttp_errno_t r;

    FUZZ_CLAIM(theirs != NULL);
    theirs->payload = fuzz_copy(data, size);
    theirs->len = 0;
    llhttp_init(&parser, HTTP_RESPONSE, &settings);
    parser.data = theirs;
    FUZZ_CLAIM(llhttp_execute(&parser, head, sizeof(head) - 1) == HPE_OK);
    r = llhttp_execute(&parser, (const char *)data, size);
    FUZZ_CLAIM(theirs->len <= ours->len &&
               memcmp(theirs->payload, ours->payload, theirs->len) == 0);
    if (r == HPE_OK) {
        FUZZ_CLAIM(ours->state == WEIR__H1_MORE && theirs->len == ours->len);
    } else if (r == HPE_PAUSED) {
        FUZZ_CLAIM(ours->state == WEIR__H1_DONE && theirs->len == ours->len);
        FUZZ_CLAIM(llhttp_get_error_pos(&parser) == (const char *)data + ours->used);
    } else {
        FUZZ_CLAIM(ours->extension_bytes > 0 || ours->trailers_len > 0);
    }
    free(theirs->payload);
    free(theirs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct decoded whole, other;
    struct weir_field fields[32];
    size_t count;

    whole.payload = malloc(size + 1);
    other.payload = malloc(size + 1);
    FUZZ_CLAIM(whole.payload != NULL && other.payload != NULL);
    decode(data, size, false, false, &whole);
    for (int way = 1; way < 4; way++) {
        decode(data, size, (way & 1) != 0, (way & 2) != 0, &other);
        FUZZ_CLAIM(other.state == whole.state && other.len == whole.len);
        FUZZ_CLAIM(memcmp(other.payload, whole.payload, whole.len) == 0);
        FUZZ_CLAIM(whole.state < 0 || other.used == whole.used);
        FUZZ_CLAIM(other.trailers_len == whole.trailers_len);
        FUZZ_CLAIM(memcmp(other.trailers, whole.trailers, whole.trailers_len) == 0);
    }
    if (whole.state >= 0) {
        claim_oracle_agrees(data, size, &whole);
    }
    if (whole.state == WEIR__H1_DONE) {
        /* a section the decoder let through splits into fields */
        int r = weir__h1_parse_trailers(weir_bytes(whole.trailers, whole.trailers_len), fields, 32,
                                        &count);

        FUZZ_CLAIM(r == 0 || r == WEIR_ELIMIT);
    }
    free(whole.payload);
    free(other.payload);
    return 0;
}
