/* What the commands show: columns of text, tables, and blocks redrawn on a (pseudo-)terminal. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <math.h>
#include <poll.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cmd/table.h"
#include "cmd/terminal.h"

/* --- Text ------------------------------------------------------------------------------------- */

static void test_columns_count_characters(void **state)
{
    (void)state;
    assert_int_equal(text_columns(""), 0);
    assert_int_equal(text_columns("abc"), 3);
    assert_int_equal(text_columns("Käfer ✓"), 7);
    assert_int_equal(text_columns("\033[1;32mok\033[0m"), 2);
    assert_int_equal(text_columns("写真"), 4);
    assert_int_equal(text_columns("e\xcc\x81"), 1); /* e and a combining accent */
    assert_int_equal(text_columns("\xff\xfe"), 2);  /* no UTF-8: a column a byte */
}

static void test_printable_text_cannot_steer(void **state)
{
    char out[32], small[5];

    (void)state;
    assert_string_equal(text_printable("a\033[2Jb\nc\x7f.png", out, sizeof out), "a?[2Jb?c?.png");
    assert_string_equal(text_printable("\xc2\x9b"
                                       "31m",
                                       out, sizeof out),
                        "?31m"); /* the same sequence in one character */
    assert_string_equal(text_printable("Käfer.jpg", out, sizeof out), "Käfer.jpg");
    /* Cut between characters, never inside one. */
    assert_string_equal(text_printable("abcä", small, sizeof small), "abc");
    assert_string_equal(text_printable("abcd", small, sizeof small), "abcd");
}

static void check_time(double seconds, const char *expected)
{
    struct buffer out = {0};
    terminal_time(seconds, &out);
    assert_string_equal(out.data, expected);
    buffer_free(&out);
}

static void test_times(void **state)
{
    (void)state;
    check_time(0.0, "0:00");
    check_time(65.4, "1:05");
    check_time(59.6, "1:00");
    check_time(7210.0, "2:00:10");
    check_time(-1.0, "-:--");
    check_time((double)INFINITY, "-:--");
    check_time((double)NAN, "-:--");
}

static void check_bar(double share, const char *expected)
{
    const struct terminal plain = {.unicode = false};
    struct buffer out = {0};
    terminal_bar(&plain, share, 4, &out);
    assert_string_equal(out.data, expected);
    buffer_free(&out);
}

static void test_bars(void **state)
{
    (void)state;
    check_bar(0.0, "----");
    check_bar(0.5, "##--");
    check_bar(1.0, "####");
    check_bar(7.0, "####");
    check_bar(-1.0, "----");
    check_bar((double)NAN, "----");
}

/* --- Tables ----------------------------------------------------------------------------------- */

static void test_table_aligns(void **state)
{
    static const struct table_column columns[] = {
        {"name", false}, {"n", true}, {"least", true, 8}, {"last", false}};
    const struct terminal plain = {0};
    struct table table;
    struct buffer out = {0};

    (void)state;
    table_open(&table, columns, 4);
    table_cell(&table, STYLE_PLAIN, "Käfer");
    table_cell(&table, STYLE_RED, "%d", 7);
    table_cell(&table, STYLE_PLAIN, "x");
    table_cell(&table, STYLE_PLAIN, "end");
    table_cell(&table, STYLE_PLAIN, "a");
    table_cell(&table, STYLE_PLAIN, "%d", 1234);
    table_cell(&table, STYLE_PLAIN, "yy");
    table_cell(&table, STYLE_PLAIN, "e");
    table_print(&table, &plain, 1, &out);
    assert_string_equal(out.data, " name      n     least  last\n"
                                  " Käfer     7         x  end\n"
                                  " a      1234        yy  e\n");
    buffer_free(&out);
    table_free(&table);
}

/* --- Redrawing -------------------------------------------------------------------------------- */

struct screen {
    int master;
    FILE *slave;
    struct terminal terminal;
};

static void resize(const struct screen *screen, int columns, int rows)
{
    const struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
    assert_int_equal(ioctl(screen->master, TIOCSWINSZ, &size), 0);
}

static void open_screen(struct screen *screen)
{
    int slave;

    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    assert_int_equal(openpty(&screen->master, &slave, NULL, NULL, NULL), 0);
    screen->slave = fdopen(slave, "w");
    assert_non_null(screen->slave);
    resize(screen, 40, 10);
    terminal_open(&screen->terminal, screen->slave);
}

