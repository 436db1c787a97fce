/* The event thread: see loop.h. */
#include "http/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { TICK_MS = 5000, NUDGE_MS = 100, LINGERING_MAX = 64, EVENTS_AT_ONCE = 64 };
static const int64_t linger_ns = 10 * (int64_t)1000000000;

struct loop {
    struct loop_calls calls;
    struct MHD_Daemon *daemon;
    pthread_t thread;
    bool started;
    int wake_fd, watch_fd;
    atomic_bool woken; /* wake_fd was written and not read yet */
    atomic_bool stop_accepting, stop;

    /* The thread's own */
    bool accepting;
    bool run_again; /* a place for a connection became free, which no socket shows */
    struct watched *ended, *lingering;
    int lingering_count;
    int64_t next_tick_ns, next_nudge_ns;
};

int loop_create(const struct loop_calls *calls, struct loop **out, struct error *err)
{
    struct loop *loop = calloc(1, sizeof *loop);

    if (loop == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the HTTP server");
    loop->calls = *calls;
    loop->accepting = true;
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->watch_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->wake_fd < 0 || loop->watch_fd < 0) {
        const int reason = errno;
        loop_free(loop);
        return error_set_errno(err, reason, "cannot watch sockets");
    }
    *out = loop;
    return STATUS_OK;
}

/* --- From any thread */

static void wake(struct loop *loop)
{
    if (!atomic_exchange(&loop->woken, true))
        eventfd_write(loop->wake_fd, 1);
}

/* In this order: whoever resumes before the store is seen by the run that follows it, whoever does
 * so after it writes anew. */
static void take_wake(struct loop *loop)
{
    eventfd_t count;

    eventfd_read(loop->wake_fd, &count);
    atomic_store(&loop->woken, false);
}

void loop_resume(struct loop *loop, struct MHD_Connection *connection)
{
    MHD_resume_connection(connection);
    wake(loop);
}

void loop_stop_accepting(struct loop *loop)
{
    atomic_store(&loop->stop_accepting, true);
    wake(loop);
}

/* --- Watching */

static void link_watched(struct watched **list, struct watched *watched)
{
    watched->previous = NULL;
    watched->next = *list;
    if (*list != NULL)
        (*list)->previous = watched;
    *list = watched;
}

static void unlink_watched(struct watched **list, struct watched *watched)
{
    if (watched->previous != NULL)
        watched->previous->next = watched->next;
    else
        *list = watched->next;
    if (watched->next != NULL)
        watched->next->previous = watched->previous;
}

void loop_watch(struct loop *loop, struct watched *watched, int fd)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = watched};

    *watched = (struct watched){.fd = fd};
    epoll_ctl(loop->watch_fd, EPOLL_CTL_ADD, fd, &event);
}

static void note_end(struct loop *loop, struct watched *watched)
{
    watched->ended = true;
    link_watched(&loop->ended, watched);
    loop->calls.hang_up(loop->calls.context, watched);
}

/* Shutting down the side that has ended anyway makes an edge for the library's epoll instance, and
 * it reads on, to the end. One nudge may be swallowed by bytes still unread, so they go on until
 * the connection is closed. */
static void nudge_ended(struct loop *loop, int64_t now_ns)
{
    if (loop->ended == NULL || now_ns < loop->next_nudge_ns)
        return;
    loop->next_nudge_ns = now_ns + (int64_t)NUDGE_MS * 1000000;
    for (const struct watched *watched = loop->ended; watched != NULL; watched = watched->next)
        shutdown(watched->fd, SHUT_RD);
}

/* --- Lingering */

static void start_to_linger(struct loop *loop, int connection_fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP};
    struct watched *watched = NULL;

    if (loop->lingering_count == LINGERING_MAX)
        return;
    /* The library closes its descriptor now; the connection lives as long as there is a copy. */
    const int fd = fcntl(connection_fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0)
        watched = calloc(1, sizeof *watched);
    event.data.ptr = watched;
    if (watched == NULL || epoll_ctl(loop->watch_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        free(watched);
        if (fd >= 0)
            close(fd);
        return;
    }
    watched->fd = fd;
    watched->lingers = true;
    watched->deadline_ns = clock_monotonic_ns() + linger_ns;
    link_watched(&loop->lingering, watched);
    loop->lingering_count++;
}

static void stop_to_linger(struct loop *loop, struct watched *watched)
{
    unlink_watched(&loop->lingering, watched);
    loop->lingering_count--;
    close(watched->fd);
    free(watched);
}

