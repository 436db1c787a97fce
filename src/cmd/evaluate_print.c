/* The report of an evaluation as tables: the models side by side, the pairs, then every model's
 * classes with its confusion matrix beside them. */
#include "cmd/evaluate_print.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "cmd/table.h"

enum { CONFUSION_CLASSES_MAX = 18, CLASSES_MAX = 200, SHORT_LABEL_SIZE = 7 };

/* --- Reading the report */

static double number_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int64_t whole_of(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

/* --- Cells */

/* A number, or "-" for what is undefined. */
static void number_cell(struct table *table, enum terminal_style style, int decimals, double value,
                        const char *unit)
{
    if (isnan(value))
        table_cell(table, STYLE_DIM, "-");
    else
        table_cell(table, style, "%.*f%s", decimals, value, unit);
}

static void probability_cell(struct table *table, double p)
{
    if (isnan(p))
        table_cell(table, STYLE_DIM, "-");
    else if (p < 0.0001)
        table_cell(table, STYLE_BOLD, "< 0.0001");
    else
        table_cell(table, p < 0.05 ? STYLE_BOLD : STYLE_PLAIN, "%.4f", p);
}

/* --- Tables */

static void print_models(const json_t *report, const struct terminal *terminal, struct buffer *out)
{
    static const struct table_column columns[] = {
        {"model", false},    {"version", false}, {"precision", false}, {"accuracy", true},
        {"95 % from", true}, {"to", true},       {"ECE", true},        {"images/s", true},
        {"p50 ms", true},    {"p99 ms", true},
    };
    struct table table;
    const json_t *model;
    size_t i;

    table_open(&table, columns, sizeof columns / sizeof *columns);
    json_array_foreach (json_object_get(report, "models"), i, model) {
        const json_t *times = json_object_get(model, "time_ms");
        const bool few = whole_of(times, "n") < 1000; /* too few for a p99 to be relied on */
        table_cell(&table, STYLE_BOLD, "%s", text_of(model, "name"));
        table_cell(&table, STYLE_PLAIN, "%s", text_of(model, "version"));
        table_cell(&table, STYLE_PLAIN, "%s", text_of(model, "precision"));
        number_cell(&table, STYLE_BOLD, 2, 100 * number_of(model, "accuracy"), " %");
        number_cell(&table, STYLE_PLAIN, 2, 100 * number_of(model, "accuracy_low"), " %");
        number_cell(&table, STYLE_PLAIN, 2, 100 * number_of(model, "accuracy_high"), " %");
        number_cell(&table, STYLE_PLAIN, 4, number_of(model, "ece"), "");
        number_cell(&table, STYLE_PLAIN, 1, number_of(model, "images_per_second"), "");
        number_cell(&table, STYLE_PLAIN, 2, number_of(times, "p50"), "");
        number_cell(&table, few ? STYLE_DIM : STYLE_PLAIN, 2, number_of(times, "p99"), "");
    }
    table_print(&table, terminal, 0, out);
    table_free(&table);
}

static void print_pairs(const json_t *report, const struct terminal *terminal, struct buffer *out)
{
    static const struct table_column columns[] = {
        {"first", false},      {"second", false},   {"difference", true},
        {"95 % from", true},   {"to", true},        {"only first", true},
        {"only second", true}, {"McNemar p", true}, {"p of all pairs", true},
        {"agreement", true},   {"kappa", true},
    };
    struct table table;
    const json_t *pair;
    size_t i;

    table_open(&table, columns, sizeof columns / sizeof *columns);
    json_array_foreach (json_object_get(report, "pairs"), i, pair) {
        const json_t *difference = json_object_get(pair, "difference");
        const json_t *test = json_object_get(pair, "mcnemar");
        table_cell(&table, STYLE_PLAIN, "%s", text_of(pair, "first"));
        table_cell(&table, STYLE_PLAIN, "%s", text_of(pair, "second"));
        number_cell(&table, STYLE_BOLD, 2, 100 * number_of(difference, "accuracy"), " %");
        number_cell(&table, STYLE_PLAIN, 2, 100 * number_of(difference, "low"), " %");
        number_cell(&table, STYLE_PLAIN, 2, 100 * number_of(difference, "high"), " %");
        table_cell(&table, STYLE_PLAIN, "%" PRId64, whole_of(pair, "only_first"));
        table_cell(&table, STYLE_PLAIN, "%" PRId64, whole_of(pair, "only_second"));
        probability_cell(&table, number_of(test, "p"));
        probability_cell(&table, number_of(test, "p_holm"));
        number_cell(&table, STYLE_PLAIN, 1, 100 * number_of(pair, "agreement"), " %");
        number_cell(&table, STYLE_PLAIN, 3, number_of(pair, "kappa"), "");
    }
    if (table.cell_count > 0) {
        buffer_text(out, "\n");
        table_print(&table, terminal, 0, out);
    }
    table_free(&table);
    const json_t *cochran = json_object_get(report, "cochran");
    if (!isnan(number_of(cochran, "q")))
        buffer_print(
            out, "\nCochran's Q over all: %.2f with %" PRId64 " degrees of freedom, p = %.4g\n",
            number_of(cochran, "q"), whole_of(cochran, "degrees"), number_of(cochran, "p"));
}

static void print_confusion_cells(struct table *table, const json_t *row, size_t truth)
{
    const json_t *cell;
    size_t answered;

    json_array_foreach (row, answered, cell) {
        const int64_t count = json_integer_value(cell);
        table_cell(table,
                   answered == truth ? STYLE_GREEN
                   : count > 0       ? STYLE_PLAIN
                                     : STYLE_DIM,
                   "%" PRId64, count);
    }
}

/* Fills columns and the short labels they are titled with; returns how many columns. */
static int class_columns(const json_t *classes, bool with_confusion,
                         struct table_column columns[TABLE_COLUMNS_MAX],
                         char labels[CONFUSION_CLASSES_MAX][SHORT_LABEL_SIZE])
{
    static const struct table_column fixed[] = {
        {"class", false}, {"images", true}, {"precision", true}, {"recall", true}, {"other", true}};
    int count = 0;
    const json_t *label;
    size_t i;

    for (size_t column = 0; column < sizeof fixed / sizeof *fixed; column++)
        columns[count++] = fixed[column];
    if (!with_confusion)
        return count;
    json_array_foreach (classes, i, label) {
        text_printable(json_string_value(label), labels[i], SHORT_LABEL_SIZE);
        columns[count++] = (struct table_column){labels[i], true};
    }
    return count;
}

static void print_classes(const json_t *report, const json_t *model,
                          const struct terminal *terminal, struct buffer *out)
{
    const json_t *classes = json_object_get(report, "classes");
    const json_t *confusion = json_object_get(model, "confusion");
    const bool with_confusion = json_array_size(classes) <= CONFUSION_CLASSES_MAX;
    struct table_column columns[TABLE_COLUMNS_MAX];
    char labels[CONFUSION_CLASSES_MAX][SHORT_LABEL_SIZE];
    struct table table;
    const json_t *row;
    size_t i;

    table_open(&table, columns, class_columns(classes, with_confusion, columns, labels));
    json_array_foreach (json_object_get(model, "classes"), i, row) {
        char label[TABLE_CELL_SIZE];
        table_cell(&table, STYLE_PLAIN, "%s",
                   text_printable(text_of(row, "label"), label, sizeof label));
        table_cell(&table, STYLE_PLAIN, "%" PRId64, whole_of(row, "count"));
        number_cell(&table, STYLE_PLAIN, 1, 100 * number_of(row, "precision"), " %");
        number_cell(&table, STYLE_PLAIN, 1, 100 * number_of(row, "recall"), " %");
        table_cell(&table, whole_of(row, "other") > 0 ? STYLE_PLAIN : STYLE_DIM, "%" PRId64,
                   whole_of(row, "other"));
        if (with_confusion)
            print_confusion_cells(&table, json_array_get(confusion, i), i);
    }
    buffer_print(out, "\n%s%s: %" PRId64 " of %" PRId64 " right (%s)%s\n",
                 terminal_style(terminal, STYLE_BOLD), text_of(model, "name"),
                 whole_of(model, "correct"), whole_of(model, "n"), text_of(model, "precision_note"),
                 terminal_style(terminal, STYLE_PLAIN));
    table_print(&table, terminal, 2, out);
    table_free(&table);
}

void evaluate_print(const json_t *report, const struct terminal *terminal, struct buffer *out)
{
    const json_t *model;
    size_t i;
    const size_t classes = json_array_size(json_object_get(report, "classes"));
    const int64_t unreadable = whole_of(json_object_get(report, "unreadable"), "count");

    buffer_print(out,
                 "%s: %" PRId64
                 " images of %zu classes through %zu models in %.1f s (%.0f images/s "
                 "through all, threads: %" PRId64 ")\n",
                 text_of(report, "data"), whole_of(report, "images"), classes,
                 json_array_size(json_object_get(report, "models")), number_of(report, "seconds"),
                 number_of(report, "images_per_second"), whole_of(report, "threads"));
    if (unreadable > 0)
        buffer_print(
            out, "%" PRId64 " files could not be read and count for no model; --json names them\n",
            unreadable);
    buffer_text(out, "\n");
    print_models(report, terminal, out);
    print_pairs(report, terminal, out);
    json_array_foreach (json_object_get(report, "models"), i, model) {
        if (classes <= CLASSES_MAX)
            print_classes(report, model, terminal, out);
    }
}
