/* SPDX-License-Identifier: MIT */
/* Views and the error table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <weir/err.h>
#include <weir/view.h>

static void numbers_are_digits_only(void **state)
{
    uint64_t value = 7;

    (void)state;
    assert_int_equal(weir_view_to_u64(weir_str("18446744073709551615"), &value), 0);
    assert_true(value == UINT64_MAX);
    value = 7;
    assert_int_equal(weir_view_to_u64(weir_str("18446744073709551616"), &value), WEIR_ELIMIT);
    assert_int_equal(weir_view_to_u64(weir_str("99999999999999999999"), &value), WEIR_ELIMIT);
    assert_int_equal(weir_view_to_u64(weir_str(""), &value), WEIR_EINVAL);
    assert_int_equal(weir_view_to_u64(weir_str("+1"), &value), WEIR_EINVAL);
    assert_int_equal(weir_view_to_u64(weir_str("1 "), &value), WEIR_EINVAL);
    assert_int_equal(weir_view_to_u64(weir_str("0x1"), &value), WEIR_EINVAL);
    assert_true(value == 7);
}

static void lists_skip_empty_items(void **state)
{
    struct weir_view list = weir_str(", a ,,b\t, c c ,");
    struct weir_view item;

    (void)state;
    assert_int_equal(weir_view_next_item(&list, &item), 1);
    assert_true(weir_view_equal(item, weir_str("a")));
    assert_int_equal(weir_view_next_item(&list, &item), 1);
    assert_true(weir_view_equal(item, weir_str("b")));
    assert_int_equal(weir_view_next_item(&list, &item), 1);
    assert_true(weir_view_equal(item, weir_str("c c")));
    assert_int_equal(weir_view_next_item(&list, &item), 0);
}

static void foreign_codes_are_recognised(void **state)
{
    (void)state;
    assert_string_equal(weir_strerror(-501), "not a weir error code");
    assert_string_equal(weir_err_name(WEIR_EFLOW), "WEIR_EFLOW");
    assert_string_equal(weir_strerror(0), "success");
    assert_string_equal(weir_reason_name(WEIR_REASON_FIN), "fin");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_digits_only),
        cmocka_unit_test(lists_skip_empty_items),
        cmocka_unit_test(foreign_codes_are_recognised),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
