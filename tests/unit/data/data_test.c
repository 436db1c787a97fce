/* What the tests of src/data share: see data_test.h. */
#include "data_test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "base/buffer.h"
#include "base/file.h"

void fixture_make(struct fixture *fixture)
{
    struct error err = {0};
    const char *base = getenv("TMPDIR");

    memset(fixture, 0, sizeof *fixture);
    snprintf(fixture->folder, sizeof fixture->folder, "%.40s/ocelli-test-XXXXXX",
             base != NULL && base[0] != '\0' ? base : "/tmp");
    assert_non_null(mkdtemp(fixture->folder));
    assert_ok(config_create(&fixture->config, &err), &err);
    assert_ok(metrics_create(&fixture->metrics, &err), &err);
    fixture_move(fixture, fixture->folder);
    assert_ok(config_set(fixture->config, "disk_free_bytes_min", "0", CONFIG_FLAG, &err), &err);
}

void fixture_move(struct fixture *fixture, const char *folder)
{
    struct error err = {0};
    assert_ok(config_set(fixture->config, "data_dir", folder, CONFIG_FLAG, &err), &err);
}

void fixture_drop(struct fixture *fixture)
{
    struct error err = {0};
    metrics_free(fixture->metrics);
    config_free(fixture->config);
    assert_ok(folder_remove(fixture->folder, &err), &err);
}

void check_ok(int status, const struct error *err, const char *expression, const char *file,
              int line)
{
    if (status == STATUS_OK)
        return;
    print_error("%s: %s (%s)\n", expression, status_name(status), err->message);
    _assert_int_equal(status, STATUS_OK, file, line);
}

struct thread_start {
    pthread_t thread;
    int number;
    void (*body)(int number, void *context);
    void *context;
};

static void *thread_main(void *argument)
{
    const struct thread_start *start = argument;
    start->body(start->number, start->context);
    return NULL;
}

void run_threads(int count, void (*body)(int number, void *context), void *context)
{
    struct thread_start *starts = calloc((size_t)count, sizeof *starts);
    assert_non_null(starts);
    for (int i = 0; i < count; i++) {
        starts[i] = (struct thread_start){.number = i, .body = body, .context = context};
        assert_int_equal(pthread_create(&starts[i].thread, NULL, thread_main, &starts[i]), 0);
    }
    for (int i = 0; i < count; i++)
        pthread_join(starts[i].thread, NULL);
    free(starts);
}

double metric_read(struct metrics *metrics, const char *series)
{
    struct buffer text = {0};
    double value = -1;

    metrics_render(metrics, &text);
    assert_true(buffer_ok(&text));
    for (const char *line = text.data; line != NULL && *line != '\0';) {
        if (strncmp(line, series, strlen(series)) == 0 && line[strlen(series)] == ' ')
            value = strtod(line + strlen(series), NULL);
        line = strchr(line, '\n');
        if (line != NULL)
            line++;
    }
    buffer_free(&text);
    return value;
}

int mount_small(const char *folder, const char *size)
{
    char options[64];
    snprintf(options, sizeof options, "size=%s", size);
    return mount("tmpfs", folder, "tmpfs", 0, options);
}

void unmount_small(const char *folder)
{
    umount2(folder, MNT_DETACH);
}
