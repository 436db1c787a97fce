/* Objects in a folder: keys, content, what is synced and when, full and breaking disks, threads.
 * The linker puts this file's fsync and renameat before the system's (--wrap). */
#include "data_test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "data/objects.h"

static struct fixture fixture;
static struct objects *objects;

/* --- watching the system calls --- */

static char calls[64]; /* in order: f: a file synced, d: a folder synced, r: renamed */
static atomic_int call_count, file_syncs, folder_syncs;
static atomic_int file_sync_error, folder_sync_error; /* errno to fail with; 0 for none */

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_renameat(int from_folder, const char *from, int to_folder, const char *to);
int __wrap_renameat(int from_folder, const char *from, int to_folder, const char *to);

static void note_call(char what)
{
    const int place = atomic_fetch_add(&call_count, 1);
    if (place < (int)sizeof calls - 1)
        calls[place] = what;
}

int __wrap_fsync(int fd)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return -1;
    const bool folder = S_ISDIR(info.st_mode);
    note_call(folder ? 'd' : 'f');
    atomic_fetch_add(folder ? &folder_syncs : &file_syncs, 1);
    const int reason = atomic_load(folder ? &folder_sync_error : &file_sync_error);
    if (reason != 0) {
        errno = reason;
        return -1;
    }
    return __real_fsync(fd);
}

int __wrap_renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    note_call('r');
    return __real_renameat(from_folder, from, to_folder, to);
}

static void forget_calls(void)
{
    memset(calls, 0, sizeof calls);
    atomic_store(&call_count, 0);
    atomic_store(&file_syncs, 0);
    atomic_store(&folder_syncs, 0);
}

/* --- set-up --- */

static void open_objects(void)
{
    struct error err = {0};
    assert_ok(objects_open_folder(fixture.config, fixture.metrics, &objects, &err), &err);
}

static int setup(void **state)
{
    (void)state;
    atomic_store(&file_sync_error, 0);
    atomic_store(&folder_sync_error, 0);
    fixture_make(&fixture);
    open_objects();
    forget_calls();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    objects_close(objects);
    fixture_drop(&fixture);
    return 0;
}

static void put(const char *key, const char *text)
{
    struct error err = {0};
    assert_ok(objects_put(objects, key, text, strlen(text), &err), &err);
}

static void expect(const char *key, const char *text)
{
    struct error err = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_ok(objects_get(objects, key, 1000, &bytes, &size, &err), &err);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(bytes, text, size);
    free(bytes);
}

/* The number of files below <data_dir>/objects/.tmp. */
static int temporaries(void)
{
    char command[160];
    int count = -1;
    snprintf(command, sizeof command, "find '%s/objects/.tmp' -type f | wc -l", fixture.folder);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(fscanf(pipe, "%d", &count), 1);
    pclose(pipe);
    return count;
}

/* --- keys and content --- */

