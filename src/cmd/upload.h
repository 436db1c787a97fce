/* Uploading a source to a running server over several connections, at a rate or as fast as it
 * takes.
 *
 * What the server cannot take now (503, 507) is sent again when it says so, and what never reached
 * a server is sent again for a minute, so nothing is lost. An upload whose answer was lost is not
 * sent again, since it may be there already: it counts as failed. */
#ifndef CMD_UPLOAD_H
#define CMD_UPLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "sources/source.h"
#include "stats/histogram.h"

struct upload_options {
    const struct config *config; /* as client_open */
    const char *url;
    const char *source_name; /* what the messages say the images come from */
    double rate;             /* images a second; 0 is as fast as it takes */
    int64_t limit;           /* images; -1 for all */
    int concurrency;
    /* Opens the source from its start, again and again when `loop`. */
    int (*open)(void *context, struct source **out, struct error *err);
    void *context;
    bool loop;
};

enum { UPLOAD_PROBLEMS_MAX = 10, UPLOAD_PROBLEM_NAME_SIZE = 128 };

struct upload_problem {
    char name[UPLOAD_PROBLEM_NAME_SIZE]; /* the file; "" when the message names it */
    char message[ERROR_MESSAGE_MAX];
};

/* What has happened so far. */
struct upload_counts {
    int64_t total;      /* images there will be; -1 when that is not known */
    int64_t accepted;   /* stored by the server */
    int64_t refused;    /* for the image's own fault */
    int64_t failed;     /* no answer, or an error of the server */
    int64_t unreadable; /* by the source */
    int64_t waits;      /* times that the server asked to come again */
    int64_t waiting;    /* connections that wait for the server now */
    int64_t bytes;      /* of what was accepted */
    double seconds;
    struct histogram times; /* from sending to the answer, of what was accepted */
    struct upload_problem problems[UPLOAD_PROBLEMS_MAX]; /* the first of all that went wrong */
    int problem_count;
};

struct upload;

/* Starts to upload on threads of its own. The options are copied, what they point to is borrowed.
 */
int upload_start(const struct upload_options *options, struct upload **out, struct error *err);
/* What has happened so far; true while it goes on. */
bool upload_look(struct upload *upload, struct upload_counts *counts);
/* Ends early: images in hand are finished, and no more are begun. */
void upload_stop(struct upload *upload);
/* Waits for the end and frees. Not STATUS_OK when it could not go on (no server, no access). */
int upload_finish(struct upload *upload, struct upload_counts *counts, struct error *err);

#endif
