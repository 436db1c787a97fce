/* The event thread: drives libmicrohttpd from a loop of our own.
 *
 * The library's own epoll thread (seen in 0.9.75) waits a second time, without bound, when a wait
 * returned as many events as it has room for, 128, and leaves those unprocessed until something
 * else happens: 128 clients that ask at the same moment would wait for the next one. Driven from
 * outside the library never waits. */
#ifndef HTTP_LOOP_H
#define HTTP_LOOP_H

#include <microhttpd.h>
#include <stdatomic.h>

#include "base/error.h"

struct loop;

int loop_create(struct loop **out, struct error *err);
/* Starts the thread. The daemon must have been started with MHD_USE_EPOLL and without a thread of
 * its own. */
int loop_start(struct loop *loop, struct MHD_Daemon *daemon, struct error *err);
/* Resumes a suspended connection, from any thread. Resuming by the library alone can be lost: its
 * signal is taken back by a run that has looked for resumed connections just before. */
void loop_resume(struct loop *loop, struct MHD_Connection *connection);
/* The daemon has work that its sockets do not show (a place for a connection became free). To be
 * called on the event thread. */
void loop_run_again(struct loop *loop);
/* Closes the listening socket, soon. */
void loop_stop_accepting(struct loop *loop);
/* Ends the thread. */
void loop_stop(struct loop *loop);
void loop_free(struct loop *loop);

#endif
