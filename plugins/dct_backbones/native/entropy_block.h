/* The coefficients of one block, in the order: how many there are inside (both frequencies above 0) and which, those of
   the first column and row, the mean. Each group is coded beside what is known of the blocks around, of the same place
   in planes coded before, and of the groups before it.

   Sources: lepton (D. Horn et al., "The design, implementation, and deployment of a system to transparently compress
   hundreds of petabytes of image files for a file-storage service", NSDI 2017): the order, counts, and continuity over
   borders; PAQ8 (M. Mahoney): mixing. */

#ifndef ENTROPY_BLOCK_H
#define ENTROPY_BLOCK_H

#include <stddef.h>
#include <string.h>

#include "entropy_model.h"

/* Coefficients are in natural order, 8 v + u. */
typedef struct {
    int32_t rows, columns;
    uint64_t kept;      /* bit 8 v + u is set where a coefficient may differ from 0 */
    int16_t *blocks;    /* rows x columns x 64 */
    uint16_t table[64]; /* steps of the quantiser */
} Plane;

typedef struct {
    int inside, edge[2]; /* coefficients other than 0: inside, in the first column, in the first row */
} Counts;

/* What later blocks want to know of a block. */
typedef struct {
    int32_t beyond[2][2][8]; /* by edge: the block continued to the next one's border, by frequency along it */
    int32_t pixels[2][2][8]; /* last and last but one column and row, in 1/8 grey levels */
    int32_t error;           /* of the predicted mean */
    Counts counts;
} Trace;

enum { LEFT, ABOVE, ABOVE_LEFT, ABOVE_RIGHT, LEFT_2, ABOVE_2, NEIGHBOURS };

typedef struct {
    const Plane *plane;
    int kind;
    int16_t *here;              /* read by encoders, written by decoders */
    int16_t known[64];          /* what is coded of it */
    const int16_t *near[NEIGHBOURS]; /* blocks around; zeros where there is none */
    const int16_t *first, *other;    /* blocks of the first plane and the one before, or NULL */
    const Trace *traces[4];     /* of the first four around; zeros where there is none */
    int has_left, has_above;
} Site;

static const uint8_t inner_order[INNER] = {
    9,  17, 10, 11, 18, 25, 33, 26, 19, 12, 13, 20, 27, 34, 41, 49, 42, 35, 28, 21, 14, 15, 22, 29, 36,
    43, 50, 57, 58, 51, 44, 37, 30, 23, 31, 38, 45, 52, 59, 60, 53, 46, 39, 47, 54, 61, 62, 55, 63};

/* c_u cos((2x + 1) u pi/16) / 2 in 1/2048, [x][u] */
static const int32_t basis[8][8] = {
    {724, 1004, 946, 851, 724, 569, 392, 200},      {724, 851, 392, -200, -724, -1004, -946, -569},
    {724, 569, -392, -1004, -724, 200, 946, 851},   {724, 200, -946, -569, 724, 851, -392, -1004},
    {724, -200, -946, 569, 724, -851, -392, 1004},  {724, -569, -392, 1004, -724, -200, 946, -851},
    {724, -851, 392, 200, -724, 1004, -946, 569},   {724, -1004, 946, -851, 724, -569, 392, -200}};

/* The first sample and the border itself, half a sample before it. */
static const int32_t edge_basis[2][8] = {{724, 1004, 946, 851, 724, 569, 392, 200},
                                         {724, 1024, 1024, 1024, 1024, 1024, 1024, 1024}};

enum { TABLE = 256 };
static uint8_t level_table[TABLE], size_table[TABLE], count_table[64];

__attribute__((constructor)) static void make_levels(void) {
    static const int levels[] = {1, 3, 6, 10, 16, 24, 36, 56, 90, 140, 220, TABLE};
    static const int sizes[] = {1, 2, 4, 6, 9, 13, 20, 32, 52, 90, 180, TABLE};
    static const int counts[] = {1, 2, 3, 4, 6, 9, 13, 20, 32, 64};
    for (int i = 1; i < TABLE; i++) {
        level_table[i] = (uint8_t)(level_table[i - 1] + (i == levels[level_table[i - 1]]));
        size_table[i] = (uint8_t)(size_table[i - 1] + (i == sizes[size_table[i - 1]]));
    }
    for (int i = 1; i < 64; i++) count_table[i] = (uint8_t)(count_table[i - 1] + (i == counts[count_table[i - 1]]));
}

