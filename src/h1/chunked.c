/* SPDX-License-Identifier: MIT */
/*
 * The chunked decoder. A chunk header that lies whole in the buffer is read in one go; else, and for extensions and
 * trailers, byte by byte. Invariant: `state` DATA means left > 0.
 */
#include "h1/chunked.h"

#include "base/assert.h"
#include "h1/scan.h"

#include <weir/err.h>

#include <string.h>

enum { SIZE_DIGITS = 16 };

enum state {
    SIZE_FIRST, /* the first digit of a size */
    SIZE,       /* more digits, or what follows them */
    EXT_GAP,    /* blanks before ';' (bad, but to be parsed: RFC 9112 7.1.1) */
    EXT_START,  /* after ';': blanks, then a name */
    EXT_NAME,
    EXT_NAME_GAP, /* blanks before '=' or ';' */
    EXT_EQUALS,   /* after '=': blanks, then a value */
    EXT_TOKEN,
    EXT_QUOTED,
    EXT_ESCAPE, /* after a backslash in a quoted string */
    EXT_END,    /* after a quoted string */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START, /* at a line's begin in the trailer section */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
    ENDED,
};

/* What a byte outside payload leads to, besides a state: */
enum { WRONG = -1 };

void weir__h1_chunked_init(struct weir__h1_chunked *decoder)
{
    *decoder = (struct weir__h1_chunked){.state = SIZE_FIRST};
}

static int fail(struct weir__h1_chunked *decoder, int code)
{
    decoder->error = code;
    return code;
}

