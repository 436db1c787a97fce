/* Out of memory: every allocation of this folder fails in turn; each failure is reported and
 * nothing leaks (the address sanitizer counts). The linker routes the folder's malloc and calloc
 * through here; those inside the decoding libraries stay as they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>

#include "golden.h"
#include "image/preprocess.h"

/* Allocations still granted; negative grants all. */
static int allowance = -1;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool grant(void)
{
    if (allowance == 0)
        return false;
    if (allowance > 0)
        allowance--;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return grant() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return grant() ? __real_calloc(count, size) : NULL;
}

static int decode_and_preprocess(const struct golden_file *file, float *tensor, struct error *err)
{
    struct preprocess preprocess;
    struct image *image = NULL;

    int status = preprocess_preset("cifar10", &preprocess, err);
    if (status == STATUS_OK)
        status = image_decode(file->bytes, file->size, NULL, NULL, &image, err);
    if (status == STATUS_OK)
        status = preprocess_run(&preprocess, image, tensor, err);
    image_release(image);
    return status;
}

static void test_every_allocation_may_fail(void **state)
{
    static const char *const names[] = {
        "jpeg-exif6.jpg", "jpeg-cmyk.jpg",   "png-rgba8-interlaced.png",
        "png-exif6.png",  "webp-lossy.webp", "webp-lossless-alpha.webp",
    };
    static float tensor[3 * 32 * 32];

    (void)state;
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        struct golden_file file = golden_read(names[n]);
        int failures = 0, status = STATUS_NO_MEMORY;
        while (status != STATUS_OK) {
            struct error err = {0};
            allowance = failures;
            status = decode_and_preprocess(&file, tensor, &err);
            allowance = -1;
            assert_int_equal(status, err.code);
            assert_true(status == STATUS_OK || status == STATUS_NO_MEMORY);
            failures += status != STATUS_OK;
        }
        assert_true(failures >= 11); /* a picture, eight tables of coefficients, two pictures */
        golden_free(&file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation_may_fail),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
