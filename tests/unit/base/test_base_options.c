/* Command lines: every way of writing an option, and every way of getting it wrong. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/options.h"

struct values {
    bool quiet, verbose;
    const char *out;
    int64_t epochs;
    double rate;
    struct option_list models;
};

static const struct option table[] = {
    {"quiet", 'q', OPTION_FLAG, offsetof(struct values, quiet), NULL, "say nothing", 0, 0},
    {"verbose", 'v', OPTION_FLAG, offsetof(struct values, verbose), NULL, "say all", 0, 0},
    {"out", 'o', OPTION_TEXT, offsetof(struct values, out), "DIR", "where to write", 0, 0},
    {"epochs", 'e', OPTION_INTEGER, offsetof(struct values, epochs), "N", "rounds", 1, 100000},
    {"rate", 0, OPTION_REAL, offsetof(struct values, rate), "R", "images a second", 0, 0},
    {"model", 'm', OPTION_LIST, offsetof(struct values, models), "M", "a model", 0, 0},
    {.name = NULL}};

static const struct usage usage = {"train", "IMAGE...", "Trains", "More about it.", table};

static const char *arguments[16];
static int argument_count;
static bool help;

#define PARSE(values, err, ...)                                                                    \
    parse(values, err, sizeof((char *[]){__VA_ARGS__}) / sizeof(char *), (char *[]){__VA_ARGS__})

static int parse(struct values *values, struct error *err, size_t count, char **words)
{
    char *argv[16] = {"train"};
    memcpy(argv + 1, words, count * sizeof *words);
    return options_parse(&usage, (int)count + 1, argv, values, arguments, &argument_count, &help,
                         err);
}

static void test_all_ways_of_writing(void **state)
{
    struct values values = {.epochs = 7};
    struct error err = {0};
    (void)state;
    assert_int_equal(PARSE(&values, &err, "a.png", "--epochs=5", "-qv", "-o", "dir", "-", "--rate",
                           "-2.5", "-mx", "--model", "y", "--", "--epochs"),
                     0);
    assert_true(values.quiet && values.verbose);
    assert_string_equal(values.out, "dir");
    assert_int_equal(values.epochs, 5);
    assert_true(values.rate == -2.5);
    assert_int_equal(values.models.count, 2);
    assert_string_equal(values.models.items[0], "x");
    assert_string_equal(values.models.items[1], "y");
    assert_int_equal(argument_count, 3);
    assert_string_equal(arguments[0], "a.png");
    assert_string_equal(arguments[1], "-");
    assert_string_equal(arguments[2], "--epochs");
    assert_false(help);
    free(values.models.items);
}

static void test_defaults_stay(void **state)
{
    struct values values = {.epochs = 7, .out = "here"};
    (void)state;
    assert_int_equal(PARSE(&values, NULL, "-e", "2k"), 0);
    assert_int_equal(values.epochs, 2048);
    assert_string_equal(values.out, "here");
    assert_int_equal(PARSE(&values, NULL, "--out="), 0);
    assert_string_equal(values.out, "");
}

static void test_mistakes_are_explained(void **state)
{
    struct values values = {.epochs = 7};
    struct error err = {0};
    (void)state;
    assert_int_equal(PARSE(&values, &err, "--epcohs", "5"), STATUS_INVALID);
    assert_non_null(strstr(err.message, "did you mean --epochs?"));
    assert_int_equal(PARSE(&values, &err, "--xyzzy"), STATUS_INVALID);
    assert_null(strstr(err.message, "did you mean"));
    assert_int_equal(PARSE(&values, &err, "--epochs"), STATUS_INVALID);
    assert_non_null(strstr(err.message, "needs a value"));
    assert_int_equal(PARSE(&values, &err, "--epochs=0"), STATUS_INVALID);
    assert_non_null(strstr(err.message, "from 1 to 100000"));
    assert_int_equal(PARSE(&values, &err, "--epochs=five"), STATUS_INVALID);
    assert_int_equal(PARSE(&values, &err, "--rate=fast"), STATUS_INVALID);
    assert_int_equal(PARSE(&values, &err, "--quiet=1"), STATUS_INVALID);
    assert_int_equal(PARSE(&values, &err, "-qz"), STATUS_INVALID);
    assert_non_null(strstr(err.message, "-z"));
    assert_int_equal(values.epochs, 7);
}

static void test_help(void **state)
{
    struct values values = {0};
    struct buffer out = {0};
    (void)state;
    assert_int_equal(PARSE(&values, NULL, "--bogus", "-h"), 0);
    assert_true(help);
    assert_int_equal(PARSE(&values, NULL, "--", "--help"), 0);
    assert_false(help);
    options_help(&usage, &out);
    assert_non_null(strstr(out.data, "Usage: ocelli train [OPTIONS] IMAGE...\n\nTrains.\n\nMore"));
    assert_non_null(strstr(out.data, "\n  -e, --epochs N  rounds\n"));
    assert_non_null(strstr(out.data, "\n      --rate R    images a second\n"));
    assert_non_null(strstr(out.data, "\n  -h, --help      "));
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_ways_of_writing),
        cmocka_unit_test(test_defaults_stay),
        cmocka_unit_test(test_mistakes_are_explained),
        cmocka_unit_test(test_help),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
