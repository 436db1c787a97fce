/* The demo's board: see demo_board.h. The live feed's threads put finished comparisons in; the
 * demo's thread draws. */
#include "cmd/demo_board.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/views.h"
#include "base/clock.h"
#include "cmd/table.h"

enum {
    MODELS_MAX = 64,
    MODELS_SHOWN_MAX = 8,
    PHOTOGRAPHS_KEPT_MAX = 1000,
    PHOTOGRAPHS_PRINTED_MAX = 200, /* more are summed up by the tables alone */
    WINDOW_MS = 2000,              /* that images a second are measured over, while it runs */
    BAR_WIDTH = 24,
    NAME_COLUMNS = 26, /* of the table of photographs */
    CLASS_COLUMNS = 10,
    ANSWER_COLUMNS = 18,
};

/* How a model stands to the majority. */
struct vote {
    char model[NAME_SIZE];
    int64_t answered, agreed;
};

struct board {
    const struct api *api;
    struct live_subscription *subscription;
    pthread_mutex_t lock;  /* of these, which the feed's threads change */
    json_t *comparisons;   /* the newest, oldest first */
    int64_t finished;      /* of the demo's own images */
    int64_t last_ns;       /* when the last one finished */
    int64_t disagreements; /* images on which not all models said the same */
    int64_t compared;
    struct vote votes[MODELS_MAX];
    int vote_count;
    /* The demo's thread's. */
    int64_t started_ns;
    json_t *stats; /* of view_model_stats */
    json_t *stats_before;
    int64_t stats_ns, stats_before_ns;
};

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static int64_t integer_of(const json_t *object, const char *name)
{
    return (int64_t)json_integer_value(json_object_get(object, name));
}

/* --- Watching --------------------------------------------------------------------------------- */

static struct vote *vote_of(struct board *board, const char *model)
{
    for (int i = 0; i < board->vote_count; i++)
        if (strcmp(board->votes[i].model, model) == 0)
            return &board->votes[i];
    if (board->vote_count == MODELS_MAX)
        return NULL;
    struct vote *vote = &board->votes[board->vote_count++];
    snprintf(vote->model, sizeof vote->model, "%s", model);
    return vote;
}

/* Whether an answer is what more than one model said most: where all say something else, there is
 * no majority to agree with. */
static bool is_with_majority(const json_t *comparison, const json_t *answer)
{
    const char *consensus = text_of(comparison, "consensus_prediction");
    json_t *other;
    size_t i;
    int votes = 0;

    json_array_foreach (json_object_get(comparison, "models"), i, other) {
        votes += strcmp(text_of(other, "prediction_class"), consensus) == 0;
    }
    return votes > 1 && strcmp(text_of(answer, "prediction_class"), consensus) == 0;
}

static void count_votes(struct board *board, const json_t *comparison)
{
    json_t *answer;
    size_t i;

    json_array_foreach (json_object_get(comparison, "models"), i, answer) {
        struct vote *vote = vote_of(board, text_of(answer, "model_name"));
        if (vote == NULL)
            continue;
        vote->answered++;
        vote->agreed += is_with_majority(comparison, answer);
    }
    if (i > 1) {
        board->compared++;
        board->disagreements += !json_is_true(json_object_get(comparison, "agreement"));
    }
}

static void keep_comparison(void *context, const struct live_event *event)
{
    struct board *board = context;
    json_t *comparison = NULL;

    if (event->kind != LIVE_COMPARISON ||
        json_read(event->json, strlen(event->json), &comparison, NULL) != STATUS_OK)
        return;
    pthread_mutex_lock(&board->lock);
    if (strcmp(text_of(comparison, "source"), DEMO_SOURCE) == 0) {
        board->finished++;
        board->last_ns = clock_monotonic_ns();
    }
    count_votes(board, comparison);
    if (json_array_size(board->comparisons) == PHOTOGRAPHS_KEPT_MAX)
        json_array_remove(board->comparisons, 0);
    json_array_append_new(board->comparisons, comparison);
    pthread_mutex_unlock(&board->lock);
}

