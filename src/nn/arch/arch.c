/* The table of architectures: see arch.h. A new one is a file beside this one and a row here. */
#include "nn/arch/arch.h"

#include <stdio.h>
#include <string.h>

#include "nn/arch/builder.h"

enum { CLASSES_MAX = 100000, INPUT_MIN = 8, INPUT_MAX = 1024 };

static const struct architecture {
    const char *name;
    int (*build)(const struct arch_options *options, struct graph **out, struct error *err);
} architectures[] = {
    {"resnet50", arch_resnet50},
    {"mobilenetv2", arch_mobilenetv2},
    {"efficientnet_b0", arch_efficientnet_b0},
};

enum { ARCHITECTURE_COUNT = sizeof architectures / sizeof *architectures };

static const struct architecture *find(const char *name)
{
    for (int i = 0; i < ARCHITECTURE_COUNT; i++)
        if (strcmp(architectures[i].name, name) == 0)
            return &architectures[i];
    return NULL;
}

static int unknown(const char *name, struct error *err)
{
    char known[256] = "";
    size_t used = 0;

    for (int i = 0; i < ARCHITECTURE_COUNT && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i == 0 ? "" : ", ",
                                 architectures[i].name);
    return error_set(err, STATUS_NOT_FOUND, "there is no architecture '%s'; there are %s", name,
                     known);
}

int arch_build(const char *name, const struct arch_options *options, struct graph **out,
               struct error *err)
{
    const struct architecture *architecture = find(name);

    if (architecture == NULL)
        return unknown(name, err);
    if (options->classes < 1 || options->classes > CLASSES_MAX)
        return error_set(err, STATUS_INVALID, "%s has 1 to %d classes, not %d", name, CLASSES_MAX,
                         options->classes);
    if (options->input < INPUT_MIN || options->input > INPUT_MAX)
        return error_set(err, STATUS_INVALID, "%s has an input of %d to %d pixels, not %d", name,
                         INPUT_MIN, INPUT_MAX, options->input);
    return architecture->build(options, out, err);
}

const char *arch_name(int index)
{
    return index >= 0 && index < ARCHITECTURE_COUNT ? architectures[index].name : NULL;
}
