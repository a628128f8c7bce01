/* SPDX-License-Identifier: MIT */
/* Random publishers and readers on a fake clock: every reader sees a gap-free sequence, or is told exactly how many are
 * missing; the ring keeps its bounds. The seed of a failure is printed: WEIR_SEED=... replays it, WEIR_PROGRAMS=... runs
 * more of them. */
#include "../rt/rt_test.h"

#include <stdio.h>

#include <weir/topic.h>

#define MOST_READERS 12

static uint32_t seed;
static struct weir_topic *topic;
static size_t max_items, max_bytes;
static uint64_t first_id, published; /* ids below that, from first_id */
static unsigned long items_read, items_missed, disconnected;
static int close_error;
static uint32_t running; /* the program; 0: none has failed */

static uint32_t roll(uint32_t below)
{
    return next_random(&seed) % below;
}

/* The length and the bytes of an item follow from its id. */
static size_t length_of(uint64_t id)
{
    size_t len = 1 + (size_t)(id * 7919 % 97);

    return len < max_bytes ? len : max_bytes;
}

static void check_item(const struct weir_topic_item *item)
{
    struct weir_view view = weir_chunk_view(item->chunk);

    assert_int_equal(item->tag, (uint32_t)item->id ^ 5);
    assert_int_equal(view.len, length_of(item->id));
    for (size_t i = 0; i < view.len; i++) {
        assert_int_equal(view.data[i], (uint8_t)(item->id + i));
    }
}

static int publisher(void *arg)
{
    int left = 1 + (int)roll(200);

    (void)arg;
    while (left-- > 0) {
        uint8_t bytes[128];
        uint64_t id = 0;
        struct weir_topic_stats stats;
        size_t len = length_of(published);

        for (size_t i = 0; i < len; i++) {
            bytes[i] = (uint8_t)(published + i);
        }
        assert_int_equal(
            weir_topic_publish_bytes(topic, (uint32_t)published ^ 5, weir_bytes(bytes, len), &id),
            0);
        assert_true(id == published);
        published++;
        weir_topic_stats(topic, &stats);
        assert_true(stats.next_id == published);
        assert_true(stats.items <= max_items && stats.bytes <= max_bytes && stats.items > 0);
        if (roll(3) == 0) {
            assert_int_equal(weir_sleep(weir_after_ms(roll(20))), 0);
        }
    }
    return 0;
}

/* Reads one subscription for a while; `last` is the id it has had. Returns what ended it, 1 by its own choice. */
static int read_some(struct weir_subscription *subscription, uint64_t *last)
{
    for (uint32_t items = roll(100); items > 0; items--) {
        struct weir_topic_item item = {0};
        uint32_t way = roll(4);
        int64_t deadline = way == 0 ? 0 : way == 1 ? weir_after_ms(roll(30)) : -1;
        int r = weir_topic_next(subscription, deadline, &item);

        if (r == WEIR_EAGAIN || r == WEIR_ETIMEDOUT) {
            assert_int_equal(way, r == WEIR_EAGAIN ? 0 : 1);
            continue;
        }
        if (r <= 0) {
            if (r == WEIR_ELAGGED) {
                disconnected++;
            } else {
                assert_int_equal(r, close_error);
                assert_true(*last + 1 == published);
            }
            return r;
        }
        if (item.missed > 0) {
            assert_null(item.chunk);
            assert_true(item.id == *last + item.missed);
            items_missed += item.missed;
        } else {
            check_item(&item);
            items_read++;
            assert_true(item.id == *last + 1);
        }
        *last = item.id;
        weir_topic_item_drop(&item);
        if (roll(4) == 0) {
            assert_int_equal(weir_sleep(weir_after_ms(roll(60))), 0);
        }
    }
    return 1;
}

