/* Planes resampled without leaving their coefficients: along each axis out = D P D' in, where D' brings blocks back to
   pixels, P makes the new pixels of them, and D is the transform of these. Of a matrix only blocks that are not zero
   are kept. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jpeg.h"
#include "wide.h"

/* One axis. The picture's own pixels are averaged, or repeated, to samples `step` pixels wide; those of
   [begin, begin + span) (in samples) are resampled linearly, with a wider filter where fewer of them come out. */
typedef struct {
    int32_t pixels;           /* of the plane that the picture covers; the last one is repeated behind */
    int32_t factor, most;     /* the plane has factor / most of the picture's pixels */
    int32_t step;             /* 1, or 2 for chroma */
    int32_t first, last;      /* samples that may be used, [first, last) */
    int32_t out;              /* pixels, a multiple of 8 */
    int32_t origin, blocks;   /* first block in store, and how many */
    double begin, span;
} Axis;

typedef struct {
    int32_t wide;           /* blocks that there is room for */
    int32_t *first, *count; /* blocks in store, of each block of the output */
    float *weights;         /* [out / 8][8 * wide][8]: of input, of output */
} Band;

/* A plane, in store [rows->blocks][columns->blocks][64], and what becomes of it, [rows->out / 8][columns->out / 8][64];
   both in natural order. */
typedef struct {
    const int16_t *blocks;
    const uint16_t *table;
    float *out;
} Layer;

static double inverse[8][8]; /* [pixel][frequency] */

__attribute__((constructor)) static void make_inverse(void) {
    for (int k = 0; k < 8; k++)
        for (int n = 0; n < 8; n++) inverse[n][k] = sqrt((k ? 2.0 : 1.0) / 8) * cos(acos(-1.0) * (n + 0.5) * k / 8);
}

INLINE int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }
INLINE int32_t most(int32_t a, int32_t b) { return a > b ? a : b; }

/* Samples that an output pixel is made of: [*first, *last). */
INLINE void samples_of(const Axis *a, int32_t pixel, double *centre, double *support, int32_t *first, int32_t *last) {
    const double scale = a->span / a->out;
    *centre = a->begin + (pixel + 0.5) * scale, *support = scale > 1 ? scale : 1;
    *first = most(a->first, (int32_t)floor(*centre - *support));
    *last = least(a->last, (int32_t)ceil(*centre + *support));
    if (*first >= *last) *first = least(most(*first, a->first), a->last - 1), *last = *first + 1;
}

/* Pixels of the plane that a sample is the mean of: [*first, *last). */
INLINE void pixels_of(const Axis *a, int32_t sample, int32_t *first, int32_t *last) {
    const int64_t begin = (int64_t)sample * a->step * a->factor, end = begin + (int64_t)a->step * a->factor;
    *first = (int32_t)(begin / a->most), *last = (int32_t)((end + a->most - 1) / a->most);
}

/* Blocks in store that a block of the output is made of; at least one. */
INLINE void blocks_of(const Axis *a, int32_t block, int32_t *first, int32_t *last) {
    double centre, support;
    int32_t low, high, unused, begin, end;
    samples_of(a, 8 * block, &centre, &support, &low, &unused);
    samples_of(a, 8 * block + 7, &centre, &support, &unused, &high);
    pixels_of(a, low, &begin, &unused);
    pixels_of(a, high - 1, &unused, &end);
    *first = least(begin, a->pixels - 1) / 8 - a->origin, *last = least(end - 1, a->pixels - 1) / 8 - a->origin + 1;
    *first = most(0, least(*first, a->blocks - 1)), *last = most(*first + 1, least(*last, a->blocks));
}

