/* The minder: see minder.h. */
#include "http/minder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { LINGERING_MAX = 64, TICK_MS = 5000, EVENTS_AT_ONCE = 64 };
static const int64_t linger_ns = 10 * (int64_t)1000000000;

/* Events of the epoll instance carry a stream's serial number, or one of these. */
#define LINGER_TAG ((uint64_t)1 << 63)
#define STOP_TAG   ((uint64_t)1 << 62)

struct lingering {
    int fd; /* -1: a free place */
    int64_t deadline_ns;
};

struct minder {
    void (*hang_up)(void *context, uint64_t serial);
    void (*tick)(void *context);
    void *context;
    int epoll_fd, stop_fd;
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; /* guards the places */
    struct lingering places[LINGERING_MAX];
};

int minder_create(void (*hang_up)(void *context, uint64_t serial), void (*tick)(void *context),
                  struct minder **out, struct error *err)
{
    struct epoll_event stop = {.events = EPOLLIN, .data.u64 = STOP_TAG};
    struct minder *minder = calloc(1, sizeof *minder);

    if (minder == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the HTTP server");
    minder->hang_up = hang_up;
    minder->tick = tick;
    pthread_mutex_init(&minder->mutex, NULL);
    for (int i = 0; i < LINGERING_MAX; i++)
        minder->places[i].fd = -1;
    minder->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    minder->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (minder->epoll_fd < 0 || minder->stop_fd < 0 ||
        epoll_ctl(minder->epoll_fd, EPOLL_CTL_ADD, minder->stop_fd, &stop) != 0) {
        const int reason = errno;
        minder_free(minder);
        return error_set_errno(err, reason, "cannot watch sockets");
    }
    *out = minder;
    return STATUS_OK;
}

int minder_watch_fd(const struct minder *minder)
{
    return minder->epoll_fd;
}

/* --- Lingering */

void minder_linger(struct minder *minder, int socket_fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP};
    const int64_t deadline_ns = clock_monotonic_ns() + linger_ns;

    pthread_mutex_lock(&minder->mutex);
    for (int i = 0; i < LINGERING_MAX; i++) {
        struct lingering *place = &minder->places[i];
        if (place->fd >= 0)
            continue;
        const int fd = fcntl(socket_fd, F_DUPFD_CLOEXEC, 0);
        event.data.u64 = LINGER_TAG | (uint64_t)i;
        if (fd >= 0 && epoll_ctl(minder->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0)
            *place = (struct lingering){fd, deadline_ns};
        else if (fd >= 0)
            close(fd);
        break;
    }
    pthread_mutex_unlock(&minder->mutex);
}

static void close_place(struct lingering *place)
{
    close(place->fd); /* which takes it out of the epoll instance, being the last copy */
    place->fd = -1;
}

static void drain(struct minder *minder, size_t number)
{
    enum { READS_AT_ONCE = 16 };
    static char waste[65536]; /* written by this thread alone, read by nobody */

    pthread_mutex_lock(&minder->mutex);
    struct lingering *place = &minder->places[number];
    for (int i = 0; place->fd >= 0 && i < READS_AT_ONCE; i++) {
        const ssize_t got = recv(place->fd, waste, sizeof waste, MSG_DONTWAIT);
        if (got > 0 || (got < 0 && errno == EINTR))
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        close_place(place);
    }
    pthread_mutex_unlock(&minder->mutex);
}

static void close_overdue(struct minder *minder, int64_t now_ns)
{
    pthread_mutex_lock(&minder->mutex);
    for (int i = 0; i < LINGERING_MAX; i++)
        if (minder->places[i].fd >= 0 && now_ns >= minder->places[i].deadline_ns)
            close_place(&minder->places[i]);
    pthread_mutex_unlock(&minder->mutex);
}

/* --- The thread */

static void *run(void *context)
{
    struct minder *minder = context;
    struct epoll_event events[EVENTS_AT_ONCE];
    int64_t next_tick_ns = 0;

    for (;;) {
        const int count = epoll_wait(minder->epoll_fd, events, EVENTS_AT_ONCE, TICK_MS);
        for (int i = 0; i < count; i++) {
            const uint64_t tag = events[i].data.u64;
            if (tag == STOP_TAG)
                return NULL;
            if (tag & LINGER_TAG)
                drain(minder, (size_t)(tag & ~LINGER_TAG));
            else
                minder->hang_up(minder->context, tag);
        }
        const int64_t now_ns = clock_monotonic_ns();
        if (now_ns < next_tick_ns)
            continue;
        next_tick_ns = now_ns + (int64_t)TICK_MS * 1000000;
        close_overdue(minder, now_ns);
        minder->tick(minder->context);
    }
}

int minder_start(struct minder *minder, void *context, struct error *err)
{
    minder->context = context;
    const int reason = pthread_create(&minder->thread, NULL, run, minder);
    if (reason != 0)
        return error_set_errno(err, reason, "cannot start a thread");
    minder->started = true;
    return STATUS_OK;
}

void minder_free(struct minder *minder)
{
    if (minder == NULL)
        return;
    if (minder->started) {
        eventfd_write(minder->stop_fd, 1);
        pthread_join(minder->thread, NULL);
    }
    for (int i = 0; i < LINGERING_MAX; i++)
        if (minder->places[i].fd >= 0)
            close_place(&minder->places[i]);
    if (minder->stop_fd >= 0)
        close(minder->stop_fd);
    if (minder->epoll_fd >= 0)
        close(minder->epoll_fd);
    pthread_mutex_destroy(&minder->mutex);
    free(minder);
}
