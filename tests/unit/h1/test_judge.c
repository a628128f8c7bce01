/* SPDX-License-Identifier: MIT */
/* The second parser: whatever we claim wrongly about a head, it does not confirm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "h1/judge.h"

static struct weir_field fields[3];
static struct weir__h1_head head;
static struct weir__h1_facts facts;
static const char text[] = "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nE:\r\n\r\n";

static struct weir_view part(size_t at, size_t len)
{
    return weir_bytes(text + at, len);
}

/* The truth about `text`. */
static void reset(void)
{
    fields[0] = (struct weir_field){part(17, 4), part(23, 1)};
    fields[1] = (struct weir_field){part(26, 14), part(42, 2)};
    fields[2] = (struct weir_field){part(46, 1), part(48, 0)};
    head = (struct weir__h1_head){
        .target = part(4, 2), .minor = 1, .fields = fields, .field_count = 3, .field_cap = 3};
    facts = (struct weir__h1_facts){.has_length = true, .length = 12};
}

static enum weir__h1_verdict judge(void)
{
    return weir__h1_judge(part(0, sizeof(text) - 1), true, &head, &facts);
}

static void the_truth_is_confirmed(void **state)
{
    (void)state;
    reset();
    assert_int_equal(judge(), WEIR__H1_AGREED);
    facts.needs_split = true;
    assert_int_equal(judge(), WEIR__H1_AGREED);
}

#define REFUSED_WITH(change)                         \
    do {                                             \
        reset();                                     \
        change;                                      \
        assert_int_equal(judge(), WEIR__H1_REFUSED); \
    } while (0)

static void nothing_else_is(void **state)
{
    (void)state;
    REFUSED_WITH(head.target.len--);
    REFUSED_WITH(head.target.data++);
    REFUSED_WITH(head.minor = 0);
    REFUSED_WITH(head.field_count = 2);
    REFUSED_WITH(head.field_count = 1);
    REFUSED_WITH(fields[0].name.len--);
    REFUSED_WITH(fields[0].name = part(18, 4));
    REFUSED_WITH(fields[1].value.len--);
    REFUSED_WITH(fields[1].value.len = 0);
    REFUSED_WITH(fields[2].value = part(42, 2));
    REFUSED_WITH(facts.length = 1);
    REFUSED_WITH(facts.has_length = false);
    REFUSED_WITH(facts.is_chunked = true);
    REFUSED_WITH(facts.needs_split = true; facts.length = 1);
    REFUSED_WITH(facts.needs_split = true; facts.is_chunked = true);
}

static void a_head_ends_where_we_say(void **state)
{
    (void)state;
    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        reset();
        assert_int_equal(weir__h1_judge(part(0, len), true, &head, &facts), WEIR__H1_REFUSED);
    }
    reset();
    assert_int_equal(weir__h1_judge(part(0, sizeof(text)), true, &head, &facts), WEIR__H1_REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_truth_is_confirmed),
        cmocka_unit_test(nothing_else_is),
        cmocka_unit_test(a_head_ends_where_we_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
