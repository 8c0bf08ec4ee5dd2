/* One quantised value under a context. `level` says how large the magnitudes around are; it chooses how many low bits are
   set apart (all alike probable but the first) and the chances of what remains, which is coded in unary. */

#ifndef SYMBOLS_H
#define SYMBOLS_H

#include <stdlib.h>

#include "range_coder.h"

enum { LEVELS = 48, UNARY = 14, FIRST_LOW = UNARY, LOW_CONTEXTS = 4, SIGN_CONTEXTS = 9, ESCAPES = 32 };
enum { PER_LEVEL = UNARY + LOW_CONTEXTS };

typedef struct {
    Chance levels[LEVELS][PER_LEVEL];
    Chance signs[SIGN_CONTEXTS];
    Chance escapes[ESCAPES];
} Model;

/* Energies are sums of magnitudes whose weights sum up to ENERGY_ONE. */
enum { ENERGY_ONE = 32, SMALL_ENERGIES = 4096 };
static uint8_t small_level[SMALL_ENERGIES];
static uint8_t shift_of[LEVELS];

/* level = floor(3 log2(1 + energy / 4)) by integers; it begins where ((energy + 4) / 4)^3 reaches 2^level. */
INLINE int level_by_search(uint64_t energy) {
    int level = 0;
    uint64_t e = energy + 4, shift = 0;
    while (e >= 1u << 20) e >>= 1, shift++;
    while (level < LEVELS - 1 && e * e * e >= 64ull << (level + 1)) level++;
    level += (int)(3 * shift);
    return level < LEVELS ? level : LEVELS - 1;
}

__attribute__((constructor)) static void make_levels(void) {
    for (int e = 0; e < SMALL_ENERGIES; e++) small_level[e] = (uint8_t)level_by_search((uint64_t)e);
    for (int level = 0; level < LEVELS; level++) {
        int mean = level / 3 - 3; /* log2 of the mean magnitude: energy 4 * 2^(level / 3) over 32 */
        shift_of[level] = (uint8_t)(mean > 1 ? mean - 1 : 0);
    }
}

INLINE int level_of(uint32_t energy) {
    return energy < SMALL_ENERGIES ? small_level[energy] : level_by_search(energy);
}

static void start_model(Model *m) {
    const Chance even = {32768, 32768, 0};
    Chance *all = (Chance *)m;
    for (size_t i = 0; i < sizeof *m / sizeof(Chance); i++) all[i] = even;
}

INLINE void put_low(Writer *w, Model *m, int level, uint32_t unary, uint32_t value, int shift) {
    if (!shift) return;
    put_coin(w, &m->levels[level][FIRST_LOW + (unary < 3 ? unary : 3)], value >> (shift - 1) & 1);
    for (shift--; shift > 0;) {
        int bits = shift < 12 ? shift : 12;
        shift -= bits;
        put_raw(w, value >> shift & ((1u << bits) - 1), bits);
    }
}

INLINE uint32_t get_low(Reader *r, Model *m, int level, uint32_t unary, int shift) {
    if (!shift) return 0;
    uint32_t value = (uint32_t)get_coin(r, &m->levels[level][FIRST_LOW + (unary < 3 ? unary : 3)]);
    for (shift--; shift > 0;) {
        int bits = shift < 12 ? shift : 12;
        shift -= bits;
        value = value << bits | get_raw(r, bits);
    }
    return value;
}

/* A number from 0 whose digits are counted first. */
static void put_escape(Writer *w, Model *m, uint32_t number) {
    int digits = 0;
    while ((uint64_t)(number + 1ull) >> (digits + 1)) digits++;
    for (int i = 0; i <= digits && i < ESCAPES; i++) put_bit(w, &m->escapes[i], i < digits);
    for (int left = digits; left > 0;) {
        int bits = left < 12 ? left : 12;
        left -= bits;
        put_raw(w, (uint32_t)((number + 1ull) >> left) & ((1u << bits) - 1), bits);
    }
}

static uint32_t get_escape(Reader *r, Model *m) {
    int digits = 0;
    while (digits < ESCAPES - 1 && get_bit(r, &m->escapes[digits])) digits++;
    uint64_t number = 1;
    for (int left = digits; left > 0;) {
        int bits = left < 12 ? left : 12;
        left -= bits;
        number = number << bits | get_raw(r, bits);
    }
    return (uint32_t)(number - 1);
}

INLINE void put_symbol(Writer *w, Model *m, int level, int sign_context, int32_t q) {
    const uint32_t magnitude = q < 0 ? 0u - (uint32_t)q : (uint32_t)q;
    const int shift = shift_of[level];
    const uint32_t high = magnitude >> shift;
    Chance *chances = m->levels[level];
    uint32_t k = 0;
    while (k < UNARY && k < high) put_bit(w, chances + k++, 1);
    if (k < UNARY)
        put_bit(w, chances + k, 0);
    else
        put_escape(w, m, high - UNARY);
    put_low(w, m, level, high, magnitude, shift);
    if (magnitude) put_coin(w, &m->signs[sign_context], q < 0);
}

INLINE int32_t get_symbol(Reader *r, Model *m, int level, int sign_context) {
    const int shift = shift_of[level];
    Chance *chances = m->levels[level];
    uint32_t high = 0;
    while (high < UNARY && get_bit(r, chances + high)) high++;
    if (high == UNARY) high += get_escape(r, m);
    const uint32_t magnitude = high << shift | get_low(r, m, level, high, shift);
    if (!magnitude) return 0;
    return get_coin(r, &m->signs[sign_context]) ? (int32_t)(0u - magnitude) : (int32_t)magnitude;
}

#endif
