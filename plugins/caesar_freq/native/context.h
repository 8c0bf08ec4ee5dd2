/* How large a value will be, by a small network on the magnitudes around it. It stands in for the energies of `lifting.c`
   where weights are given.

       logarithms of 22 magnitudes around (known before the row), means of rows ─┐
       logarithms of the two values just before in the row ──────────────────────┴─ 16 hidden units ─ level

   Every kind of pass has weights of its own. All is in integers of 16 bits, and products keep their upper half, so that a
   processor does 16 of them at once. No sum leaves 16 bits, as `contexts.py` checks. */

#ifndef CONTEXT_H
#define CONTEXT_H

#include <stdlib.h>
#include <string.h>

#include "grid.h"
#include "symbols.h"

enum { MOST_MAGNITUDE = 4095, LOG_ONE = 2048 };
enum { AROUND = 22, ROW_MEANS = 2, FEATURES = AROUND + ROW_MEANS + 2, HIDDEN = 16, KINDS = GROUPS * AXES * AXES };
enum { FIRST_MEAN = AROUND, LAST = AROUND + ROW_MEANS, LAST_BUT_ONE, BIAS };
enum { LEVEL_SHIFT = 5, MEAN_MEMORY = 3, AT_ONCE = 4, MODELS = 7 };

typedef struct {
    const int16_t *inner;   /* (KINDS, FEATURES + 1, HIDDEN); the last of the rows is added as it is */
    const int16_t *outer;   /* (KINDS, HIDDEN) */
    const int16_t *offset;  /* (KINDS) */
    const uint16_t *starts; /* (MODELS, LEVELS, PER_LEVEL): chances at the start */
    const uint16_t *signs;  /* (MODELS, SIGN_CONTEXTS) */
    int32_t seen;           /* how many decisions they count for */
} Contexts;

static int16_t log_of[MOST_MAGNITUDE + 1]; /* LOG_ONE log2(1 + magnitude), rounded */

__attribute__((constructor)) static void make_logs(void) {
    for (uint64_t m = 0; m <= MOST_MAGNITUDE; m++) {
        uint64_t x = m + 1, whole = 0;
        while (x >> (whole + 1)) whole++;
        x = (x << 31) >> whole; /* from 1 to 2, in 2^-31 */
        for (int bit = 0; bit < 12; bit++) {
            x = x * x >> 31;
            const uint64_t one = x >> 32;
            whole = whole << 1 | one;
            x >>= one;
        }
        log_of[m] = (int16_t)((whole + 1) >> 1);
    }
}

INLINE uint16_t magnitude_of(int32_t q) {
    const uint32_t magnitude = q < 0 ? 0u - (uint32_t)q : (uint32_t)q;
    return (uint16_t)(magnitude > MOST_MAGNITUDE ? MOST_MAGNITUDE : magnitude);
}

INLINE int kind_of(const Pass *p) { return (group_of(p->level) * AXES + p->place) * AXES + p->axis; }

/* Values known before the pass, in the units of TAP_UNITS, and values of the pass itself, in steps along T, H and W. */
enum { KNOWN_BEFORE = 12 };
static const int8_t CONTEXT_UNITS[AROUND][AXES] = {
    {-1, 0, 0}, {1, 0, 0},  {-3, 0, 0},  {3, 0, 0},  {-1, -1, 0}, {1, -1, 0},  {-1, 1, 0}, {1, 1, 0},
    {-1, 0, -1}, {1, 0, -1}, {-1, 0, 1},  {1, 0, 1},  {0, -1, -1}, {0, -1, 0},  {0, -1, 1}, {0, -2, 0},
    {-1, 0, 0}, {-1, 0, -1}, {-1, 0, 1}, {-1, -1, 0}, {-1, 1, 0}, {-2, 0, 0},
};

INLINE void list_around(const Pass *p, Tap *taps) {
    const int first = p->axis == 0 ? 1 : 0, second = p->axis == 2 ? 1 : 2;
    for (int i = 0; i < AROUND; i++) {
        const int8_t *unit = CONTEXT_UNITS[i];
        taps[i].before = i < KNOWN_BEFORE;
        for (int x = 0; x < AXES; x++) taps[i].along[x] = unit[x] * p->step[x];
        if (!taps[i].before) continue;
        taps[i].along[p->axis] = unit[0] * p->half;
        taps[i].along[first] = unit[1] * p->step[first];
        taps[i].along[second] = unit[2] * p->step[second];
    }
}

/* What the contexts of the rows of a pass are made of. */
typedef struct {
    Sources sources;
    int kind;
    int64_t first; /* slice along T before which rows of the pass itself are not known */
    int16_t *rows, *base, *hidden; /* (AROUND, width + 2 PAD), (width + AT_ONCE), (same, HIDDEN) */
    const int16_t *source[AROUND];
    int64_t width;
    int16_t means[ROW_MEANS]; /* of logarithms: of the row before, and of rows before, running */
} Surroundings;

INLINE int make_surroundings(Surroundings *s, int64_t width) {
    *s = (Surroundings){.width = width};
    s->rows = calloc((size_t)(AROUND * (width + 2 * PAD) + (1 + HIDDEN) * (width + AT_ONCE)), sizeof(int16_t));
    if (!s->rows) return -1;
    s->base = s->rows + AROUND * (width + 2 * PAD);
    s->hidden = s->base + width + AT_ONCE;
    return 0;
}

INLINE void begin_pass(Surroundings *s, const Pass *p, int64_t first) {
    Tap taps[AROUND];
    list_around(p, taps);
    plan_sources(&s->sources, p, taps, AROUND);
    s->kind = kind_of(p);
    s->first = first;
}

