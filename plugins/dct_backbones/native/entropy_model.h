/* What adapts while the coefficients of a picture are coded, and the decisions that numbers are coded by.

   Functions that get a Coder code in the direction of it: what they return is what they are given when there is a
   writer, and what was read when there is a reader. */

#ifndef ENTROPY_MODEL_H
#define ENTROPY_MODEL_H

#include "entropy_mixer.h"

/* Kinds of planes: the first one, and those after it. Magnitudes around are told apart by LEVELS, counts by COUNTS,
   predictions by SIZES; lengths of magnitudes in bits are counted by STEPS. */
enum { KINDS = 2, INNER = 49, EDGE = 14, LEVELS = 12, COUNTS = 10, SIZES = 12, STEPS = 8, LENGTHS = 18, OFFSETS = 16 };
enum { INNER_INPUTS = 5, EDGE_INPUTS = 5, SIGN_INPUTS = 4, COUNT_INPUTS = 4, EDGE_COUNT_INPUTS = 3, FIRST_INPUTS = 4 };

typedef struct {
    Slot count_mean[16][64], count_fine[64][64], count_pair[64][64], count_else[COUNTS][64];
    Slot inner_left[INNER][COUNTS][STEPS], inner_near[LEVELS][LEVELS][STEPS], inner_density[16][17][STEPS];
    Slot inner_place[INNER][LEVELS][STEPS], inner_far[LEVELS][COUNTS][STEPS];
    Slot edge_inside[2][COUNTS][8], edge_pair[2][64][8], edge_else[2][64][8];
    Slot edge_size[EDGE][SIZES][STEPS], edge_left[EDGE][8][4][STEPS], edge_near[SIZES][LEVELS][STEPS];
    Slot edge_place[EDGE][LEVELS][STEPS], edge_smooth[SIZES][8][STEPS];
    Slot sign_size[EDGE][2 * SIZES], sign_smooth[EDGE][2 * SIZES], sign_around[EDGE][27], sign_length[2 * SIZES][8];
    Slot first_spread[16][LENGTHS], first_differ[16][16][LENGTHS], first_errors[16][16][LENGTHS];
    Slot first_error[16][16][LENGTHS], first_sign_part[32], first_sign_differ[32], first_sign_errors[9];
    Slot rest_place[64][LENGTHS][4][OFFSETS], rest_near[LENGTHS][4][LEVELS][OFFSETS];
    Slot low_place[64][LENGTHS], low_length[LENGTHS][LENGTHS];
} Slots;

typedef struct {
    Mixer count[64], inner[COUNTS][STEPS], edge_count[2][8], edge[EDGE][STEPS], sign[SIZES], first[LENGTHS], first_sign;
    Mixer rest[LENGTHS], low;
} Mixers;

typedef struct {
    Slots slots[KINDS];
    Mixers mixers[KINDS];
} Model;

typedef struct {
    Model *model;
    Writer *writer; /* or NULL */
    Reader *reader; /* or NULL */
} Coder;

static void start_model(Model *model) {
    Slot *slot = (Slot *)model->slots, *slots_end = (Slot *)(model->slots + KINDS);
    int16_t *weight = (int16_t *)model->mixers, *weights_end = (int16_t *)(model->mixers + KINDS);
    while (slot < slots_end) *slot++ = EVEN;
    while (weight < weights_end) *weight++ = FIRST_WEIGHT;
}

INLINE int least(int x, int limit) { return x < limit ? x : limit; }
INLINE int size_of(int x) { return x < 0 ? -x : x; }
INLINE int bits_of(int x) { return x ? 32 - __builtin_clz((unsigned)x) : 0; }
INLINE int sign_of(int x) { return x > 0 ? 1 : x < 0 ? 2 : 0; }

INLINE int decide(Coder *c, Slot *const *slots, int count, Mixer *mixer, int one) {
    int16_t logits[INPUTS];
    const uint32_t p = mix(mixer, slots, count, logits);
    if (c->writer)
        put_bit(c->writer, p, one);
    else
        one = get_bit(c->reader, p);
    teach(mixer, logits, count, p, one);
    const uint32_t target = one ? UINT32_MAX >> SEEN_BITS : 0;
    for (int i = 0; i < count; i++) learn(slots[i], target);
    return one;
}

/* A decision that nothing is known of. */
INLINE int code_even(Coder *c, int one) {
    if (!c->writer) return get_bit(c->reader, 1 << 15);
    put_bit(c->writer, 1 << 15, one);
    return one;
}

/* A number of `bits` bits, of which `bits` are used here; contexts are trees of 2^most. */
INLINE int code_number(Coder *c, Slot *const *base, int count, Mixer *mixers, int bits, int most, int number) {
    int node = 1 << (most - bits);
    for (int bit = bits - 1; bit >= 0; bit--) {
        Slot *slots[INPUTS];
        for (int k = 0; k < count; k++) slots[k] = base[k] + node;
        node = 2 * node + decide(c, slots, count, mixers + node, number >> bit & 1);
    }
    return node - (1 << most);
}

/* A length in bits, `first` at least and `last` at most, as a row of decisions on one more. */
INLINE int code_length(
    Coder *c, Slot *const *base, int count, Mixer *mixers, int steps, int first, int last, int length) {
    for (int i = first; i < last; i++) {
        Slot *slots[INPUTS];
        const int step = least(i, steps - 1);
        for (int k = 0; k < count; k++) slots[k] = base[k] + step;
        if (!decide(c, slots, count, mixers + step, length > i)) return i;
    }
    return last;
}

/* A magnitude of `length` bits. Its bits below the first are coded from the highest, beside where the expected
   magnitude, in 1/8, lies in what is left. */
INLINE int code_rest(Coder *c, int kind, int place, int level, int length, int expected, int magnitude) {
    Slots *s = c->model->slots + kind;
    Mixers *m = c->model->mixers + kind;
    int value = length > 0;
    for (int bit = length - 2; bit >= 0; bit--) {
        const int rank = length - 2 - bit, middle = (2 * value + 1) << bit;
        Slot *slots[2] = {&s->low_place[place][bit], &s->low_length[length][bit]};
        Mixer *mixer = &m->low;
        if (rank < 4) {
            const int gap = (expected - 8 * middle) / (4 << bit);
            const int offset = (gap > 7 ? 7 : gap < -8 ? -8 : gap) + 8;
            slots[0] = &s->rest_place[place][length][rank][offset];
            slots[1] = &s->rest_near[length][rank][level][offset];
            mixer = &m->rest[length];
        }
        value = 2 * value + decide(c, slots, 2, mixer, magnitude >> bit & 1);
    }
    return value;
}

#endif
