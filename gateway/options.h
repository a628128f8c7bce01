/* SPDX-License-Identifier: MIT */
#ifndef GW_OPTIONS_H
#define GW_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "problem.h"
#include "settings.h"

/* A place to listen at or to connect to: a literal address, or a name to look up. */
struct gw_address {
    char host[256]; /* without brackets; "" for every address of the machine (--listen only) */
    uint16_t port;  /* 0: any free one (--listen only) */
    bool is_ipv6;   /* `host` is an IPv6 literal */
};

/* "[::1]:8080": what a URL or a log shows. */
struct gw_address_text {
    char text[272];
};

/* The command line of `weir proxy`. Strings stay with argv. */
struct gw_options {
    struct gw_address listen;
    struct gw_address to;
    unsigned threads;      /* 0: one per processor */
    const char *keys_path; /* borrowed from argv; NULL: no keys, everybody may pass */
    struct gw_settings settings;
};

enum gw_options_result {
    GW_OPTIONS_RUN = 0,
    GW_OPTIONS_HELP = 1,          /* --help: print it and end with 0 */
    GW_OPTIONS_HELP_SETTINGS = 2, /* --help-settings */
};

/**
 * Parses what follows `weir proxy`.
 *
 * argc, argv  the arguments only, without the program's and the command's name.
 * ret         set for GW_OPTIONS_RUN, else of no meaning.
 * problem     on failure the message, which names the option.
 *
 * Returns enum gw_options_result, or WEIR_EINVAL. Context: any thread.
 */
WEIR_NODISCARD int gw_options_parse(int argc, char *const *argv, struct gw_options *ret,
                                    struct gw_problem *problem);

void gw_options_print_help(FILE *out);

struct gw_address_text gw_address_print(const struct gw_address *address);

#endif
