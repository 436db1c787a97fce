/* The tensor store on a real folder of objects: one decoding for all models and threads, least
 * recently used out first, the image's own faults kept and passing ones tried again. */
#include "flow_test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/id.h"
#include "data/objects.h"
#include "flow/tensors.h"

struct tensors_fixture {
    struct fixture files;
    struct objects *objects;
    struct tensors *tensors;
    uint8_t *jpeg;
    size_t jpeg_size;
};

static void read_golden(const char *name, uint8_t **bytes, size_t *size)
{
    char path[1024];
    struct error err = {0};
    snprintf(path, sizeof path, "%s/%s", GOLDENS, name);
    assert_ok(file_read(path, 1 << 24, bytes, size, &err), &err);
}

static void open_store(struct tensors_fixture *fixture, const char *images)
{
    struct error err = {0};
    assert_ok(config_set(fixture->files.config, "tensor_cache_images", images, CONFIG_FLAG, &err),
              &err);
    assert_ok(tensors_create(fixture->files.config, fixture->objects, fixture->files.metrics,
                             &fixture->tensors, &err),
              &err);
}

static int setup(void **state)
{
    struct tensors_fixture *fixture = test_calloc(1, sizeof *fixture);
    struct error err = {0};

    fixture_make(&fixture->files);
    assert_ok(
        objects_open_folder(fixture->files.config, fixture->files.metrics, &fixture->objects, &err),
        &err);
    open_store(fixture, "256");
    read_golden("photo.jpg", &fixture->jpeg, &fixture->jpeg_size);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct tensors_fixture *fixture = *state;
    tensors_free(fixture->tensors);
    objects_close(fixture->objects);
    fixture_drop(&fixture->files);
    free(fixture->jpeg);
    test_free(fixture);
    return 0;
}

/* The message of an image whose object has these bytes; NULL for none. */
static struct image_message put(struct tensors_fixture *fixture, const void *bytes, size_t size)
{
    struct image_message message = {.format = "JPEG"};
    struct error err = {0};

    id_make(message.image_id);
    snprintf(message.path, sizeof message.path, "raw-images/2024/01/15/%s.jpg", message.image_id);
    if (bytes != NULL)
        assert_ok(objects_put(fixture->objects, message.path, bytes, size, &err), &err);
    return message;
}

static struct preprocess preset(const char *name)
{
    struct preprocess preprocess;
    struct error err = {0};
    assert_ok(preprocess_preset(name, &preprocess, &err), &err);
    return preprocess;
}

static int get_one(struct tensors_fixture *fixture, const struct preprocess *preprocess,
                   const struct image_message *message, struct tensor_ref **ref, struct error *err)
{
    int status;
    tensors_get(fixture->tensors, preprocess, &message, 1, ref, &status, err);
    return status;
}

static double decodes(struct tensors_fixture *fixture, const char *result)
{
    char series[80];
    snprintf(series, sizeof series, "ocelli_image_decodes_total{result=\"%s\"}", result);
    const double value = metric_read(fixture->files.metrics, series);
    return value < 0 ? 0 : value;
}

static void assert_decodes(struct tensors_fixture *fixture, int decoded, int reused, int failed)
{
    assert_int_equal((int)decodes(fixture, "decoded"), decoded);
    assert_int_equal((int)decodes(fixture, "reused"), reused);
    assert_int_equal((int)decodes(fixture, "failed"), failed);
}

/* --- Sharing */

static void decoded_once_for_all_models(void **state)
{
    struct tensors_fixture *fixture = *state;
    const struct preprocess small = preset("cifar10"), large = preset("imagenet");
    const struct preprocess wanted[] = {small, large};
    const struct image_message message = put(fixture, fixture->jpeg, fixture->jpeg_size);
    struct tensor_ref *a, *b, *c;
    struct error err = {0};

    assert_ok(tensors_wanted(fixture->tensors, wanted, 2, &err), &err);
    assert_ok(get_one(fixture, &small, &message, &a, &err), &err);
    assert_ok(get_one(fixture, &large, &message, &b, &err), &err);
    assert_ok(get_one(fixture, &small, &message, &c, &err), &err);
    assert_ptr_equal(a, c);
    assert_ptr_not_equal(a, b);
    assert_decodes(fixture, 1, 2, 0);
    /* What is in it is what preprocessing the same picture gives. */
    struct image_target target = {1, 1};
    struct image *image;
    preprocess_widen_target(&small, &target);
    preprocess_widen_target(&large, &target);
    assert_ok(image_decode(fixture->jpeg, fixture->jpeg_size,
                           &(struct image_limits){1 << 24, 1 << 24}, &target, &image, &err),
              &err);
    float *expected = malloc(preprocess_count(&small) * sizeof *expected);
    assert_ok(preprocess_run(&small, image, expected, &err), &err);
    assert_memory_equal(tensor_ref_data(a), expected, preprocess_count(&small) * sizeof *expected);
    free(expected);
    image_release(image);
    tensor_release(a);
    tensor_release(b);
    tensor_release(c);
    tensor_release(NULL);
}

