/* What an implementation provides to be a `struct bus`: one table of functions, each as its
 * namesake in bus.h. Private to src/data. */
#ifndef DATA_BUS_DRIVER_H
#define DATA_BUS_DRIVER_H

#include "data/bus.h"

struct bus_driver {
    const char *engine;
    void (*close)(struct bus *bus);
    int (*publish_in)(struct bus *bus, struct sql_tx *tx, const char *topic, const char *key,
                      const char *value, const char *headers, struct error *err);
    int (*subscribe)(struct bus *bus, const char *group, const char *topic, enum bus_start start,
                     struct bus_consumer **out, struct error *err);
    void (*consumer_close)(struct bus_consumer *consumer);
    int (*poll)(struct bus_consumer *consumer, int max, int64_t timeout_ms, struct bus_batch *batch,
                struct error *err);
    void (*consumer_wake)(struct bus_consumer *consumer);
    int (*commit_in)(struct bus_consumer *consumer, struct sql_tx *tx, int64_t next_offset,
                     struct error *err);
    int (*replay)(struct bus *bus, const char *topic, int64_t offset_first, int64_t offset_last,
                  int64_t *count, struct error *err);
    int (*group_remove)(struct bus *bus, const char *group, struct error *err);
    int64_t (*backlog)(struct bus *bus, const char *topic);
    int (*prune)(struct bus *bus, int64_t limit, int64_t *count, struct error *err);
    int (*describe)(struct bus *bus, json_t **out, struct error *err);
    int (*browse)(struct bus *bus, const char *topic, int64_t offset_first, int limit,
                  struct bus_batch *batch, struct error *err);
};

/* An implementation's own structs begin with these. */
struct bus {
    const struct bus_driver *driver;
};
struct bus_consumer {
    const struct bus_driver *driver;
};

enum { BUS_NAME_SIZE = 200 }; /* of a topic or a group, with its NUL */

/* Names are 1 to 199 of A-Z a-z 0-9 . _ - @ + : */
int bus_name_check(const char *what, const char *name, struct error *err);

/* The topic that takes the dead letters of `topic`. */
int bus_dead_letter_topic(const char *topic, char name[BUS_NAME_SIZE], struct error *err);

/* Batches: an arena of their own holds the messages and their texts. */
int bus_batch_create(struct bus_batch *batch, int capacity, struct error *err);

#endif
