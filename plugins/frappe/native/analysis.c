/* The encoder's filters: strided convolutions of an 8-bit picture, companding and rounding.

   A patch is multiplied with up to 8 filters at once: the channels of a scale group are the lanes of a vector, and
   neighbouring patches share each load of the filters. The picture is walked in cells, small enough that the levels of
   a cell stay in the cache while all scale groups read them. Where latents are rounded with a deadzone they are first
   kept as fine integers, because the deadzone of a latent depends on those around it. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "wide.h"

enum { COLOURS = 3, LIMIT = 127, LANES = 8, BLOCK = 8, CELL = 256, FINE = 128, OK = 0, NO_MEMORY = -2 };

typedef float Lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));

/* A scale group: filters of one patch size. */
typedef struct {
    int32_t ps, channels;
    const float *weights; /* (vectors, ps, 3·ps, LANES): filters as lanes, zeros behind the last */
    const float *bias, *sigma, *scale; /* per channel; scale holds 127·γ over the quantiser's step */
    int8_t *out;                       /* channels planes of latents, `plane` values apart */
    int16_t *fine;                     /* the same in 1/FINE of a step, or NULL */
    int64_t plane;
} Group;

/* Outputs of up to 8 filters for BLOCK patches that lie side by side: sums[c][m], with `room` between channels. Written
   out for the compiler: accumulators in arrays would not stay in registers. */
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define ZERO(m) Lanes s##m = {0};
#define ADD(m) s##m += row[m * length + k] * filter;
#define STORE(m) sums[c * room + m] = s##m[c];

INLINE void correlate_block(const float *levels, int64_t stride, const float *weights, int32_t ps, int32_t channels,
                            float *sums, int32_t room) {
    const int32_t length = COLOURS * ps;
    EACH(ZERO)
    for (int32_t r = 0; r < ps; r++) {
        const float *row = levels + r * stride, *w = weights + (int64_t)r * length * LANES;
        for (int32_t k = 0; k < length; k++) {
            const Lanes filter = *(const Lanes *)(w + (int64_t)k * LANES);
            EACH(ADD)
        }
    }
    for (int32_t c = 0; c < channels; c++) {
        EACH(STORE)
    }
}

INLINE void correlate_one(const float *levels, int64_t stride, const float *weights, int32_t ps, int32_t channels,
                          float *sums, int32_t room) {
    const int32_t length = COLOURS * ps;
    Lanes sum = {0};
    for (int32_t r = 0; r < ps; r++)
        for (int32_t k = 0; k < length; k++)
            sum += levels[r * stride + k] * *(const Lanes *)(weights + ((int64_t)r * length + k) * LANES);
    for (int32_t c = 0; c < channels; c++) sums[c * room] = sum[c];
}

INLINE void correlate_row(const float *levels, int64_t stride, const float *weights, int32_t ps, int32_t patches,
                          int32_t channels, float *sums, int32_t room) {
    const int32_t length = COLOURS * ps;
    int32_t j = 0;
    for (; j + BLOCK <= patches; j += BLOCK)
        correlate_block(levels + (int64_t)j * length, stride, weights, ps, channels, sums + j, room);
    for (; j < patches; j++)
        correlate_one(levels + (int64_t)j * length, stride, weights, ps, channels, sums + j, room);
}

/* Within ±limit. What overflowed and is no number becomes -limit, which is an integer on every machine. */
INLINE float clip(float y, float limit) {
    const float low = y > -limit ? y : -limit;
    return low < limit ? low : limit;
}

/* Companded values in quantiser steps: SC8's softsign, or LF8's Laplace distribution function. */
INLINE void compand(float *restrict sums, int32_t count, float bias, float sigma, float scale, int32_t laplace) {
    if (laplace)
        for (int32_t j = 0; j < count; j++) {
            float u = sums[j] + bias;
            sums[j] = copysignf(1 - expf(-fabsf(u) / sigma), u) * scale;
        }
    else
        for (int32_t j = 0; j < count; j++) {
            float u = sums[j] + bias;
            sums[j] = scale * u / (sigma + fabsf(u));
        }
}

/* Latents of up to CELL patches of one row of patches, from `place` on in each plane. */
INLINE void analyse_row(const float *levels, int64_t stride, const Group *g, int32_t patches, int64_t place,
                        int32_t laplace) {
    float sums[LANES * CELL];
    for (int32_t at = 0; at < g->channels; at += LANES) {
        const int32_t channels = g->channels - at < LANES ? g->channels - at : LANES;
        const float *weights = g->weights + (int64_t)at * g->ps * g->ps * COLOURS;
        correlate_row(levels, stride, weights, g->ps, patches, channels, sums, CELL);
        for (int32_t k = 0; k < channels; k++) {
            float *sum = sums + k * CELL;
            const int64_t c = at + k, start = c * g->plane + place;
            compand(sum, patches, g->bias[c], g->sigma[c], g->scale[c], laplace);
            if (g->fine)
                for (int32_t j = 0; j < patches; j++)
                    g->fine[start + j] = (int16_t)nearbyintf(clip(sum[j], LIMIT) * FINE);
            else /* to the nearest integer, ties to even */
                for (int32_t j = 0; j < patches; j++) g->out[start + j] = (int8_t)nearbyintf(clip(sum[j], LIMIT));
        }
    }
}

