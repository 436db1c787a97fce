/* A table for people: cells are added row by row, columns are as wide as they need. */
#ifndef CMD_TABLE_H
#define CMD_TABLE_H

#include "base/buffer.h"
#include "cmd/terminal.h"

struct table_column {
    const char *title;
    bool right; /* aligned to the right, as numbers are */
    int least;  /* columns it takes at least, so that a table that is redrawn stands still */
};

enum { TABLE_CELL_SIZE = 96, TABLE_COLUMNS_MAX = 24 };

struct table_cell {
    char text[TABLE_CELL_SIZE];
    enum terminal_style style;
};

struct table {
    const struct table_column *columns; /* borrowed */
    int column_count;
    struct table_cell *cells; /* owned, row by row */
    size_t cell_count, cell_capacity;
    bool failed; /* memory ran out: nothing will be printed */
};

void table_open(struct table *table, const struct table_column *columns, int column_count);
void table_free(struct table *table);
/* The next cell of the row; the row after begins by itself. */
void table_cell(struct table *table, enum terminal_style style, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Appends title and rows, `indent` spaces before each. */
void table_print(const struct table *table, const struct terminal *terminal, int indent,
                 struct buffer *out);

#endif
