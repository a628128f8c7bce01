/* SPDX-License-Identifier: MIT */
#ifndef GW_SETTINGS_H
#define GW_SETTINGS_H

#include <stdint.h>
#include <stdio.h>

#include <weir/view.h>

#include "problem.h"

/*
 * Everything that can be set about the gateway's one route and its one upstream, by `--set KEY=VALUE`. The keys, their
 * types, defaults, ranges and documentation are one table in settings.c; parser, help and messages read that table.
 * Plain values: copy at will, share read-only between threads.
 */

/* How long a client may be slower than client.min_rate before it counts. */
#define GW_MIN_RATE_AFTER_MS 30000

/* A longer log path is refused. */
#define GW_PATH_MAX 512

enum gw_half_close {
    GW_HALF_CLOSE_DENY,  /* a client's FIN after its whole request means that it has gone */
    GW_HALF_CLOSE_ALLOW, /* it means that the client has no more to say, and waits */
};

struct gw_settings {
    struct {
        struct {
            int64_t dial_ms;
            int64_t response_head_ms; /* 0: no limit; so for the next two */
            int64_t first_byte_ms;
            int64_t idle_ms;
        } timeouts;
        uint64_t max_connections; /* 0: no limit */
        uint64_t keepalive;       /* idle connections kept per thread; 0: none */
    } upstream;
    struct {
        struct {
            int64_t head_ms;
            int64_t keepalive_ms; /* 0: connections are not kept */
            int64_t body_gap_ms;  /* 0: no limit; so for the next */
            int64_t stall_ms;
        } timeouts;
        uint64_t min_rate; /* bytes/s; 0: none */
    } client;
    int timeout_status; /* 504 or 408 */
    struct {
        uint64_t memory; /* bytes; 0: a share of the machine's, chosen at the start */
        uint64_t connections;
        uint64_t streams;
        uint64_t head_bytes;
        uint64_t target_bytes;
        uint64_t fields;
        uint64_t body_bytes; /* 0: no limit */
        uint64_t upstream_head_bytes;
    } limits;
    int half_close; /* enum gw_half_close */
    struct {
        uint64_t bytes;
        int64_t time_ms;
    } drain;
    struct {
        int64_t grace_ms;
    } shutdown;
    char access_log[GW_PATH_MAX]; /* a path, "stderr", "stdout" or "off" */
    int64_t access_log_every_ms;  /* 0: no record before the end */
    struct {
        uint64_t slow_bytes;
        uint64_t fast_bytes;
        uint64_t fast_chunk;
        uint64_t fast_after;
        int64_t stall_reset_ms;
        int64_t stall_slow_ms;
    } forward;
};

/* Every setting at its default. Context: any thread. */
void gw_settings_init(struct gw_settings *settings);

/**
 * Sets one from "key=value". Any bytes are allowed in `assignment`.
 *
 * problem  on failure the message: the key, the bad value, the allowed form and range; for an unknown key the nearest.
 *
 * Returns 0, or WEIR_ENOTFOUND (no such key), WEIR_EINVAL (no "=", or not of the key's form), WEIR_ELIMIT (out of its
 * range). `settings` is untouched on failure. Context: any thread.
 */
WEIR_NODISCARD int gw_settings_set(struct gw_settings *settings, struct weir_view assignment,
                                   struct gw_problem *problem);

/**
 * Looks at the settings together, once all are set: those that contradict each other are refused.
 *
 * Returns 0 or WEIR_EINVAL. Context: any thread.
 */
WEIR_NODISCARD int gw_settings_check(const struct gw_settings *settings,
                                     struct gw_problem *problem);

/* The table, with documentation and defaults, for `weir proxy --help-settings`. */
void gw_settings_print_help(FILE *out);

/* The number of settings, and the i-th key; NULL from the number on. For tests and for other listings. */
size_t gw_settings_count(void);
const char *gw_settings_key(size_t i);

#endif
