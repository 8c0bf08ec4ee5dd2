/* The encoder's filters: strided convolutions of an 8-bit picture, companding and rounding.

   Large patches are dot products over rows of a patch; small ones are gathered so that neighbouring patches lie side by
   side, and all of them are done at once. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define WIDE
#endif

enum { COLOURS = 3, LIMIT = 127, SMALL = 8, OK = 0, NO_MEMORY = -2 };

/* sums[c][j] += patches of one picture row with one row of the filters; j counts patches. weights: (channels, 3p). */
WIDE static void add_large(const float *restrict row, const float *restrict weights, float *restrict sums, int32_t count,
                           int32_t channels, int32_t length) {
    for (int32_t j = 0; j < count; j++) {
        const float *patch = row + (int64_t)j * length;
        for (int32_t c = 0; c < channels; c++) {
            const float *w = weights + (int64_t)c * length;
            float sum = 0;
            for (int32_t k = 0; k < length; k++) sum += patch[k] * w[k];
            sums[(int64_t)c * count + j] += sum;
        }
    }
}

WIDE static void add_small(const float *restrict row, float *restrict column, const float *restrict weights,
                           float *restrict sums, int32_t count, int32_t channels, int32_t length) {
    for (int32_t k = 0; k < length; k++) {
        for (int32_t j = 0; j < count; j++) column[j] = row[(int64_t)j * length + k];
        for (int32_t c = 0; c < channels; c++) {
            const float w = weights[(int64_t)c * length + k];
            float *restrict sum = sums + (int64_t)c * count;
            for (int32_t j = 0; j < count; j++) sum[j] += w * column[j];
        }
    }
}

/* To the nearest integer, ties to even; with rounding < 1/2 more goes to zero: the part of a step that is enough to go up
   to the next magnitude is 1 - rounding. */
static inline float integer(float y, float rounding) {
    return rounding < 0.5f ? copysignf(floorf(fabsf(y) + rounding), y) : nearbyintf(y);
}

WIDE static void compand(const float *restrict sums, int8_t *restrict out, int32_t count, float bias, float sigma,
                         float scale, float rounding, int laplace) {
    if (laplace) {
        for (int32_t j = 0; j < count; j++) {
            float u = sums[j] + bias, y = 1 - expf(-fabsf(u) / sigma);
            y = integer(copysignf(y, u) * scale, rounding);
            out[j] = (int8_t)(y > LIMIT ? LIMIT : y < -LIMIT ? -LIMIT : y);
        }
        return;
    }
    for (int32_t j = 0; j < count; j++) {
        float u = sums[j] + bias;
        float y = integer(scale * u / (sigma + fabsf(u)), rounding);
        out[j] = (int8_t)(y > LIMIT ? LIMIT : y < -LIMIT ? -LIMIT : y);
    }
}

/* picture: (height, width, 3) uint8, sides multiples of ps; levels: 256 values; weights: (ps, channels, 3·ps);
   out: channels planes (height/ps, width/ps), `plane` bytes apart. `scale` holds 127·γ per channel. */
EXPORT int32_t frappe_analyse(const uint8_t *picture, int64_t height, int64_t width, int64_t ps, const float *levels,
                              const float *weights, const float *bias, const float *sigma, const float *scale,
                              float rounding, int32_t channels, int32_t laplace, int8_t *out, int64_t plane) {
    const int32_t count = (int32_t)(width / ps), length = (int32_t)(COLOURS * ps);
    const int64_t samples = width * COLOURS;
    float *row = malloc((size_t)samples * sizeof *row);
    float *column = malloc((size_t)count * sizeof *column);
    float *sums = malloc((size_t)count * channels * sizeof *sums);
    if (!row || !column || !sums) {
        free(row), free(column), free(sums);
        return NO_MEMORY;
    }
    for (int64_t y = 0; y < height / ps; y++) {
        for (int64_t i = 0; i < (int64_t)count * channels; i++) sums[i] = 0;
        for (int64_t r = 0; r < ps; r++) {
            const uint8_t *in = picture + (y * ps + r) * samples;
            const float *w = weights + r * channels * length;
            for (int64_t i = 0; i < samples; i++) row[i] = levels[in[i]];
            if (ps < SMALL)
                add_small(row, column, w, sums, count, channels, length);
            else
                add_large(row, w, sums, count, channels, length);
        }
        for (int32_t c = 0; c < channels; c++)
            compand(sums + (int64_t)c * count, out + c * plane + y * count, count, bias[c], sigma[c], scale[c],
                    rounding, laplace);
    }
    free(row), free(column), free(sums);
    return OK;
}
