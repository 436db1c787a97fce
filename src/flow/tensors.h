/* The tensor store: decoded and preprocessed images, kept while models still want them, so that an
 * image is fetched and decoded once for all models and preprocessed once for each distinct
 * preprocess. */
#ifndef FLOW_TENSORS_H
#define FLOW_TENSORS_H

#include "base/config.h"
#include "base/metrics.h"
#include "data/objects.h"
#include "flow/message.h"
#include "image/preprocess.h"

struct tensors;

/* One preprocessed image, [3, height, width] f32; counted, so that it outlives its place in the
 * store while in use. */
struct tensor_ref;
const float *tensor_ref_data(const struct tensor_ref *tensor);

int tensors_create(const struct config *config, struct objects *objects, struct metrics *metrics,
                   struct tensors **out, struct error *err);
void tensors_free(struct tensors *tensors); /* no thread may be inside */

/* What the running models need: an image is turned into all of these at once when it is first
 * wanted. Replaces the list; copied. */
int tensors_wanted(struct tensors *tensors, const struct preprocess *list, int count,
                   struct error *err);

/* Fills refs[i] with the tensor of images[i], decoding those that are not there. Several threads
 * that want the same images share the work. statuses[i] is 0 or why there is none (with errors[i]):
 * STATUS_CORRUPT, _UNSUPPORTED and _TOO_LARGE are the image's own fault, STATUS_NOT_FOUND a missing
 * object, STATUS_INVALID a picture (or a key) this preprocess cannot take; others may pass. Each
 * filled ref is dropped with tensor_release. */
void tensors_get(struct tensors *tensors, const struct preprocess *preprocess,
                 const struct image_message *const *images, int count, struct tensor_ref **refs,
                 int *statuses, struct error *errors);
void tensor_release(struct tensor_ref *tensor); /* NULL is fine */

#endif