/* A row of P: weights of the pixels from `origin` on, `count` of them. */
INLINE void row_of(const Axis *a, int32_t pixel, int32_t origin, int32_t count, double *row) {
    double centre, support, total = 0;
    int32_t first, last;
    memset(row, 0, sizeof *row * (size_t)count);
    samples_of(a, pixel, &centre, &support, &first, &last);
    for (int pass = 0; pass < 2; pass++)
        for (int32_t j = first; j < last; j++) {
            const double away = fabs(j + 0.5 - centre) / support;
            const double weight = last == first + 1 ? 1 : away < 1 ? 1 - away : 0;
            if (!pass) {
                total += weight;
                continue;
            }
            int32_t begin, end;
            pixels_of(a, j, &begin, &end);
            const double low = (double)j * a->step * a->factor / a->most;
            const double high = (double)(j + 1) * a->step * a->factor / a->most;
            for (int32_t i = begin; i < end; i++) {
                const double part = fmin(i + 1, high) - fmax(i, low);
                const int32_t at = most(0, least(least(i, a->pixels - 1) - origin, count - 1));
                row[at] += weight / total * part / (high - low);
            }
        }
}

/* weights[in][out] of 8 rows of P that begin at `rows`, for one block of the input. */
INLINE void transform_weights(const double *rows, int32_t count, float *weights) {
    double half[8][8]; /* [pixel of the output][frequency of the input] */
    memset(half, 0, sizeof half);
    for (int i = 0; i < 8; i++)
        for (int n = 0; n < 8; n++)
            for (int k = 0; k < 8; k++) half[i][k] += rows[i * count + n] * inverse[n][k];
    for (int k = 0; k < 8; k++) {
        double sum[8] = {0};
        for (int i = 0; i < 8; i++)
            for (int to = 0; to < 8; to++) sum[to] += inverse[i][to] * half[i][k];
        for (int to = 0; to < 8; to++) weights[k * 8 + to] = (float)sum[to];
    }
}

INLINE int make_band(const Axis *a, Band *band) {
    const int32_t blocks = a->out / 8;
    band->wide = 1;
    for (int32_t b = 0; b < blocks; b++) {
        int32_t first, last;
        blocks_of(a, b, &first, &last);
        band->wide = most(band->wide, last - first);
    }
    const int32_t count = 8 * band->wide;
    band->first = malloc(2 * sizeof *band->first * (size_t)blocks);
    band->weights = malloc(sizeof *band->weights * (size_t)blocks * (size_t)count * 8);
    double *rows = malloc(sizeof *rows * (size_t)count * 8);
    if (!band->first || !band->weights || !rows) return free(rows), JPEG_NO_MEMORY;
    band->count = band->first + blocks;
    for (int32_t b = 0; b < blocks; b++) {
        int32_t last;
        blocks_of(a, b, &band->first[b], &last);
        band->count[b] = last - band->first[b];
        const int32_t used = 8 * band->count[b];
        for (int32_t i = 0; i < 8; i++) row_of(a, 8 * b + i, 8 * (a->origin + band->first[b]), used, rows + i * count);
        float *weights = band->weights + (int64_t)b * count * 8;
        for (int32_t j = 0; j < used; j += 8) transform_weights(rows + j, count, weights + j * 8);
    }
    free(rows);
    return JPEG_OK;
}

static void drop(Band *band) {
    free(band->first);
    free(band->weights);
}

typedef float Eight __attribute__((vector_size(32)));
typedef int16_t EightIntegers __attribute__((vector_size(16)));

/* Rows of a block behind which all are zero. */
INLINE int rows_used(const int16_t *block) {
    uint64_t halves[2];
    for (int v = 7; v > 0; v--) {
        memcpy(halves, block + 8 * v, sizeof halves);
        if (halves[0] | halves[1]) return v + 1;
    }
    return 1;
}

/* Columns of a block behind which all are zero. */
INLINE int columns_used(const int16_t *block) {
    EightIntegers any = {0}, row;
    for (int v = 0; v < 8; v++) {
        memcpy(&row, block + 8 * v, sizeof row);
        any |= row;
    }
    int used = 8;
    while (used > 1 && !any[used - 1]) used--;
    return used;
}

