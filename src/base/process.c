/* What the system knows about this process: see process.h. Files under /proc are described in
 * proc(5). */
#include "base/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double process_cpu_seconds(void)
{
    struct timespec used;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) != 0)
        return NAN;
    return (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
}

/* The first bytes of a file of /proc as text; -1 when it cannot be read. */
static int read_proc(const char *path, char *text, size_t text_size)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    const ssize_t got = read(fd, text, text_size - 1);
    close(fd);
    if (got < 0)
        return -1;
    text[got] = '\0';
    return 0;
}

double process_resident_bytes(void)
{
    char text[256];
    unsigned long long pages;

    if (read_proc("/proc/self/statm", text, sizeof text) != 0 ||
        sscanf(text, "%*u %llu", &pages) != 1)
        return NAN;
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

double process_open_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;

    if (folder == NULL)
        return NAN;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count - 1; /* the folder's own */
}

double process_start_time_seconds(void)
{
    char text[1024];
    unsigned long long ticks;
    struct timespec since_boot, now;

    if (read_proc("/proc/self/stat", text, sizeof text) != 0)
        return NAN;
    /* The name, in parentheses, may hold anything: fields are counted from its end. The start is
     * field 22, in ticks since boot. */
    const char *at = strrchr(text, ')');
    if (at == NULL ||
        sscanf(at + 1,
               " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d"
               " %*d %llu",
               &ticks) != 1)
        return NAN;
    if (clock_gettime(CLOCK_BOOTTIME, &since_boot) != 0 || clock_gettime(CLOCK_REALTIME, &now) != 0)
        return NAN;
    const double boot = (double)(now.tv_sec - since_boot.tv_sec) +
                        (double)(now.tv_nsec - since_boot.tv_nsec) * 1e-9;
    return boot + (double)ticks / (double)sysconf(_SC_CLK_TCK);
}
