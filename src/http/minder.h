/* The minder: one thread that looks after sockets nobody else polls. It notices when clients of
 * event streams hang up, keeps silent streams alive, and closes lingering connections.
 *
 * A connection lingers when it was answered before its request was read to the end (an upload
 * refused by its headers): closed at once, the unread bytes would make the kernel reset it, and the
 * client would lose the answer that tells it why (RFC 9112, section 9.6). */
#ifndef HTTP_MINDER_H
#define HTTP_MINDER_H

#include <stdint.h>

#include "base/error.h"

struct minder;

/* `hang_up` gets the serial number of a socket that was put into minder_watch_fd's epoll instance;
 * `tick` is called every few seconds. Both run on the minder's thread. */
int minder_create(void (*hang_up)(void *context, uint64_t serial), void (*tick)(void *context),
                  struct minder **out, struct error *err);
/* `context` of the callbacks; starts the thread. */
int minder_start(struct minder *minder, void *context, struct error *err);
int minder_watch_fd(const struct minder *minder);
/* Reads and drops what still comes on a copy of the socket for up to 10 s; at most 64 linger. */
void minder_linger(struct minder *minder, int socket_fd);
/* Ends the thread, closes what lingers. */
void minder_free(struct minder *minder);

#endif
