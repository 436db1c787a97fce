/* Sources: a folder of files and CIFAR-10's binary batches, made here. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "image/image.h"
#include "sources/source.h"

enum { RECORD_SIZE = 3073 };

static char top[64];

static int make_top(void **state)
{
    (void)state;
    snprintf(top, sizeof top, "/tmp/ocelli-sources-XXXXXX");
    return mkdtemp(top) == NULL ? -1 : 0;
}

static int remove_top(void **state)
{
    (void)state;
    return folder_remove(top, NULL);
}

/* Writes `size` bytes to top/name, with the folders before it. */
static void put(const char *name, const void *bytes, size_t size)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", top, name);
    *strrchr(path, '/') = '\0';
    assert_int_equal(folder_make(path, false, NULL), STATUS_OK);
    snprintf(path, sizeof path, "%s/%s", top, name);
    assert_int_equal(file_write_atomic(path, bytes, size, false, NULL), STATUS_OK);
}

/* The start of a PNG of 7 x 5: enough to be told from other files. */
static const uint8_t png_head[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0,    0, 0,
                                   13,   'I', 'H', 'D', 'R',  0,    0,    0,    7,    0, 0,
                                   0,    5,   8,   2,   0,    0,    0,    0x18, 0x2b, 1, 0x32};

static void put_png(const char *name)
{
    put(name, png_head, sizeof png_head);
}

/* The names of all images with their labels, as "name=label " one after another. */
static void read_all(struct source *source, char *text, size_t text_size)
{
    struct source_image image;
    struct error err = {0};
    size_t used = 0;
    int got;

    text[0] = '\0';
    while ((got = source_next(source, &image, &err)) == 1) {
        used += (size_t)snprintf(text + used, text_size - used, "%s=%s ", image.name, image.label);
        assert_true(used < text_size);
        source_image_free(&image);
    }
    assert_int_equal(got, 0);
    assert_int_equal(source_next(source, &image, &err), 0);
}

/* --- Folder ----------------------------------------------------------------------------------- */

static void put_tree(void)
{
    put_png("b/two.png");
    put_png("b/deep/three.dat"); /* told by content, not by name */
    put_png("a/one.png");
    put_png("zero.png");
    put("a/notes.png", "no image at all", 15);
    put("a/empty.png", "", 0);
    put_png(".hidden/four.png");
    put_png("b/.five.png");
}

static void test_folder_lists_images_in_path_order(void **state)
{
    struct source *source;
    struct error err = {0};
    char text[256];

    (void)state;
    put_tree();
    assert_int_equal(source_open_folder(top, 1, 0, &source, &err), STATUS_OK);
    assert_int_equal(source_count(source), 4);
    assert_string_equal(source_kind(source), "folder");
    read_all(source, text, sizeof text);
    assert_string_equal(text, "one.png=a three.dat=deep two.png=b zero.png= ");
    source_close(source);
}

static void test_folder_without_labels(void **state)
{
    struct source *source;
    struct error err = {0};
    char text[256], with_slashes[80];

    (void)state;
    put_tree();
    snprintf(with_slashes, sizeof with_slashes, "%s//", top);
    assert_int_equal(source_open_folder(with_slashes, 0, 0, &source, &err), STATUS_OK);
    read_all(source, text, sizeof text);
    assert_string_equal(text, "one.png= three.dat= two.png= zero.png= ");
    source_close(source);
}

static void test_folder_shuffles_by_seed(void **state)
{
    char first[4096], again[4096], other[4096], name[32];
    char *const texts[] = {first, again, other};
    const uint64_t seeds[] = {7, 7, 8};

    (void)state;
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "%02d.png", i);
        put_png(name);
    }
    for (int i = 0; i < 3; i++) {
        struct source *source;
        assert_int_equal(source_open_folder(top, 0, seeds[i], &source, NULL), STATUS_OK);
        assert_int_equal(source_count(source), 40);
        read_all(source, texts[i], sizeof first);
        source_close(source);
    }
    assert_string_equal(first, again);
    assert_string_not_equal(first, other);
    assert_int_equal(strlen(first), 40 * 8);
}

