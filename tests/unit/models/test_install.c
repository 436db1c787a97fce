/* Tests of models/install: what is added can be served, by file or address; what cannot be added
 * leaves nothing; what is replaced or removed changes in one step. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "fixture.h"
#include "models/install.h"

static char *top;
static char models[256], network[256];
static struct preprocess small;

static int make_place(void **state)
{
    (void)state;
    top = fixture_folder();
    snprintf(models, sizeof models, "%s/models", top);
    snprintf(network, sizeof network, "%s/net.onnx", top);
    fixture_network(network, &tiny_colours);
    preprocess_preset("raw01", &small, NULL);
    small.width = small.height = 8;
    return 0;
}

static int remove_place(void **state)
{
    (void)state;
    folder_remove(top, NULL);
    free(top);
    return 0;
}

/* Entries of the folder of models, hidden ones too. */
static int count_entries(void)
{
    int count = 0;
    DIR *directory = opendir(models);
    if (directory == NULL)
        return 0;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(directory);
    return count;
}

static struct install_request request_for(const char *source, const char *labels)
{
    return (struct install_request){
        .models_dir = models,
        .source = source,
        .label_text = labels,
        .text = {.name = "m", .version = "1", .own_preprocess = &small},
    };
}

static void install(const struct install_request *request)
{
    struct error err = {0};
    if (model_install(request, &err) != STATUS_OK)
        fail_msg("%s", err.message);
}

/* Expects a refusal that leaves the folder of models as it was. */
static void refuse(const struct install_request *request, enum status status, const char *words)
{
    struct error err = {0};
    const int before = count_entries();
    assert_int_equal(model_install(request, &err), status);
    if (strstr(err.message, words) == NULL)
        fail_msg("'%s' does not hold '%s'", err.message, words);
    assert_int_equal(count_entries(), before);
}

static struct model_package *installed(const char *name)
{
    struct model_package *package = NULL;
    struct error err = {0};
    if (package_load(fixture_path(models, name), &package, &err) != STATUS_OK)
        fail_msg("%s", err.message);
    return package;
}

static void test_adds_a_file(void **state)
{
    (void)state;
    struct install_request request = request_for(network, "red,green,blue,none");
    install(&request);
    assert_int_equal(count_entries(), 1);
    struct model_package *package = installed("m");
    assert_int_equal(package->label_count, 4);
    assert_string_equal(package->labels[2], "blue");
    assert_true(preprocess_equal(&package->preprocess, &small));
    package_free(package);
    uint8_t *a = NULL, *b = NULL;
    size_t a_size = 0, b_size = 0;
    assert_int_equal(file_read(network, 1 << 20, &a, &a_size, NULL), STATUS_OK);
    assert_int_equal(file_read(fixture_path(models, "m/model.onnx"), 1 << 20, &b, &b_size, NULL),
                     STATUS_OK);
    assert_int_equal(a_size, b_size);
    assert_memory_equal(a, b, a_size);
    free(a);
    free(b);
}

static void test_adds_from_an_address(void **state)
{
    (void)state;
    char address[512];
    snprintf(address, sizeof address, "file://%s", network);
    fixture_write(fixture_path(top, "labels.txt"), "red\r\ngreen\nsky, blue\nnone\n");
    struct install_request request = request_for(address, fixture_path(top, "labels.txt"));
    install(&request);
    struct model_package *package = installed("m");
    assert_string_equal(package->labels[0], "red");
    assert_string_equal(package->labels[2], "sky, blue");
    package_free(package);
    snprintf(address, sizeof address, "file://%s/absent.onnx", top);
    request.text.name = "n";
    refuse(&request, STATUS_NOT_FOUND, "absent.onnx");
    request.source = "ftp://localhost/net.onnx";
    refuse(&request, STATUS_UNSUPPORTED, "only http, https and file");
    request.source = "http://127.0.0.1:1/net.onnx";
    refuse(&request, STATUS_IO, "http://127.0.0.1:1/net.onnx");
}

static void test_what_cannot_be_served_is_not_added(void **state)
{
    (void)state;
    struct install_request request = request_for(network, "red,green,blue");
    refuse(&request, STATUS_INVALID, "the network has 4 outputs, but there are 3 labels");
    request.label_text = "a,b,,d";
    refuse(&request, STATUS_INVALID, "label 3");
    request.label_text = "a,b,c,d";
    request.text.own_preprocess = NULL;
    request.text.preprocess = "cifar10";
    refuse(&request, STATUS_INVALID, "the network takes [3, 8, 8]");
    request.text.preprocess = "nonesuch";
    refuse(&request, STATUS_NOT_FOUND, "nonesuch");
    request = request_for(fixture_path(top, "absent.onnx"), "a,b,c,d");
    refuse(&request, STATUS_NOT_FOUND, "absent.onnx");
    fixture_write(fixture_path(top, "rubbish.onnx"), "rubbish");
    request.source = fixture_path(top, "rubbish.onnx");
    refuse(&request, STATUS_INVALID, "model.onnx");
    request.text.name = "../m";
    refuse(&request, STATUS_INVALID, "'name'");
    assert_int_equal(count_entries(), 0);
}

static void test_replaces_only_when_asked(void **state)
{
    (void)state;
    struct install_request request = request_for(network, "red,green,blue,none");
    install(&request);
    request.text.version = "2";
    refuse(&request, STATUS_EXISTS, "is there already");
    request.replace = true;
    request.label_text = "r,g,b";
    refuse(&request, STATUS_INVALID, "3 labels"); /* and the old one is still there */
    struct model_package *package = installed("m");
    assert_string_equal(package->version, "1");
    package_free(package);
    request.label_text = "r,g,b,n";
    install(&request);
    package = installed("m");
    assert_string_equal(package->version, "2");
    assert_string_equal(package->labels[0], "r");
    package_free(package);
    assert_int_equal(count_entries(), 1);
}

static void test_uninstalls_by_name(void **state)
{
    (void)state;
    struct error err = {0};
    struct install_request request = request_for(network, "red,green,blue,none");
    install(&request);
    request.text.name = "n";
    install(&request);
    assert_int_equal(rename(fixture_path(models, "n"), fixture_path(models, "folder")), 0);
    assert_int_equal(model_uninstall(models, "folder", &err), STATUS_NOT_FOUND);
    assert_int_equal(model_uninstall(models, "n", &err), STATUS_OK);
    assert_false(file_exists(fixture_path(models, "folder")));
    assert_int_equal(model_uninstall(models, "n", &err), STATUS_NOT_FOUND);
    /* One that is broken is known by its folder. */
    fixture_write(fixture_path(models, "m/model.yaml"), "rubbish: [");
    assert_int_equal(model_uninstall(models, "m", &err), STATUS_OK);
    assert_int_equal(count_entries(), 0);
}

#define AT_A_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        AT_A_PLACE(test_adds_a_file),
        AT_A_PLACE(test_adds_from_an_address),
        AT_A_PLACE(test_what_cannot_be_served_is_not_added),
        AT_A_PLACE(test_replaces_only_when_asked),
        AT_A_PLACE(test_uninstalls_by_name),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
