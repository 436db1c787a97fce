/* The event thread: drives libmicrohttpd from a loop of our own, and looks after what the library
 * (as of 0.9.75) does not:
 *
 * - Its own epoll thread waits once more, without bound, when a wait returned as many events as it
 *   has room for, 128: that many clients asking at one moment wait for the next one to come. Driven
 *   from outside the library never waits.
 * - The signal of a resumed connection can be taken back by a run that looked for such connections
 *   just before. The loop has a signal of its own.
 * - The end of a client's stream that arrives together with its last bytes is overlooked, since the
 *   library takes a short read for the end of what is there and no other edge comes. A suspended
 *   connection hears of it as little. The loop watches for it.
 * - A connection that was answered before its request was read (an upload refused by its headers)
 * is closed at once; the unread bytes then make the kernel reset it, and the client loses the
 * answer that tells it why (RFC 9112, section 9.6). The loop lets it linger. */
#ifndef HTTP_LOOP_H
#define HTTP_LOOP_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct loop;

/* A socket under the loop's eye; the embedding struct is the caller's. */
struct watched {
    struct watched *next, *previous; /* among those that ended, or that linger */
    int fd;
    bool ended;
    bool lingers;
    int64_t deadline_ns;
};

struct loop_calls {
    void (*hang_up)(void *context, struct watched *watched); /* the client closed its side; once */
    void (*tick)(void *context, int64_t now_ns);             /* every few seconds */
    void *context;
};

int loop_create(const struct loop_calls *calls, struct loop **out, struct error *err);
/* Starts the thread. The daemon must have been started with MHD_USE_EPOLL and without a thread of
 * its own. */
int loop_start(struct loop *loop, struct MHD_Daemon *daemon, struct error *err);
/* Ends the thread; the daemon may then be stopped, its callbacks still call the loop. */
void loop_stop(struct loop *loop);
void loop_free(struct loop *loop);

/* From any thread: resumes a suspended connection; closes the listening socket, soon. */
void loop_resume(struct loop *loop, struct MHD_Connection *connection);
void loop_stop_accepting(struct loop *loop);

/* On the event thread: a connection came, and went (before its socket is closed). Without memory in
 * the kernel it is not watched, and its end is noticed by its timeout. */
void loop_watch(struct loop *loop, struct watched *watched, int fd);
void loop_unwatch(struct loop *loop, struct watched *watched, bool linger);

#endif