static void test_folder_does_not_follow_links_to_folders(void **state)
{
    struct source *source;
    char path[128], text[256];

    (void)state;
    put_png("a/one.png");
    snprintf(path, sizeof path, "%s/a/loop", top);
    assert_int_equal(symlink(top, path), 0);
    snprintf(path, sizeof path, "%s/a/same.png", top);
    assert_int_equal(symlink("one.png", path), 0);
    assert_int_equal(source_open_folder(top, 0, 0, &source, NULL), STATUS_OK);
    read_all(source, text, sizeof text);
    assert_string_equal(text, "one.png= same.png= ");
    source_close(source);
}

static void test_folder_goes_on_after_a_file_that_went_away(void **state)
{
    struct source *source;
    struct source_image image;
    struct error err = {0};
    char path[128];

    (void)state;
    put_png("1.png");
    put_png("2.png");
    assert_int_equal(source_open_folder(top, 0, 0, &source, &err), STATUS_OK);
    snprintf(path, sizeof path, "%s/1.png", top);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(source_next(source, &image, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "1.png"));
    assert_int_equal(source_next(source, &image, &err), 1);
    assert_string_equal(image.name, "2.png");
    assert_int_equal(image.size, sizeof png_head);
    assert_memory_equal(image.bytes, png_head, sizeof png_head);
    source_image_free(&image);
    assert_int_equal(source_next(source, &image, &err), 0);
    source_close(source);
}

static void test_folder_without_images_is_not_found(void **state)
{
    struct source *source = NULL;
    struct error err = {0};
    char path[128];

    (void)state;
    put("notes.txt", "no image at all", 15);
    assert_int_equal(source_open_folder(top, 0, 0, &source, &err), STATUS_NOT_FOUND);
    snprintf(path, sizeof path, "%s/nowhere", top);
    assert_int_equal(source_open_folder(path, 0, 0, &source, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "nowhere"));
    assert_null(source);
}

/* --- CIFAR-10 --------------------------------------------------------------------------------- */

/* Record i of a batch: pixel p of channel c is a value that tells i, c and p apart. */
static uint8_t expected(int record, int channel, int pixel)
{
    return (uint8_t)(record * 31 + channel * 85 + pixel * 7 + pixel / 32);
}

static void put_batch(const char *name, int first_record, const uint8_t *labels, int count)
{
    uint8_t *bytes = malloc((size_t)count * RECORD_SIZE);

    assert_non_null(bytes);
    for (int i = 0; i < count; i++) {
        uint8_t *record = bytes + (size_t)i * RECORD_SIZE;
        record[0] = labels[i];
        for (int j = 0; j < 3072; j++)
            record[1 + j] = expected(first_record + i, j / 1024, j % 1024);
    }
    put(name, bytes, (size_t)count * RECORD_SIZE);
    free(bytes);
}

static void check_pixels(const struct source_image *image, int record)
{
    struct image *decoded;
    struct error err = {0};

    assert_int_equal(image_decode(image->bytes, image->size, NULL, NULL, &decoded, &err),
                     STATUS_OK);
    assert_int_equal(decoded->width, 32);
    assert_int_equal(decoded->height, 32);
    for (int pixel = 0; pixel < 1024; pixel++)
        for (int channel = 0; channel < 3; channel++)
            assert_int_equal(decoded->pixels[3 * pixel + channel],
                             expected(record, channel, pixel));
    image_release(decoded);
}

static void test_cifar10_reads_the_test_batch(void **state)
{
    static const uint8_t labels[] = {3, 0, 9};
    static const char *const names[] = {"cat", "airplane", "truck"};
    struct source *source;
    struct source_image image;
    struct error err = {0};
    char name[64];

    (void)state;
    put_batch("test_batch.bin", 0, labels, 3);
    assert_int_equal(source_open_cifar10(top, 1, 0, &source, &err), STATUS_OK);
    assert_int_equal(source_count(source), 3);
    assert_string_equal(source_kind(source), "cifar10");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(source_next(source, &image, &err), 1);
        assert_string_equal(image.label, names[i]);
        snprintf(name, sizeof name, "test_batch-%05d.png", i);
        assert_string_equal(image.name, name);
        check_pixels(&image, i);
        source_image_free(&image);
    }
    assert_int_equal(source_next(source, &image, &err), 0);
    source_close(source);
}