/* One row of blocks, from `band` of the rows in store: `columns` blocks from `blocks` on; and how many columns of each
   are not zero. */
INLINE void down(
    const int16_t *blocks, int64_t stride, const float *table, const Band *band, int32_t row, int32_t columns,
    float *out, int8_t *used) {
    const float *weights = band->weights + (int64_t)row * band->wide * 64;
    const int16_t *from = blocks + band->first[row] * stride * BLOCK;
    for (int32_t column = 0; column < columns; column++, out += BLOCK) {
        Eight sum[8] = {{0}};
        used[column] = 1;
        for (int32_t b = 0; b < band->count[row]; b++) {
            const int16_t *block = from + (b * stride + column) * BLOCK;
            const int rows = rows_used(block), width = columns_used(block);
            if (width > used[column]) used[column] = (int8_t)width;
            for (int v = 0; v < rows; v++) {
                EightIntegers x;
                Eight step;
                memcpy(&x, block + 8 * v, sizeof x);
                memcpy(&step, table + 8 * v, sizeof step);
                const Eight values = __builtin_convertvector(x, Eight) * step;
                const float *w = weights + (8 * b + v) * 8;
                for (int to = 0; to < 8; to++) sum[to] += values * w[to];
            }
        }
        memcpy(out, sum, sizeof sum);
    }
}

INLINE void across(const float *row, const int8_t *used, const Band *band, int32_t blocks, int32_t begin, float *out) {
    for (int32_t block = 0; block < blocks; block++, out += BLOCK) {
        const float *weights = band->weights + (int64_t)block * band->wide * 64;
        Eight sum[8] = {{0}};
        for (int32_t b = 0; b < band->count[block]; b++) {
            const int64_t at = band->first[block] - begin + b;
            const float *from = row + at * BLOCK;
            for (int u = 0; u < used[at]; u++) {
                Eight w;
                memcpy(&w, weights + (8 * b + u) * 8, sizeof w);
                for (int v = 0; v < 8; v++) sum[v] += w * from[8 * v + u];
            }
        }
        memcpy(out, sum, sizeof sum);
    }
}

INLINE int run(const Layer *layers, int32_t count, const Axis *rows, const Axis *columns) {
    Band vertical = {0}, horizontal = {0};
    float steps[BLOCK], *row = NULL;
    int8_t *used = NULL;
    int code = make_band(rows, &vertical);
    if (!code) code = make_band(columns, &horizontal);
    const int32_t blocks = columns->out / 8;
    if (!code) {
        const int32_t begin = horizontal.first[0];
        const int32_t width = horizontal.first[blocks - 1] + horizontal.count[blocks - 1] - begin;
        row = malloc(sizeof *row * (size_t)width * BLOCK);
        used = malloc((size_t)width);
        if (!row || !used) code = JPEG_NO_MEMORY;
        for (const Layer *layer = layers; !code && layer < layers + count; layer++) {
            for (int i = 0; i < BLOCK; i++) steps[i] = layer->table[i];
            for (int32_t r = 0; r < rows->out / 8; r++) {
                down(layer->blocks + (int64_t)begin * BLOCK, columns->blocks, steps, &vertical, r, width, row, used);
                across(row, used, &horizontal, blocks, begin, layer->out + (int64_t)r * blocks * BLOCK);
            }
        }
    }
    free(row);
    free(used);
    drop(&vertical);
    drop(&horizontal);
    return code;
}

static int run_plain(const Layer *layers, int32_t count, const Axis *rows, const Axis *columns) {
    return run(layers, count, rows, columns);
}

WIDE static int run_wide(const Layer *layers, int32_t count, const Axis *rows, const Axis *columns) {
    return run(layers, count, rows, columns);
}

/* Planes of one size, all in the same way. */
EXPORT int32_t resample(const Layer *layers, int32_t count, const Axis *rows, const Axis *columns) {
    return has_wide() ? run_wide(layers, count, rows, columns) : run_plain(layers, count, rows, columns);
}
