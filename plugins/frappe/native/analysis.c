/* The encoder's filters: strided convolutions of an 8-bit picture, companding and rounding.

   A patch is multiplied with all filters at once: the channels of a scale group are the lanes of vectors, a few
   neighbouring patches share each load of the filters. The picture is walked in cells, small enough that the levels of
   a cell stay in the cache while all scale groups read them. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define INLINE static inline __attribute__((always_inline))
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("arch=haswell", "default")))
#else
#define WIDE
#endif

enum { COLOURS = 3, LIMIT = 127, LANES = 8, BLOCK = 4, CELL = 256, OK = 0, NO_MEMORY = -2 };

typedef float Lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));

/* A scale group: filters of one patch size. */
typedef struct {
    int32_t ps, channels;
    const float *weights; /* (vectors, ps, 3·ps, LANES): filters as lanes, zeros behind the last */
    const float *bias, *sigma, *scale; /* per channel; scale holds 127·γ over the quantiser's step */
    int8_t *out;                       /* channels planes of latents, `plane` bytes apart */
    int64_t plane;
} Group;

/* sums[m][lane] of `count` patches that lie side by side, each with `vectors` vectors of filters. */
INLINE void correlate(const float *levels, int64_t stride, const float *weights, int32_t ps, int count, int vectors,
                      Lanes sums[BLOCK][2]) {
    const int32_t length = COLOURS * ps;
    for (int m = 0; m < count; m++)
        for (int v = 0; v < vectors; v++) sums[m][v] = (Lanes){0};
    for (int32_t r = 0; r < ps; r++) {
        const float *row = levels + r * stride;
        Lanes part[BLOCK][2];
        for (int m = 0; m < count; m++)
            for (int v = 0; v < vectors; v++) part[m][v] = (Lanes){0};
        for (int32_t k = 0; k < length; k++) {
            Lanes w[2];
            for (int v = 0; v < vectors; v++)
                w[v] = *(const Lanes *)(weights + (((int64_t)v * ps + r) * length + k) * LANES);
            for (int m = 0; m < count; m++)
                for (int v = 0; v < vectors; v++) part[m][v] += row[m * length + k] * w[v];
        }
        for (int m = 0; m < count; m++)
            for (int v = 0; v < vectors; v++) sums[m][v] += part[m][v];
    }
}

INLINE void correlate_row(const float *levels, int64_t stride, const float *weights, int32_t ps, int32_t patches,
                          int vectors, int32_t channels, float *out, int32_t room) {
    Lanes sums[BLOCK][2];
    for (int32_t j = 0; j < patches; j += BLOCK) {
        const float *first = levels + (int64_t)j * COLOURS * ps;
        int32_t count = patches - j < BLOCK ? patches - j : BLOCK;
        if (count == BLOCK)
            correlate(first, stride, weights, ps, BLOCK, vectors, sums);
        else
            for (int32_t m = 0; m < count; m++)
                correlate(first + (int64_t)m * COLOURS * ps, stride, weights, ps, 1, vectors, sums + m);
        for (int32_t m = 0; m < count; m++)
            for (int32_t c = 0; c < channels; c++) out[c * room + j + m] = sums[m][c / LANES][c % LANES];
    }
}

/* To the nearest integer, ties to even; with rounding < 1/2 more goes to zero: the part of a step that is enough to go up
   to the next magnitude is 1 - rounding. */
INLINE float integer(float y, float rounding) {
    return rounding < 0.5f ? copysignf(floorf(fabsf(y) + rounding), y) : nearbyintf(y);
}

INLINE void compand(const float *restrict sums, int8_t *restrict out, int32_t count, float bias, float sigma,
                    float scale, float rounding) {
    for (int32_t j = 0; j < count; j++) {
        float u = sums[j] + bias;
        float y = integer(scale * u / (sigma + fabsf(u)), rounding);
        out[j] = (int8_t)(y > LIMIT ? LIMIT : y < -LIMIT ? -LIMIT : y);
    }
}

INLINE void compand_laplace(const float *restrict sums, int8_t *restrict out, int32_t count, float bias, float sigma,
                            float scale, float rounding) {
    for (int32_t j = 0; j < count; j++) {
        float u = sums[j] + bias, y = 1 - expf(-fabsf(u) / sigma);
        y = integer(copysignf(y, u) * scale, rounding);
        out[j] = (int8_t)(y > LIMIT ? LIMIT : y < -LIMIT ? -LIMIT : y);
    }
}

/* Latents of one cell; its upper left corner is at pixel (y, x) of a picture of `width` pixels. */
WIDE static void analyse_cell(const float *levels, int64_t stride, const Group *g, int32_t height, int32_t width,
                              int64_t y, int64_t x, int64_t picture_width, float rounding, int32_t laplace) {
    const int32_t ps = g->ps, patches = width / ps;
    const int64_t row_bytes = picture_width / ps;
    float sums[2 * LANES * CELL];
    for (int32_t i = 0; i < height / ps; i++) {
        const float *band = levels + (int64_t)i * ps * stride;
        for (int32_t at = 0; at < g->channels; at += 2 * LANES) {
            const float *weights = g->weights + (int64_t)at * ps * ps * COLOURS;
            int32_t channels = g->channels - at < 2 * LANES ? g->channels - at : 2 * LANES;
            if (channels > LANES)
                correlate_row(band, stride, weights, ps, patches, 2, channels, sums, CELL);
            else
                correlate_row(band, stride, weights, ps, patches, 1, channels, sums, CELL);
            for (int32_t c = at; c < at + channels; c++) {
                int8_t *out = g->out + c * g->plane + (y / ps + i) * row_bytes + x / ps;
                const float *sum = sums + (c - at) * CELL;
                if (laplace)
                    compand_laplace(sum, out, patches, g->bias[c], g->sigma[c], g->scale[c], rounding);
                else
                    compand(sum, out, patches, g->bias[c], g->sigma[c], g->scale[c], rounding);
            }
        }
    }
}

/* Bytes to levels: by the table, or to [-1, 1] where there is none. */
WIDE static void to_levels(const uint8_t *restrict in, float *restrict out, int64_t count, const float *table) {
    if (table)
        for (int64_t i = 0; i < count; i++) out[i] = table[in[i]];
    else
        for (int64_t i = 0; i < count; i++) out[i] = (float)in[i] / 127.5f - 1;
}

/* picture: (height, width, 3) uint8, sides multiples of `multiple`, which all patch sizes divide; table: 256 levels,
   or NULL. Returns 0, or an error below zero. */
EXPORT int32_t frappe_analyse(const uint8_t *picture, int64_t height, int64_t width, int32_t multiple,
                              const float *table, const Group *groups, int32_t count, float rounding,
                              int32_t laplace) {
    /* A cell has at most CELL patches in a row, also of one pixel. */
    const int32_t side = multiple > CELL ? multiple : CELL / multiple * multiple;
    float *levels = malloc((size_t)multiple * side * COLOURS * sizeof *levels);
    if (!levels) return NO_MEMORY;
    for (int64_t y = 0; y < height; y += multiple)
        for (int64_t x = 0; x < width; x += side) {
            const int32_t across = (int32_t)(width - x < side ? width - x : side);
            const int64_t stride = (int64_t)side * COLOURS;
            for (int32_t r = 0; r < multiple; r++)
                to_levels(picture + ((y + r) * width + x) * COLOURS, levels + r * stride, across * COLOURS, table);
            for (int32_t s = 0; s < count; s++)
                analyse_cell(levels, stride, groups + s, multiple, across, y, x, width, rounding, laplace);
        }
    free(levels);
    return OK;
}
