/* SPDX-License-Identifier: MIT */
/*
 * The same handler, asked the same thing over several wires, must give the client the same: one text that names the
 * status, the fields, the body, the trailers, and how it ended. What only a wire's framing needs (Content-Length,
 * Transfer-Encoding, Connection, Date) is no part of it. Another wire is one more entry of parity_wires.
 */
#ifndef WEIR_TEST_PARITY_H
#define WEIR_TEST_PARITY_H

#include <stddef.h>

#include <weir/http.h>

#define PARITY_FIELDS 8
#define PARITY_BYTES 65536

struct parity_case {
    const char *name;
    weir_handler_fn *handler;
    void *arg;
    const char *method, *target; /* NULL: "GET", "/" */
    struct {
        const char *name, *value;
    } fields[PARITY_FIELDS];
    const char *body;    /* NULL: none */
    const char *expect;  /* "200\nname: value\n\nbody\nname: trailer\nend\n" */
    void (*reset)(void); /* called before each wire; NULL: nothing */
};

struct parity_wire {
    const char *name;
    /* Plays one case and writes what the client saw, ended by a NUL. */
    void (*play)(const struct parity_case *one, char *text, size_t size);
};

extern const struct parity_wire parity_memory, parity_h1;

/* Whether a field belongs to the wire's framing. */
bool parity_is_framing(struct weir_view name);

/* Plays every case over every wire; fails the running test where one differs. */
void parity_check(const struct parity_case *cases, size_t count);

#endif