static void test_cifar10_reads_the_training_batches_in_order(void **state)
{
    static const uint8_t labels[] = {1, 2};
    struct source *source;
    struct source_image image;
    char name[64];

    (void)state;
    for (int batch = 1; batch <= 5; batch++) {
        snprintf(name, sizeof name, "data_batch_%d.bin", batch);
        put_batch(name, 2 * (batch - 1), labels, batch < 5 ? 2 : 1);
    }
    assert_int_equal(source_open_cifar10(top, 0, 0, &source, NULL), STATUS_OK);
    assert_int_equal(source_count(source), 9);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(source_next(source, &image, NULL), 1);
        check_pixels(&image, i);
        source_image_free(&image);
    }
    assert_int_equal(source_next(source, &image, NULL), 0);
    source_close(source);
}

static void test_cifar10_goes_on_after_a_bad_label(void **state)
{
    static const uint8_t labels[] = {10, 4};
    struct source *source;
    struct source_image image;
    struct error err = {0};

    (void)state;
    put_batch("test_batch.bin", 0, labels, 2);
    assert_int_equal(source_open_cifar10(top, 1, 0, &source, &err), STATUS_OK);
    assert_int_equal(source_next(source, &image, &err), STATUS_CORRUPT);
    assert_null(image.bytes);
    assert_int_equal(source_next(source, &image, &err), 1);
    assert_string_equal(image.label, "deer");
    source_image_free(&image);
    source_close(source);
}

static void test_cifar10_refuses_other_files(void **state)
{
    struct source *source = NULL;
    struct error err = {0};

    (void)state;
    assert_int_equal(source_open_cifar10(top, 1, 0, &source, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "test_batch.bin"));
    put("test_batch.bin", "far too short", 13);
    assert_int_equal(source_open_cifar10(top, 1, 0, &source, &err), STATUS_CORRUPT);
    put("test_batch.bin", "", 0);
    assert_int_equal(source_open_cifar10(top, 1, 0, &source, &err), STATUS_CORRUPT);
    assert_null(source);
}

/* --- List ------------------------------------------------------------------------------------- */

static void test_list_reads_what_is_there(void **state)
{
    static const struct source_listed files[] = {
        {"birds/lark.png", "bird"}, {"ships/none.png", "ship"}, {"747.png", "airplane"}};
    struct source *source = NULL;
    struct error err = {0};
    char text[256];

    (void)state;
    assert_int_equal(source_open_list(top, files, 3, &source, &err), STATUS_NOT_FOUND);
    assert_null(source);
    put_png("747.png");
    put_png("birds/lark.png");
    assert_int_equal(source_open_list(top, files, 3, &source, &err), STATUS_OK);
    assert_int_equal(source_count(source), 2);
    assert_string_equal(source_kind(source), "list");
    read_all(source, text, sizeof text);
    assert_string_equal(text, "lark.png=bird 747.png=airplane ");
    source_close(source);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_top, remove_top)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_folder_lists_images_in_path_order),
        IN_FOLDER(test_folder_without_labels),
        IN_FOLDER(test_folder_shuffles_by_seed),
        IN_FOLDER(test_folder_does_not_follow_links_to_folders),
        IN_FOLDER(test_folder_goes_on_after_a_file_that_went_away),
        IN_FOLDER(test_folder_without_images_is_not_found),
        IN_FOLDER(test_cifar10_reads_the_test_batch),
        IN_FOLDER(test_cifar10_reads_the_training_batches_in_order),
        IN_FOLDER(test_cifar10_goes_on_after_a_bad_label),
        IN_FOLDER(test_cifar10_refuses_other_files),
        IN_FOLDER(test_list_reads_what_is_there),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
