/* SPDX-License-Identifier: MIT */
/* A table of buckets of eight, behind a few locks. Invariant: a key lies in its own bucket only, once. */
#include "route/limit_table.h"

#include <arpa/inet.h>
#include <pthread.h>

#include "base/alloc.h"
#include "base/random.h"

#define WAYS 8
#define LOCKS 16
#define DEFAULT_KEYS 65536

struct clock_of {
    uint64_t id; /* 0: free */
    int64_t at;
};

struct weir__limit_table {
    uint64_t secret[2];
    size_t buckets;
    struct {
        pthread_mutex_t locks[LOCKS];
        struct clock_of *clocks;
    } shared;
};

int weir__limit_table_create(size_t max_keys, struct weir__limit_table **ret)
{
    struct weir__limit_table *table;

    max_keys = max_keys > 0 ? max_keys : DEFAULT_KEYS;
    if (max_keys > SIZE_MAX / sizeof(struct clock_of) - WAYS) {
        return WEIR_EINVAL;
    }
    table = weir_alloc0(sizeof(*table));
    if (table == NULL) {
        return WEIR_ENOMEM;
    }
    table->buckets = (max_keys + WAYS - 1) / WAYS;
    table->shared.clocks = weir_alloc0(table->buckets * WAYS * sizeof(struct clock_of));
    if (table->shared.clocks == NULL || weir__random(table->secret, sizeof(table->secret)) < 0) {
        int r = table->shared.clocks == NULL ? WEIR_ENOMEM : WEIR_EIO;

        weir_free(table->shared.clocks);
        weir_free(table);
        return r;
    }
    for (size_t i = 0; i < LOCKS; i++) {
        pthread_mutex_init(&table->shared.locks[i], NULL);
    }
    *ret = table;
    return 0;
}

void weir__limit_table_destroy(struct weir__limit_table *table)
{
    if (table == NULL) {
        return;
    }
    for (size_t i = 0; i < LOCKS; i++) {
        pthread_mutex_destroy(&table->shared.locks[i]);
    }
    weir_free(table->shared.clocks);
    weir_free(table);
}

uint64_t weir__limit_id(struct weir__limit_table *table, struct weir_view key)
{
    uint64_t id = weir__siphash(table->secret, key);

    return id != 0 ? id : 1;
}

bool weir__limit_key(struct weir__limit_table *table, struct weir_req *req, weir_limit_key_fn *fn,
                     void *arg, uint64_t *ret)
{
    uint8_t buffer[WEIR_LIMIT_KEY_BYTES];
    size_t len = fn != NULL ? fn(req, arg, buffer) : weir_limit_key_address(req, arg, buffer);

    if (len == 0 || len > sizeof(buffer)) {
        return false;
    }
    *ret = weir__limit_id(table, weir_bytes(buffer, len));
    return true;
}

int64_t weir__clock_take(int64_t *clock, int64_t now, int64_t burst, int64_t cost, bool force)
{
    int64_t from = *clock > now - burst ? *clock : now - burst;
    int64_t to = from + cost;

    if (cost > 0 && (to <= now || force)) {
        *clock = to;
    }
    return to > now ? to - now : 0;
}

/* The clock of a key; a new one in place of the one that lies farthest behind. */
static struct clock_of *find(struct clock_of *bucket, uint64_t id)
{
    struct clock_of *oldest = bucket;

    for (size_t i = 0; i < WAYS; i++) {
        if (bucket[i].id == id) {
            return &bucket[i];
        }
        if (oldest->id != 0 && (bucket[i].id == 0 || bucket[i].at < oldest->at)) {
            oldest = &bucket[i];
        }
    }
    *oldest = (struct clock_of){.id = id, .at = WEIR__LIMIT_FRESH};
    return oldest;
}

int64_t weir__limit_take(struct weir__limit_table *table, uint64_t id, int64_t now, int64_t burst,
                         int64_t cost, bool force)
{
    size_t bucket = (size_t)(id >> 1) % table->buckets;
    pthread_mutex_t *lock = &table->shared.locks[bucket % LOCKS];
    int64_t wait;

    pthread_mutex_lock(lock);
    wait = weir__clock_take(&find(table->shared.clocks + bucket * WAYS, id)->at, now, burst, cost,
                            force);
    pthread_mutex_unlock(lock);
    return wait;
}

/* ---- keys ---- */

/* Of an IPv6 address the first half: who has one has all of that half's. */
static size_t ipv6_key(struct weir_view text, uint8_t *buffer)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char address[64];
    uint8_t bytes[16];

    if (text.len >= sizeof(address)) {
        return 0;
    }
    memcpy(address, text.data, text.len);
    address[text.len] = '\0';
    if (inet_pton(AF_INET6, address, bytes) != 1) {
        return 0;
    }
    if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
        memcpy(buffer, bytes + 12, 4);
        return 4;
    }
    memcpy(buffer, bytes, 8);
    return 8;
}

static size_t ipv4_key(struct weir_view text, uint8_t *buffer)
{
    char address[INET_ADDRSTRLEN];

    if (text.len >= sizeof(address)) {
        return 0;
    }
    memcpy(address, text.data, text.len);
    address[text.len] = '\0';
    return inet_pton(AF_INET, address, buffer) == 1 ? 4 : 0;
}

size_t weir_limit_key_address(struct weir_req *req, void *arg, uint8_t *buffer)
{
    struct weir_view peer = weir_req_peer(req);

    (void)arg;
    /* "192.0.2.1:4711", "[2001:db8::1]:4711" */
    while (peer.len > 0 && peer.data[peer.len - 1] != ':') {
        peer.len--;
    }
    if (peer.len < 3) {
        return 0;
    }
    peer.len--;
    return peer.data[0] == '[' ? ipv6_key(weir_bytes(peer.data + 1, peer.len - 2), buffer)
                               : ipv4_key(peer, buffer);
}

size_t weir_limit_key_field(struct weir_req *req, void *arg, uint8_t *buffer)
{
    struct weir_view value = weir_req_field(req, arg);

    if (value.len > WEIR_LIMIT_KEY_BYTES) {
        value.len = WEIR_LIMIT_KEY_BYTES;
    }
    if (value.len > 0) {
        memcpy(buffer, value.data, value.len);
    }
    return value.len;
}
