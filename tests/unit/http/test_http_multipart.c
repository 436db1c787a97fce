/* The multipart parser: every way to cut a body in pieces, names, and what is broken. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "http/disposition.h"
#include "http/multipart.h"

/* The body read in pieces of `first` and then `step` bytes, written down as text: each part as
 * "name|filename|type|content\n", at the end "." or the status. */
static void transcribe(const char *content_type, int parts_max, const char *body, size_t size,
                       size_t first, size_t step, struct buffer *out)
{
    struct multipart *multipart = NULL;
    size_t given = 0, left = 0;
    int status = multipart_create(content_type, parts_max, &multipart, NULL);
    const uint8_t *at = NULL, *data = NULL;
    uint8_t *piece = NULL;

    buffer_clear(out);
    if (status == STATUS_OK)
        status = MULTIPART_MORE;
    while (status >= 0 && status != MULTIPART_END) {
        size_t data_size = 0;
        status = multipart_next(multipart, &at, &left, &data, &data_size, NULL);
        if (status == MULTIPART_PART) {
            const char *filename = multipart_filename(multipart);
            const char *type = multipart_content_type(multipart);
            buffer_print(out, "%s|%s|%s|", multipart_name(multipart),
                         filename != NULL ? filename : "-", type != NULL ? type : "-");
        } else if (status == MULTIPART_DATA) {
            buffer_append(out, data, data_size);
        } else if (status == MULTIPART_PART_END) {
            buffer_text(out, "\n");
        } else if (status == MULTIPART_MORE) {
            assert_int_equal(left, 0);
            if (given == size)
                break;
            left = given == 0 ? first : step;
            if (left > size - given)
                left = size - given;
            /* A copy of its own, so that the sanitizer sees every read beyond the piece. */
            free(piece);
            piece = malloc(left);
            assert_non_null(piece);
            memcpy(piece, body + given, left);
            at = piece;
            given += left;
        }
    }
    if (status == MULTIPART_END)
        buffer_text(out, ".");
    else
        buffer_print(out, "%s", status == MULTIPART_MORE ? "cut" : status_name(status));
    free(piece);
    multipart_free(multipart);
}

static void assert_read_as(const char *body, const char *expected)
{
    const size_t size = strlen(body);
    struct buffer out = {0};

    for (size_t step = 1; step <= size + 1; step = step < 20 ? step + 1 : step * 3) {
        for (size_t first = 1; first <= size; first++) {
            transcribe("multipart/form-data; boundary=BB", 3, body, size, first, step, &out);
            if (strcmp(out.data, expected) != 0)
                fail_msg("pieces of %zu, %zu: '%s' instead of '%s'", first, step, out.data,
                         expected);
        }
    }
    buffer_free(&out);
}

#define HEAD "Content-Disposition: form-data; name=\"a\"\r\n\r\n"

static void test_bodies_in_pieces(void **state)
{
    (void)state;
    assert_read_as("--BB\r\n" HEAD "one\r\n--BB\r\n" HEAD "two\r\n--BB--\r\n",
                   "a|-|-|one\na|-|-|two\n.");
    assert_read_as("--BB--", ".");
    assert_read_as("preamble\r\n--BB\r\n" HEAD "\r\n--BB--epilogue", "a|-|-|\n.");
    assert_read_as("-- --BB \r\n--BB \t\r\n" HEAD "x\r\n--BB--", "a|-|-|x\n.");
    assert_read_as("--BB\r\n" HEAD "\r\r\n\r\n-\r\n--\r\n--B\r\n--BX\r\n--bb\r\r\n--BB--",
                   "a|-|-|\r\r\n\r\n-\r\n--\r\n--B\r\n--BX\r\n--bb\r\n.");
    assert_read_as("--BB\r\n" HEAD "\r\n\r\n\r\n--BB--", "a|-|-|\r\n\r\n\n.");
}

static void test_broken_bodies(void **state)
{
    (void)state;
    assert_read_as("no boundary at all", "cut");
    assert_read_as("--BB\r\n" HEAD "cut\r\n--B", "a|-|-|cutcut");
    assert_read_as("--BBx", "corrupt");
    assert_read_as("--BB-x", "corrupt");
    assert_read_as("--BB\rx", "corrupt");
    assert_read_as("--BB\r\n\r\nx\r\n--BB--", "corrupt");
    assert_read_as("--BB\r\nContent-Type: a/b\r\n\r\nx\r\n--BB--", "corrupt");
    assert_read_as("--BB\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--BB--", "corrupt");
    assert_read_as("--BB\r\nContent-Disposition: form-data; nam=a\r\n\r\nx\r\n--BB--", "corrupt");
    assert_read_as("--BB\r\nContent-Disposition: form-data; name=\"a\r\n\r\nx\r\n--BB--",
                   "corrupt");
    assert_read_as("--BB\r\njunk\r\n" HEAD "x\r\n--BB--", "corrupt");
    assert_read_as("--BB\r\n" HEAD "1\r\n--BB\r\n" HEAD "2\r\n--BB\r\n" HEAD "3\r\n--BB\r\n" HEAD
                   "4\r\n--BB--",
                   "a|-|-|1\na|-|-|2\na|-|-|3\ntoo_large");
}