static void test_keys(void **state)
{
    static const char *const good[] = {"a", "a/b", "raw-images/2024/01/15/x.jpg", "A_b-c.d",
                                       "a..b"};
    static const char *const bad[] = {"",     "/a",   "a/",  "a//b", "..",   "a/../b",   "./a",
                                      ".tmp", "a/.b", "a b", "a\\b", "a\nb", "\xc3\xa9", "a?b"};
    struct error err = {0};
    char key[64], large[2000];
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(objects_key_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(objects_key_valid(bad[i]));
        assert_int_equal(objects_put(objects, bad[i], "x", 1, &err), STATUS_INVALID);
    }
    memset(large, 'a', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    assert_false(objects_key_valid(large));
    assert_ok(objects_key(key, sizeof key, INT64_C(1705314600000000), "the-id", "jpg", &err), &err);
    assert_string_equal(key, "raw-images/2024/01/15/the-id.jpg");
    assert_int_equal(objects_key(key, 20, 0, "the-id", "jpg", &err), STATUS_INVALID);
    assert_int_equal(objects_key(key, sizeof key, 0, "../id", "jpg", &err), STATUS_INVALID);
}

static void test_content(void **state)
{
    struct error err = {0};
    uint8_t *bytes = NULL;
    size_t size;
    (void)state;
    put("top.txt", "one");
    put("a/b/c.txt", "two");
    put("a/empty", "");
    expect("top.txt", "one");
    expect("a/b/c.txt", "two");
    expect("a/empty", "");
    put("a/b/c.txt", "replaced");
    expect("a/b/c.txt", "replaced");
    assert_int_equal(objects_get(objects, "a/none", 10, &bytes, &size, &err), STATUS_NOT_FOUND);
    assert_int_equal(objects_get(objects, "a/b", 10, &bytes, &size, &err), STATUS_NOT_FOUND);
    assert_int_equal(objects_get(objects, "top.txt/x", 10, &bytes, &size, &err), STATUS_NOT_FOUND);
    assert_int_equal(objects_get(objects, "a/b/c.txt", 7, &bytes, &size, &err), STATUS_TOO_LARGE);
    assert_ok(objects_delete(objects, "a/b/c.txt", &err), &err);
    assert_ok(objects_delete(objects, "a/b/c.txt", &err), &err);
    assert_ok(objects_delete(objects, "never/was", &err), &err);
    assert_int_equal(objects_get(objects, "a/b/c.txt", 10, &bytes, &size, &err), STATUS_NOT_FOUND);
    /* An object where a folder is, and below an object. */
    assert_int_not_equal(objects_put(objects, "a/b", "x", 1, &err), STATUS_OK);
    assert_int_not_equal(objects_put(objects, "top.txt/x", "x", 1, &err), STATUS_OK);
    assert_int_equal(temporaries(), 0);
}

struct visits {
    char keys[256];
    int count, stop_at;
    uint64_t bytes;
};

static int visit(const char *key, uint64_t size, int64_t modified_us, void *context)
{
    struct visits *visits = context;
    assert_true(modified_us > 0);
    visits->bytes += size;
    snprintf(visits->keys + strlen(visits->keys), sizeof visits->keys - strlen(visits->keys), "%s ",
             key);
    return ++visits->count == visits->stop_at;
}

static void test_visiting(void **state)
{
    struct error err = {0};
    struct visits visits = {0};
    (void)state;
    put("raw/1/a", "12");
    put("raw/2/b", "345");
    put("rawer", "6");
    put("other/c", "78");
    assert_ok(objects_visit(objects, "", visit, &visits, &err), &err);
    assert_int_equal(visits.count, 4);
    assert_int_equal(visits.bytes, 8);
    visits = (struct visits){0};
    assert_ok(objects_visit(objects, "raw", visit, &visits, &err), &err);
    assert_int_equal(visits.count, 3);
    visits = (struct visits){0};
    assert_ok(objects_visit(objects, "raw/2", visit, &visits, &err), &err);
    assert_string_equal(visits.keys, "raw/2/b ");
    visits = (struct visits){0};
    assert_ok(objects_visit(objects, "raw/2/b", visit, &visits, &err), &err);
    assert_int_equal(visits.count, 1);
    visits = (struct visits){0};
    assert_ok(objects_visit(objects, "nothing/", visit, &visits, &err), &err);
    assert_int_equal(visits.count, 0);
    visits = (struct visits){.stop_at = 2};
    assert_ok(objects_visit(objects, "", visit, &visits, &err), &err);
    assert_int_equal(visits.count, 2);
}

/* --- durability --- */

static void test_syncs_and_their_order(void **state)
{
    (void)state;
    put("a/b/1", "x");
    /* The root and a are synced for their new entries; then the file, its rename, its folder. */
    assert_string_equal(calls, "ddfrd");
    forget_calls();
    put("a/b/2", "x");
    assert_string_equal(calls, "frd");
    /* What another life of the process made may not be on disk. */
    objects_close(objects);
    open_objects();
    forget_calls();
    put("a/b/3", "x");
    assert_string_equal(calls, "ddfrd");
}

enum { PUTTERS = 16, PUTS = 40 };

static void putting_thread(int number, void *context)
{
    char key[64];
    for (int i = 0; i < PUTS; i++) {
        struct error err = {0};
        snprintf(key, sizeof key, "day-%d/%d-%d", i / 30, number, i);
        if (objects_put(objects, key, key, strlen(key), &err) != STATUS_OK)
            atomic_fetch_add((atomic_int *)context, 1);
    }
}

static void test_concurrent_puts_share_folder_syncs(void **state)
{
    struct visits visits = {.stop_at = -1};
    struct error err = {0};
    atomic_int wrong = 0;
    char key[64];
    (void)state;
    run_threads(PUTTERS, putting_thread, &wrong);
    assert_int_equal(wrong, 0);
    assert_int_equal(atomic_load(&file_syncs), PUTTERS * PUTS);
    assert_true(atomic_load(&folder_syncs) < PUTTERS * PUTS);
    for (int number = 0; number < PUTTERS; number++)
        for (int i = 0; i < PUTS; i++) {
            snprintf(key, sizeof key, "day-%d/%d-%d", i / 30, number, i);
            expect(key, key);
        }
    assert_ok(objects_visit(objects, "", visit, &visits, &err), &err);
    assert_int_equal(visits.count, PUTTERS * PUTS);
    assert_int_equal(temporaries(), 0);
}

static void scattering_thread(int number, void *context)
{
    char key[64];
    for (int i = 0; i < PUTS; i++) {
        struct error err = {0};
        snprintf(key, sizeof key, "many-%d/%d", (number * 7 + i * 3) % 50, number * PUTS + i);
        if (objects_put(objects, key, key, strlen(key), &err) != STATUS_OK)
            atomic_fetch_add((atomic_int *)context, 1);
    }
}

/* More folders than are kept open. */
static void test_many_folders(void **state)
{
    atomic_int wrong = 0;
    (void)state;
    run_threads(8, scattering_thread, &wrong);
    assert_int_equal(wrong, 0);
}

static void test_a_folder_removed_underneath(void **state)
{
    struct error err = {0};
    char path[128];
    (void)state;
    put("a/b/1", "x");
    snprintf(path, sizeof path, "%s/objects/a", fixture.folder);
    assert_ok(folder_remove(path, &err), &err);
    put("a/b/2", "again");
    expect("a/b/2", "again");
}

static void test_a_failed_file_sync_ends_puts(void **state)
{
    struct error err = {0};
    (void)state;
    put("a/kept", "x");
    atomic_store(&file_sync_error, EIO);
    assert_int_equal(objects_put(objects, "a/lost", "x", 1, &err), STATUS_IO);
    atomic_store(&file_sync_error, 0);
    assert_int_equal(objects_put(objects, "a/next", "x", 1, &err), STATUS_CLOSED);
    assert_int_equal(objects_health(objects, &err), STATUS_CLOSED);
    expect("a/kept", "x"); /* reads go on */
    assert_int_equal(temporaries(), 0);
}

static void test_a_failed_folder_sync_ends_puts(void **state)
{
    struct error err = {0};
    (void)state;
    put("a/kept", "x");
    atomic_store(&folder_sync_error, EIO);
    assert_int_equal(objects_put(objects, "a/lost", "x", 1, &err), STATUS_IO);
    atomic_store(&folder_sync_error, 0);
    assert_int_equal(objects_put(objects, "a/next", "x", 1, &err), STATUS_CLOSED);
}

static void test_a_sync_that_finds_no_space_costs_one_put(void **state)
{
    struct error err = {0};
    (void)state;
    atomic_store(&file_sync_error, ENOSPC);
    assert_int_equal(objects_put(objects, "a/lost", "x", 1, &err), STATUS_NO_SPACE);
    atomic_store(&file_sync_error, 0);
    put("a/next", "x");
    assert_int_equal(temporaries(), 0);
}

/* --- the disk and other processes --- */

static void test_room_is_kept_free(void **state)
{
    struct error err = {0};
    (void)state;
    assert_ok(objects_health(objects, &err), &err);
    objects_close(objects);
    assert_ok(config_set(fixture.config, "disk_free_bytes_min", "1000000000000", CONFIG_FLAG, &err),
              &err);
    open_objects();
    assert_int_equal(objects_put(objects, "a/b", "x", 1, &err), STATUS_NO_SPACE);
    assert_int_equal(objects_health(objects, &err), STATUS_NO_SPACE);
    assert_non_null(strstr(err.message, "MiB"));
}

static void test_a_full_file_system(void **state)
{
    static char bytes[100000];
    struct error err = {0};
    char key[32];
    int stored = 0, status;
    (void)state;
    objects_close(objects);
    objects = NULL;
    if (mount_small(fixture.folder, "2m") != 0) {
        print_message("# no right to mount a small file system\n");
        open_objects();
        skip();
    }
    open_objects();
    do {
        snprintf(key, sizeof key, "a/%d", stored);
        status = objects_put(objects, key, bytes, sizeof bytes, &err);
        stored += status == STATUS_OK;
    } while (status == STATUS_OK && stored < 100);
    assert_int_equal(status, STATUS_NO_SPACE);
    assert_true(stored > 10 && stored < 22);
    assert_int_equal(temporaries(), 0);
    assert_ok(objects_delete(objects, "a/0", &err), &err);
    assert_ok(objects_put(objects, key, bytes, sizeof bytes, &err), &err);
    objects_close(objects);
    unmount_small(fixture.folder);
    open_objects();
}

static void test_opening_clears_temporaries(void **state)
{
    struct error err = {0};
    char path[128];
    (void)state;
    put("a/b", "kept");
    objects_close(objects);
    snprintf(path, sizeof path, "%s/objects/.tmp/7", fixture.folder);
    assert_ok(file_write_atomic(path, "half", 4, false, &err), &err);
    assert_int_equal(temporaries(), 1);
    open_objects();
    assert_int_equal(temporaries(), 0);
    expect("a/b", "kept");
}

static void test_one_process_a_folder(void **state)
{
    struct error err = {0};
    struct objects *second;
    (void)state;
    assert_int_equal(objects_open_folder(fixture.config, fixture.metrics, &second, &err),
                     STATUS_BUSY);
    assert_string_equal(objects_engine(objects), "folder");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_keys),
        TEST(test_content),
        TEST(test_visiting),
        TEST(test_syncs_and_their_order),
        TEST(test_concurrent_puts_share_folder_syncs),
        TEST(test_many_folders),
        TEST(test_a_folder_removed_underneath),
        TEST(test_a_failed_file_sync_ends_puts),
        TEST(test_a_failed_folder_sync_ends_puts),
        TEST(test_a_sync_that_finds_no_space_costs_one_put),
        TEST(test_room_is_kept_free),
        TEST(test_a_full_file_system),
        TEST(test_opening_clears_temporaries),
        TEST(test_one_process_a_folder),
    };
#undef TEST
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
