/* Where the demo runs: see demo_place.h. */
#include "cmd/demo_place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"

/* Whether the user said something about a setting. */
static bool is_default(const struct config *config, const char *name)
{
    for (const struct config_setting *row = config_settings(); row->name != NULL; row++)
        if (strcmp(row->name, name) == 0)
            return config_origin(config, row) == CONFIG_DEFAULT;
    return false;
}

/* --- The folder ------------------------------------------------------------------------------- */

static bool cache_folder(char folder[PATH_MAX])
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length = -1;

    if (cache != NULL && cache[0] == '/')
        length = snprintf(folder, PATH_MAX, "%s/ocelli/demo", cache);
    else if (home != NULL && home[0] == '/')
        length = snprintf(folder, PATH_MAX, "%s/.cache/ocelli/demo", home);
    return length > 0 && length < PATH_MAX;
}

/* Empties the folder of an earlier demo, unless one is running in it: that holds the lock that
 * every platform takes on its folder. */
static bool take_folder(const char *folder)
{
    char path[PATH_MAX];
    bool free_to_use = false;

    if (folder_make(folder, false, NULL) != STATUS_OK ||
        snprintf(path, sizeof path, "%s/lock", folder) >= (int)sizeof path)
        return false;
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        free_to_use = folder_remove(folder, NULL) == STATUS_OK &&
                      folder_make(folder, false, NULL) == STATUS_OK;
    if (fd >= 0)
        close(fd);
    return free_to_use;
}

static int temporary_folder(struct demo_place *place, struct error *err)
{
    const char *parent = getenv("TMPDIR");

    if (parent == NULL || parent[0] != '/')
        parent = "/tmp";
    if (snprintf(place->folder, sizeof place->folder, "%s/ocelli-demo-XXXXXX", parent) >=
        (int)sizeof place->folder)
        return error_set(err, STATUS_INVALID, "TMPDIR is too long");
    if (mkdtemp(place->folder) == NULL)
        return error_set_errno(err, errno, "cannot make a folder for the demo in '%s'", parent);
    place->temporary = true;
    return STATUS_OK;
}

static int choose_folder(struct config *config, struct demo_place *place, struct error *err)
{
    if (!is_default(config, "data_dir"))
        return STATUS_OK;
    if (!cache_folder(place->folder) || !take_folder(place->folder)) {
        const int status = temporary_folder(place, err);
        if (status != STATUS_OK)
            return status;
    }
    return config_set(config, "data_dir", place->folder, CONFIG_FLAG, err);
}

int demo_place_choose(struct config *config, struct demo_place *place, struct error *err)
{
    *place = (struct demo_place){0};
    return choose_folder(config, place, err);
}

bool demo_place_take_any_port(struct config *config)
{
    return is_default(config, "port") &&
           config_set(config, "port", "0", CONFIG_FLAG, NULL) == STATUS_OK;
}

void demo_place_leave(const struct demo_place *place)
{
    if (place->temporary)
        folder_remove(place->folder, NULL);
}
