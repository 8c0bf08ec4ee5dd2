/* Weights of the taps of every pass by least squares on a sample of rows of the original, with the quantiser's noise on
   the neighbours taken into account. Only encoders run this; the weights are in the stream. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "grid.h"
#include "wide.h"

enum { OK = 0, NO_MEMORY = -1, WEIGHT_ONE = 4096, MOST_WEIGHT = 32767, LANES = 8, BATCH = 1024 };
enum { COLUMNS = TAPS + 1 }; /* the last is the value itself */

#define REAL float
#define NAME(x) fit_##x
#include "rows.h"

typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4)));

typedef struct {
    double products[COLUMNS][COLUMNS]; /* lower half */
    double values;
} Moments;

INLINE double dot(const float *a, const float *b, int64_t count) {
    Lanes sum = {0};
    int64_t k = 0;
    for (; k + LANES <= count; k += LANES) sum += *(const Lanes *)(a + k) * *(const Lanes *)(b + k);
    double total = 0;
    for (int i = 0; i < LANES; i++) total += sum[i];
    for (; k < count; k++) total += (double)a[k] * b[k];
    return total;
}

/* Columns of samples: distances of taps and value from the base. Rows are gathered until there are enough to multiply. */
typedef struct {
    float *columns; /* (COLUMNS, room) */
    int64_t room, count;
} Samples;

INLINE void multiply(Moments *moments, Samples *s) {
    for (int i = 0; i < COLUMNS; i++)
        for (int j = 0; j <= i; j++)
            moments->products[i][j] += dot(s->columns + i * s->room, s->columns + j * s->room, s->count);
    s->count = 0;
}

/* Add one row; values that are masked count for nothing. */
INLINE void add_samples(Moments *moments, Samples *s, fit_Rows *r, const Pass *p, const float *z, const uint8_t *mask,
                        int64_t at) {
    const int64_t m = p->count[2], step = p->step[2];
    if (s->count + m > s->room) multiply(moments, s);
    for (int i = 0; i < COLUMNS; i++) {
        float *column = s->columns + i * s->room + s->count;
        const float *source = i < TAPS ? r->source[i] : NULL;
        if (i == TAPS)
            for (int64_t k = 0; k < m; k++) column[k] = z[at + k * step] - r->base[k];
        else if (source)
            for (int64_t k = 0; k < m; k++) column[k] = source[k] - r->base[k];
        else /* the value just before */
            for (int64_t k = 0; k < m; k++) column[k] = k ? z[at + (k - 1) * step] - r->base[k] : 0;
    }
    moments->values += (double)m;
    for (int64_t k = 0; mask && k < m; k++) {
        if (!mask[at + k * step]) continue;
        moments->values -= 1;
        for (int i = 0; i < COLUMNS; i++) s->columns[i * s->room + s->count + k] = 0;
    }
    s->count += m;
}

/* Noise of variance v on every neighbour: of a tap minus the base, and of the first two taps, which make the base. */
static void add_noise(Moments *moments, double variance) {
    const double v = variance * moments->values;
    for (int i = 0; i < TAPS; i++)
        for (int j = 0; j <= i; j++)
            moments->products[i][j] += v * ((i == j) + 0.5 - 0.5 * (i < 2) - 0.5 * (j < 2));
    for (int j = 0; j < TAPS; j++) moments->products[TAPS][j] += v * (0.5 - 0.5 * (j < 2));
}

#define QUANTISED (1.0 / 12) /* below this a mean square saves no bits */
enum { WEIGHT_BITS = 11 };  /* what a weight takes in the stream */

