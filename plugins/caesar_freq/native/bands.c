/* Transforms along one axis of an array [before, length, after] of doubles, in place. Nothing but additions and products in
   a fixed order, so that every machine inverts to the same values. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "wide.h"

#define INLINE static inline __attribute__((always_inline))
enum { OK = 0, NO_MEMORY = -1, HAAR = 0, CDF97 = 1, MOST_BLOCK = 64, BATCH = 64 };

/* ---- cosine transform of blocks -------------------------------------------------------------------------------- */

/* cos(pi a / b) for 0 <= a <= b / 4 by its series, without the C library, whose last bits differ. */
static double small_cosine(double x) {
    double term = 1, sum = 1;
    for (int n = 1; n < 16; n++) {
        term *= -(x * x) / (double)((2 * n - 1) * (2 * n));
        sum += term;
    }
    return sum;
}

static double small_sine(double x) {
    double term = x, sum = x;
    for (int n = 1; n < 16; n++) {
        term *= -(x * x) / (double)((2 * n) * (2 * n + 1));
        sum += term;
    }
    return sum;
}

/* cos(pi a / (2 n)) */
static double cosine(int64_t a, int64_t n) {
    const double quarter = 3.14159265358979323846 / (2 * (double)n);
    a %= 4 * n;
    if (a > 2 * n) a = 4 * n - a;
    const int negative = a > n;
    if (negative) a = 2 * n - a;
    const double value = 2 * a <= n ? small_cosine((double)a * quarter) : small_sine((double)(n - a) * quarter);
    return negative ? -value : value;
}

/* Orthonormal DCT-II of n values: row k, column i. */
static void make_matrix(double *matrix, int64_t n) {
    for (int64_t k = 0; k < n; k++)
        for (int64_t i = 0; i < n; i++)
            matrix[k * n + i] = sqrt((k ? 2.0 : 1.0) / (double)n) * cosine(k * (2 * i + 1), n);
}

/* y = M x for n vectors of `width` values `stride` apart; M or its transpose. */
INLINE void multiply(const double *matrix, int transposed, double *x, int64_t n, int64_t stride, int64_t width, double *y) {
    for (int64_t k = 0; k < n; k++) {
        double *out = y + k * width;
        for (int64_t j = 0; j < width; j++) out[j] = 0;
        for (int64_t i = 0; i < n; i++) {
            const double factor = transposed ? matrix[i * n + k] : matrix[k * n + i];
            const double *in = x + i * stride;
            for (int64_t j = 0; j < width; j++) out[j] += factor * in[j];
        }
    }
    for (int64_t k = 0; k < n; k++) memcpy(x + k * stride, y + k * width, sizeof(double) * (size_t)width);
}

/* The same for one vector of consecutive values. */
INLINE void multiply_row(const double *matrix, int transposed, double *x, int64_t n, double *y) {
    for (int64_t k = 0; k < n; k++) y[k] = 0;
    for (int64_t i = 0; i < n; i++) {
        const double value = x[i];
        if (transposed)
            for (int64_t k = 0; k < n; k++) y[k] += matrix[i * n + k] * value;
        else
            for (int64_t k = 0; k < n; k++) y[k] += matrix[k * n + i] * value;
    }
    memcpy(x, y, sizeof(double) * (size_t)n);
}

/* Blocks begin where block b of `blocks` nearly equal ones does: at floor(b length / blocks). */
INLINE int dct(double *x, int64_t before, int64_t length, int64_t after, int64_t blocks, int inverse) {
    double *matrices = malloc(sizeof(double) * (2 * MOST_BLOCK * MOST_BLOCK + MOST_BLOCK * BATCH));
    if (!matrices) return NO_MEMORY;
    const int64_t shortest = length / blocks;
    double *scratch = matrices + 2 * MOST_BLOCK * MOST_BLOCK;
    make_matrix(matrices, shortest);
    make_matrix(matrices + MOST_BLOCK * MOST_BLOCK, shortest + 1 <= MOST_BLOCK ? shortest + 1 : shortest);
    for (int64_t a = 0; a < before; a++)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t begin = b * length / blocks, n = (b + 1) * length / blocks - begin;
            const double *matrix = matrices + (n > shortest ? MOST_BLOCK * MOST_BLOCK : 0);
            double *block = x + (a * length + begin) * after;
            if (after == 1)
                multiply_row(matrix, inverse, block, n, scratch);
            else
                for (int64_t j = 0; j < after; j += BATCH)
                    multiply(matrix, inverse, block + j, n, after, after - j < BATCH ? after - j : BATCH, scratch);
        }
    free(matrices);
    return OK;
}