int board_open(const struct api *api, struct board **out, struct error *err)
{
    struct board *board = calloc(1, sizeof *board);

    if (board == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the demo");
    board->api = api;
    board->comparisons = json_array();
    board->started_ns = board->last_ns = clock_monotonic_ns();
    pthread_mutex_init(&board->lock, NULL);
    const int status =
        live_subscribe(api->live, 0, keep_comparison, board, &board->subscription, err);
    if (status != STATUS_OK) {
        board_close(board);
        return status;
    }
    *out = board;
    return STATUS_OK;
}

void board_close(struct board *board)
{
    if (board == NULL)
        return;
    if (board->subscription != NULL)
        live_unsubscribe(board->api->live, board->subscription);
    pthread_mutex_destroy(&board->lock);
    json_decref(board->comparisons);
    json_decref(board->stats);
    json_decref(board->stats_before);
    free(board);
}

int64_t board_finished(struct board *board)
{
    pthread_mutex_lock(&board->lock);
    const int64_t finished = board->finished;
    pthread_mutex_unlock(&board->lock);
    return finished;
}

int board_refresh(struct board *board, struct error *err)
{
    json_t *stats;
    const int64_t now_ns = clock_monotonic_ns();

    const int status = view_model_stats(board->api->sql, &stats, err);
    if (status != STATUS_OK)
        return status;
    if (board->stats_before == NULL ||
        now_ns - board->stats_before_ns > (int64_t)WINDOW_MS * 1000000) {
        json_decref(board->stats_before);
        board->stats_before = board->stats;
        board->stats_before_ns = board->stats_ns;
    } else {
        json_decref(board->stats);
    }
    board->stats = stats;
    board->stats_ns = now_ns;
    return STATUS_OK;
}

/* --- Figures ---------------------------------------------------------------------------------- */

static const json_t *models_of(const json_t *stats)
{
    return json_object_get(stats, "models");
}

static bool same_model(const json_t *a, const json_t *b)
{
    return strcmp(text_of(a, "model_name"), text_of(b, "model_name")) == 0 &&
           strcmp(text_of(a, "model_version"), text_of(b, "model_version")) == 0;
}

static int64_t predictions_before(const struct board *board, const json_t *model)
{
    json_t *before;
    size_t i;

    json_array_foreach (models_of(board->stats_before), i, before) {
        if (same_model(before, model))
            return integer_of(before, "total_predictions");
    }
    return 0;
}

/* Images a second over the last moments. */
static double rate_now(const struct board *board, const json_t *model)
{
    const double seconds = (double)(board->stats_ns - board->stats_before_ns) / 1e9;
    const int64_t answered =
        integer_of(model, "total_predictions") - predictions_before(board, model);

    if (board->stats_before == NULL || seconds <= 0.0)
        return 0.0;
    return (double)answered / seconds;
}

static double run_seconds(struct board *board)
{
    pthread_mutex_lock(&board->lock);
    const double seconds = (double)(board->last_ns - board->started_ns) / 1e9;
    pthread_mutex_unlock(&board->lock);
    return seconds;
}

/* Images a second from the first photograph to the last answer. */
static double rate_overall(const json_t *model, double seconds)
{
    return seconds > 0.0 ? (double)integer_of(model, "total_predictions") / seconds : 0.0;
}

/* The share of a model's answers that were the majority's; NaN before the first. */
static double agreement_of(struct board *board, const json_t *model)
{
    double share = NAN;

    pthread_mutex_lock(&board->lock);
    for (int i = 0; i < board->vote_count; i++)
        if (strcmp(board->votes[i].model, text_of(model, "model_name")) == 0)
            share = (double)board->votes[i].agreed / (double)board->votes[i].answered;
    pthread_mutex_unlock(&board->lock);
    return share;
}

/* The newest comparisons, at most `count`, oldest first. The caller json_decref()s; NULL when
 * memory is out. */
static json_t *newest(struct board *board, size_t count)
{
    json_t *list = json_array();

    pthread_mutex_lock(&board->lock);
    const size_t size = json_array_size(board->comparisons);
    for (size_t i = size > count ? size - count : 0; list != NULL && i < size; i++)
        json_array_append_new(list, json_deep_copy(json_array_get(board->comparisons, i)));
    pthread_mutex_unlock(&board->lock);
    return list;
}

/* --- The table of models ---------------------------------------------------------------------- */

static void add_share(struct table *table, double share, enum terminal_style style)
{
    if (isnan(share))
        table_cell(table, STYLE_DIM, "-");
    else
        table_cell(table, style, "%.1f %%", 100.0 * share);
}

static void add_rate(struct table *table, double rate)
{
    if (rate > 0.0)
        table_cell(table, STYLE_PLAIN, "%.1f", rate);
    else
        table_cell(table, STYLE_DIM, "idle");
}

static void add_title(struct table *table, const json_t *model)
{
    const char *version = text_of(model, "model_version");
    const bool is_first = strcmp(version, "1") == 0;
    table_cell(table, STYLE_CYAN, "%s%s%s", text_of(model, "model_name"), is_first ? "" : " v",
               is_first ? "" : version);
}

static double best_accuracy(const json_t *stats)
{
    double best = 0.0;
    json_t *model;
    size_t i;

    json_array_foreach (models_of(stats), i, model) {
        best = fmax(best, json_number_value(json_object_get(model, "accuracy")));
    }
    return best;
}

static void add_accuracy(struct table *table, const json_t *model, double best)
{
    const json_t *accuracy = json_object_get(model, "accuracy");
    const double share = json_is_number(accuracy) ? json_number_value(accuracy) : (double)NAN;

    add_share(table, share, share >= best ? STYLE_GREEN : STYLE_PLAIN);
    if (isnan(share))
        table_cell(table, STYLE_DIM, "-");
    else
        table_cell(table, STYLE_PLAIN, "%" PRId64 "/%" PRId64, integer_of(model, "correct"),
                   integer_of(model, "labelled"));
}

static void print_models(struct board *board, const struct terminal *terminal, bool final,
                         struct buffer *out)
{
    static const struct table_column columns[] = {
        {"model", false},    {"images", true},    {"images/s", true}, {"p50 ms", true, 7},
        {"p95 ms", true, 7}, {"agrees", true, 7}, {"accuracy", true}, {"right", true, 7}};
    const double seconds = run_seconds(board), best = best_accuracy(board->stats);
    struct table table;
    json_t *model;
    size_t i;

    table_open(&table, columns, 8);
    json_array_foreach (models_of(board->stats), i, model) {
        add_title(&table, model);
        table_cell(&table, STYLE_PLAIN, "%" PRId64, integer_of(model, "total_predictions"));
        add_rate(&table, final ? rate_overall(model, seconds) : rate_now(board, model));
        table_cell(&table, STYLE_PLAIN, "%.2f",
                   json_number_value(json_object_get(model, "p50_time_ms")));
        table_cell(&table, STYLE_PLAIN, "%.2f",
                   json_number_value(json_object_get(model, "p95_time_ms")));
        add_share(&table, agreement_of(board, model), STYLE_PLAIN);
        add_accuracy(&table, model, best);
    }
    table_print(&table, terminal, 0, out);
    table_free(&table);
}

/* --- The table of photographs ----------------------------------------------------------------- */

static const char *mark(const struct terminal *terminal, bool right)
{
    if (terminal->unicode)
        return right ? "✓" : "✗";
    return right ? "+" : "x";
}

/* What one model said about one image. */
static void add_answer(struct table *table, const struct terminal *terminal, const json_t *answer,
                       const char *label)
{
    const char *said = text_of(answer, "prediction_class");
    const double percent = 100.0 * json_number_value(json_object_get(answer, "confidence"));

    if (answer == NULL) {
        table_cell(table, STYLE_DIM, "-");
        return;
    }
    if (label[0] == '\0') {
        table_cell(table, STYLE_PLAIN, "%s %.0f %%", said, percent);
        return;
    }
    const bool right = strcmp(said, label) == 0;
    table_cell(table, right ? STYLE_GREEN : STYLE_RED, "%s %s %.0f %%", mark(terminal, right), said,
               percent);
}

static const json_t *answer_by(const json_t *comparison, const json_t *model)
{
    json_t *answer;
    size_t i;

    json_array_foreach (json_object_get(comparison, "models"), i, answer) {
        if (same_model(answer, model))
            return answer;
    }
    return NULL;
}

static void print_photographs(const struct board *board, const struct terminal *terminal,
                              const json_t *comparisons, struct buffer *out)
{
    struct table_column columns[2 + MODELS_SHOWN_MAX] = {{"photograph", false, NAME_COLUMNS},
                                                         {"truth", false, CLASS_COLUMNS}};
    int column_count = 2;
    struct table table;
    json_t *model, *comparison;
    size_t i, j;

    json_array_foreach (models_of(board->stats), i, model) {
        if (column_count < 2 + MODELS_SHOWN_MAX)
            columns[column_count++] =
                (struct table_column){text_of(model, "model_name"), false, ANSWER_COLUMNS};
    }
    table_open(&table, columns, column_count);
    json_array_foreach (comparisons, i, comparison) {
        const char *label = text_of(comparison, "label");
        char name[NAME_COLUMNS + 1];
        table_cell(&table, STYLE_PLAIN, "%s",
                   text_printable(text_of(comparison, "original_filename"), name, sizeof name));
        table_cell(&table, STYLE_DIM, "%s", label[0] != '\0' ? label : "-");
        const bool unreadable = text_of(comparison, "failure_reason")[0] != '\0';
        for (j = 0; (int)j + 2 < column_count; j++)
            if (unreadable)
                table_cell(&table, STYLE_YELLOW, "%s", j == 0 ? "cannot be read" : "");
            else
                add_answer(&table, terminal,
                           answer_by(comparison, json_array_get(models_of(board->stats), j)),
                           label);
    }
    table_print(&table, terminal, 0, out);
    table_free(&table);
}

/* --- Live ------------------------------------------------------------------------------------- */

static void print_progress(struct board *board, const struct terminal *terminal,
                           const struct feed_counts *counts, struct buffer *out)
{
    const int64_t finished = board_finished(board), done = finished + counts->refused;
    const double seconds = (double)(clock_monotonic_ns() - board->started_ns) / 1e9;
    const double rate = seconds > 0.0 ? (double)done / seconds : 0.0;

    terminal_bar(terminal, (double)done / (double)counts->total, BAR_WIDTH, out);
    buffer_print(out, " %" PRId64 "/%" PRId64 " photographs", done, counts->total);
    if (counts->refused > 0)
        buffer_print(out, "  %" PRId64 " refused", counts->refused);
    if (done < counts->total) {
        buffer_print(out, "  %.1f/s  ", rate);
        terminal_time(rate > 0.0 ? (double)(counts->total - done) / rate : -1.0, out);
        buffer_text(out, " left");
    }
    buffer_text(out, "\n");
}

static int count_lines(const struct buffer *text)
{
    int lines = 0;
    for (size_t i = 0; i < text->size; i++)
        lines += text->data[i] == '\n';
    return lines;
}

void board_live(struct board *board, const struct terminal *terminal,
                const struct feed_counts *counts, int rows, struct buffer *out)
{
    struct buffer text = {0};

    print_progress(board, terminal, counts, &text);
    buffer_text(&text, "\n");
    if (json_array_size(models_of(board->stats)) > 0)
        print_models(board, terminal, false, &text);
    const int left = rows - count_lines(&text) - 2; /* an empty line and the titles */
    if (left > 0 && json_array_size(models_of(board->stats)) > 0) {
        json_t *comparisons = newest(board, (size_t)left);
        buffer_text(&text, "\n");
        print_photographs(board, terminal, comparisons, &text);
        json_decref(comparisons);
    }
    if (buffer_ok(&text))
        buffer_append(out, text.data, text.size);
    buffer_free(&text);
}

/* --- The final comparison --------------------------------------------------------------------- */

/* "resnet50" of "resnet50@1"; borrowed text of at most `*length` bytes. */
static const char *name_of_key(const json_t *pair, const char *member, int *length)
{
    const char *key = text_of(pair, member);
    *length = (int)strcspn(key, "@");
    return key;
}

static void add_p_value(struct table *table, const json_t *p)
{
    if (!json_is_number(p))
        table_cell(table, STYLE_DIM, "-");
    else if (json_number_value(p) < 0.001)
        table_cell(table, STYLE_PLAIN, "< 0.001");
    else
        table_cell(table, STYLE_PLAIN, "%.3f", json_number_value(p));
}

static void print_pairs(const struct board *board, const struct terminal *terminal,
                        struct buffer *out)
{
    static const struct table_column columns[] = {{"pair", false},
                                                  {"both said the same", true},
                                                  {"kappa", true},
                                                  {"only first right", true},
                                                  {"only second right", true},
                                                  {"McNemar p", true}};
    struct table table;
    json_t *pair;
    size_t i;

    table_open(&table, columns, 6);
    json_array_foreach (json_object_get(board->stats, "pairs"), i, pair) {
        int a_length, b_length;
        const char *a = name_of_key(pair, "model_a", &a_length);
        const char *b = name_of_key(pair, "model_b", &b_length);
        const json_t *kappa = json_object_get(pair, "kappa");
        const json_t *p = json_object_get(json_object_get(pair, "mcnemar"), "p");

        table_cell(&table, STYLE_PLAIN, "%.*s, %.*s", a_length, a, b_length, b);
        add_share(&table, json_number_value(json_object_get(pair, "agreement")), STYLE_PLAIN);
        if (json_is_number(kappa))
            table_cell(&table, STYLE_PLAIN, "%.2f", json_number_value(kappa));
        else
            table_cell(&table, STYLE_DIM, "-");
        table_cell(&table, STYLE_PLAIN, "%" PRId64, integer_of(pair, "a_right_only"));
        table_cell(&table, STYLE_PLAIN, "%" PRId64, integer_of(pair, "b_right_only"));
        add_p_value(&table, p);
    }
    if (i > 0) {
        buffer_text(out, "\n");
        table_print(&table, terminal, 0, out);
    }
    table_free(&table);
}

static void print_refusals(const struct feed_counts *counts, struct buffer *out)
{
    if (counts->refused == 0)
        return;
    buffer_print(out, "%" PRId64 " refused; the first: %s%s%s\n\n", counts->refused,
                 counts->refused_name, counts->refused_name[0] != '\0' ? ": " : "",
                 counts->refusal.message);
}

void board_final(struct board *board, const struct terminal *terminal,
                 const struct feed_counts *counts, struct buffer *out)
{
    json_t *comparisons = newest(board, PHOTOGRAPHS_PRINTED_MAX + 1);
    const size_t count = json_array_size(comparisons);

    if (count > 0 && count <= PHOTOGRAPHS_PRINTED_MAX) {
        print_photographs(board, terminal, comparisons, out);
        buffer_text(out, "\n");
    }
    json_decref(comparisons);
    print_refusals(counts, out);
    print_models(board, terminal, true, out);
    print_pairs(board, terminal, out);
    pthread_mutex_lock(&board->lock);
    if (board->compared > 0)
        buffer_print(out, "\nAll models said the same on %" PRId64 " of %" PRId64 " images.\n",
                     board->compared - board->disagreements, board->compared);
    pthread_mutex_unlock(&board->lock);
}

json_t *board_json(struct board *board, const struct feed_counts *counts)
{
    const double seconds = run_seconds(board);
    json_t *report = json_deep_copy(board->stats);
    json_t *model;
    size_t i;

    json_array_foreach (json_object_get(report, "models"), i, model) {
        const double agreement = agreement_of(board, model);
        json_object_set_new(model, "images_per_second", json_real(rate_overall(model, seconds)));
        json_object_set_new(model, "agreement_with_majority",
                            isnan(agreement) ? json_null() : json_real(agreement));
    }
    json_object_set_new(report, "images", json_integer(counts->submitted));
    json_object_set_new(report, "refused", json_integer(counts->refused));
    json_object_set_new(report, "seconds", json_real(seconds));
    json_object_set_new(report, "photographs", newest(board, PHOTOGRAPHS_KEPT_MAX));
    return report;
}