static void close_screen(struct screen *screen)
{
    fclose(screen->slave);
    close(screen->master);
}

static void draw(struct screen *screen, const char *text)
{
    struct buffer out = {0};
    buffer_text(&out, text);
    terminal_draw(&screen->terminal, &out);
    buffer_free(&out);
}

/* Reads as much as is expected, which comes in pieces, or until nothing more comes. */
static void expect(const struct screen *screen, const char *expected)
{
    struct pollfd readable = {.fd = screen->master, .events = POLLIN};
    char text[1024] = "";
    size_t size = 0;

    while (size < strlen(expected) && poll(&readable, 1, 5000) == 1) {
        const ssize_t got = read(screen->master, text + size, sizeof text - 1 - size);
        assert_true(got > 0);
        size += (size_t)got;
    }
    text[size] = '\0';
    assert_string_equal(text, expected);
    assert_int_equal(poll(&readable, 1, 0), 0);
}

/* The terminal's driver puts a '\r' before each '\n', so there are two. */
#define LINE_END "\033[K\r\r\n"

static void test_draw_goes_back_over_the_last_block(void **state)
{
    struct screen screen;

    (void)state;
    open_screen(&screen);
    assert_true(screen.terminal.live);
    draw(&screen, "one\ntwo\n");
    expect(&screen, "\033[?25lone" LINE_END "two" LINE_END "\033[J");
    draw(&screen, "three\n");
    expect(&screen, "\033[?25l\r\033[2Athree" LINE_END "\033[J");
    terminal_erase(&screen.terminal);
    expect(&screen, "\r\033[1A\033[J\033[?25h");
    draw(&screen, "four\n");
    expect(&screen, "\033[?25lfour" LINE_END "\033[J");
    terminal_close(&screen.terminal);
    expect(&screen, "\033[?25h");
    close_screen(&screen);
}

static void test_draw_keeps_within_the_window(void **state)
{
    struct screen screen;

    (void)state;
    open_screen(&screen);
    resize(&screen, 5, 4);
    draw(&screen, "1234567\n\033[31mab\033[0mcdefg\nthree\nfour\nfive\n");
    expect(&screen, "\033[?25l12345\033[0m" LINE_END "\033[31mab\033[0mcde\033[0m" LINE_END
                    "three" LINE_END "\033[J");
    close_screen(&screen);
}

static void test_draw_finds_rows_that_a_narrower_window_broke(void **state)
{
    struct screen screen;

    (void)state;
    open_screen(&screen);
    draw(&screen, "123456789012345\nabc\n");
    expect(&screen, "\033[?25l123456789012345" LINE_END "abc" LINE_END "\033[J");
    resize(&screen, 10, 10);
    draw(&screen, "x\n");
    expect(&screen, "\033[?25l\r\033[3Ax" LINE_END "\033[J");
    close_screen(&screen);
}

static void test_no_colour_when_asked(void **state)
{
    struct screen screen;
    struct terminal terminal;

    (void)state;
    open_screen(&screen);
    assert_string_equal(terminal_style(&screen.terminal, STYLE_RED), "\033[31m");
    setenv("NO_COLOR", "1", 1);
    terminal_open(&terminal, screen.slave);
    assert_true(terminal.live);
    assert_string_equal(terminal_style(&terminal, STYLE_RED), "");
    setenv("TERM", "dumb", 1);
    terminal_open(&terminal, screen.slave);
    assert_false(terminal.live);
    close_screen(&screen);
}

static void test_nothing_is_redrawn_in_a_file(void **state)
{
    struct screen screen = {.slave = tmpfile()};

    (void)state;
    assert_non_null(screen.slave);
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    terminal_open(&screen.terminal, screen.slave);
    draw(&screen, "one\n");
    terminal_erase(&screen.terminal);
    terminal_close(&screen.terminal);
    assert_int_equal(ftell(screen.slave), 0);
    assert_string_equal(terminal_style(&screen.terminal, STYLE_RED), "");
    fclose(screen.slave);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_count_characters),
        cmocka_unit_test(test_printable_text_cannot_steer),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_bars),
        cmocka_unit_test(test_table_aligns),
        cmocka_unit_test(test_draw_goes_back_over_the_last_block),
        cmocka_unit_test(test_draw_keeps_within_the_window),
        cmocka_unit_test(test_draw_finds_rows_that_a_narrower_window_broke),
        cmocka_unit_test(test_no_colour_when_asked),
        cmocka_unit_test(test_nothing_is_redrawn_in_a_file),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
