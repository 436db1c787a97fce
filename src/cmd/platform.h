/* The platform put together: every part opened in order for the roles this process runs, and closed
 * in the reverse. Used by `serve` and `demo`. */
#ifndef CMD_PLATFORM_H
#define CMD_PLATFORM_H

#include "api/api.h"
#include "http/server.h"

struct platform;

/* Opens the data folder, migrates, loads the models, starts the stages and the server. When it
 * returns, the server answers. `config` is borrowed. */
int platform_start(const struct config *config, struct platform **out, struct error *err);
/* Graceful: not ready, server drained, stages finished, everything flushed; within about
 * `grace_ms`. Frees. */
void platform_stop(struct platform *platform, int64_t grace_ms);

struct api *platform_api(struct platform *platform);
int platform_port(const struct platform *platform);
/* Milliseconds from platform_start to ready. */
int64_t platform_start_ms(const struct platform *platform);
/* Blocks until SIGINT or SIGTERM, or until a part declared the process unfit (a failed sync): then
 * non-zero. */
int platform_wait(struct platform *platform);
/* As platform_wait with a limit: 1 when the time is over, 0 for a signal, -1 unfit. */
int platform_wait_ms(struct platform *platform, int64_t ms);

#endif
