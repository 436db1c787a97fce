/* The bounded queue: bounds, closing, and many threads on both sides. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>

#include "base/queue.h"

static void test_first_in_first_out_and_bounds(void **state)
{
    struct queue *queue = NULL;
    int numbers[4];
    void *item = NULL;
    (void)state;
    assert_int_equal(queue_create(0, &queue, NULL), STATUS_INVALID);
    assert_int_equal(queue_create(3, &queue, NULL), 0);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++)
            assert_int_equal(queue_push(queue, &numbers[i], 0), 0);
        assert_int_equal(queue_push(queue, &numbers[3], 0), STATUS_BUSY);
        assert_int_equal(queue_push(queue, &numbers[3], 1), STATUS_BUSY);
        assert_int_equal(queue_size(queue), 3);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(queue_pop(queue, &item, 0), 0);
            assert_ptr_equal(item, &numbers[i]);
        }
        assert_int_equal(queue_pop(queue, &item, 0), STATUS_TIMEOUT);
        assert_int_equal(queue_pop(queue, &item, 1), STATUS_TIMEOUT);
    }
    queue_free(queue);
}

static void test_closed_queue_drains(void **state)
{
    struct queue *queue = NULL;
    int number;
    void *item = NULL;
    (void)state;
    assert_int_equal(queue_create(2, &queue, NULL), 0);
    assert_int_equal(queue_push(queue, &number, 0), 0);
    queue_close(queue);
    assert_int_equal(queue_push(queue, &number, 0), STATUS_CLOSED);
    assert_int_equal(queue_pop(queue, &item, -1), 0);
    assert_ptr_equal(item, &number);
    assert_int_equal(queue_pop(queue, &item, -1), STATUS_CLOSED);
    queue_free(queue);
}

enum { SIDES = 4, ITEMS_EACH = 20000 };

struct crowd {
    struct queue *queue;
    unsigned char seen[SIDES * ITEMS_EACH];
    atomic_int next_base, taken;
};

static void *produce(void *context)
{
    struct crowd *crowd = context;
    const int base = atomic_fetch_add(&crowd->next_base, ITEMS_EACH);
    for (int i = 0; i < ITEMS_EACH; i++)
        if (queue_push(crowd->queue, &crowd->seen[base + i], -1) != STATUS_OK)
            return crowd;
    return NULL;
}

static void *consume(void *context)
{
    struct crowd *crowd = context;
    void *item;
    while (queue_pop(crowd->queue, &item, -1) == STATUS_OK) {
        (*(unsigned char *)item)++;
        atomic_fetch_add(&crowd->taken, 1);
    }
    return NULL;
}

static void test_every_item_arrives_once(void **state)
{
    static struct crowd crowd;
    pthread_t producers[SIDES], consumers[SIDES];
    void *failed;
    (void)state;
    assert_int_equal(queue_create(16, &crowd.queue, NULL), 0);
    for (int i = 0; i < SIDES; i++) {
        assert_int_equal(pthread_create(&consumers[i], NULL, consume, &crowd), 0);
        assert_int_equal(pthread_create(&producers[i], NULL, produce, &crowd), 0);
    }
    for (int i = 0; i < SIDES; i++) {
        assert_int_equal(pthread_join(producers[i], &failed), 0);
        assert_null(failed);
    }
    queue_close(crowd.queue);
    for (int i = 0; i < SIDES; i++)
        assert_int_equal(pthread_join(consumers[i], NULL), 0);
    assert_int_equal(crowd.taken, SIDES * ITEMS_EACH);
    for (int i = 0; i < SIDES * ITEMS_EACH; i++)
        assert_int_equal(crowd.seen[i], 1);
    queue_free(crowd.queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_in_first_out_and_bounds),
        cmocka_unit_test(test_closed_queue_drains),
        cmocka_unit_test(test_every_item_arrives_once),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
