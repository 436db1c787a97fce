/* The terminal: see terminal.h. ANSI sequences (ECMA-48) written by hand, since the few that are
 * needed are the same everywhere. */
#include "cmd/terminal.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HIDE_CURSOR "\033[?25l"
#define SHOW_CURSOR "\033[?25h"
#define ERASE_LINE  "\033[K"
#define ERASE_BELOW "\033[J"

/* --- What the terminal is --------------------------------------------------------------------- */

static bool locale_is_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value != NULL && *value != '\0')
            return strcasestr(value, "utf-8") != NULL || strcasestr(value, "utf8") != NULL;
    }
    return false;
}

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0';
}

void terminal_open(struct terminal *terminal, FILE *out)
{
    const char *kind = getenv("TERM");
    const bool speaks_ansi = kind != NULL && *kind != '\0' && strcmp(kind, "dumb") != 0;

    *terminal = (struct terminal){.out = out, .unicode = locale_is_utf8()};
    terminal->live = isatty(fileno(out)) && speaks_ansi;
    terminal->colour = terminal->live && !is_set("NO_COLOR");
}

void terminal_close(struct terminal *terminal)
{
    terminal_keep(terminal);
    fflush(terminal->out);
}

static struct winsize window_size(const struct terminal *terminal)
{
    struct winsize size = {0};