INLINE int level_of(int x) { return level_table[least(x, TABLE - 1)]; }
INLINE int size_level(int x) { return size_table[least(size_of(x), TABLE - 1)]; }
INLINE int signed_level(int x) { return x < 0 ? 2 * SIZES - 1 - size_level(x) : size_level(x); }
INLINE int count_of(int x) { return count_table[least(x, 63)]; }
INLINE int steps_of(const Plane *p, int at) { return p->table[at] ? p->table[at] : 1; }

/* ---- inside ---------------------------------------------------------------------------------------------------- */

INLINE int code_count(Coder *c, const Site *s, int places, int total, const Counts *first, const Counts *other) {
    Slots *slots = c->model->slots + s->kind;
    int n[4];
    for (int i = 0; i < 4; i++) n[i] = s->traces[i]->counts.inside;
    const int pair = n[LEFT] + n[ABOVE];
    const int mean = s->has_left && s->has_above ? (3 * pair + n[ABOVE_LEFT] + n[ABOVE_RIGHT] + 4) / 4 : 2 * pair;
    const int bits = bits_of(mean), half = bits > 1 ? mean >> (bits - 2) & 1 : 0;
    const int beside = s->first ? first->inside : (n[ABOVE_LEFT] + n[ABOVE_RIGHT]) / 2;
    const int one = s->other ? other->inside : n[LEFT], two = s->other ? pair / 2 : n[ABOVE];
    Slot *base[COUNT_INPUTS] = {slots->count_mean[least(2 * bits + half, 15)], slots->count_fine[least(mean / 2, 63)],
                                slots->count_pair[least(count_of(one), 7) * 8 + least(count_of(two), 7)],
                                slots->count_else[count_of(beside)]};
    return code_number(c, base, COUNT_INPUTS, c->model->mixers[s->kind].count, bits_of(places), 6, total);
}

/* Magnitudes of the coefficient at a place in the blocks around, in 1/8, and farther around. */
INLINE int magnitude_near(const Site *s, int at, int *far) {
    int m[NEIGHBOURS];
    for (int i = 0; i < NEIGHBOURS; i++) m[i] = size_of(s->near[i][at]);
    const int pair = m[LEFT] + m[ABOVE];
    *far = 2 * (m[ABOVE_RIGHT] + m[LEFT_2] + m[ABOVE_2] + m[ABOVE_LEFT]) + 3 * pair;
    return (s->has_left && s->has_above ? 13 * pair + 6 * m[ABOVE_LEFT] : 16 * pair) / 4;
}

/* Magnitudes of coefficients of lower frequency in the same block. */
INLINE int magnitude_below(const int16_t known[64], int at) {
    const int u = at & 7, v = at >> 3;
    int sum = 0;
    if (u > 1) sum += 4 * size_of(known[at - 1]);
    if (v > 1) sum += 4 * size_of(known[at - 8]);
    if (u > 1 && v > 1) sum += 3 * size_of(known[at - 9]);
    if (v > 1 && u < 7) sum += 2 * size_of(known[at - 7]);
    if (u > 1 && v < 7) sum += 2 * size_of(known[at + 7]);
    if (u > 2) sum += 2 * size_of(known[at - 2]);
    if (v > 2) sum += 2 * size_of(known[at - 16]);
    return sum;
}

/* One coefficient; `left` are still to come in `places`. */
INLINE int code_inner(Coder *c, Site *s, int i, int left, int places) {
    Slots *slots = c->model->slots + s->kind;
    int far;
    const int at = inner_order[i], around = magnitude_near(s, at, &far);
    const int below = level_of(magnitude_below(s->known, at));
    const int near = level_of(around), count = count_of(left), value = s->here[at];
    Slot *base[INNER_INPUTS] = {slots->inner_left[i][count], slots->inner_near[near][below],
                                slots->inner_density[least(16 * left / places, 15)][i / 3],
                                slots->inner_place[i][below], slots->inner_far[level_of(far)][count]};
    Mixer *mixers = c->model->mixers[s->kind].inner[count];
    const int length = code_length(c, base, INNER_INPUTS, mixers, STEPS, left == places, 16, bits_of(size_of(value)));
    if (!length) return 0;
    const int negative = code_even(c, value < 0);
    const int magnitude = code_rest(c, s->kind, at, near, length, around, size_of(value));
    s->here[at] = s->known[at] = (int16_t)(negative ? -magnitude : magnitude);
    return 1;
}