static inline int hex_value(uint8_t byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* The state after a size line's CR LF. */
static inline uint8_t after_size(const struct weir__h1_chunked *decoder)
{
    return decoder->left > 0 ? DATA : TRAILER_START;
}

/* "CRLF" of the chunk before, digits, CRLF: all there and plain. Returns the bytes used, 0: go byte by byte. */
static inline size_t take_whole_header(struct weir__h1_chunked *decoder, const uint8_t *in,
                                       size_t len)
{
    const uint8_t *p = in;
    const uint8_t *end = in + len;
    const uint8_t *digits;
    uint64_t size = 0;
    int digit;

    if (decoder->state == DATA_CR) {
        if (len < 2 || p[0] != '\r' || p[1] != '\n') {
            return 0;
        }
        p += 2;
    }
    digits = p;
    while (p < end && (digit = hex_value(*p)) >= 0) {
        size = size << 4 | (unsigned)digit;
        p++;
    }
    if (p == digits || p - digits > SIZE_DIGITS || end - p < 2 || p[0] != '\r' || p[1] != '\n' ||
        size > INT64_MAX) {
        return 0;
    }
    decoder->left = size;
    decoder->digits = 0;
    decoder->state = after_size(decoder);
    return (size_t)(p + 2 - in);
}

/* The last of a size is read; `byte` follows it. */
static int after_digits(uint8_t byte)
{
    if (byte == '\r') {
        return SIZE_LF;
    }
    return byte == ';' ? EXT_START : byte == ' ' || byte == '\t' ? EXT_GAP : WRONG;
}

static int size_byte(struct weir__h1_chunked *decoder, uint8_t byte)
{
    int digit = hex_value(byte);

    if (digit < 0) {
        return decoder->state == SIZE ? after_digits(byte) : WRONG;
    }
    if (decoder->state == SIZE_FIRST) {
        decoder->left = 0;
        decoder->digits = 0;
    }
    if (decoder->digits == SIZE_DIGITS || decoder->left > INT64_MAX >> 4) {
        return WRONG;
    }
    decoder->left = decoder->left << 4 | (unsigned)digit;
    decoder->digits++;
    return SIZE;
}

/* chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ), RFC 9112 7.1.1. */
static int extension_byte(enum state state, uint8_t byte)
{
    bool is_blank = byte == ' ' || byte == '\t';
    bool is_token = weir__h1_is(byte, WEIR__H1_TOKEN);

    switch (state) {
    case EXT_GAP:
        return byte == ';' ? EXT_START : is_blank ? EXT_GAP : WRONG;
    case EXT_START:
        return is_token ? EXT_NAME : is_blank ? EXT_START : WRONG;
    case EXT_NAME:
        if (is_token) {
            return EXT_NAME;
        }
        return byte == '=' ? EXT_EQUALS : is_blank ? EXT_NAME_GAP : after_digits(byte);
    case EXT_NAME_GAP:
        return byte == '=' ? EXT_EQUALS : byte == ';' ? EXT_START : is_blank ? EXT_NAME_GAP : WRONG;
    case EXT_EQUALS:
        return byte == '"' ? EXT_QUOTED : is_token ? EXT_TOKEN : is_blank ? EXT_EQUALS : WRONG;
    case EXT_TOKEN:
        return is_token ? EXT_TOKEN : after_digits(byte);
    case EXT_QUOTED:
        if (byte == '"') {
            return EXT_END;
        }
        return byte == '\\' ? EXT_ESCAPE : weir__h1_is(byte, WEIR__H1_QDTEXT) ? EXT_QUOTED : WRONG;
    case EXT_ESCAPE:
        return weir__h1_is(byte, WEIR__H1_TEXT) ? EXT_QUOTED : WRONG;
    default: /* EXT_END */
        return after_digits(byte);
    }
}

static int trailer_byte(enum state state, uint8_t byte)
{
    bool is_token = weir__h1_is(byte, WEIR__H1_TOKEN);

    switch (state) {
    case TRAILER_START:
        return is_token ? TRAILER_NAME : byte == '\r' ? END_LF : WRONG;
    case TRAILER_NAME:
        return is_token ? TRAILER_NAME : byte == ':' ? TRAILER_VALUE : WRONG;
    case TRAILER_VALUE:
        return weir__h1_is(byte, WEIR__H1_TEXT) ? TRAILER_VALUE : byte == '\r' ? TRAILER_LF : WRONG;
    default: /* TRAILER_LF */
        return byte == '\n' ? TRAILER_START : WRONG;
    }
}

/* One byte outside payload. */
static int next_state(struct weir__h1_chunked *decoder, uint8_t byte)
{
    enum state state = (enum state)decoder->state;

    switch (state) {
    case SIZE_FIRST:
    case SIZE:
        return size_byte(decoder, byte);
    case SIZE_LF:
        return byte == '\n' ? after_size(decoder) : WRONG;
    case DATA_CR:
        return byte == '\r' ? DATA_LF : WRONG;
    case DATA_LF:
        return byte == '\n' ? SIZE_FIRST : WRONG;
    case END_LF:
        return byte == '\n' ? ENDED : WRONG;
    case TRAILER_START:
    case TRAILER_NAME:
    case TRAILER_VALUE:
    case TRAILER_LF:
        return trailer_byte(state, byte);
    default:
        return extension_byte(state, byte);
    }
}

/* A byte of a trailer line that was found good. */
static int keep_trailer(struct weir__h1_chunked *decoder, uint8_t byte)
{
    if (decoder->trailers_len == WEIR__H1_TRAILER_BYTES ||
        (decoder->trailers != NULL && decoder->trailers_len == decoder->trailers_cap)) {
        return WEIR_ELIMIT;
    }
    if (decoder->trailers != NULL) {
        decoder->trailers[decoder->trailers_len] = byte;
    }
    decoder->trailers_len++;
    return 0;
}

/* Eats framing up to payload, the end, the input's end, or the wish for a trailer buffer. *used advances. */
static int eat_framing(struct weir__h1_chunked *decoder, const uint8_t *in, size_t len,
                       size_t *used)
{
    size_t at = *used;

    if (decoder->error < 0) {
        return decoder->error;
    }
    while (decoder->state != DATA && decoder->state != ENDED && at < len) {
        enum state state = (enum state)decoder->state;
        int next;

        if (state == DATA_CR || state == SIZE_FIRST) {
            size_t taken = take_whole_header(decoder, in + at, len - at);

            if (taken > 0) {
                at += taken;
                continue;
            }
        }
        if (state == TRAILER_START && in[at] != '\r' && !decoder->knows_trailers) {
            if (!weir__h1_is(in[at], WEIR__H1_TOKEN)) {
                return fail(decoder, WEIR_EPROTO);
            }
            *used = at;
            return WEIR__H1_TRAILERS;
        }
        next = next_state(decoder, in[at]);
        if (next == WRONG) {
            return fail(decoder, WEIR_EPROTO);
        }
        if ((next >= EXT_GAP && next <= EXT_END) &&
            ++decoder->extension_bytes > WEIR__H1_EXTENSION_BYTES) {
            return fail(decoder, WEIR_ELIMIT);
        }
        if (state >= TRAILER_START && state <= TRAILER_LF && next != END_LF) {
            int r = keep_trailer(decoder, in[at]);

            if (r < 0) {
                return fail(decoder, r);
            }
        }
        decoder->state = (uint8_t)next;
        at++;
    }
    *used = at;
    return decoder->state == ENDED ? WEIR__H1_DONE : WEIR__H1_MORE;
}

/* n payload bytes have been taken. */
static inline void pass(struct weir__h1_chunked *decoder, uint64_t n)
{
    decoder->left -= n;
    if (decoder->left == 0) {
        decoder->state = DATA_CR;
    }
}

int weir__h1_chunked_feed(struct weir__h1_chunked *decoder, struct weir_view in, size_t *ret_used,
                          struct weir_view *ret_payload)
{
    size_t used = 0;
    int r = eat_framing(decoder, in.data, in.len, &used);

    if (r < 0) {
        return r;
    }
    if (r == WEIR__H1_MORE && decoder->state == DATA && used < in.len) {
        size_t run = in.len - used;

        if (run > decoder->left) {
            run = (size_t)decoder->left;
        }
        *ret_payload = weir_bytes(in.data + used, run);
        pass(decoder, run);
        used += run;
        r = WEIR__H1_PAYLOAD;
    }
    *ret_used = used;
    return r;
}

size_t weir__h1_chunked_compact(struct weir__h1_chunked *decoder, uint8_t *buf, size_t len,
                                size_t *ret_used, int *ret_state)
{
    size_t out = 0;
    size_t used = 0;
    int r;

    for (;;) {
        size_t run;

        r = eat_framing(decoder, buf, len, &used);
        if (r != WEIR__H1_MORE || used == len) {
            break;
        }
        run = len - used;
        if (run > decoder->left) {
            run = (size_t)decoder->left;
        }
        if (out != used) {
            memmove(buf + out, buf + used, run);
        }
        pass(decoder, run);
        out += run;
        used += run;
    }
    *ret_used = used;
    *ret_state = r;
    return out;
}

uint64_t weir__h1_chunked_left(const struct weir__h1_chunked *decoder)
{
    return decoder->state == DATA && decoder->error == 0 ? decoder->left : 0;
}

void weir__h1_chunked_skip(struct weir__h1_chunked *decoder, uint64_t n)
{
    weir_assert(n <= weir__h1_chunked_left(decoder));
    if (n > 0) {
        pass(decoder, n);
    }
}

bool weir__h1_chunked_is_done(const struct weir__h1_chunked *decoder)
{
    return decoder->state == ENDED && decoder->error == 0;
}

void weir__h1_chunked_keep_trailers(struct weir__h1_chunked *decoder, uint8_t *buf, size_t cap)
{
    decoder->trailers = buf;
    decoder->trailers_cap =
        cap < WEIR__H1_TRAILER_BYTES ? (uint32_t)cap : (uint32_t)WEIR__H1_TRAILER_BYTES;
    decoder->knows_trailers = 1;
}

struct weir_view weir__h1_chunked_trailers(const struct weir__h1_chunked *decoder)
{
    return decoder->trailers != NULL ? weir_bytes(decoder->trailers, decoder->trailers_len)
                                     : weir_bytes(NULL, 0);
}