    if (ioctl(fileno(terminal->out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0 ||
        size.ws_row == 0)
        size = (struct winsize){.ws_col = 80, .ws_row = 24};
    return size;
}

int terminal_width(const struct terminal *terminal)
{
    return window_size(terminal).ws_col;
}

int terminal_height(const struct terminal *terminal)
{
    return window_size(terminal).ws_row;
}

/* --- Columns of text -------------------------------------------------------------------------- */

/* Past one character of UTF-8, which is *code; a byte that is none of it counts as itself. */
static const char *next_character(const char *at, uint32_t *code)
{
    const unsigned char first = (unsigned char)*at++;
    int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : 0;

    *code = more == 0 ? first : first & (0x3fu >> more);
    for (; more > 0 && ((unsigned char)*at & 0xc0) == 0x80; more--)
        *code = *code << 6 | ((unsigned char)*at++ & 0x3fu);
    return at;
}

/* Columns of a character: none for combining marks, two for what East Asian Width (Unicode Standard
 * Annex 11) calls wide, roughly. */
static int character_columns(uint32_t code)
{
    static const struct {
        uint32_t first, last;
    } wide[] = {{0x1100, 0x115f}, {0x2e80, 0xa4cf},   {0xac00, 0xd7a3},
                {0xf900, 0xfaff}, {0xfe30, 0xfe6f},   {0xff00, 0xff60},
                {0xffe0, 0xffe6}, {0x1f300, 0x1faff}, {0x20000, 0x3fffd}};

    if ((code >= 0x300 && code <= 0x36f) || code == 0x200d || (code >= 0xfe00 && code <= 0xfe0f))
        return 0;
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (code >= wide[i].first && code <= wide[i].last)
            return 2;
    return 1;
}

/* The end of the longest start of a line that fits; *columns is what it takes. Sequences take
 * nothing. */
static const char *fit(const char *line, const char *end, int width, int *columns)
{
    const char *at = line;

    *columns = 0;
    while (at < end) {
        uint32_t code;
        if (*at == '\033') {
            at += strcspn(at, "mKJABCDHhl");
            at += *at != '\0';
            continue;
        }
        const char *next = next_character(at, &code);
        const int takes = character_columns(code);
        if (*columns + takes > width)
            break;
        *columns += takes;
        at = next;
    }
    return at;
}

int text_columns(const char *text)
{
    int columns;
    fit(text, text + strlen(text), INT32_MAX, &columns);
    return columns;
}

const char *text_printable(const char *text, char *out, size_t size)
{
    size_t used = 0;

    while (*text != '\0') {
        uint32_t code;
        const char *next = next_character(text, &code);
        const size_t length = (size_t)(next - text);
        const bool is_control = code < 0x20 || (code >= 0x7f && code < 0xa0);
        if (used + (is_control ? 1 : length) >= size)
            break;
        if (is_control)
            out[used++] = '?';
        else
            memcpy(out + used, text, length);
        used += is_control ? 0 : length;
        text = next;
    }
    out[used] = '\0';
    return out;
}

/* --- Drawing in place ------------------------------------------------------------------------- */

/* The rows the drawn block takes at the present width: a terminal that was made narrower has broken
 * the long ones. */
static int rows_on_screen(const struct terminal *terminal)
{
    const int width = terminal_width(terminal);
    int rows = 0;

    for (int i = 0; i < terminal->row_count; i++)
        rows += terminal->columns[i] <= width ? 1 : (terminal->columns[i] + width - 1) / width;
    return rows;
}

static void return_to_start(struct terminal *terminal, struct buffer *out)
{
    const int rows = rows_on_screen(terminal);
    if (rows > 0)
        buffer_print(out, "\r\033[%dA", rows);
    terminal->row_count = 0;
}

static void draw_lines(struct terminal *terminal, const char *text, struct buffer *out)
{
    const int width = terminal_width(terminal);
    int rows = terminal_height(terminal) - 1;

    if (rows > TERMINAL_ROWS_MAX)
        rows = TERMINAL_ROWS_MAX;
    while (*text != '\0' && terminal->row_count < rows) {
        const char *end = text + strcspn(text, "\n");
        const char *cut = fit(text, end, width, &terminal->columns[terminal->row_count++]);
        buffer_append(out, text, (size_t)(cut - text));
        if (cut < end)
            buffer_text(out, terminal_style(terminal, STYLE_PLAIN));
        buffer_text(out, ERASE_LINE "\r\n");
        text = end + (*end == '\n');
    }
}

static void put(struct terminal *terminal, struct buffer *out)
{
    if (buffer_ok(out) && out->size > 0) {
        fwrite(out->data, 1, out->size, terminal->out);
        fflush(terminal->out);
    }
    buffer_free(out);
}

void terminal_draw(struct terminal *terminal, const struct buffer *text)
{
    struct buffer out = {0};

    if (!terminal->live || !buffer_ok(text) || text->size == 0)
        return;
    buffer_text(&out, HIDE_CURSOR);
    return_to_start(terminal, &out);
    draw_lines(terminal, text->data, &out);
    buffer_text(&out, ERASE_BELOW);
    put(terminal, &out);
}

void terminal_erase(struct terminal *terminal)
{
    struct buffer out = {0};

    if (terminal->row_count == 0)
        return;
    return_to_start(terminal, &out);
    buffer_text(&out, ERASE_BELOW SHOW_CURSOR);
    put(terminal, &out);
}

void terminal_keep(struct terminal *terminal)
{
    if (terminal->row_count > 0)
        fputs(SHOW_CURSOR, terminal->out);
    terminal->row_count = 0;
}

/* --- Pieces ----------------------------------------------------------------------------------- */

const char *terminal_style(const struct terminal *terminal, enum terminal_style style)
{
    static const char *const sequences[STYLE_COUNT] = {
        [STYLE_PLAIN] = "\033[0m",  [STYLE_BOLD] = "\033[1m", [STYLE_DIM] = "\033[2m",
        [STYLE_GREEN] = "\033[32m", [STYLE_RED] = "\033[31m", [STYLE_YELLOW] = "\033[33m",
        [STYLE_CYAN] = "\033[36m",
    };
    return terminal->colour ? sequences[style] : "";
}

void terminal_bar(const struct terminal *terminal, double share, int width, struct buffer *out)
{
    const double clamped = share < 0 || isnan(share) ? 0 : share > 1 ? 1 : share;
    const int filled = (int)(clamped * width + 0.5);

    buffer_text(out, terminal_style(terminal, STYLE_CYAN));
    for (int i = 0; i < width; i++) {
        if (i == filled)
            buffer_text(out, terminal_style(terminal, STYLE_DIM));
        if (terminal->unicode)
            buffer_text(out, i < filled ? "━" : "─");
        else
            buffer_text(out, i < filled ? "#" : "-");
    }
    buffer_text(out, terminal_style(terminal, STYLE_PLAIN));
}

void terminal_time(double seconds, struct buffer *out)
{
    if (!isfinite(seconds) || seconds < 0 || seconds > 1e9) {
        buffer_text(out, "-:--");
        return;
    }
    const long long whole = (long long)(seconds + 0.5);
    if (whole >= 3600)
        buffer_print(out, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        buffer_print(out, "%lld:%02lld", whole / 60, whole % 60);
}