/* The number of coefficients other than 0, or -1 where the stream is damaged. */
INLINE int code_inside(Coder *c, Site *s, const Counts *first, const Counts *other) {
    int places = 0, total = 0;
    for (int i = 0; i < INNER; i++) {
        places += s->plane->kept >> inner_order[i] & 1;
        total += c->writer && s->here[inner_order[i]];
    }
    if (!places) return 0;
    total = code_count(c, s, places, total, first, other);
    if (total > places) return -1;
    for (int i = 0, left = total; i < INNER && left; i++)
        if (s->plane->kept >> inner_order[i] & 1) left -= code_inner(c, s, i, left, places--);
    return total;
}

/* ---- first column and row -------------------------------------------------------------------------------------- */

INLINE int code_edge_count(
    Coder *c, const Site *s, int row, int inside, int places, int total, int first, int other) {
    Slots *slots = c->model->slots + s->kind;
    const int next = s->traces[row]->counts.edge[row], across = s->traces[!row]->counts.edge[row];
    const int beside = s->other ? other : s->first ? first : next;
    Slot *base[EDGE_COUNT_INPUTS] = {slots->edge_inside[row][count_of(inside)],
                                     slots->edge_pair[row][8 * next + across],
                                     slots->edge_else[row][8 * beside + least(count_of(inside), 7)]};
    Mixer *mixers = c->model->mixers[s->kind].edge_count[row];
    return code_number(c, base, EDGE_COUNT_INPUTS, mixers, bits_of(places), 3, total);
}

/* What a coefficient of the edge would be, in 1/8 steps, if the block went on from the next one without a jump: at the
   first sample, and at the border. */
INLINE void continue_over(const Site *s, int row, int i, const int32_t values[64], int expected[2]) {
    const int at = row ? i : 8 * i, cross = row ? 8 : 1, steps = steps_of(s->plane, at);
    for (int which = 0; which < 2; which++) {
        int32_t sum = s->traces[row]->beyond[row][which][i];
        for (int k = 1; k < 8; k++) sum -= edge_basis[which][k] * values[at + k * cross];
        expected[which] = (row ? s->has_above : s->has_left) ? sum / (724 * steps / 8) : 0;
    }
}

INLINE int magnitude_beside(const int16_t known[64], int at, int i, int stride, int cross) {
    int sum = 4 * size_of(known[at + cross]) + 2 * size_of(known[at + 2 * cross]);
    if (i > 1) sum += 4 * size_of(known[at - stride]) + 3 * size_of(known[at - stride + cross]);
    if (i > 2) sum += 2 * size_of(known[at - 2 * stride]);
    if (i < 7) sum += 2 * size_of(known[at + stride + cross]);
    return sum;
}

INLINE int code_edge_sign(
    Coder *c, const Site *s, int row, int at, int place, int length, const int expected[2], int negative) {
    Slots *slots = c->model->slots + s->kind;
    const int16_t *beside = s->other ? s->other : s->first;
    const int pair = 3 * sign_of(s->near[row][at]) + sign_of(s->near[!row][at]);
    const int around = 3 * pair + (beside ? sign_of(beside[at]) : 0);
    Slot *base[SIGN_INPUTS] = {&slots->sign_size[place][signed_level(expected[0])],
                               &slots->sign_smooth[place][signed_level(expected[1])],
                               &slots->sign_around[place][around],
                               &slots->sign_length[signed_level(expected[0])][least(length, 7)]};
    return decide(c, base, SIGN_INPUTS, &c->model->mixers[s->kind].sign[size_level(expected[0])], negative);
}