/* A preprocess that was not foreseen (a model that came just now) costs a second decoding. */
static void unforeseen_preprocess(void **state)
{
    struct tensors_fixture *fixture = *state;
    const struct preprocess small = preset("cifar10"), raw = preset("raw01");
    const struct image_message message = put(fixture, fixture->jpeg, fixture->jpeg_size);
    struct tensor_ref *a, *b, *again;
    struct error err = {0};

    assert_ok(tensors_wanted(fixture->tensors, &small, 1, &err), &err);
    assert_ok(get_one(fixture, &small, &message, &a, &err), &err);
    assert_ok(get_one(fixture, &raw, &message, &b, &err), &err);
    assert_ok(get_one(fixture, &small, &message, &again, &err), &err);
    assert_decodes(fixture, 2, 1, 0);
    assert_true(tensor_ref_data(a)[0] == tensor_ref_data(a)[0]); /* the first is still ours */
    tensor_release(a);
    tensor_release(b);
    tensor_release(again);
}

static void too_many_preprocesses(void **state)
{
    struct tensors_fixture *fixture = *state;
    struct preprocess list[32];
    struct error err = {0};

    for (int i = 0; i < 32; i++)
        list[i] = preset("cifar10");
    assert_int_equal(tensors_wanted(fixture->tensors, list, 32, &err), STATUS_TOO_LARGE);
    assert_int_equal(tensors_wanted(fixture->tensors, list, 31, &err), STATUS_OK);
    assert_int_equal(tensors_wanted(fixture->tensors, NULL, 0, &err), STATUS_OK);
}

enum { THREADS = 8, SHARED = 40 };

struct sharing {
    struct tensors_fixture *fixture;
    struct image_message messages[SHARED];
    atomic_int served;
};

/* Each thread asks for all images at once, in an order of its own. */
static void get_all(int number, void *context)
{
    struct sharing *sharing = context;
    const struct preprocess preprocess = preset(number % 2 == 0 ? "cifar10" : "raw01");
    const struct image_message *images[SHARED];
    struct tensor_ref *refs[SHARED];
    int statuses[SHARED];
    struct error errors[SHARED];

    for (int i = 0; i < SHARED; i++)
        images[i] = &sharing->messages[(i * 7 + number * 5) % SHARED];
    tensors_get(sharing->fixture->tensors, &preprocess, images, SHARED, refs, statuses, errors);
    for (int i = 0; i < SHARED; i++) {
        if (statuses[i] == STATUS_OK && tensor_ref_data(refs[i]) != NULL)
            atomic_fetch_add(&sharing->served, 1);
        tensor_release(refs[i]);
    }
}

static void threads_share_the_work(void **state)
{
    struct tensors_fixture *fixture = *state;
    const struct preprocess wanted[] = {preset("cifar10"), preset("raw01")};
    struct sharing sharing = {.fixture = fixture};
    struct error err = {0};

    assert_ok(tensors_wanted(fixture->tensors, wanted, 2, &err), &err);
    for (int i = 0; i < SHARED; i++)
        sharing.messages[i] = put(fixture, fixture->jpeg, fixture->jpeg_size);
    run_threads(THREADS, get_all, &sharing);
    assert_int_equal(atomic_load(&sharing.served), THREADS * SHARED);
    assert_decodes(fixture, SHARED, (THREADS - 1) * SHARED, 0);
}

/* With room for three images and threads that want forty, everybody is served all the same. */
static void threads_in_a_small_store(void **state)
{
    struct tensors_fixture *fixture = *state;
    const struct preprocess wanted[] = {preset("cifar10")}; /* raw01 is not foreseen */
    struct sharing sharing = {.fixture = fixture};
    struct error err = {0};

    tensors_free(fixture->tensors);
    open_store(fixture, "3");
    assert_ok(tensors_wanted(fixture->tensors, wanted, 1, &err), &err);
    for (int i = 0; i < SHARED; i++)
        sharing.messages[i] = put(fixture, fixture->jpeg, fixture->jpeg_size);
    run_threads(THREADS, get_all, &sharing);
    assert_int_equal(atomic_load(&sharing.served), THREADS * SHARED);
}

static void oldest_use_leaves_first(void **state)
{
    struct tensors_fixture *fixture = *state;
    const struct preprocess small = preset("cifar10");
    struct image_message messages[4];
    struct tensor_ref *refs[7];
    struct error err = {0};
    static const int order[7] = {0, 1, 2, 0, 3, 0, 1}; /* 3 pushes 1 out, since 0 was used again */

    tensors_free(fixture->tensors);
    open_store(fixture, "3");
    for (int i = 0; i < 4; i++)
        messages[i] = put(fixture, fixture->jpeg, fixture->jpeg_size);
    for (int i = 0; i < 7; i++)
        assert_ok(get_one(fixture, &small, &messages[order[i]], &refs[i], &err), &err);
    assert_decodes(fixture, 5, 2, 0);
    assert_ptr_equal(refs[0], refs[5]);
    assert_ptr_not_equal(refs[1], refs[6]);
    assert_memory_equal(tensor_ref_data(refs[1]), tensor_ref_data(refs[6]), 4096);
    for (int i = 0; i < 7; i++)
        tensor_release(refs[i]);
}