static void test_headers_are_bounded(void **state)
{
    struct buffer body = {0}, out = {0};
    (void)state;
    buffer_text(&body, "--BB\r\nX: ");
    for (int i = 0; i < MULTIPART_HEADERS_MAX; i++)
        buffer_text(&body, "x");
    buffer_text(&body, "\r\n" HEAD "x\r\n--BB--");
    transcribe("multipart/form-data; boundary=BB", 3, body.data, body.size, 100, 1000, &out);
    assert_string_equal(out.data, "too_large");
    transcribe("multipart/form-data; boundary=BB", 3, "--BB\r\nX: \0\r\n", 12, 12, 1, &out);
    assert_string_equal(out.data, "corrupt");
    buffer_free(&body);
    buffer_free(&out);
}

static void test_content_types(void **state)
{
    static const struct {
        const char *content_type;
        int status;
    } cases[] = {
        {NULL, STATUS_UNSUPPORTED},
        {"multipart/mixed; boundary=a", STATUS_UNSUPPORTED},
        {"multipart/form-datax; boundary=a", STATUS_UNSUPPORTED},
        {"multipart/form-data", STATUS_INVALID},
        {"multipart/form-data; boundary=", STATUS_INVALID},
        {"multipart/form-data; boundary=\"a", STATUS_INVALID},
        {"multipart/form-data; boundary=\"a \"", STATUS_INVALID},
        {"multipart/form-data; boundary=a{b", STATUS_INVALID},
        {"multipart/form-data; boundary="
         "12345678901234567890123456789012345678901234567890123456789012345678901",
         STATUS_INVALID},
        {"multipart/form-data; boundary="
         "1234567890123456789012345678901234567890123456789012345678901234567890",
         STATUS_OK},
        {" Multipart/Form-Data ; charset=utf-8; BOUNDARY=\"a b:c\"", STATUS_OK},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct multipart *multipart = NULL;
        if (multipart_create(cases[i].content_type, 1, &multipart, NULL) != cases[i].status)
            fail_msg("'%s'", cases[i].content_type);
        multipart_free(multipart);
    }
}

static void test_names(void **state)
{
    static const struct {
        const char *parameters, *name, *filename;
    } cases[] = {
        {"name=a", "a", NULL},
        {"name=\"a\"; filename=\"b.png\"", "a", "b.png"},
        {"name=a;filename=b", "a", "b"},
        {"name=\"a\"; filename=\"\"", "a", ""},
        {"name=\"a\"; filename=\"C:\\dir\\b.png\"", "a", "b.png"},
        {"name=\"a\"; filename=\"/etc/passwd\"", "a", "passwd"},
        {"name=\"a\"; filename=\"../..\"", "a", ""},
        {"name=\"a\"; filename=\"dir/\"", "a", ""},
        {"name=\"a\"; filename=\"say \\\"hi\\\".png\"", "a", "say \"hi\".png"},
        {"name=\"a\"; filename=\"say %22hi%22.png\"", "a", "say \"hi\".png"},
        {"name=\"a\"; filename=\"a;b=c.png\"", "a", "a;b=c.png"},
        {"name=\"a\"; filename=\"na\xc3\xafve\"", "a", "na\xc3\xafve"},
        {"name=\"a\"; filename=\"na\xefve\"", "a", "na_ve"},
        {"name=\"a\"; filename=\"x\ty\"", "a", "x_y"},
        {"name=\"a\"; filename=\"f\"; filename*=UTF-8''na%C3%AFve", "a", "na\xc3\xafve"},
        {"name=\"a\"; filename*=utf-8'en'x%2Fy", "a", "y"},
        {"name=\"a\"; filename=\"f\"; filename*=latin1''x", "a", "f"},
        {"name=\"a\"; filename=\"f\"; filename*=UTF-8''%zz", "a", "f"},
        {"name=\"a\"; filename=\"f\"; filename*=UTF-8''%00", "a", "f"},
        {"name=\"a\"; filename=\"f\"; filename*=UTF-8''%ff", "a", "_"},
        {"filename=x; NAME=\"b\"", "b", "x"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char headers[256];
        struct disposition out;
        snprintf(headers, sizeof headers, "content-disposition:  form-data; %s\r\n\r\n",
                 cases[i].parameters);
        if (disposition_read(headers, &out) != 0)
            fail_msg("'%s' was refused", cases[i].parameters);
        assert_string_equal(out.name, cases[i].name);
        if (cases[i].filename == NULL)
            assert_null(out.filename);
        else if (out.filename == NULL || strcmp(out.filename, cases[i].filename) != 0)
            fail_msg("'%s' gave '%s'", cases[i].parameters, out.filename);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies_in_pieces),
        cmocka_unit_test(test_broken_bodies),
        cmocka_unit_test(test_headers_are_bounded),
        cmocka_unit_test(test_content_types),
        cmocka_unit_test(test_names),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