/* One coefficient; `left` are still to come in `places`. */
INLINE int code_edge_value(Coder *c, Site *s, int row, int i, int left, int places, const int32_t values[64]) {
    Slots *slots = c->model->slots + s->kind;
    const int stride = row ? 1 : 8, at = i * stride, place = 7 * row + i - 1, value = s->here[at];
    int expected[2], far;
    continue_over(s, row, i, values, expected);
    const int near = level_of(magnitude_near(s, at, &far)), size = size_level(expected[0]);
    const int beside = level_of(magnitude_beside(s->known, at, i, stride, row ? 8 : 1));
    Slot *base[EDGE_INPUTS] = {slots->edge_left[place][left][least(places - left, 3)], slots->edge_near[size][near],
                               slots->edge_place[place][beside], slots->edge_smooth[size_level(expected[1])][i - 1],
                               slots->edge_size[place][size]};
    Mixer *mixers = c->model->mixers[s->kind].edge[place];
    const int length = code_length(c, base, EDGE_INPUTS, mixers, STEPS, left == places, 16, bits_of(size_of(value)));
    if (!length) return 0;
    const int negative = code_edge_sign(c, s, row, at, place, length, expected, value < 0);
    const int foreseen = negative ? -expected[0] : expected[0];
    const int magnitude = code_rest(c, s->kind, at, near, length, foreseen, size_of(value));
    s->here[at] = s->known[at] = (int16_t)(negative ? -magnitude : magnitude);
    return 1;
}

/* The first row, or the first column; like `code_inside`. */
INLINE int code_edge(Coder *c, Site *s, int row, int inside, const int32_t values[64], int first, int other) {
    const int stride = row ? 1 : 8;
    int places = 0, total = 0;
    for (int i = 1; i < 8; i++) {
        places += s->plane->kept >> (i * stride) & 1;
        total += c->writer && s->here[i * stride];
    }
    if (!places) return 0;
    total = code_edge_count(c, s, row, inside, places, total, first, other);
    if (total > places) return -1;
    for (int i = 1, left = total; i < 8 && left; i++)
        if (s->plane->kept >> (i * stride) & 1) left -= code_edge_value(c, s, row, i, left, places--, values);
    return total;
}

/* ---- the mean -------------------------------------------------------------------------------------------------- */

/* What is expected of it: in 1/8 steps, the spread of expectations, and the difference between those from left and
   above. */
typedef struct {
    int mean, spread, differ;
} Expected;

/* The error of the rounded expectation. */
INLINE int code_first(Coder *c, Site *s, const Expected *e) {
    Slots *slots = c->model->slots + s->kind;
    Mixers *mixers = c->model->mixers + s->kind;
    const int rounded = (e->mean + (e->mean < 0 ? -4 : 4)) / 8;
    const int guess = rounded > INT16_MAX ? INT16_MAX : rounded < INT16_MIN ? INT16_MIN : rounded;
    const int value = s->here[0] - guess, spread = least(bits_of(e->spread), 15);
    const int differ = least(bits_of(size_of(e->differ)), 15);
    const int left = s->traces[LEFT]->error, above = s->traces[ABOVE]->error;
    const int errors = least(bits_of(size_of(left) + size_of(above)), 15), error = least(bits_of(size_of(left)), 15);
    Slot *base[FIRST_INPUTS] = {slots->first_spread[spread], slots->first_differ[spread][differ],
                                slots->first_errors[spread][errors], slots->first_error[differ][error]};
    const int length = code_length(c, base, FIRST_INPUTS, mixers->first, LENGTHS, 0, 17, bits_of(size_of(value)));
    int found = 0;
    if (length) {
        const int part = least(size_of(e->mean - 8 * rounded), 4) * (e->mean < 8 * rounded ? -1 : 1) + 4;
        Slot *signs[3] = {&slots->first_sign_part[part + 9 * (length > 1)],
                          &slots->first_sign_differ[(e->differ < 0) * 16 + differ],
                          &slots->first_sign_errors[3 * sign_of(left) + sign_of(above)]};
        const int negative = decide(c, signs, 3, &mixers->first_sign, value < 0);
        const int magnitude = code_rest(c, s->kind, 0, least(spread, LEVELS - 1), length, 0, size_of(value));
        found = negative ? -magnitude : magnitude;
    }
    s->here[0] = s->known[0] = (int16_t)(guess + found);
    return found;
}

#endif
