/* SPDX-License-Identifier: MIT */
/* What reached the client of a test. */
#include "kit/kit.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "rt/loop.h"

static int copy_fields(struct weir_fields *from, struct weir_fields **ret)
{
    int r = weir_fields_create(ret);

    for (size_t i = 0; r == 0 && i < weir_fields_count(from); i++) {
        struct weir_field field = weir_fields_at(from, i);

        r = weir_fields_add(*ret, field.name, field.value);
    }
    return r;
}

static void on_head(void *arg, const struct weir__head *head)
{
    struct weir_test *test = arg;

    if (head->status < 200) {
        return; /* in the trace */
    }
    test->result.length =
        head->length >= WEIR_LENGTH_UNTIL_CLOSE ? WEIR_LENGTH_UNKNOWN : head->length;
    test->error = copy_fields(head->fields, &test->fields);
}

static int make_room(struct weir_test *test, size_t bytes)
{
    size_t wanted = test->body_len + bytes;
    size_t count = test->result.writes;

    if (wanted > test->body_capacity) {
        size_t capacity = test->body_capacity == 0 ? 1024 : test->body_capacity * 2;
        uint8_t *body;

        capacity = capacity < wanted ? wanted : capacity;
        body = weir_realloc(test->body, capacity);
        if (body == NULL) {
            return WEIR_ENOMEM;
        }
        test->body = body;
        test->body_capacity = capacity;
    }
    if (count == test->write_capacity) {
        size_t capacity = count == 0 ? 16 : count * 2;
        struct weir__test_write *writes = weir_realloc(test->writes, capacity * sizeof(*writes));

        if (writes == NULL) {
            return WEIR_ENOMEM;
        }
        test->writes = writes;
        test->write_capacity = capacity;
    }
    return 0;
}

static void on_body(void *arg, const uint8_t *bytes, size_t len)
{
    struct weir_test *test = arg;
    size_t keep = test->keep - test->body_len < len ? test->keep - test->body_len : len;

    if (make_room(test, keep) < 0) {
        test->error = WEIR_ENOMEM;
    } else {
        test->writes[test->result.writes++] = (struct weir__test_write){
            weir__loop_clock_us(test->loop) - test->begun_us, test->result.body_bytes, len};
        if (keep > 0) {
            memcpy(test->body + test->body_len, bytes, keep);
            test->body_len += keep;
        }
    }
    test->result.body_bytes += len;
    weir__test_taken(test);
}

static void on_end(void *arg, struct weir_fields *trailers)
{
    struct weir_test *test = arg;

    if (trailers != NULL && test->trailers == NULL) {
        test->error = copy_fields(trailers, &test->trailers);
    }
}

const struct weir__memory_tap weir__test_tap = {on_head, on_body, on_end};

/* ---- asking ---- */

void weir_test_result(struct weir_test *test, struct weir_test_result *ret)
{
    weir_check(test, WEIR__TEST_MAGIC);
    *ret = test->result;
}

struct weir_fields *weir_test_fields(struct weir_test *test)
{
    weir_check(test, WEIR__TEST_MAGIC);
    return test->fields;
}

struct weir_view weir_test_field(struct weir_test *test, const char *name)
{
    weir_check(test, WEIR__TEST_MAGIC);
    return weir_fields_get(test->fields, weir_str(name));
}

struct weir_view weir_test_body(struct weir_test *test)
{
    weir_check(test, WEIR__TEST_MAGIC);
    return weir_bytes(test->body_len > 0 ? test->body : (const uint8_t *)"", test->body_len);
}

struct weir_fields *weir_test_trailers(struct weir_test *test)
{
    weir_check(test, WEIR__TEST_MAGIC);
    return test->trailers;
}

int weir_test_write(struct weir_test *test, size_t i, struct weir_test_write *ret)
{
    struct weir__test_write *write;
    size_t offset, len;

    weir_check(test, WEIR__TEST_MAGIC);
    if (i >= test->result.writes) {
        return WEIR_ENOTFOUND;
    }
    write = &test->writes[i];
    offset = write->offset < test->body_len ? (size_t)write->offset : test->body_len;
    len = write->bytes < test->body_len - offset ? (size_t)write->bytes : test->body_len - offset;
    *ret = (struct weir_test_write){
        .at_us = write->at_us,
        .offset = write->offset,
        .bytes = write->bytes,
        .view = test->body_len > 0 ? weir_bytes(test->body + offset, len) : weir_str(""),
    };
    return 0;
}

const char *weir_test_trace(struct weir_test *test)
{
    weir_check(test, WEIR__TEST_MAGIC);
    return weir__memory_trace(test->memory);
}

uint8_t weir_test_byte(uint64_t position)
{
    return weir__memory_byte(position);
}
