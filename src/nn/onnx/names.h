/* A table from the names in an ONNX file to small integers. Private to nn/onnx. */
#ifndef NN_ONNX_NAMES_H
#define NN_ONNX_NAMES_H

#include "nn/onnx/wire.h"

struct name_entry {
    struct wire_text name; /* in the file; size 0 is a free slot, "" being no name in ONNX */
    int item;
};

/* Open addressing, at most half full. All zero is an empty table. */
struct name_table {
    struct name_entry *entries; /* owned; freed by name_table_free */
    size_t count, capacity;     /* capacity is 0 or a power of two */
};

void name_table_free(struct name_table *table);
/* STATUS_EXISTS when the name is there already; it must not be empty. */
int name_table_add(struct name_table *table, struct wire_text name, int item, struct error *err);
const struct name_entry *name_table_find(const struct name_table *table, struct wire_text name);

#endif
