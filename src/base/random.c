/* SPDX-License-Identifier: MIT */
/* Random bytes, a thread's share of them fetched at a time, and a hash with a secret. */
#include "base/random.h"

#include <weir/err.h>

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define POOL_BYTES 256

static _Thread_local struct {
    uint8_t bytes[POOL_BYTES];
    size_t left;
} pool;

static int fetch(void *bytes, size_t len)
{
    uint8_t *at = bytes;

    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);

        if (got < 0 && errno != EINTR) {
            return WEIR_EIO;
        }
        if (got > 0) {
            at += got;
            len -= (size_t)got;
        }
    }
    return 0;
}

int weir__random(void *bytes, size_t len)
{
    uint8_t *from;

    if (len > POOL_BYTES) {
        return fetch(bytes, len);
    }
    if (pool.left < len) {
        if (fetch(pool.bytes, sizeof(pool.bytes)) < 0) {
            return WEIR_EIO;
        }
        pool.left = sizeof(pool.bytes);
    }
    pool.left -= len;
    from = pool.bytes + pool.left;
    memcpy(bytes, from, len);
    memset(from, 0, len); /* nobody gets it twice */
    return 0;
}

static uint64_t rotate(uint64_t word, unsigned by)
{
    return word << by | word >> (64 - by);
}

static void rounds(uint64_t v[4], int count)
{
    for (int i = 0; i < count; i++) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

/* Little-endian, of at most eight bytes. */
static uint64_t word_of(const uint8_t *bytes, size_t len)
{
    uint64_t word = 0;

    for (size_t i = len; i > 0; i--) {
        word = word << 8 | bytes[i - 1];
    }
    return word;
}

uint64_t weir__siphash(const uint64_t secret[2], struct weir_view bytes)
{
    uint64_t v[4] = {
        secret[0] ^ 0x736f6d6570736575u,
        secret[1] ^ 0x646f72616e646f6du,
        secret[0] ^ 0x6c7967656e657261u,
        secret[1] ^ 0x7465646279746573u,
    };
    size_t len = bytes.len;
    const uint8_t *at = bytes.data;

    for (; len >= 8; len -= 8, at += 8) {
        uint64_t word = word_of(at, 8);

        v[3] ^= word;
        rounds(v, 2);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)bytes.len << 56 | word_of(at, len);

    v[3] ^= last;
    rounds(v, 2);
    v[0] ^= last;
    v[2] ^= 0xff;
    rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
