/* SPDX-License-Identifier: MIT */
/* Chunks: what slices keep, where credit goes, what threads may do, and that the budget comes back to where it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <weir/err.h>

#include "base/alloc.h"
#include "bytes/budget.h"
#include "bytes/chunk.h"
#include "rt/loop.h"

#include <pthread.h>

static size_t held(void)
{
    return weir__budget_used(weir__budget_process());
}

static void slices_keep_their_buffer(void **state)
{
    size_t before = held();
    int64_t live = weir__alloc_live();
    struct weir_chunk *whole, *middle, *inner;

    (void)state;
    assert_int_equal(weir_chunk_copy(weir_str("0123456789"), &whole), 0);
    assert_int_equal(weir_chunk_slice(whole, 2, 6, &middle), 0);
    assert_int_equal(weir_chunk_slice(middle, 1, 3, &inner), 0);
    assert_int_equal(weir_chunk_slice(middle, 4, 3, &inner), WEIR_EINVAL);
    assert_int_equal(weir_chunk_slice(middle, SIZE_MAX, 1, &inner), WEIR_EINVAL);
    assert_int_equal(weir_chunk_slice(middle, 0, 0, &inner), WEIR_EINVAL);
    assert_null(weir_chunk_unref(whole));
    assert_null(weir_chunk_unref(middle));
    assert_true(held() > before);
    assert_true(weir_view_equal(weir_chunk_view(inner), weir_str("345")));
    weir_chunk_unref(inner);
    assert_int_equal(held(), before);
    assert_int_equal(weir__alloc_live(), live);
}

static size_t returned;

static void credit(void *owner, size_t bytes)
{
    assert_ptr_equal(owner, &returned);
    returned += bytes;
}

static void credit_returns_once(void **state)
{
    struct weir_chunk *chunk, *slice;

    (void)state;
    returned = 0;
    assert_int_equal(weir_chunk_create(100, &chunk), 0);
    chunk->credit = credit;
    chunk->credit_owner = &returned;
    chunk->credit_bytes = 100;
    assert_int_equal(weir_chunk_slice(chunk, 0, 1, &slice), 0);
    weir_chunk_unref(chunk);
    assert_int_equal(returned, 0); /* a slice holds it */
    weir_chunk_unref(slice);
    assert_int_equal(returned, 100);

    assert_int_equal(weir_chunk_create(50, &chunk), 0);
    chunk->credit = credit;
    chunk->credit_owner = &returned;
    chunk->credit_bytes = 50;
    weir_chunk_detach(chunk);
    weir_chunk_detach(chunk);
    assert_int_equal(returned, 150);
    weir_chunk_unref(chunk);
    assert_int_equal(returned, 150);
}

static void released(void *arg)
{
    ++*(int *)arg;
}

static void wrapped_memory_is_let_go_once(void **state)
{
    static const char text[] = "static";
    struct weir_chunk *chunk;
    int count = 0;

    (void)state;
    assert_int_equal(weir_chunk_wrap(weir_str(text), released, &count, &chunk), 0);
    assert_ptr_equal(weir_chunk_view(chunk).data, text);
    weir_chunk_ref(chunk);
    weir_chunk_unref(chunk);
    assert_int_equal(count, 0);
    weir_chunk_unref(chunk);
    assert_int_equal(count, 1);
    assert_int_equal(weir_chunk_wrap(weir_bytes(text, 0), released, &count, &chunk), WEIR_EINVAL);
    assert_int_equal(weir_chunk_create(0, &chunk), WEIR_EINVAL);
    assert_int_equal(weir_chunk_create(((size_t)1 << 20) + 1, &chunk), WEIR_EINVAL);
    assert_int_equal(count, 1);
}

static void *drop_all(void *arg)
{
    struct weir_chunk **chunks = arg;

    for (int i = 0; i < 100; i++) {
        weir_chunk_unref(chunks[i]);
    }
    return NULL;
}

static void another_thread_may_drop(void **state)
{
    struct weir_chunk *chunks[100];
    size_t before = held();
    int64_t live = weir__alloc_live();
    struct weir__loop *loop;
    pthread_t thread;

    (void)state;
    assert_int_equal(weir__loop_create(NULL, NULL, &loop), 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(weir_chunk_create(4096, &chunks[i]), 0);
        weir_chunk_ref(chunks[i]);
    }
    assert_int_equal(pthread_create(&thread, NULL, drop_all, chunks), 0);
    drop_all(chunks);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(held(), before);
    weir__loop_destroy(loop);
    assert_int_equal(weir__alloc_live(), live);
}

static void a_pool_keeps_little(void **state)
{
    struct weir_chunk *chunks[64];
    struct weir__loop *loop;
    int64_t live;

    (void)state;
    assert_int_equal(weir__loop_create(NULL, NULL, &loop), 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 64; i++) {
            assert_int_equal(weir_chunk_create(65536, &chunks[i]), 0);
        }
        for (int i = 0; i < 64; i++) {
            weir_chunk_unref(chunks[i]);
        }
    }
    live = weir__alloc_live();
    weir__chunk_pool_trim();
    assert_true(live - weir__alloc_live() <= 2); /* of the largest pooled class but one */
    weir__loop_destroy(loop);
}

static void over_the_budget_nothing_is_made(void **state)
{
    struct weir__budget *budget = weir__budget_process();
    size_t limit = budget->limit;
    struct weir_chunk *chunk = NULL, *more = NULL;
    int64_t live = weir__alloc_live();

    (void)state;
    weir__budget_set_limit(budget, held() + 70000);
    assert_int_equal(weir_chunk_create(65536, &chunk), 0);
    assert_true(weir__budget_is_over(budget, 90));
    assert_int_equal(weir_chunk_create(65536, &more), WEIR_EBUDGET);
    assert_null(more);
    weir_chunk_unref(chunk);
    assert_int_equal(weir_chunk_create(65536, &chunk), 0);
    weir_chunk_unref(chunk);
    weir__budget_set_limit(budget, limit);
    assert_int_equal(weir__alloc_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_keep_their_buffer),
        cmocka_unit_test(credit_returns_once),
        cmocka_unit_test(wrapped_memory_is_let_go_once),
        cmocka_unit_test(another_thread_may_drop),
        cmocka_unit_test(a_pool_keeps_little),
        cmocka_unit_test(over_the_budget_nothing_is_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
