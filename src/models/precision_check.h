/* Whether a network gives the same answers in bf16 as in fp32, and what was found before; private
 * to this folder. */
#ifndef MODELS_PRECISION_CHECK_H
#define MODELS_PRECISION_CHECK_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/hash.h"
#include "models/package.h"
#include "nn/exec/engine.h"

struct precision_verdict {
    int images;
    int changed; /* of them, with another answer */
};

/* At least 99.5 % unchanged. */
bool precision_verdict_same(const struct precision_verdict *verdict);

/* Runs both engines on the same images. `samples` is a folder of images, or of folders of them; it
 * may be absent. STATUS_CLOSED as soon as *stop is set. */
int precision_check(const struct model_package *package, struct engine *exact,
                    struct engine *rounded, int batch_max, const char *samples,
                    const atomic_bool *stop, struct precision_verdict *out, struct error *err);

/* Verdicts known, kept in a JSON file: an object from a network's SHA-256 to what was found, under
 * the CPU and the program version that found it; those of another CPU or version do not count.
 * Thread-safe. */
struct precision_verdicts;

/* Reads `path` (absent or unreadable is empty). NULL keeps them in memory only. */
int precision_verdicts_open(const char *path, struct precision_verdicts **out, struct error *err);
void precision_verdicts_close(struct precision_verdicts *verdicts);
bool precision_verdicts_find(struct precision_verdicts *verdicts, const char *network_hash,
                             struct precision_verdict *out);
/* Remembers, and writes the file when its folder exists. A file that cannot be written is logged:
 * the check is then made again at the next start. */
void precision_verdicts_put(struct precision_verdicts *verdicts, const char *network_hash,
                            const struct precision_verdict *verdict);

#endif
