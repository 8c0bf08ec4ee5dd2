/* The order in which the values of a block [T, H, W] are visited: coarse to fine.

   Values at multiples of 2^levels along all axes are anchors. Then each level halves the distance `s` of known values, in
   three passes, one per axis in the order that the grid names: pass a visits the values that are odd multiples of s along
   a, multiples of s along the axes that had their pass at this level, and multiples of 2 s along those that will have it.
   So every value has known neighbours on both sides along a, and some of the same pass before it. */

#ifndef GRID_H
#define GRID_H

#include <stdint.h>

#include "range_coder.h"

enum { AXES = 3, MAX_LEVELS = 6, MAX_PASSES = AXES * MAX_LEVELS, TAPS = 25, GROUPS = 3, PAD = 4 };

typedef struct {
    int32_t shape[AXES];
    int32_t order[AXES];
    int32_t levels;
} Grid;

/* One pass. Along axis x its values are begin[x] + i * step[x], i < count[x]. */
typedef struct {
    int axis, level, place; /* `place` is the axis' place in the order */
    int64_t half;           /* s */
    int64_t begin[AXES], step[AXES], count[AXES];
    int64_t values;
} Pass;

INLINE int group_of(int level) { return level > 1 ? 0 : level == 1 ? 1 : 2; }

INLINE int64_t row_stride(const Grid *g, int axis) {
    return axis == 0 ? (int64_t)g->shape[1] * g->shape[2] : axis == 1 ? g->shape[2] : 1;
}

INLINE int list_passes(const Grid *g, Pass *passes) {
    int n = 0;
    for (int level = g->levels - 1; level >= 0; level--)
        for (int place = 0; place < AXES; place++) {
            Pass p = {.axis = g->order[place], .level = level, .place = place, .half = 1ll << level, .values = 1};
            for (int other = 0; other < AXES; other++) {
                int x = g->order[other];
                p.begin[x] = other == place ? p.half : 0;
                p.step[x] = other < place ? p.half : 2 * p.half;
                p.count[x] = (g->shape[x] - p.begin[x] + p.step[x] - 1) / p.step[x];
                if (p.count[x] < 0) p.count[x] = 0;
                p.values *= p.count[x];
            }
            if (p.values) passes[n++] = p;
        }
    return n;
}

/* A neighbour of a value: how far along each axis, and whether it was known before the pass. */
typedef struct {
    int64_t along[AXES];
    int before;
} Tap;

/* In units of s along the pass' own axis, of a step along the two others, the first of them first. The first two make
   the base of a prediction. Number SAME_ROW is the value just before in the row, or SAME_ROW_W in a pass along W. */
enum { SAME_ROW = 13, SAME_ROW_W = 15 };
static const int8_t TAP_UNITS[TAPS][AXES] = {
    {-1, 0, 0},  {1, 0, 0},  {-3, 0, 0},   {3, 0, 0},   {-1, -1, 0}, {1, -1, 0},  {-1, 1, 0},  {1, 1, 0},  {-1, 0, -1},
    {1, 0, -1},  {-1, 0, 1}, {1, 0, 1},    {0, -1, 0},  {0, 0, -1},  {0, -1, -1}, {-2, 0, 0},  {0, -1, 1}, {-1, -1, -1},
    {1, -1, -1}, {-1, 1, 1}, {1, 1, 1},    {-1, -1, 1}, {1, -1, 1},  {-1, 1, -1}, {1, 1, -1},
};

INLINE void list_taps(const Pass *p, Tap *taps) {
    int first = p->axis == 0 ? 1 : 0, second = p->axis == 2 ? 1 : 2;
    for (int i = 0; i < TAPS; i++) {
        const int8_t *unit = TAP_UNITS[i];
        taps[i].along[p->axis] = unit[0] * p->half;
        taps[i].along[first] = unit[1] * p->step[first];
        taps[i].along[second] = unit[2] * p->step[second];
        taps[i].before = unit[0] & 1;
    }
}

/* Which rows the taps of a pass need, each once, and where in them: the same for all rows of the pass. */
typedef struct {
    int64_t along_t[TAPS], along_h[TAPS];
    int across[TAPS]; /* the row holds values known before, of a pass along W */
    int inside[TAPS]; /* the row is one of the pass itself */
    int count;
    int row[TAPS]; /* of each tap, or -1 for the value just before in the row itself */
    int64_t shift[TAPS];
} Sources;

INLINE void plan_sources(Sources *s, const Pass *p, const Tap *taps, int count) {
    s->count = 0;
    for (int i = 0; i < count; i++) {
        const int64_t *along = taps[i].along;
        s->row[i] = -1;
        if (along[0] == 0 && along[1] == 0 && !taps[i].before) continue;
        const int across = p->axis == 2 && taps[i].before;
        int n = 0;
        while (n < s->count && (s->along_t[n] != along[0] || s->along_h[n] != along[1] || s->across[n] != across)) n++;
        if (n == s->count) {
            s->along_t[n] = along[0], s->along_h[n] = along[1], s->across[n] = across, s->inside[n] = !taps[i].before;
            s->count++;
        }
        s->row[i] = n;
        s->shift[i] = across ? (along[2] + p->half) / p->step[2] : along[2] / p->step[2];
    }
}

#endif
