/* Metrics: updates from many threads, and the exposition format line by line. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/metrics.h"

static int make_registry(void **state)
{
    return metrics_create((struct metrics **)state, NULL);
}

static int free_registry(void **state)
{
    metrics_free(*state);
    return 0;
}

static char *render(struct metrics *metrics)
{
    struct buffer out = {0};
    metrics_render(metrics, &out);
    char *text = buffer_take(&out, NULL);
    assert_non_null(text);
    return text;
}

static void assert_has(struct metrics *metrics, const char *expected)
{
    char *text = render(metrics);
    if (strstr(text, expected) == NULL)
        fail_msg("no '%s' in:\n%s", expected, text);
    free(text);
}

static void test_counters_and_gauges(void **state)
{
    struct metrics *metrics = *state;
    struct metric *counter = metrics_labelled(metrics, METRIC_COUNTER, "ocelli_things_total",
                                              "Things.", "model", "a\"b\\c\nd", "reason", "full");
    struct metric *gauge = metrics_get(metrics, METRIC_GAUGE, "ocelli_depth", "De\\pth\nof.", "");
    metric_add(counter, 2);
    metric_add(counter, 0.5);
    metric_set(gauge, -3);
    metric_add(gauge, 1);
    assert_true(metric_value(counter) == 2.5);
    assert_ptr_equal(gauge, metrics_get(metrics, METRIC_GAUGE, "ocelli_depth", "", ""));
    assert_has(metrics, "# HELP ocelli_things_total Things.\n# TYPE ocelli_things_total counter\n"
                        "ocelli_things_total{model=\"a\\\"b\\\\c\\nd\",reason=\"full\"} 2.5\n");
    assert_has(metrics, "# HELP ocelli_depth De\\\\pth\\nof.\n# TYPE ocelli_depth gauge\n"
                        "ocelli_depth -2\n");
}

static void test_histograms_are_cumulative(void **state)
{
    struct metrics *metrics = *state;
    struct metric *histogram =
        metrics_get(metrics, METRIC_HISTOGRAM, "ocelli_wait_seconds", "Waits.", "route=\"/x\"");
    metric_observe(histogram, 0.0005);
    metric_observe(histogram, 0.02);
    metric_observe(histogram, 3);
    metric_observe(histogram, 1000);
    assert_true(metric_value(histogram) == 4);
    assert_has(metrics, "ocelli_wait_seconds_bucket{route=\"/x\",le=\"0.0005\"} 1\n");
    assert_has(metrics, "ocelli_wait_seconds_bucket{route=\"/x\",le=\"0.01\"} 1\n");
    assert_has(metrics, "ocelli_wait_seconds_bucket{route=\"/x\",le=\"0.025\"} 2\n");
    assert_has(metrics, "ocelli_wait_seconds_bucket{route=\"/x\",le=\"60\"} 3\n"
                        "ocelli_wait_seconds_bucket{route=\"/x\",le=\"+Inf\"} 4\n"
                        "ocelli_wait_seconds_sum{route=\"/x\"} 1003.0205\n"
                        "ocelli_wait_seconds_count{route=\"/x\"} 4\n");
    metric_observe(metrics_get(metrics, METRIC_HISTOGRAM, "ocelli_bare_seconds", "B.", ""), 1);
    assert_has(metrics, "ocelli_bare_seconds_bucket{le=\"+Inf\"} 1\nocelli_bare_seconds_sum 1\n"
                        "ocelli_bare_seconds_count 1\n");
}

static double read_number(void *context)
{
    return *(double *)context;
}

static void test_computed_gauges(void **state)
{
    struct metrics *metrics = *state;
    double number = 4, other = INFINITY;
    metrics_gauge_function(metrics, "ocelli_queue", "Q.", "q=\"a\"", read_number, &number);
    assert_has(metrics, "ocelli_queue{q=\"a\"} 4\n");
    metrics_gauge_function(metrics, "ocelli_queue", "Q.", "q=\"a\"", read_number, &other);
    assert_has(metrics, "ocelli_queue{q=\"a\"} +Inf\n");
    metrics_gauge_function(metrics, "ocelli_queue", "Q.", "q=\"a\"", NULL, NULL);
    char *text = render(metrics);
    assert_null(strstr(text, "ocelli_queue{"));
    free(text);
}

static void test_clashes_and_floods_go_nowhere(void **state)
{
    struct metrics *metrics = *state;
    char label[32];
    metrics_get(metrics, METRIC_COUNTER, "ocelli_a_total", "A.", "");
    struct metric *sink = metrics_get(metrics, METRIC_GAUGE, "ocelli_a_total", "A.", "");
    metric_set(sink, 77);
    for (int i = 0; i < 5000; i++) {
        snprintf(label, sizeof label, "%d", i);
        metric_add(metrics_labelled(metrics, METRIC_COUNTER, "ocelli_b_total", "B.", "i", label,
                                    NULL, NULL),
                   1);
    }
    assert_ptr_equal(sink, metrics_get(metrics, METRIC_COUNTER, "ocelli_b_total", "B.", "i=\"x\""));
    char *text = render(metrics);
    assert_null(strstr(text, "ocelli_a_total 77"));
    assert_null(strstr(text, "ocelli_b_total{i=\"4999\"}"));
    assert_non_null(strstr(text, "ocelli_b_total{i=\"4095\"}"));
    free(text);
}

/* Every line is a comment of a family or a sample of the family above it; families rise by name. */
static void test_whole_text_is_well_formed(void **state)
{
    struct metrics *metrics = *state;
    char family[128] = "", name[128], *rest = NULL;
    int families = 0;
    metric_add(metrics_get(metrics, METRIC_COUNTER, "ocelli_a_total", "A.", ""), 1);
    metric_observe(metrics_get(metrics, METRIC_HISTOGRAM, "ocelli_b_seconds", "B.", ""), 1);
    char *text = render(metrics);
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (sscanf(line, "# HELP %127s", name) == 1) {
            assert_true(strcmp(family, name) < 0);
            memcpy(family, name, sizeof family);
            families++;
        } else if (sscanf(line, "# TYPE %127s", name) == 1) {
            assert_string_equal(name, family);
        } else {
            char *space = strrchr(line, ' '), *end = NULL;
            assert_non_null(space);
            strtod(space + 1, &end);
            assert_true(end != space + 1 && *end == '\0');
            assert_memory_equal(line, family, strlen(family));
        }
    }
    assert_int_equal(families, 7);
    free(text);
}

