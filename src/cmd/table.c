/* Tables: see table.h. */
#include "cmd/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void table_open(struct table *table, const struct table_column *columns, int column_count)
{
    assert(column_count > 0 && column_count <= TABLE_COLUMNS_MAX);
    *table = (struct table){.columns = columns, .column_count = column_count};
}

void table_free(struct table *table)
{
    free(table->cells);
    *table = (struct table){0};
}

static struct table_cell *add_cell(struct table *table)
{
    if (table->failed)
        return NULL;
    if (table->cell_count == table->cell_capacity) {
        const size_t capacity = table->cell_capacity == 0 ? 64 : 2 * table->cell_capacity;
        struct table_cell *cells = realloc(table->cells, capacity * sizeof *cells);
        if (cells == NULL) {
            table->failed = true;
            return NULL;
        }
        table->cells = cells;
        table->cell_capacity = capacity;
    }
    return &table->cells[table->cell_count++];
}

void table_cell(struct table *table, enum terminal_style style, const char *format, ...)
{
    struct table_cell *cell = add_cell(table);
    va_list arguments;

    if (cell == NULL)
        return;
    cell->style = style;
    va_start(arguments, format);
    vsnprintf(cell->text, sizeof cell->text, format, arguments);
    va_end(arguments);
}

static int column_width(const struct table *table, int column)
{
    int width = text_columns(table->columns[column].title);

    if (width < table->columns[column].least)
        width = table->columns[column].least;
    for (size_t i = (size_t)column; i < table->cell_count; i += (size_t)table->column_count) {
        const int cell = text_columns(table->cells[i].text);
        if (cell > width)
            width = cell;
    }
    return width;
}

static void print_spaces(int count, struct buffer *out)
{
    if (count > 0)
        buffer_print(out, "%*s", count, "");
}

static void print_cell(const struct table *table, const struct terminal *terminal, int column,
                       int width, const char *text, enum terminal_style style, struct buffer *out)
{
    const bool right = table->columns[column].right;
    const bool last = column + 1 == table->column_count;
    const int rest = width - text_columns(text);

    print_spaces(right ? rest : 0, out);
    buffer_text(out, style != STYLE_PLAIN ? terminal_style(terminal, style) : "");
    buffer_text(out, text);
    buffer_text(out, style != STYLE_PLAIN ? terminal_style(terminal, STYLE_PLAIN) : "");
    print_spaces((right || last ? 0 : rest) + (last ? 0 : 2), out);
}

void table_print(const struct table *table, const struct terminal *terminal, int indent,
                 struct buffer *out)
{
    int widths[TABLE_COLUMNS_MAX];

    if (table->failed)
        return;
    print_spaces(indent, out);
    for (int column = 0; column < table->column_count; column++) {
        widths[column] = column_width(table, column);
        print_cell(table, terminal, column, widths[column], table->columns[column].title,
                   STYLE_BOLD, out);
    }
    buffer_text(out, "\n");
    for (size_t i = 0; i < table->cell_count; i++) {
        const int column = (int)(i % (size_t)table->column_count);
        const struct table_cell *cell = &table->cells[i];
        if (column == 0)
            print_spaces(indent, out);
        print_cell(table, terminal, column, widths[column], cell->text, cell->style, out);
        if (column + 1 == table->column_count)
            buffer_text(out, "\n");
    }
}