/* Latents of one cell; its upper left corner is at pixel (y, x) of a picture of `picture_width` pixels. */
INLINE void analyse_cell(const float *levels, int64_t stride, const Group *g, int32_t height, int32_t width, int64_t y,
                         int64_t x, int64_t picture_width, int32_t laplace) {
    const int32_t ps = g->ps, patches = width / ps;
    for (int32_t i = 0; i < height / ps; i++)
        for (int32_t from = 0; from < patches; from += CELL) {
            const int32_t count = patches - from < CELL ? patches - from : CELL;
            const int64_t place = (y / ps + i) * (picture_width / ps) + x / ps + from;
            analyse_row(levels + i * ps * stride + (int64_t)from * ps * COLOURS, stride, g, count, place, laplace);
        }
}

/* Bytes to levels: by the table, or to [-1, 1] where there is none. */
INLINE void to_levels(const uint8_t *restrict in, float *restrict out, int64_t count, const float *table) {
    if (table)
        for (int64_t i = 0; i < count; i++) out[i] = table[in[i]];
    else
        for (int64_t i = 0; i < count; i++) out[i] = (float)in[i] * (1 / 127.5f) - 1;
}

/* One row of fine integers, between the rows above and below, to integers. A magnitude goes up to the next from a half
   and the deadzone: `flat` plus `sparse` over the mean magnitude of the eight values around, `most` at most. */
INLINE void round_row(const int16_t *above, const int16_t *here, const int16_t *below, int8_t *restrict out,
                      uint16_t *restrict columns, int32_t width, const float *deadzone) {
    const float flat = deadzone[0], sparse = deadzone[1], bias = deadzone[2], most = deadzone[3];
    for (int32_t x = 0; x < width; x++) columns[x + 1] = (uint16_t)(abs(above[x]) + abs(here[x]) + abs(below[x]));
    columns[0] = columns[1];
    columns[width + 1] = columns[width];
    for (int32_t x = 0; x < width; x++) {
        const int32_t size = abs(here[x]), sum = columns[x] + columns[x + 1] + columns[x + 2] - size;
        const float zone = flat + sparse / ((float)sum * (1.0f / (8 * FINE)) + bias);
        const int32_t up = (int32_t)((float)size * (1.0f / FINE) + 0.5f - (zone > most ? most : zone));
        out[x] = (int8_t)(here[x] < 0 ? -up : up);
    }
}

INLINE void round_plane(const int16_t *in, int8_t *out, uint16_t *columns, int32_t height, int32_t width,
                        const float *deadzone) {
    for (int32_t y = 0; y < height; y++) {
        const int16_t *here = in + (int64_t)y * width, *above = y ? here - width : here;
        const int16_t *below = y + 1 < height ? here + width : here;
        round_row(above, here, below, out + (int64_t)y * width, columns, width, deadzone);
    }
}

/* picture: (height, width, 3) uint8, sides multiples of `multiple`, which all patch sizes divide; table: 256 levels,
   or NULL; deadzone: flat, sparse, bias, most, or NULL to round to the nearest. Returns 0, or an error below zero. */
INLINE int32_t analyse(const uint8_t *picture, int64_t height, int64_t width, int32_t multiple, const float *table,
                       const Group *groups, int32_t count, const float *deadzone, int32_t laplace) {
    const int32_t side = multiple > CELL ? multiple : CELL / multiple * multiple;
    const int64_t stride = (int64_t)side * COLOURS;
    float *levels = malloc((size_t)multiple * side * COLOURS * sizeof *levels);
    uint16_t *columns = malloc(((size_t)width + 2) * sizeof *columns);
    if (levels && columns) {
        for (int64_t y = 0; y < height; y += multiple)
            for (int64_t x = 0; x < width; x += side) {
                const int32_t across = (int32_t)(width - x < side ? width - x : side);
                for (int32_t r = 0; r < multiple; r++)
                    to_levels(picture + ((y + r) * width + x) * COLOURS, levels + r * stride, across * COLOURS, table);
                for (int32_t s = 0; s < count; s++)
                    analyse_cell(levels, stride, groups + s, multiple, across, y, x, width, laplace);
            }
        for (int32_t s = 0; deadzone && s < count; s++)
            for (int32_t c = 0; c < groups[s].channels; c++)
                round_plane(groups[s].fine + c * groups[s].plane, groups[s].out + c * groups[s].plane, columns,
                            (int32_t)(height / groups[s].ps), (int32_t)(width / groups[s].ps), deadzone);
    }
    free(columns);
    free(levels);
    return levels && columns ? OK : NO_MEMORY;
}

EXPORTED(int32_t, analyse,
         (const uint8_t *picture, int64_t height, int64_t width, int32_t multiple, const float *table,
          const Group *groups, int32_t count, const float *deadzone, int32_t laplace),
         (picture, height, width, multiple, table, groups, count, deadzone, laplace))
