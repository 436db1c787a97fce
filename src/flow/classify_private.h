/* What the files of classify share: classify.c (lanes, reading, life and death), classify_run.c
 * (compute threads), classify_publish.c (answers into the database) and classify_absent.c (models
 * that are gone since the last start). */
#ifndef FLOW_CLASSIFY_PRIVATE_H
#define FLOW_CLASSIFY_PRIVATE_H

#include "flow/classify.h"
#include "flow/lane.h"
#include "flow/tensors.h"

/* A batch that was run (or could not be), on its way to the database. Owns its arrays; the items
 * stay the lane's. */
struct work {
    struct work *next;
    struct lane *lane;
    int count;
    struct item **items;
    struct outcome {
        char *text;          /* the prediction message as JSON; owned */
        char *dead_reason;   /* not NULL: the image message also goes to the dead letters; owned */
        bool again;          /* not finished: rest and try again */
        bool failed;         /* the text tells an error */
        int64_t retry_at_ns; /* with again */
    } * outcomes;
};

struct classify {
    const struct config *config;
    struct sql *sql;
    struct bus *bus;
    struct model_set *models;
    struct metrics *metrics;
    struct tensors *tensors;

    pthread_mutex_t lock;       /* guards everything below, and lanes */
    pthread_cond_t items_ready; /* compute threads wait: something to run, or the lanes changed */
    pthread_cond_t room;        /* fetchers wait: a lane's window has room or is empty */
    pthread_cond_t works_ready; /* the publisher waits */
    struct lane *lanes;
    struct lane *departed;     /* drained; their threads wait to be joined */
    uint64_t lanes_generation; /* counts changes of the list, so that sessions of gone models are
                                  freed */
    struct work *works, **works_end;
    bool stopping;      /* read and begin nothing new */
    bool draining_done; /* the compute threads are gone: publish what is left and leave */

    pthread_t *compute;
    int compute_count, compute_started;
    pthread_t publisher;
    bool publisher_started;
};

/* Threads; the argument is the struct classify. */
void *classify_compute_thread(void *argument);
void *classify_publish_thread(void *argument);

/* Hands a finished batch to the publisher. Takes the lock. */
void classify_publish(struct classify *classify, struct work *work);
struct work *work_create(struct lane *lane, struct item *const *items, int count);
void work_free(struct work *work);
/* Why a message becomes a dead letter, for its headers: malloc'd, UTF-8 whatever the message held;
 * NULL when memory is out. */
char *classify_dead_reason(const struct error *why);

/* Writes off what models owe that this process does not serve: see classify_absent.c. Once, after
 * the lanes of all models have been added. */
int classify_forget_absent(struct classify *classify, struct error *err);

/* The prediction message that tells why there is no answer. malloc'd; NULL when memory is out. */
char *classify_error_text(const struct model *model, const struct image_message *image,
                          const struct error *why, bool image_unreadable);

#endif
