/* The table of names: see names.h. */
#include "nn/onnx/names.h"

#include <assert.h>
#include <stdlib.h>

/* FNV-1a (Fowler, Noll, Vo). A file made to collide costs time in proportion to its names squared,
 * which the graph's bound on values keeps small. */
static size_t name_hash(struct wire_text name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < name.size; i++)
        hash = (hash ^ (uint8_t)name.text[i]) * 0x100000001b3u;
    return (size_t)(hash ^ hash >> 32);
}

/* The slot that holds the name, or the free one where it would go. */
static struct name_entry *name_slot(struct name_entry *entries, size_t capacity,
                                    struct wire_text name)
{
    size_t slot = name_hash(name) & (capacity - 1);
    while (entries[slot].name.size > 0 && !wire_text_equal(entries[slot].name, name))
        slot = (slot + 1) & (capacity - 1);
    return &entries[slot];
}

static int name_table_grow(struct name_table *table, struct error *err)
{
    const size_t capacity = table->capacity == 0 ? 256 : table->capacity * 2;
    struct name_entry *entries = calloc(capacity, sizeof *entries);

    if (entries == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the names of a model");
    for (size_t i = 0; i < table->capacity; i++)
        if (table->entries[i].name.size > 0)
            *name_slot(entries, capacity, table->entries[i].name) = table->entries[i];
    free(table->entries);
    table->entries = entries;
    table->capacity = capacity;
    return STATUS_OK;
}

void name_table_free(struct name_table *table)
{
    free(table->entries);
    *table = (struct name_table){0};
}

int name_table_add(struct name_table *table, struct wire_text name, int item, struct error *err)
{
    assert(name.size > 0);
    if (table->count * 2 >= table->capacity) {
        const int status = name_table_grow(table, err);
        if (status != STATUS_OK)
            return status;
    }
    struct name_entry *slot = name_slot(table->entries, table->capacity, name);
    if (slot->name.size > 0)
        return error_set(err, STATUS_EXISTS, "the name '%.*s' is given twice",
                         WIRE_TEXT_PRINT(name));
    *slot = (struct name_entry){name, item};
    table->count++;
    return STATUS_OK;
}

const struct name_entry *name_table_find(const struct name_table *table, struct wire_text name)
{
    if (table->capacity == 0 || name.size == 0)
        return NULL;
    const struct name_entry *slot = name_slot(table->entries, table->capacity, name);
    return slot->name.size > 0 ? slot : NULL;
}
