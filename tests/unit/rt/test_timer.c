/* SPDX-License-Identifier: MIT */
/* Timers against a naive model, and the promises about lateness of the heap. */
#include "rt_test.h"

#define COUNT 200

struct probe {
    struct weir__timer timer;
    int64_t model_us; /* WEIR__NEVER: stopped */
    int fired;
};

static struct probe probes[COUNT];
static int64_t now_us;
static struct weir__timers timers;

static void fire(struct weir__timer *timer)
{
    struct probe *probe = (struct probe *)(void *)timer;

    assert_true(probe->model_us <= now_us);
    probe->model_us = WEIR__NEVER;
    probe->fired++;
}

static int64_t model_next(void)
{
    int64_t next = WEIR__NEVER;

    for (int i = 0; i < COUNT; i++) {
        next = probes[i].model_us < next ? probes[i].model_us : next;
    }
    return next;
}

static void random_operations_match_the_model(void **state)
{
    uint32_t seed = 20240607;

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        weir__timer_init(&probes[i].timer, fire);
        probes[i].model_us = WEIR__NEVER;
    }
    for (int step = 0; step < 40000; step++) {
        struct probe *probe = &probes[next_random(&seed) % COUNT];
        int64_t at_us = now_us + next_random(&seed) % 1000 - 50;

        switch (next_random(&seed) % 8) {
        case 0:
        case 1:
        case 2:
            assert_int_equal(weir__timer_start(&timers, &probe->timer, at_us), 0);
            probe->model_us = at_us;
            break;
        case 3:
            weir__timer_stop(&probe->timer);
            probe->model_us = WEIR__NEVER;
            break;
        case 4:
            weir__timer_remove(&timers, &probe->timer);
            probe->model_us = WEIR__NEVER;
            break;
        case 5:
            assert_true(weir__timers_next(&timers) == model_next());
            break;
        default:
            now_us += next_random(&seed) % 40;
            weir__timers_run(&timers, now_us);
            assert_true(model_next() > now_us);
            break;
        }
        for (size_t i = 0; i < timers.count; i++) {
            assert_true(timers.slots[i].timer->position == i + 1);
            assert_true(timers.slots[i].key_us <= timers.slots[i].timer->at_us);
            assert_true(i == 0 || timers.slots[(i - 1) / 2].key_us <= timers.slots[i].key_us);
        }
    }
    for (int i = 0; i < COUNT; i++) {
        assert_true(probes[i].fired > 0);
    }
    weir__timers_finish(&timers);
}

static void restart(struct weir__timer *timer)
{
    struct probe *probe = (struct probe *)(void *)timer;

    probe->fired++;
    if (probe->fired < 3) {
        assert_int_equal(weir__timer_start(&timers, timer, now_us + 10), 0);
    }
}

static void a_timer_may_start_itself_again(void **state)
{
    struct probe probe = {.fired = 0};

    (void)state;
    now_us = 0;
    weir__timer_init(&probe.timer, restart);
    assert_int_equal(weir__timer_start(&timers, &probe.timer, 0), 0);
    assert_int_equal(weir__timers_run(&timers, now_us), 1);
    assert_true(weir__timers_next(&timers) == 10);
    now_us = 10;
    assert_int_equal(weir__timers_run(&timers, now_us), 1);
    now_us = 100;
    assert_int_equal(weir__timers_run(&timers, now_us), 1);
    assert_true(weir__timers_next(&timers) == WEIR__NEVER);
    assert_int_equal(timers.count, 0);
    weir__timers_finish(&timers);
}

static void out_of_memory_leaves_the_timer_unqueued(void **state)
{
#ifdef WEIR_DEBUG
    struct probe probe = {.fired = 0};

    weir__timer_init(&probe.timer, fire);
    weir__alloc_fail_at(1);
    assert_int_equal(weir__timer_start(&timers, &probe.timer, 5), WEIR_ENOMEM);
    weir__alloc_fail_at(0);
    assert_int_equal(probe.timer.position, 0);
    weir__timer_remove(&timers, &probe.timer);
    weir__timers_finish(&timers);
#endif
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_match_the_model),
        cmocka_unit_test(a_timer_may_start_itself_again),
        cmocka_unit_test(out_of_memory_leaves_the_timer_unqueued),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
