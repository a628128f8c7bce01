/* SPDX-License-Identifier: MIT */
/* The client of a test: its script as steps of the memory transport, and how fast it reads. */
#include "kit/kit.h"

#include "base/alloc.h"
#include "rt/loop.h"

int weir__test_fields(const char *const *lines, struct weir_fields **ret)
{
    struct weir_fields *fields = NULL;
    int r = lines != NULL ? weir_fields_create(&fields) : 0;

    for (; r == 0 && lines != NULL && *lines != NULL; lines++) {
        const char *colon = strchr(*lines, ':');

        r = colon == NULL ? WEIR_EINVAL
                          : weir_fields_add(fields, weir_bytes(*lines, (size_t)(colon - *lines)),
                                            weir_view_trim(weir_str(colon + 1)));
    }
    if (r < 0) {
        weir_fields_destroy(fields);
        return r;
    }
    *ret = fields;
    return 0;
}

/* ---- the reader ---- */

/* Reads on and opens the socket by as much. */
static void read_on(struct weir_test *test, uint64_t bytes)
{
    struct weir__memory_result result;
    uint64_t there;

    weir__memory_result(test->memory, &result);
    there = result.taken - test->read;
    test->read += bytes < there ? bytes : there;
    weir__memory_socket(test->memory, test->window - (result.taken - test->read));
}

static void tick(struct weir__timer *timer)
{
    struct weir_test *test = weir_list_entry(timer, struct weir_test, tick);

    test->ticking = false;
    if (test->pace == WEIR_TEST_ANY || test->pace == 0) {
        return;
    }
    read_on(test, test->pace); /* what follows may set it ticking */
    weir__test_taken(test);
}

void weir__test_taken(struct weir_test *test)
{
    struct weir__memory_result result;

    weir__memory_result(test->memory, &result);
    if (test->pace == WEIR_TEST_ANY || result.finished) {
        test->read = result.taken;
    } else if (test->pace > 0 && result.taken > test->read && !test->ticking) {
        test->ticking = true;
        WEIR_IGNORE(weir__timer_start(&test->loop->timers, &test->tick, test->loop->now_us + 1000));
    }
}

void weir__test_pace(struct weir_test *test, uint64_t bytes_per_ms)
{
    test->pace = bytes_per_ms;
    if (bytes_per_ms == WEIR_TEST_ANY) {
        weir__memory_socket(test->memory, UINT64_MAX);
    } else {
        read_on(test, 0);
    }
    weir__test_taken(test);
}

static void pace_now(void *arg)
{
    struct weir__test_call *call = arg;

    weir__test_pace(call->test, call->pace);
}

/* ---- the script ---- */

static int translate(struct weir_test *test, const struct weir_test_step *from,
                     struct weir__test_call *call, struct weir__memory_step *ret)
{
    *ret = (struct weir__memory_step){.at_ms = from->at_ms};
    switch (from->act) {
    case WEIR_TEST_BODY:
        ret->act = WEIR__MEMORY_SEND;
        ret->bytes = from->text != NULL ? strlen(from->text) : from->bytes;
        ret->data = from->text != NULL ? from->text : from->data;
        return ret->bytes > 0 ? 0 : WEIR_EINVAL;
    case WEIR_TEST_BODY_END:
        ret->act = WEIR__MEMORY_SEND_END;
        if (test->request_trailers != NULL) {
            return WEIR_EINVAL;
        }
        return weir__test_fields(from->trailers, &test->request_trailers);
    case WEIR_TEST_BODY_OPEN:
        return 0; /* no step of its own */
    case WEIR_TEST_PACE:
        if (from->at_ms == 0) { /* before the handler runs */
            test->pace = from->bytes;
        }
        ret->act = WEIR__MEMORY_CALL;
        ret->call = pace_now;
        ret->arg = call;
        *call = (struct weir__test_call){test, from->bytes};
        return 0;
    case WEIR_TEST_FIN:
        ret->act = WEIR__MEMORY_FIN;
        return 0;
    case WEIR_TEST_RESET:
        ret->act = WEIR__MEMORY_GONE;
        ret->reason = WEIR_REASON_RESET;
        return 0;
    case WEIR_TEST_CALL:
        ret->act = WEIR__MEMORY_CALL;
        ret->call = from->call;
        ret->arg = from->arg;
        return from->call != NULL ? 0 : WEIR_EINVAL;
    }
    return WEIR_EINVAL;
}

int weir__test_script(struct weir_test *test, const struct weir_test_opts *opts)
{
    int64_t last_ms = 0;
    bool ends = true;

    test->has_body = opts->declared_length > 0;

    test->steps = weir_alloc0((opts->step_count + 1) * sizeof(*test->steps));
    test->calls = weir_alloc0((opts->step_count + 1) * sizeof(*test->calls));
    if (test->steps == NULL || test->calls == NULL) {
        return WEIR_ENOMEM;
    }
    for (size_t i = 0; i < opts->step_count; i++) {
        const struct weir_test_step *from = &opts->steps[i];
        int r = from->at_ms >= 0 && from->at_ms <= INT64_MAX / 4000
                    ? translate(test, from, &test->calls[i], &test->steps[test->step_count])
                    : WEIR_EINVAL;

        if (r < 0) {
            return r;
        }
        if (from->act == WEIR_TEST_BODY) {
            test->has_body = true;
            last_ms = from->at_ms > last_ms ? from->at_ms : last_ms;
        }
        test->has_body |= from->act == WEIR_TEST_BODY_END || from->act == WEIR_TEST_BODY_OPEN;
        ends &= from->act != WEIR_TEST_BODY_END && from->act != WEIR_TEST_BODY_OPEN;
        if (from->act == WEIR_TEST_BODY_END) {
            test->steps[test->step_count].fields = test->request_trailers;
        }
        test->step_count += from->act != WEIR_TEST_BODY_OPEN;
    }
    if (test->has_body && ends) {
        test->steps[test->step_count++] =
            (struct weir__memory_step){.at_ms = last_ms, .act = WEIR__MEMORY_SEND_END};
    }
    weir__timer_init(&test->tick, tick);
    return 0;
}