/* Copy the rows around (t, h); where one lies outside the block, the mean of the two nearest values takes its place. */
INLINE void gather_logs(Surroundings *s, const Grid *g, const Pass *p, const int16_t *logs, int64_t t, int64_t h) {
    const int64_t m = p->count[2], step = p->step[2], whole = (g->shape[2] + step - 1) / step;
    const int16_t *rows[AROUND];
    for (int n = 0; n < s->sources.count; n++) {
        const int64_t at_t = t + s->sources.along_t[n], at_h = h + s->sources.along_h[n];
        rows[n] = NULL;
        if (at_t < (s->sources.inside[n] ? s->first : 0) || at_t >= g->shape[0]) continue;
        if (at_h < 0 || at_h >= g->shape[1]) continue;
        int16_t *row = s->rows + n * (s->width + 2 * PAD) + PAD;
        const int across = s->sources.across[n];
        const int64_t count = across ? whole : m;
        const int16_t *from = logs + at_t * row_stride(g, 0) + at_h * row_stride(g, 1) + (across ? 0 : p->begin[2]);
        if (step == 1)
            memcpy(row, from, sizeof(int16_t) * (size_t)count);
        else
            for (int64_t k = 0; k < count; k++) row[k] = from[step * k];
        for (int k = 0; k < PAD; k++) row[k - PAD] = row[0], row[count + k] = row[count - 1];
        rows[n] = row;
    }
    for (int i = 0; i < AROUND; i++) {
        const int16_t *row = rows[s->sources.row[i]];
        s->source[i] = row ? row + s->sources.shift[i] : s->base;
    }
    const int16_t *low = s->source[0], *high = s->source[1] == s->base ? low : s->source[1];
    for (int64_t k = 0; k < m; k++) s->base[k] = (int16_t)((low[k] + high[k]) >> 1);
}

/* All hidden units of a value: a vector, so that one instruction serves 16 of them (or 8). */
typedef int16_t Units __attribute__((vector_size(2 * HIDDEN), aligned(2)));

/* Add the upper halves of the products of a row of weights with one feature: one instruction, as compilers know. */
INLINE void add_feature(Units *sum, const int16_t *weights, int16_t x) {
    int16_t products[HIDDEN];
    Units vector;
    for (int j = 0; j < HIDDEN; j++) products[j] = (int16_t)((weights[j] * x) >> 16);
    memcpy(&vector, products, sizeof vector);
    *sum += vector;
}

INLINE const int16_t *weights_of(const Contexts *c, int kind) { return c->inner + kind * (FEATURES + 1) * HIDDEN; }

/* Hidden units of a row, but for the two values just before. Four values at once, so that weights are loaded once. */
INLINE void sum_units(Surroundings *s, const Contexts *c, int64_t m) {
    const int16_t *weights = weights_of(c, s->kind);
    Units start;
    memcpy(&start, weights + BIAS * HIDDEN, sizeof start);
    for (int i = 0; i < ROW_MEANS; i++) add_feature(&start, weights + (FIRST_MEAN + i) * HIDDEN, s->means[i]);
    for (int64_t k = 0; k < m; k += AT_ONCE) {
        Units a = start, b = start, c = start, d = start;
        for (int i = 0; i < AROUND; i++) {
            const int16_t *x = s->source[i] + k;
            const int16_t *row = weights + i * HIDDEN;
            add_feature(&a, row, x[0]);
            add_feature(&b, row, x[1]);
            add_feature(&c, row, x[2]);
            add_feature(&d, row, x[3]);
        }
        const Units all[AT_ONCE] = {a, b, c, d};
        memcpy(s->hidden + k * HIDDEN, all, sizeof all);
    }
}

INLINE int level_by_network(const Surroundings *s, const Contexts *c, int64_t k, int16_t last, int16_t last_but_one) {
    const int16_t *weights = weights_of(c, s->kind), *outer = c->outer + s->kind * HIDDEN;
    int16_t positive[HIDDEN], products[HIDDEN], sum = 0;
    Units units;
    memcpy(&units, s->hidden + k * HIDDEN, sizeof units);
    add_feature(&units, weights + LAST_BUT_ONE * HIDDEN, last_but_one);
    add_feature(&units, weights + LAST * HIDDEN, last);
    units &= units > 0;
    memcpy(positive, &units, sizeof units);
    for (int j = 0; j < HIDDEN; j++) products[j] = (int16_t)((positive[j] * outer[j]) >> 16);
    memcpy(&units, products, sizeof units); /* so that the next loop is one of vectors, too */
    memcpy(products, &units, sizeof units);
    for (int j = 0; j < HIDDEN; j++) sum = (int16_t)(sum + products[j]);
    sum = (int16_t)(sum + c->offset[s->kind]);
    const int level = sum >> LEVEL_SHIFT;
    return level < 0 ? 0 : level >= LEVELS ? LEVELS - 1 : level;
}

/* After a row: take in the sum of its logarithms. */
INLINE void end_row(Surroundings *s, int64_t sum, int64_t m) {
    s->means[0] = (int16_t)(sum / m);
    s->means[1] = (int16_t)(s->means[1] + ((s->means[0] - s->means[1]) >> MEAN_MEMORY));
}

INLINE void start_by_weights(Model *models, const Contexts *c) {
    for (int i = 0; i < MODELS; i++) {
        for (int level = 0; level < LEVELS; level++)
            for (int d = 0; d < PER_LEVEL; d++) {
                const uint16_t p = c->starts[(i * LEVELS + level) * PER_LEVEL + d];
                models[i].levels[level][d] = (Chance){p, p, (uint16_t)c->seen};
            }
        for (int d = 0; d < SIGN_CONTEXTS; d++) {
            const uint16_t p = c->signs[i * SIGN_CONTEXTS + d];
            models[i].signs[d] = (Chance){p, p, (uint16_t)c->seen};
        }
    }
}

#endif
