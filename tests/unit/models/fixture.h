/* Packages of tiny networks for the tests of this folder. */
#ifndef TESTS_MODELS_FIXTURE_H
#define TESTS_MODELS_FIXTURE_H

#include <stddef.h>

/* A network that looks at the mean colour: answer k gets weights[k] . (r, g, b) + bias[k], each
 * colour 0..1. Input [?, 3, 8, 8]. */
struct tiny {
    const char *name, *version; /* version NULL is "1" */
    int classes;                /* 1 .. 4 of red, green, blue, none */
    float weights[4][3];
    float bias[4];
    const char *extra; /* appended to model.yaml; may be NULL */
};

/* Says red, green, blue or none, whatever the picture is most. */
extern const struct tiny tiny_colours;

/* Writes FOLDER/model.onnx, then FOLDER/model.yaml; fails the test when it cannot. */
void fixture_package(const char *folder, const struct tiny *tiny);
/* Just the network. */
void fixture_network(const char *path, const struct tiny *tiny);
void fixture_write(const char *path, const char *text);
/* A PNG of one colour. */
void fixture_png(const char *path, int r, int g, int b);
/* "A/B" in one of a few static buffers. */
const char *fixture_path(const char *folder, const char *name);
/* Makes an empty folder below /tmp; the caller removes it and frees the name. */
char *fixture_folder(void);

#endif