/* ---- wavelets by lifting --------------------------------------------------------------------------------------- */

static const double CDF97_STEPS[4] = {-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971};
static const double CDF97_LOW = 1.1496043988602418; /* sqrt(2) over 1.230174104914001 */
static const double HAAR_LOW = 0.70710678118654752440;

/* Values of one parity += factor * their neighbours; whole-sample symmetric at the ends. */
INLINE void lift(double *x, int64_t n, int64_t width, int64_t first, double factor) {
    for (int64_t i = first; i < n; i += 2) {
        const double *left = x + (i > 0 ? i - 1 : 1) * width, *right = x + (i + 1 < n ? i + 1 : n - 2) * width;
        double *to = x + i * width;
        for (int64_t j = 0; j < width; j++) to[j] += factor * (left[j] + right[j]);
    }
}

INLINE void scale(double *x, int64_t n, int64_t width, int64_t first, double factor) {
    for (int64_t i = first; i < n; i += 2)
        for (int64_t j = 0; j < width; j++) x[i * width + j] *= factor;
}

INLINE void cdf97(double *x, int64_t n, int64_t width, int inverse) {
    if (!inverse) {
        for (int s = 0; s < 4; s++) lift(x, n, width, !(s & 1), CDF97_STEPS[s]);
        scale(x, n, width, 0, CDF97_LOW);
        scale(x, n, width, 1, 1 / CDF97_LOW);
        return;
    }
    scale(x, n, width, 0, 1 / CDF97_LOW);
    scale(x, n, width, 1, CDF97_LOW);
    for (int s = 3; s >= 0; s--) lift(x, n, width, !(s & 1), -CDF97_STEPS[s]);
}

/* (a, b) to ((a + b) / sqrt 2, (a - b) / sqrt 2), its own inverse; a last value without a partner is times sqrt 2, as one
   that is repeated would be. */
INLINE void haar(double *x, int64_t n, int64_t width, int inverse) {
    for (int64_t i = 0; i + 1 < n; i += 2)
        for (int64_t j = 0; j < width; j++) {
            double *a = x + i * width + j, *b = a + width, sum = *a + *b, difference = *a - *b;
            *a = sum * HAAR_LOW;
            *b = difference * HAAR_LOW;
        }
    if (n & 1) scale(x + (n - 1) * width, 1, width, 0, inverse ? HAAR_LOW : 2 * HAAR_LOW);
}

/* One level: low values first, then high ones. */
INLINE void level(double *x, int64_t n, int64_t stride, int64_t width, int kind, int inverse, double *line) {
    const int64_t low = (n + 1) / 2;
    for (int64_t i = 0; i < n; i++) {
        const int64_t from = inverse ? (i & 1 ? low + i / 2 : i / 2) : i;
        memcpy(line + i * width, x + from * stride, sizeof(double) * (size_t)width);
    }
    if (n > 1) kind == HAAR ? haar(line, n, width, inverse) : cdf97(line, n, width, inverse);
    for (int64_t i = 0; i < n; i++) {
        const int64_t to = inverse ? i : (i & 1 ? low + i / 2 : i / 2);
        memcpy(x + to * stride, line + i * width, sizeof(double) * (size_t)width);
    }
}

/* One level of a wavelet on the first `part` of `length` values. */
INLINE int wavelet(double *x, int64_t before, int64_t length, int64_t after, int64_t part, int kind, int inverse) {
    double *line = malloc(sizeof(double) * (size_t)(part * (after < BATCH ? after : BATCH)));
    if (!line) return NO_MEMORY;
    for (int64_t a = 0; a < before; a++)
        for (int64_t j = 0; j < after; j += BATCH)
            level(x + a * length * after + j, part, after, after - j < BATCH ? after - j : BATCH, kind, inverse, line);
    free(line);
    return OK;
}

EXPORTED(int, dct, (double *x, int64_t before, int64_t length, int64_t after, int64_t blocks, int inverse),
         (x, before, length, after, blocks, inverse))
EXPORTED(int, wavelet, (double *x, int64_t before, int64_t length, int64_t after, int64_t part, int kind, int inverse),
         (x, before, length, after, part, kind, inverse))
