/* What the demo shows: the models side by side, and the newest photographs with every answer.
 * Counts, times and accuracy come from the views that the API answers with, so both always agree;
 * the photographs and the agreement with the majority come from the live feed. */
#ifndef CMD_DEMO_BOARD_H
#define CMD_DEMO_BOARD_H

#include "api/api.h"
#include "cmd/demo_feed.h"
#include "cmd/terminal.h"

struct board;

/* Begins to watch. `api` is borrowed and must outlive it. */
int board_open(const struct api *api, struct board **out, struct error *err);
void board_close(struct board *board); /* NULL is fine */

/* How many of the demo's images are finished: classified by every model, or failed. */
int64_t board_finished(struct board *board);
/* Reads the statistics again. For one thread, as are all below. */
int board_refresh(struct board *board, struct error *err);

/* The part that changes while photographs come in: bar, models and the newest photographs, at most
 * `rows` lines. */
void board_live(struct board *board, const struct terminal *terminal,
                const struct feed_counts *counts, int rows, struct buffer *out);
/* The final comparison: photographs (when there are not too many), models, pairs of models. */
void board_final(struct board *board, const struct terminal *terminal,
                 const struct feed_counts *counts, struct buffer *out);
json_t *board_json(struct board *board, const struct feed_counts *counts);

#endif
