/* A layer under SQLite that counts syncs, and fails writes and syncs when told to, as a disk that
 * is full or breaking does. It becomes SQLite's default, so the code under test needs no knowledge
 * of it. */
#ifndef TESTS_FAULTY_VFS_H
#define TESTS_FAULTY_VFS_H

#include <stdatomic.h>

struct faulty_vfs {
    atomic_int log_syncs;      /* of *-wal files, so far */
    atomic_int database_syncs; /* of the others */
    atomic_int full;           /* while not 0, writes to the log find the disk full */
    atomic_int log_sync_fails; /* while not 0, syncs of the log fail */
    atomic_int database_sync_fails;
};

extern struct faulty_vfs faulty;

/* Puts the layer in, once a process. */
void faulty_vfs_install(void);

#endif
