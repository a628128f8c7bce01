/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_COMMON_H
#define EXAMPLES_COMMON_H

#include <weir/server.h>

/*
 * What the examples share: options of the command line, start and end. None of it is needed to use the library:
 * docs/quick-start.md has a whole program without it.
 */

/* An option beyond --listen, --threads and --help. */
struct example_option {
    const char *name;                               /* "--seed" */
    const char *help;                               /* "ADDR:PORT   what it is for" */
    int (*take)(void *arg, struct weir_view value); /* 0, or < 0: the value is refused */
};

struct example {
    const char *name;
    const char *about; /* one line for --help */
    weir_handler_fn *handler;
    void *arg;                            /* for the handler and the calls below */
    const struct example_option *options; /* ended by one without a name; NULL for none */
    int (*start)(
        void *arg); /* after the listener is there, before the first request; may be NULL */
    void (*stop)(void *arg); /* after the last request; may be NULL */
};

/* "127.0.0.1:8080", "[::1]:0" or ":80"; `host` is cut and ended. Returns 0 or WEIR_EINVAL. */
int example_address(struct weir_view text, char *host, size_t host_bytes, uint16_t *ret_port);

/* The value of an option as a number within bounds. Returns 0 or WEIR_EINVAL. */
int example_number(struct weir_view value, uint64_t min, uint64_t max, uint64_t *ret);

/* Answers 405 with an Allow field. */
int example_not_allowed(struct weir_req *req, const char *methods);

/* Runs the server until SIGTERM or SIGINT. Returns what main() returns. */
int example_main(int argc, char **argv, const struct example *example);

#endif