/* Reads and drops what came; bounded, since others wait for this thread. */
static void drain(struct loop *loop, struct watched *watched)
{
    enum { READS_AT_ONCE = 8 };
    char waste[32768];

    for (int i = 0; i < READS_AT_ONCE; i++) {
        const ssize_t got = recv(watched->fd, waste, sizeof waste, MSG_DONTWAIT);
        if (got > 0 || (got < 0 && errno == EINTR))
            continue;
        if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
            stop_to_linger(loop, watched);
        return;
    }
}

static void close_overdue(struct loop *loop, int64_t now_ns)
{
    for (struct watched *watched = loop->lingering, *next; watched != NULL; watched = next) {
        next = watched->next;
        if (now_ns >= watched->deadline_ns)
            stop_to_linger(loop, watched);
    }
}

void loop_unwatch(struct loop *loop, struct watched *watched, bool linger)
{
    epoll_ctl(loop->watch_fd, EPOLL_CTL_DEL, watched->fd, NULL);
    if (watched->ended)
        unlink_watched(&loop->ended, watched);
    else if (linger && loop->started)
        start_to_linger(loop, watched->fd);
    loop->run_again = true;
}

/* --- The thread */

static int timeout_ms(struct loop *loop)
{
    const int longest = loop->ended != NULL ? NUDGE_MS : TICK_MS;
    unsigned long long milliseconds;

    if (loop->run_again) {
        loop->run_again = false;
        return 0;
    }
    if (MHD_get_timeout(loop->daemon, &milliseconds) != MHD_YES)
        return longest;
    return milliseconds > (unsigned long long)longest ? longest : (int)milliseconds;
}

static void take_watched(struct loop *loop)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    const int count = epoll_wait(loop->watch_fd, events, EVENTS_AT_ONCE, 0);

    for (int i = 0; i < count; i++) {
        struct watched *watched = events[i].data.ptr;
        if (watched->lingers)
            drain(loop, watched);
        else if (!watched->ended)
            note_end(loop, watched);
    }
}

static void look_after(struct loop *loop)
{
    const int64_t now_ns = clock_monotonic_ns();

    nudge_ended(loop, now_ns);
    if (now_ns < loop->next_tick_ns)
        return;
    loop->next_tick_ns = now_ns + (int64_t)TICK_MS * 1000000;
    close_overdue(loop, now_ns);
    loop->calls.tick(loop->calls.context, now_ns);
}

static void close_listener(struct loop *loop)
{
    const MHD_socket listener = MHD_quiesce_daemon(loop->daemon);
    if (listener != MHD_INVALID_SOCKET)
        close(listener);
    loop->accepting = false;
}

static void *run(void *context)
{
    struct loop *loop = context;
    const int epoll_fd = MHD_get_daemon_info(loop->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    struct pollfd fds[] = {{.fd = epoll_fd, .events = POLLIN},
                           {.fd = loop->wake_fd, .events = POLLIN},
                           {.fd = loop->watch_fd, .events = POLLIN}};
    sigset_t broken_pipe;

    /* A client that is gone is an error of that write, not the end of the process. */
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &broken_pipe, NULL);

    while (!atomic_load(&loop->stop)) {
        if (loop->accepting && atomic_load(&loop->stop_accepting))
            close_listener(loop);
        MHD_run(loop->daemon);
        const int ready = poll(fds, 3, timeout_ms(loop));
        if (ready > 0 && (fds[1].revents & POLLIN))
            take_wake(loop);
        if (ready > 0 && (fds[2].revents & POLLIN))
            take_watched(loop);
        look_after(loop);
    }
    return NULL;
}

int loop_start(struct loop *loop, struct MHD_Daemon *daemon, struct error *err)
{
    loop->daemon = daemon;
    loop->started = true;
    const int reason = pthread_create(&loop->thread, NULL, run, loop);
    if (reason == 0)
        return STATUS_OK;
    loop->started = false;
    return error_set_errno(err, reason, "cannot start a thread");
}

void loop_stop(struct loop *loop)
{
    if (!loop->started)
        return;
    atomic_store(&loop->stop, true);
    wake(loop);
    pthread_join(loop->thread, NULL);
    loop->started = false;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    loop_stop(loop);
    while (loop->lingering != NULL)
        stop_to_linger(loop, loop->lingering);
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    if (loop->watch_fd >= 0)
        close(loop->watch_fd);
    free(loop);
}
