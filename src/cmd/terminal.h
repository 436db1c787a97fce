/* Text for people: blocks that are redrawn in place, bars, tables and colours, on what understands
 * them; plain text elsewhere (NO_COLOR, TERM=dumb, files and pipes). */
#ifndef CMD_TERMINAL_H
#define CMD_TERMINAL_H

#include <stdbool.h>
#include <stdio.h>

#include "base/buffer.h"

enum terminal_style {
    STYLE_PLAIN,
    STYLE_BOLD,
    STYLE_DIM,
    STYLE_GREEN,
    STYLE_RED,
    STYLE_YELLOW,
    STYLE_CYAN,
    STYLE_COUNT
};

enum { TERMINAL_ROWS_MAX = 256 };

struct terminal {
    FILE *out;
    bool live;    /* a terminal: blocks are redrawn in place */
    bool colour;  /* styles are more than nothing */
    bool unicode; /* the locale is UTF-8: bars and marks may be drawn with it */
    /* The block on the screen: the columns of its rows, so that it is found again after the window
     * was made narrower and they broke. */
    int columns[TERMINAL_ROWS_MAX];
    int row_count;
};

void terminal_open(struct terminal *terminal, FILE *out);
/* Gives the cursor back below what was drawn. */
void terminal_close(struct terminal *terminal);

/* The window's size now; 80 x 24 when it has none. */
int terminal_width(const struct terminal *terminal);
int terminal_height(const struct terminal *terminal);

/* Replaces the block drawn before by this one: lines that end in '\n', each cut at the window's
 * width, no more of them than its height. Only when live: elsewhere it does nothing. */
void terminal_draw(struct terminal *terminal, const struct buffer *text);
/* Takes the drawn block away, for text that is to stay. */
void terminal_erase(struct terminal *terminal);
/* What is drawn stays; the next block begins below it. */
void terminal_keep(struct terminal *terminal);

/* The sequence that switches to a style, "" without colours. */
const char *terminal_style(const struct terminal *terminal, enum terminal_style style);

/* A bar of `width` columns, filled for a share of 0 .. 1. */
void terminal_bar(const struct terminal *terminal, double share, int width, struct buffer *out);
/* "1:05", "2:00:10"; "-:--" for what is not finite. */
void terminal_time(double seconds, struct buffer *out);

/* How many columns UTF-8 text takes, sequences not counted. */
int text_columns(const char *text);
/* Copies a name from elsewhere into out[size], cut, its control characters replaced so that it
 * cannot steer the terminal. Returns out. */
const char *text_printable(const char *text, char *out, size_t size);

#endif
