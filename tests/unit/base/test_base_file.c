/* Whole files and folders. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static char root[64];

static const char *below(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/ocelli-file-XXXXXX");
    return mkdtemp(root) == NULL;
}

static int remove_root(void **state)
{
    (void)state;
    return folder_remove(root, NULL);
}

static int count_entries(const char *path)
{
    int count = 0;
    DIR *folder = opendir(path);
    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count - 2;
}

static void test_writes_and_reads_back(void **state)
{
    struct error err;
    uint8_t *bytes = NULL;
    size_t size = 0;
    (void)state;
    for (int durable = 0; durable < 2; durable++) {
        assert_int_equal(file_write_atomic(below("a"), "one\0two", 7, durable, &err), 0);
        assert_int_equal(file_read(below("a"), 7, &bytes, &size, &err), 0);
        assert_int_equal(size, 7);
        assert_memory_equal(bytes, "one\0two", 8);
        free(bytes);
    }
    assert_int_equal(file_write_atomic(below("a"), "", 0, true, &err), 0);
    assert_int_equal(file_read(below("a"), 0, &bytes, &size, &err), 0);
    assert_int_equal(size, 0);
    free(bytes);
    assert_int_equal(count_entries(root), 1);
}

static void test_says_what_is_wrong(void **state)
{
    struct error err = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    (void)state;
    assert_int_equal(file_read(below("absent"), 10, &bytes, &size, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "absent"));
    assert_int_equal(file_read(root, 10, &bytes, &size, &err), STATUS_INVALID);
    assert_int_equal(file_write_atomic(below("big"), "12345", 5, false, &err), 0);
    assert_int_equal(file_read(below("big"), 4, &bytes, &size, &err), STATUS_TOO_LARGE);
    assert_null(bytes);
    assert_int_equal(file_write_atomic(below("no/folder"), "x", 1, false, &err), STATUS_NOT_FOUND);
}

static void test_failed_write_leaves_the_old_file(void **state)
{
    struct error err;
    (void)state;
    assert_int_equal(folder_make(below("is-a-folder/x"), false, &err), 0);
    const int entries = count_entries(root);
    assert_int_not_equal(file_write_atomic(below("is-a-folder"), "x", 1, true, &err), 0);
    assert_int_equal(count_entries(root), entries);
}

static void test_folders_are_made_and_removed(void **state)
{
    struct error err = {0};
    struct stat info;
    (void)state;
    assert_int_equal(folder_make(below("d/e//f"), true, &err), 0);
    assert_int_equal(folder_make(below("d/e/f"), false, &err), 0);
    assert_true(file_exists(below("d/e/f")));
    assert_int_equal(file_write_atomic(below("d/e/file"), "x", 1, false, &err), 0);
    assert_int_equal(folder_make(below("d/e/file/g"), false, &err), STATUS_EXISTS);
    assert_int_equal(folder_make("", false, &err), STATUS_INVALID);

    /* A link out of the tree is removed, what it points to is not. */
    char target[256];
    snprintf(target, sizeof target, "%s", below("kept"));
    assert_int_equal(folder_make(target, false, &err), 0);
    assert_int_equal(symlink(target, below("d/link")), 0);
    assert_int_equal(folder_remove(below("d"), &err), 0);
    assert_int_equal(stat(target, &info), 0);
    assert_false(file_exists(below("d")));
    assert_int_equal(folder_remove(below("d"), &err), 0);
    assert_int_equal(folder_sync(target, &err), 0);
    assert_int_equal(folder_sync(below("d"), &err), STATUS_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_writes_and_reads_back, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_says_what_is_wrong, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_failed_write_leaves_the_old_file, make_root,
                                        remove_root),
        cmocka_unit_test_setup_teardown(test_folders_are_made_and_removed, make_root, remove_root),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
