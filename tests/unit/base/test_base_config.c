/* Settings: order of origins, units, bounds, files, secrets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/file.h"

static int make_config(void **state)
{
    return config_create((struct config **)state, NULL);
}

static int free_config(void **state)
{
    config_free(*state);
    return 0;
}

static const struct config_setting *find(const char *name)
{
    const struct config_setting *setting = config_settings();
    while (setting->name != NULL && strcmp(setting->name, name) != 0)
        setting++;
    assert_non_null(setting->name);
    return setting;
}

static void test_defaults(void **state)
{
    const struct config *config = *state;
    char text[128];
    assert_string_equal(config->listen, "127.0.0.1");
    assert_int_equal(config->port, 8000);
    assert_int_equal(config->upload_bytes_max, 10485760);
    assert_string_equal(config->api_key, "");
    assert_false(config->log_json);
    for (const struct config_setting *setting = config_settings(); setting->name; setting++) {
        assert_int_equal(config_origin(config, setting), CONFIG_DEFAULT);
        assert_string_equal(config_text(config, setting, text, sizeof text), setting->default_text);
        assert_true(strlen(setting->help) > 0);
    }
}

static void test_order_of_origins(void **state)
{
    struct config *config = *state;
    assert_int_equal(config_set(config, "port", "1", CONFIG_FLAG, NULL), 0);
    assert_int_equal(config_set(config, "port", "2", CONFIG_ENVIRONMENT, NULL), 0);
    assert_int_equal(config->port, 1);
    assert_int_equal(config_set(config, "port", "3", CONFIG_FLAG, NULL), 0);
    assert_int_equal(config->port, 3);
    assert_int_equal(config_origin(config, find("port")), CONFIG_FLAG);
}

static void test_units(void **state)
{
    struct config *config = *state;
    assert_int_equal(config_set(config, "upload_bytes_max", "64k", CONFIG_FLAG, NULL), 0);
    assert_int_equal(config->upload_bytes_max, 65536);
    assert_int_equal(config_set(config, "request_timeout_seconds", "2m", CONFIG_FLAG, NULL), 0);
    assert_int_equal(config->request_timeout_seconds, 120);
    assert_int_equal(config_set(config, "topic_retention_hours", "7d", CONFIG_FLAG, NULL), 0);
    assert_int_equal(config->topic_retention_hours, 168);
    assert_int_equal(config_set(config, "log_json", "yes", CONFIG_FLAG, NULL), 0);
    assert_true(config->log_json);
}

static void test_refusals_name_setting_text_and_bounds(void **state)
{
    struct config *config = *state;
    struct error err = {0};
    assert_int_equal(config_set(config, "port", "65536", CONFIG_FLAG, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "'port'"));
    assert_non_null(strstr(err.message, "'65536'"));
    assert_non_null(strstr(err.message, "65535"));
    assert_int_equal(config_set(config, "port", "10k", CONFIG_FLAG, &err), STATUS_INVALID);
    assert_int_equal(config_set(config, "log_json", "maybe", CONFIG_FLAG, &err), STATUS_INVALID);
    assert_int_equal(config_set(config, "prot", "1", CONFIG_FLAG, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.message, "'port'"));
    assert_int_equal(config->port, 8000);
    assert_int_equal(config_origin(config, find("port")), CONFIG_DEFAULT);
}

static char path[64];

static void write_file(const char *text)
{
    snprintf(path, sizeof path, "/tmp/ocelli-config-%ld", (long)getpid());
    assert_int_equal(file_write_atomic(path, text, strlen(text), false, NULL), 0);
}

static void test_file(void **state)
{
    struct config *config = *state;
    struct error err = {0};
    write_file("---\n# a comment\n\nport: 9000   # mine\r\n  data_dir : \"/var/lib/a b#c\" # x\n"
               "models_dir: 'm'\nlisten: a#b\nlog_json: true");
    assert_int_equal(config_load_file(config, path, &err), 0);
    assert_int_equal(config->port, 9000);
    assert_string_equal(config->data_dir, "/var/lib/a b#c");
    assert_string_equal(config->models_dir, "m");
    assert_string_equal(config->listen, "a#b");
    assert_true(config->log_json);
    assert_int_equal(config_origin(config, find("port")), CONFIG_FILE);

    static const char *const broken[] = {"\nport 9000", "\nport: x", "\nprot: 1", "\ndata_dir: 'x",
                                         "\ndata_dir: 'x' y"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        write_file(broken[i]);
        assert_true(config_load_file(config, path, &err) < 0);
        assert_non_null(strstr(err.message, ":2: "));
    }
    unlink(path);
    assert_int_equal(config_load_file(config, path, &err), STATUS_NOT_FOUND);
}

static void test_environment_and_secrets(void **state)
{
    struct config *config = *state;
    struct error err = {0};
    char text[64];
    write_file("from-file\n");
    setenv("OCELLI_PORT", "7000", 1);
    setenv("OCELLI_LISTEN", "", 1);
    setenv("OCELLI_API_KEY_FILE", path, 1);
    assert_int_equal(config_load_environment(config, &err), 0);
    assert_int_equal(config->port, 7000);
    assert_string_equal(config->listen, "127.0.0.1");
    assert_string_equal(config->api_key, "from-file");
    assert_string_equal(config_text(config, find("api_key"), text, sizeof text), "********");

    setenv("OCELLI_API_KEY", "direct", 1);
    assert_int_equal(config_load_environment(config, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "OCELLI_API_KEY_FILE"));
    unsetenv("OCELLI_API_KEY_FILE");
    assert_int_equal(config_load_environment(config, &err), 0);
    assert_string_equal(config->api_key, "direct");
    unsetenv("OCELLI_API_KEY");
    unlink(path);
    setenv("OCELLI_API_KEY_FILE", path, 1);
    assert_int_equal(config_load_environment(config, &err), STATUS_NOT_FOUND);
    unsetenv("OCELLI_API_KEY_FILE");
    setenv("OCELLI_PORT", "x", 1);
    assert_int_equal(config_load_environment(config, &err), STATUS_INVALID);
    assert_non_null(strstr(err.message, "OCELLI_PORT"));
    unsetenv("OCELLI_PORT");
}

#define CONFIG_TEST(test) cmocka_unit_test_setup_teardown(test, make_config, free_config)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONFIG_TEST(test_defaults), CONFIG_TEST(test_order_of_origins),
        CONFIG_TEST(test_units),    CONFIG_TEST(test_refusals_name_setting_text_and_bounds),
        CONFIG_TEST(test_file),     CONFIG_TEST(test_environment_and_secrets),
    };
    for (const struct config_setting *setting = config_settings(); setting->name; setting++)
        unsetenv(setting->environment);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