/* Solve for the weights, if `coded` values save more bits than the weights take; returns the mean square that remains, or that of the base where there is nothing to fit. */
static double solve(const Moments *moments, int64_t coded, int16_t *weights) {
    double a[TAPS][TAPS], b[TAPS], solution[TAPS];
    const double all = moments->products[TAPS][TAPS];
    memset(weights, 0, sizeof(int16_t) * TAPS);
    if (moments->values < 4 * TAPS) return moments->values ? all / moments->values : 0;
    for (int i = 0; i < TAPS; i++) {
        for (int j = 0; j < TAPS; j++) a[i][j] = moments->products[i > j ? i : j][i > j ? j : i];
        b[i] = moments->products[TAPS][i];
        a[i][i] += 1e-7 * a[i][i] + 1e-12 * all + 1e-300;
    }
    for (int i = 0; i < TAPS; i++) { /* Cholesky, a = l l' */
        for (int j = 0; j <= i; j++) {
            double sum = a[i][j];
            for (int k = 0; k < j; k++) sum -= a[i][k] * a[j][k];
            if (i > j)
                a[i][j] = sum / a[j][j];
            else if (sum > 0)
                a[i][i] = sqrt(sum);
            else
                return all / moments->values;
        }
        for (int k = 0; k < i; k++) b[i] -= a[i][k] * b[k];
        b[i] /= a[i][i];
    }
    double explained = 0;
    for (int i = TAPS - 1; i >= 0; i--) {
        solution[i] = b[i];
        explained += b[i] * b[i];
        for (int k = i + 1; k < TAPS; k++) solution[i] -= a[k][i] * solution[k];
        solution[i] /= a[i][i];
        if (!(fabs(solution[i]) * WEIGHT_ONE < MOST_WEIGHT)) return all / moments->values;
    }
    const double left = all - explained > 0 ? all - explained : 0, floor = QUANTISED * moments->values;
    if (0.5 * (double)coded * log2((all + floor) / (left + floor)) < WEIGHT_BITS * TAPS) return all / moments->values;
    for (int i = 0; i < TAPS; i++) weights[i] = (int16_t)rint(solution[i] * WEIGHT_ONE);
    return left / moments->values;
}

/* Fit a pass on about `sample` of its values. */
INLINE double fit_pass(const Grid *g, const Pass *p, const float *z, const uint8_t *mask, double noise, int64_t sample,
                       fit_Rows *rows, Samples *samples, int16_t *weights) {
    Moments moments = {0};
    Tap taps[TAPS];
    Sources sources;
    list_taps(p, taps);
    plan_sources(&sources, p, taps, TAPS);
    const int64_t count = p->count[0] * p->count[1], wanted = sample / p->count[2] + 1;
    for (int64_t n = 0; n < wanted && n < count; n++) {
        /* Steps of the golden ratio: rows at a fixed distance would all lie at a few places of H. */
        const double place = (double)n * 0.6180339887498949;
        const int64_t row = wanted < count ? (int64_t)((place - floor(place)) * (double)count) : n;
        const int64_t t = p->begin[0] + row / p->count[1] * p->step[0], h = p->begin[1] + row % p->count[1] * p->step[1];
        fit_gather(rows, g, p, &sources, z, t, h);
        add_samples(&moments, samples, rows, p, z, mask, t * row_stride(g, 0) + h * row_stride(g, 1) + p->begin[2]);
    }
    multiply(&moments, samples);
    add_noise(&moments, noise);
    return solve(&moments, p->values, weights);
}

/* Weights (passes, TAPS) and mean squares that remain (passes); returns the number of passes, or NO_MEMORY. */
INLINE int fit(const Grid *g, const float *z, const uint8_t *mask, double noise, int64_t sample, int16_t *weights,
               double *left) {
    Pass passes[MAX_PASSES];
    const int n = list_passes(g, passes);
    fit_Rows rows;
    if (fit_make_rows(&rows, g->shape[2])) return NO_MEMORY;
    Samples samples = {.room = g->shape[2] > BATCH ? g->shape[2] : BATCH};
    samples.columns = malloc(sizeof(float) * COLUMNS * (size_t)samples.room);
    for (int i = 0; samples.columns && i < n; i++)
        left[i] = fit_pass(g, passes + i, z, mask, noise, sample, &rows, &samples, weights + i * TAPS);
    free(rows.base);
    free(samples.columns);
    return samples.columns ? n : NO_MEMORY;
}

EXPORTED(int, fit,
         (const Grid *g, const float *z, const uint8_t *mask, double noise, int64_t sample, int16_t *weights, double *left),
         (g, z, mask, noise, sample, weights, left))
