/* A lane: whatever order its items are finished in, its offset is that of the oldest that is not
 * done, and it never skips one. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow/lane.h"

#define VALUE "{\"image_id\":\"018f2b6e-1111-7222-8333-944444444444\",\"minio_path\":\"a/b.jpg\"}"

/* Without a model: nothing here runs one. */
static struct lane *make_lane(void)
{
    struct lane *lane = calloc(1, sizeof *lane);
    assert_non_null(lane);
    return lane;
}

static struct item *append(struct lane *lane, int64_t offset)
{
    const struct bus_message message = {
        .offset = offset, .value = VALUE, .value_size = sizeof VALUE - 1};
    struct item *item = NULL;
    assert_int_equal(lane_append(lane, &message, &item, NULL), STATUS_OK);
    return item;
}

static void appends_in_order(void **state)
{
    struct lane *lane = make_lane();
    int64_t soonest = INT64_MAX;

    (void)state;
    assert_null(lane_ready(lane, 0, &soonest));
    for (int64_t offset = 10; offset < 15; offset++)
        append(lane, offset);
    assert_int_equal(lane->count, 5);
    assert_int_equal(lane->next_offset, 15);
    assert_int_equal(lane_ready(lane, 0, &soonest)->offset, 10);
    assert_true(soonest == INT64_MAX);
    assert_string_equal(lane->oldest->image.path, "a/b.jpg");
    assert_string_equal(lane->oldest->value, VALUE);
    lane_free(lane);
}

static void unreadable_messages_are_kept(void **state)
{
    const struct bus_message message = {.offset = 3, .value = "{\"a\"", .value_size = 4};
    struct lane *lane = make_lane();
    struct item *item = NULL;
    struct error err = {0};

    (void)state;
    assert_int_equal(lane_append(lane, &message, &item, &err), STATUS_INVALID);
    assert_non_null(item);
    assert_string_equal(item->value, "{\"a\"");
    assert_int_equal(lane->count, 1);
    assert_int_equal(lane_commit_offset(lane, NULL, 0), 3);
    assert_int_equal(lane_commit_offset(lane, &item, 1), 4);
    lane_free(lane);
}

static void out_of_order(void **state)
{
    struct lane *lane = make_lane();
    struct item *items[4];

    (void)state;
    for (int64_t offset = 5; offset < 9; offset++)
        append(lane, offset);
    assert_int_equal(lane_take(lane, 0, 4, items), 4);
    assert_int_equal(lane->running, 4);
    /* The third first: nothing may be committed past the first. */
    assert_int_equal(lane_commit_offset(lane, &items[2], 1), 5);
    lane_finish(lane, items[2]);
    assert_int_equal(lane->count, 4);
    struct item *const finished[] = {items[0], items[1]};
    assert_int_equal(lane_commit_offset(lane, finished, 2), 8);
    lane_finish(lane, items[0]);
    assert_int_equal(lane->count, 3);
    lane_finish(lane, items[1]); /* and with it the third */
    assert_int_equal(lane->count, 1);
    assert_int_equal(lane->oldest->offset, 8);
    assert_int_equal(lane_commit_offset(lane, &items[3], 1), 9);
    lane_finish(lane, items[3]);
    assert_int_equal(lane->count, 0);
    assert_int_equal(lane->running, 0);
    assert_null(lane->newest);
    append(lane, 20);
    assert_int_equal(lane->oldest->offset, 20);
    lane_free(lane);
}

static void resting_items_wait(void **state)
{
    struct lane *lane = make_lane();
    struct item *items[8];
    int64_t soonest = INT64_MAX;

    (void)state;
    append(lane, 1)->not_before_ns = 1000;
    append(lane, 2)->not_before_ns = 500;
    append(lane, 3);
    assert_int_equal(lane_ready(lane, 0, &soonest)->offset, 3);
    assert_int_equal(soonest, 500);
    assert_int_equal(lane_take(lane, 0, 8, items), 1);
    assert_int_equal(items[0]->offset, 3);
    soonest = INT64_MAX;
    assert_null(lane_ready(lane, 0, &soonest));
    assert_int_equal(soonest, 500);
    assert_int_equal(lane_take(lane, 600, 8, items), 1);
    assert_int_equal(items[0]->offset, 2);
    assert_int_equal(lane_take(lane, 1000, 8, items), 1);
    assert_int_equal(items[0]->offset, 1);
    lane_free(lane);
}

static void takes_at_most(void **state)
{
    struct lane *lane = make_lane();
    struct item *items[8];

    (void)state;
    for (int64_t offset = 0; offset < 5; offset++)
        append(lane, offset);
    assert_int_equal(lane_take(lane, 0, 2, items), 2);
    assert_int_equal(items[1]->offset, 1);
    assert_int_equal(lane_take(lane, 0, 8, items), 3);
    assert_int_equal(items[0]->offset, 2);
    assert_int_equal(lane_take(lane, 0, 8, items), 0);
    lane_free(lane);
}

/* Random appends, takes, failures and batches of finished items, against a plain table of what is
 * done: the offset to commit is always the oldest undone one, or one past the newest. */
static void random_orders(void **state)
{
    enum { STEPS = 3000, OFFSETS = STEPS + 1 };
    static bool done[OFFSETS];
    unsigned seed = 7;
    struct lane *lane = make_lane();
    struct item *running[256];
    int64_t next = 0, committed = 0;
    int running_count = 0;

    (void)state;
    for (int step = 0; step < STEPS; step++) {
        if (rand_r(&seed) % 2 == 0)
            append(lane, next++);
        if (rand_r(&seed) % 3 == 0 && running_count < 200)
            running_count += lane_take(lane, 0, 1 + rand_r(&seed) % 8, &running[running_count]);
        if (rand_r(&seed) % 3 == 0 && running_count > 0) {
            struct item *finished[8];
            int count = 0;
            while (count < 8 && running_count > 0 && rand_r(&seed) % 4 != 0) {
                const int pick = rand_r(&seed) % running_count;
                struct item *item = running[pick];
                running[pick] = running[--running_count];
                if (rand_r(&seed) % 5 == 0) { /* fails, rests, comes again */
                    item->state = ITEM_WAITING;
                    lane->running--;
                } else {
                    done[item->offset] = true;
                    finished[count++] = item;
                }
            }
            int64_t oldest = 0;
            while (oldest < next && done[oldest])
                oldest++;
            const int64_t offset = lane_commit_offset(lane, finished, count);
            if (next > 0)
                assert_int_equal(offset, oldest);
            assert_true(offset >= committed);
            committed = offset;
            for (int i = 0; i < count; i++)
                lane_finish(lane, finished[i]);
        }
        assert_int_equal(lane->running, running_count);
        assert_true(lane->count >= running_count);
    }
    assert_true(committed > STEPS / 10);
    lane_free(lane);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_in_order), cmocka_unit_test(unreadable_messages_are_kept),
        cmocka_unit_test(out_of_order),     cmocka_unit_test(resting_items_wait),
        cmocka_unit_test(takes_at_most),    cmocka_unit_test(random_orders),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