static void test_process_metrics_are_plausible(void **state)
{
    static const struct {
        const char *name;
        double low, high;
    } cases[] = {{"\nprocess_cpu_seconds_total ", 0, 1e6},
                 {"\nprocess_resident_memory_bytes ", 100e3, 1e12},
                 {"\nprocess_open_fds ", 3, 1e6},
                 {"\nprocess_start_time_seconds ", 1.7e9, 1e10}};
    char *text = render(*state);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *at = strstr(text, cases[i].name);
        assert_non_null(at);
        const double value = strtod(at + strlen(cases[i].name), NULL);
        if (!(value >= cases[i].low && value <= cases[i].high))
            fail_msg("%s is %g", cases[i].name, value);
    }
    assert_non_null(strstr(text, "\nocelli_build_info{version=\""));
    free(text);
}

enum { THREADS = 4, UPDATES = 20000 };

static void *update(void *context)
{
    for (int i = 0; i < UPDATES; i++) {
        metric_add(metrics_get(context, METRIC_COUNTER, "ocelli_c_total", "C.", ""), 1);
        metric_observe(metrics_get(context, METRIC_HISTOGRAM, "ocelli_d_seconds", "D.", ""), 0.5);
    }
    return NULL;
}

static void test_no_update_is_lost(void **state)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, update, *state), 0);
    for (int i = 0; i < 20; i++)
        free(render(*state));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_has(*state, "ocelli_c_total 80000\n");
    assert_has(*state, "ocelli_d_seconds_sum 40000\nocelli_d_seconds_count 80000\n");
}

#define REGISTRY_TEST(test) cmocka_unit_test_setup_teardown(test, make_registry, free_registry)

int main(void)
{
    const struct CMUnitTest tests[] = {
        REGISTRY_TEST(test_counters_and_gauges),
        REGISTRY_TEST(test_histograms_are_cumulative),
        REGISTRY_TEST(test_computed_gauges),
        REGISTRY_TEST(test_clashes_and_floods_go_nowhere),
        REGISTRY_TEST(test_whole_text_is_well_formed),
        REGISTRY_TEST(test_process_metrics_are_plausible),
        REGISTRY_TEST(test_no_update_is_lost),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
