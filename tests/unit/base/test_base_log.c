/* The log: levels, both forms, and that no text can break a line. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"

/* What log_write puts on standard error while `write` runs. */
static char *captured(void (*speak)(void))
{
    static char text[65536];
    FILE *file = tmpfile();
    assert_non_null(file);
    const int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    speak();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    rewind(file);
    const size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = '\0';
    fclose(file);
    return text;
}

static void speak_at_every_level(void)
{
    log_debug("test", "not this");
    log_info("test", "count %d", 3);
    log_warning("test", "careful");
    log_error("test", "two\nlines\x1b[2J \"quoted\\\"");
}

static void test_text_lines(void **state)
{
    (void)state;
    log_configure(LOG_INFO, 0);
    const char *text = captured(speak_at_every_level);
    assert_null(strstr(text, "not this"));
    assert_non_null(strstr(text, "Z info test: count 3\n"));
    assert_non_null(strstr(text, "Z warning test: careful\n"));
    assert_non_null(strstr(text, "Z error test: two\\u000alines\\u001b[2J \"quoted"));
    log_configure(LOG_ERROR, 0);
    assert_null(strstr(captured(speak_at_every_level), "careful"));
}

static void speak_long(void)
{
    static char text[10000];
    memset(text, '\x01', sizeof text - 1);
    log_info("test", "%s", text);
}

static void test_json_lines(void **state)
{
    (void)state;
    log_configure(LOG_DEBUG, 1);
    char *text = captured(speak_at_every_level), *rest = NULL;
    int lines = 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        json_t *json = NULL;
        const char *message = NULL, *level = NULL;
        assert_int_equal(json_read(line, strlen(line), &json, NULL), 0);
        assert_int_equal(json_get_text(json, "message", true, &message, NULL), 0);
        assert_int_equal(json_get_text(json, "level", true, &level, NULL), 0);
        if (strcmp(level, "error") == 0)
            assert_string_equal(message, "two\nlines\x1b[2J \"quoted\\\"");
        json_decref(json);
        lines++;
    }
    assert_int_equal(lines, 4);

    json_t *json = NULL;
    text = captured(speak_long);
    assert_true(strlen(text) <= 4096);
    assert_int_equal(json_read(text, strlen(text), &json, NULL), 0);
    json_decref(json);
}

static void test_levels_by_name(void **state)
{
    enum log_level level = LOG_DEBUG;
    (void)state;
    assert_int_equal(log_level_parse("warning", &level, NULL), 0);
    assert_int_equal(level, LOG_WARNING);
    assert_int_equal(log_level_parse("loud", &level, NULL), STATUS_INVALID);
    assert_string_equal(log_level_name(LOG_ERROR), "error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_lines),
        cmocka_unit_test(test_json_lines),
        cmocka_unit_test(test_levels_by_name),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