static int reader(void *arg)
{
    struct weir_subscribe_opts opts = {0};
    uint64_t last = 0;
    uint32_t rounds = 1 + roll(4);
    int r = 1;

    (void)arg;
    if (roll(2) == 0) {
        assert_int_equal(weir_sleep(weir_after_ms(roll(300))), 0);
    }
    opts.from = roll(2) == 0 ? WEIR_TOPIC_FROM_NOW : WEIR_TOPIC_FROM_OLDEST;
    for (; r == 1 && rounds > 0; rounds--) {
        struct weir_subscription *subscription = NULL;
        struct weir_topic_stats stats;
        bool gone;
        int made;

        weir_topic_stats(topic, &stats);
        gone = opts.from == WEIR_TOPIC_FROM_AFTER && last + 1 < stats.next_id - stats.items;
        if (opts.from != WEIR_TOPIC_FROM_AFTER) {
            last = stats.next_id - 1 - (opts.from == WEIR_TOPIC_FROM_OLDEST ? stats.items : 0);
        }
        opts.after_id = last;
        opts.slow = roll(3) == 0 ? WEIR_TOPIC_DISCONNECT : WEIR_TOPIC_SKIP;
        made = weir_topic_subscribe(topic, &opts, &subscription);
        assert_int_equal(made, gone ? 1 : 0);
        r = read_some(subscription, &last);
        weir_subscription_destroy(subscription);
        opts.from = WEIR_TOPIC_FROM_AFTER;
        if (r == 1) {
            assert_int_equal(weir_sleep(weir_after_ms(roll(100))), 0);
        }
    }
    return 0;
}

static int play(void *arg)
{
    struct weir_scope *writers = NULL, *readers = NULL;
    int count = 1 + (int)roll(MOST_READERS);

    (void)arg;
    assert_int_equal(weir_scope_open(&writers), 0);
    assert_int_equal(weir_scope_open(&readers), 0);
    for (int i = 0; i < count; i++) {
        assert_int_equal(weir_scope_spawn(readers, reader, NULL), 0);
    }
    for (uint32_t i = 1 + roll(3); i > 0; i--) {
        assert_int_equal(weir_scope_spawn(writers, publisher, NULL), 0);
    }
    assert_int_equal(weir_scope_join(writers, -1), 0);
    weir_topic_close(topic, close_error);
    assert_int_equal(weir_scope_join(readers, -1), 0);
    weir_scope_close(writers);
    weir_scope_close(readers);
    return 0;
}

static void fiber(void *arg)
{
    *(int *)arg = play(NULL);
}

static void program(uint32_t number)
{
    int r = -1;

    seed = number * 2654435761u | 1;
    max_items = 1 + roll(roll(2) == 0 ? 4 : 60);
    max_bytes = roll(2) == 0 ? 1 + roll(300) : 100000;
    first_id = roll(2) == 0 ? 1 : 1 + roll(100000);
    published = first_id;
    close_error = roll(2) == 0 ? 0 : WEIR_EIO;
    assert_int_equal(weir_topic_create(&(struct weir_topic_opts){.max_items = max_items,
                                                                 .max_bytes = max_bytes,
                                                                 .first_id = first_id},
                                       &topic),
                     0);
    start(fiber, &r);
    weir__loop_run_until_idle(loop);
    assert_int_equal(r, 0);
    topic = weir_topic_unref(topic);
}

static void test_sequences_are_gap_free_or_counted(void **state)
{
    const char *seed_text = getenv("WEIR_SEED");
    const char *count_text = getenv("WEIR_PROGRAMS");
    uint64_t first = 1, count = on_valgrind() ? 30 : 2000;

    (void)state;
    if (seed_text != NULL) {
        assert_int_equal(weir_view_to_u64(weir_str(seed_text), &first), 0);
        count = 1;
    } else if (count_text != NULL) {
        assert_int_equal(weir_view_to_u64(weir_str(count_text), &count), 0);
    }
    for (uint64_t i = first; i < first + count; i++) {
        running = (uint32_t)i;
        program(running);
    }
    running = 0;
    print_message("%lu items read, %lu missed, %lu disconnected\n", items_read, items_missed,
                  disconnected);
}

static int say_seed(void **state)
{
    if (running != 0) {
        print_message("WEIR_SEED=%u\n", running);
    }
    return close_loop(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(
        test_sequences_are_gap_free_or_counted, open_fake_loop, say_seed)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
