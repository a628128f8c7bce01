/* SPDX-License-Identifier: MIT */
#ifndef WEIR_KIT_KIT_H
#define WEIR_KIT_KIT_H

#include <weir/test.h>

#include "http/memory.h"

/*
 * The test kit for users: the memory transport with a reader that has a pace, and a record that can be asked. script.c
 * turns a user's script into steps of the transport, record.c keeps what reached the client, run.c has the life.
 *
 * The reader: `taken` bytes have reached it, of which it has read `read`; at most window_bytes may lie in between, so the
 * transport's socket is open by window_bytes - (taken - read). A tick per ms reads on while there is something to read.
 */
struct weir__test_call {
    struct weir_test *test;
    uint64_t pace;
};

struct weir__test_write {
    int64_t at_us;
    uint64_t offset, bytes;
};

struct weir_test {
    uint32_t magic;
    int64_t clock_us, begun_us;
    struct weir__loop *loop; /* NULL: over */
    struct weir__memory *memory;
    weir_handler_fn *handler;
    void *arg;
    int error; /* of the kit's own, while it runs */

    /* script.c */
    struct weir__memory_step *steps;
    size_t step_count;
    bool has_body;
    struct weir__test_call *calls; /* one for each step at most */
    struct weir_fields *request_trailers;

    /* the reader */
    uint64_t pace, window, read;
    bool ticking;
    struct weir__timer tick, limit;

    /* record.c */
    struct weir_test_result result;
    struct weir_fields *fields, *trailers;
    uint8_t *body;
    size_t body_len, body_capacity, keep;
    struct weir__test_write *writes;
    size_t write_capacity;
};

#define WEIR__TEST_MAGIC 0x74657374u

extern const struct weir__memory_tap weir__test_tap;

/* Fields from lines "Name: value". Returns 0, WEIR_EINVAL, WEIR_ENOMEM; *ret stays NULL without lines. */
int weir__test_fields(const char *const *lines, struct weir_fields **ret);

/* Makes test->steps. Returns 0, WEIR_EINVAL, WEIR_ENOMEM. */
int weir__test_script(struct weir_test *test, const struct weir_test_opts *opts);

void weir__test_pace(struct weir_test *test, uint64_t bytes_per_ms);
/* Something has reached the reader. */
void weir__test_taken(struct weir_test *test);

#endif
