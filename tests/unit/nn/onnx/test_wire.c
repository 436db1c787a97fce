/* The wire format, against bytes written out by hand from its specification. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "nn/onnx/wire.h"

static void test_reads_every_type(void **state)
{
    /* 1: varint 300; 2: "testing"; 3: fixed32 of 1.5f; 4: fixed64; 5: varint -1 in ten bytes */
    static const uint8_t bytes[] = {
        0x08, 0xac, 0x02, 0x12, 0x07, 't',  'e',  's',  't',  'i',  'n',  'g', 0x1d,
        0x00, 0x00, 0xc0, 0x3f, 0x21, 1,    2,    3,    4,    5,    6,    7,   8,
        0x28, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
    };
    struct wire wire = wire_open(bytes, sizeof bytes);
    struct wire_field field;
    struct wire_text text;
    int64_t integer;
    float number;
    (void)state;

    assert_int_equal(wire_next(&wire, &field, NULL), STATUS_OK);
    assert_int_equal(wire_get_int(&field, &integer, NULL), STATUS_OK);
    assert_int_equal(integer, 300);
    assert_int_equal(wire_next(&wire, &field, NULL), STATUS_OK);
    assert_int_equal(wire_get_text(&field, &text, NULL), STATUS_OK);
    assert_true(wire_text_is(text, "testing"));
    assert_int_equal(wire_get_int(&field, &integer, NULL), STATUS_CORRUPT);
    assert_int_equal(wire_next(&wire, &field, NULL), STATUS_OK);
    assert_int_equal(wire_get_float(&field, &number, NULL), STATUS_OK);
    assert_true(number == 1.5f);
    assert_int_equal(wire_next(&wire, &field, NULL), STATUS_OK);
    assert_int_equal(field.bits, 0x0807060504030201);
    assert_int_equal(wire_next(&wire, &field, NULL), STATUS_OK);
    assert_int_equal(wire_get_int(&field, &integer, NULL), STATUS_OK);
    assert_int_equal(integer, -1);
    assert_false(wire_more(&wire));
}

static void test_refuses_what_is_no_field(void **state)
{
    static const struct {
        const char *what;
        uint8_t bytes[12];
        size_t size;
    } cases[] = {
        {"field number 0", {0x00, 0x01}, 2},
        {"a group", {0x0b}, 1},
        {"wire type 7", {0x0f, 0x01}, 2},
        {"a cut key", {0x88}, 1},
        {"a missing varint", {0x08}, 1},
        {"a cut varint", {0x08, 0x80, 0x80}, 3},
        {"a varint of eleven bytes",
         {0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01},
         12},
        {"a cut fixed32", {0x0d, 1, 2, 3}, 4},
        {"a cut fixed64", {0x09, 1, 2, 3, 4, 5, 6, 7}, 8},
        {"a length over the end", {0x0a, 0x03, 'a', 'b'}, 4},
        {"a length near 2^64", {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 11},
        {"a field number over 2^29", {0x88, 0x80, 0x80, 0x80, 0x10, 0x01}, 6},
    };
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire wire = wire_open(cases[i].bytes, cases[i].size);
        struct wire_field field;
        struct error err = {0};
        if (wire_next(&wire, &field, &err) != STATUS_CORRUPT)
            fail_msg("%s was taken", cases[i].what);
        assert_true(strncmp(err.message, "byte ", 5) == 0);
    }
}

static void test_text_must_be_utf8(void **state)
{
    static const struct {
        uint8_t bytes[5];
        size_t size;
        bool good;
    } cases[] = {
        {"plain", 5, true},        {"\xc3\xa9", 2, true},
        {"\xe2\x82\xac", 3, true}, {"\xf0\x9f\x98\x80", 4, true},
        {"a\0b", 3, false},        {"\xc3", 1, false},
        {"\xa9", 1, false},        {"\xe2\x82x", 3, false},
        {"\xff", 1, false},
    };
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct wire_field field = {
            .number = 1,
            .type = WIRE_LENGTH,
            .payload = wire_open(cases[i].bytes, cases[i].size),
        };
        struct wire_text text;
        assert_int_equal(wire_get_text(&field, &text, NULL),
                         cases[i].good ? STATUS_OK : STATUS_CORRUPT);
    }
}

static void test_writes_nested_messages(void **state)
{
    struct wire_writer writer = {0};
    struct wire_field field;
    struct wire outer, inner;
    uint8_t big[300];
    int64_t integer;
    (void)state;

    memset(big, 'x', sizeof big);
    const size_t first = wire_begin(&writer, 1);
    const size_t second = wire_begin(&writer, 2);
    wire_put_bytes(&writer, 3, big, sizeof big);
    wire_end(&writer, second);
    wire_put_int(&writer, 4, -5);
    wire_end(&writer, first);
    const size_t empty = wire_begin(&writer, 5);
    wire_end(&writer, empty);
    assert_false(writer.failed);

    struct wire wire = wire_open(writer.bytes, writer.size);
    assert_int_equal(wire_next(&wire, &field, NULL), STATUS_OK);
    assert_int_equal(wire_get_message(&field, &outer, NULL), STATUS_OK);
    assert_int_equal(wire_next(&outer, &field, NULL), STATUS_OK);
    assert_int_equal(wire_get_message(&field, &inner, NULL), STATUS_OK);
    assert_int_equal(wire_next(&inner, &field, NULL), STATUS_OK);
    assert_int_equal(wire_left(&field.payload), sizeof big);
    assert_memory_equal(field.payload.at, big, sizeof big);
    assert_false(wire_more(&inner));
    assert_int_equal(wire_next(&outer, &field, NULL), STATUS_OK);
    assert_int_equal(wire_get_int(&field, &integer, NULL), STATUS_OK);
    assert_int_equal(integer, -5);
    assert_int_equal(wire_next(&wire, &field, NULL), STATUS_OK);
    assert_int_equal(wire_left(&field.payload), 0);
    assert_false(wire_more(&wire));
    wire_writer_free(&writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_every_type),
        cmocka_unit_test(test_refuses_what_is_no_field),
        cmocka_unit_test(test_text_must_be_utf8),
        cmocka_unit_test(test_writes_nested_messages),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
