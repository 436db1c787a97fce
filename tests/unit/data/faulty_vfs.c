/* A layer under SQLite that fails when told to: see faulty_vfs.h. All but writing and syncing is
 * handed on. */
#include "faulty_vfs.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>

struct faulty_vfs faulty;

struct faulty_file {
    sqlite3_file base;
    bool is_log;
    sqlite3_file *real; /* in the bytes behind this struct */
};

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct faulty_file *)file)->real;
}

/* --- what may fail --- */

static int faulty_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 offset)
{
    if (((struct faulty_file *)file)->is_log && atomic_load(&faulty.full))
        return SQLITE_FULL;
    return real_of(file)->pMethods->xWrite(real_of(file), bytes, size, offset);
}

static int faulty_sync(sqlite3_file *file, int flags)
{
    const bool is_log = ((struct faulty_file *)file)->is_log;

    atomic_fetch_add(is_log ? &faulty.log_syncs : &faulty.database_syncs, 1);
    if (atomic_load(is_log ? &faulty.log_sync_fails : &faulty.database_sync_fails))
        return SQLITE_IOERR_FSYNC;
    return real_of(file)->pMethods->xSync(real_of(file), flags);
}

/* --- what is handed on --- */

static int faulty_close(sqlite3_file *file)
{
    return real_of(file)->pMethods->xClose(real_of(file));
}

static int faulty_read(sqlite3_file *file, void *bytes, int size, sqlite3_int64 offset)
{
    return real_of(file)->pMethods->xRead(real_of(file), bytes, size, offset);
}

static int faulty_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int faulty_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return real_of(file)->pMethods->xFileSize(real_of(file), size);
}

static int faulty_lock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int faulty_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int faulty_check_lock(sqlite3_file *file, int *out)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}

static int faulty_control(sqlite3_file *file, int operation, void *argument)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), operation, argument);
}

static int faulty_sector(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int faulty_characteristics(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static int faulty_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    return real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, out);
}

static int faulty_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, count, flags);
}

static void faulty_shm_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int faulty_shm_unmap(sqlite3_file *file, int delete_it)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), delete_it);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = faulty_close,
    .xRead = faulty_read,
    .xWrite = faulty_write,
    .xTruncate = faulty_truncate,
    .xSync = faulty_sync,
    .xFileSize = faulty_size,
    .xLock = faulty_lock,
    .xUnlock = faulty_unlock,
    .xCheckReservedLock = faulty_check_lock,
    .xFileControl = faulty_control,
    .xSectorSize = faulty_sector,
    .xDeviceCharacteristics = faulty_characteristics,
    .xShmMap = faulty_shm_map,
    .xShmLock = faulty_shm_lock,
    .xShmBarrier = faulty_shm_barrier,
    .xShmUnmap = faulty_shm_unmap,
};

static sqlite3_vfs *real_vfs;

static int faulty_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    struct faulty_file *opened = (struct faulty_file *)file;

    (void)vfs;
    opened->base.pMethods = NULL;
    opened->is_log = (flags & SQLITE_OPEN_WAL) != 0;
    opened->real = (sqlite3_file *)(opened + 1);
    const int code = real_vfs->xOpen(real_vfs, name, opened->real, flags, out);
    if (opened->real->pMethods != NULL)
        opened->base.pMethods = &methods;
    return code;
}

void faulty_vfs_install(void)
{
    static sqlite3_vfs layer;

    sqlite3_initialize();
    real_vfs = sqlite3_vfs_find(NULL);
    layer = *real_vfs;
    layer.zName = "faulty";
    layer.szOsFile = (int)sizeof(struct faulty_file) + real_vfs->szOsFile;
    layer.xOpen = faulty_open;
    sqlite3_vfs_register(&layer, 1);
}
