/* The report of models/evaluate.h as tables for people. */
#ifndef CMD_EVALUATE_PRINT_H
#define CMD_EVALUATE_PRINT_H

#include "base/json.h"
#include "cmd/terminal.h"

void evaluate_print(const json_t *report, const struct terminal *terminal, struct buffer *out);

#endif
