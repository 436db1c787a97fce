/* Arrays of 16-bit floats to and from f32, as fast as the machine allows: weights of a hundred
 * megabytes are converted when a model is loaded. The one-element forms are in tensor.h. */
#ifndef NN_HALF_H
#define NN_HALF_H

#include <stddef.h>
#include <stdint.h>

void f16_to_f32_array(const uint16_t *source, float *target, size_t count);
void f32_to_f16_array(const float *source, uint16_t *target, size_t count);
void bf16_to_f32_array(const uint16_t *source, float *target, size_t count);
void f32_to_bf16_array(const float *source, uint16_t *target, size_t count);

#endif
