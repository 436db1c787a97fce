/* The event thread: see loop.h. */
#include "http/loop.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct loop {
    struct MHD_Daemon *daemon;
    pthread_t thread;
    bool started;
    int wake_fd;
    atomic_bool woken; /* wake_fd was written and not read yet */
    bool run_again;    /* the thread's own */
    bool accepting;    /* likewise */
    atomic_bool stop_accepting, stop;
};

int loop_create(struct loop **out, struct error *err)
{
    struct loop *loop = calloc(1, sizeof *loop);

    if (loop == NULL)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the HTTP server");
    loop->accepting = true;
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0) {
        free(loop);
        return error_set_errno(err, errno, "cannot make an event descriptor");
    }
    *out = loop;
    return STATUS_OK;
}

static void wake(struct loop *loop)
{
    if (!atomic_exchange(&loop->woken, true))
        eventfd_write(loop->wake_fd, 1);
}

/* In the order of reading: whoever resumes after this is seen by the next run, or wakes it anew. */
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

void loop_run_again(struct loop *loop)
{
    loop->run_again = true;
}

/* How long the library can wait, in poll's terms. */
static int timeout_ms(struct loop *loop)
{
    unsigned long long milliseconds;

    if (loop->run_again) {
        loop->run_again = false;
        return 0;
    }
    if (MHD_get_timeout(loop->daemon, &milliseconds) != MHD_YES)
        return -1;
    return milliseconds > INT_MAX ? INT_MAX : (int)milliseconds;
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
                           {.fd = loop->wake_fd, .events = POLLIN}};
    sigset_t broken_pipe;

    /* A client that is gone is an error of that write, not the end of the process. */
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &broken_pipe, NULL);

    while (!atomic_load(&loop->stop)) {
        if (loop->accepting && atomic_load(&loop->stop_accepting))
            close_listener(loop);
        MHD_run(loop->daemon);
        if (poll(fds, 2, timeout_ms(loop)) > 0 && (fds[1].revents & POLLIN))
            take_wake(loop);
    }
    return NULL;
}

int loop_start(struct loop *loop, struct MHD_Daemon *daemon, struct error *err)
{
    loop->daemon = daemon;
    const int reason = pthread_create(&loop->thread, NULL, run, loop);
    if (reason != 0)
        return error_set_errno(err, reason, "cannot start a thread");
    loop->started = true;
    return STATUS_OK;
}

void loop_stop_accepting(struct loop *loop)
{
    atomic_store(&loop->stop_accepting, true);
    wake(loop);
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
    close(loop->wake_fd);
    free(loop);
}