/* --- Failing */

static void a_broken_image_is_remembered(void **state)
{
    struct tensors_fixture *fixture = *state;
    const struct preprocess small = preset("cifar10"), raw = preset("raw01");
    const struct image_message cut = put(fixture, fixture->jpeg, 200);
    const struct image_message text = put(fixture, "hello, world", 12);
    struct tensor_ref *ref;
    struct error err = {0};

    assert_int_equal(get_one(fixture, &small, &cut, &ref, &err), STATUS_CORRUPT);
    assert_null(ref);
    assert_true(strlen(err.message) > 10);
    err = (struct error){0};
    assert_int_equal(get_one(fixture, &raw, &cut, &ref, &err), STATUS_CORRUPT);
    assert_true(strlen(err.message) > 10);
    assert_decodes(fixture, 0, 0, 1); /* not decoded again for the second model */
    assert_int_equal(get_one(fixture, &small, &text, &ref, &err), STATUS_UNSUPPORTED);
}

static void a_missing_object_may_come(void **state)
{
    struct tensors_fixture *fixture = *state;
    const struct preprocess small = preset("cifar10");
    const struct image_message message = put(fixture, NULL, 0);
    struct tensor_ref *ref;
    struct error err = {0};

    assert_int_equal(get_one(fixture, &small, &message, &ref, &err), STATUS_NOT_FOUND);
    assert_ok(objects_put(fixture->objects, message.path, fixture->jpeg, fixture->jpeg_size, &err),
              &err);
    assert_ok(get_one(fixture, &small, &message, &ref, &err), &err);
    tensor_release(ref);
}

/* A picture that one model cannot take is no worse for the others. */
static void too_small_for_one_model(void **state)
{
    struct tensors_fixture *fixture = *state;
    const struct preprocess small = preset("cifar10");
    struct preprocess huge = preset("imagenet");
    const struct image_message message = put(fixture, fixture->jpeg, fixture->jpeg_size);
    struct tensor_ref *ref;
    struct error err = {0};

    huge.fit = PREPROCESS_FIT_NONE;
    huge.width = huge.height = PREPROCESS_SIDE_MAX;
    assert_ok(tensors_wanted(fixture->tensors, (struct preprocess[]){small, huge}, 2, &err), &err);
    assert_int_equal(get_one(fixture, &huge, &message, &ref, &err), STATUS_INVALID);
    assert_null(ref);
    assert_ok(get_one(fixture, &small, &message, &ref, &err), &err);
    tensor_release(ref);
    assert_int_equal(get_one(fixture, &huge, &message, &ref, &err), STATUS_INVALID);
    assert_ok(get_one(fixture, &small, &message, &ref, &err), &err);
    tensor_release(ref);
}

static void good_and_bad_together(void **state)
{
    struct tensors_fixture *fixture = *state;
    const struct preprocess small = preset("cifar10");
    const struct image_message good = put(fixture, fixture->jpeg, fixture->jpeg_size);
    const struct image_message cut = put(fixture, fixture->jpeg, 100);
    struct image_message stray = put(fixture, NULL, 0);
    const struct image_message *images[] = {&cut, &good, &stray, &good, &cut};
    struct tensor_ref *refs[5];
    int statuses[5];
    struct error errors[5] = {0};

    snprintf(stray.path, sizeof stray.path, "../../etc/passwd");
    tensors_get(fixture->tensors, &small, images, 5, refs, statuses, errors);
    assert_int_equal(statuses[0], STATUS_CORRUPT);
    assert_int_equal(statuses[1], STATUS_OK);
    assert_int_equal(statuses[2], STATUS_INVALID);
    assert_int_equal(statuses[3], STATUS_OK);
    assert_int_equal(statuses[4], STATUS_CORRUPT);
    assert_ptr_equal(refs[1], refs[3]);
    tensor_release(refs[1]);
    tensor_release(refs[3]);
}

#define TENSORS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TENSORS_TEST(decoded_once_for_all_models),  TENSORS_TEST(unforeseen_preprocess),
        TENSORS_TEST(too_many_preprocesses),        TENSORS_TEST(threads_share_the_work),
        TENSORS_TEST(threads_in_a_small_store),     TENSORS_TEST(oldest_use_leaves_first),
        TENSORS_TEST(a_broken_image_is_remembered), TENSORS_TEST(a_missing_object_may_come),
        TENSORS_TEST(too_small_for_one_model),      TENSORS_TEST(good_and_bad_together),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
