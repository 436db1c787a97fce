/* What the tests of src/data share: a data folder of their own, settings for it, and a check that
 * prints the sentence of an error. */
#ifndef TESTS_DATA_TEST_H
#define TESTS_DATA_TEST_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/config.h"
#include "base/metrics.h"

struct fixture {
    char folder[64];
    struct config *config;
    struct metrics *metrics;
};

/* A fresh folder under TMPDIR (or /tmp), removed by fixture_drop. */
void fixture_make(struct fixture *fixture);
void fixture_drop(struct fixture *fixture);
/* Points the settings at another folder. */
void fixture_move(struct fixture *fixture, const char *folder);

/* Fails the test with the error's sentence when `status` is not STATUS_OK. */
#define assert_ok(status, err) check_ok((status), (err), #status, __FILE__, __LINE__)
void check_ok(int status, const struct error *err, const char *expression, const char *file,
              int line);

/* Runs `body` on `count` threads, each with its number, and joins them. */
void run_threads(int count, void (*body)(int number, void *context), void *context);

/* The value of a metric as /metrics shows it; -1 when it is not there. */
double metric_read(struct metrics *metrics, const char *series);

/* A small file system of its own at `folder`, for filling; 0, or -1 where mounting is not allowed.
 */
int mount_small(const char *folder, const char *size);
void unmount_small(const char *folder);

#endif
