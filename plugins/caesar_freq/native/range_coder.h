/* Adaptive binary range coding. Integers only, so that every machine writes and reads the same bytes.

   The coder keeps a range of 64 bits; a decision with probability p (of a 1, in 1/65536) splits it, and four bytes are
   written when less than 32 bits are left. Carries are settled in the bytes already written. The decoder reads zeros behind
   the end of its stream. */

#ifndef RANGE_CODER_H
#define RANGE_CODER_H

#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

/* Two memories of one chance, in 1/65536: `quick` follows the last dozen of decisions, `steady` the last hundred. Both are
   means of all decisions until so many were seen. */
typedef struct {
    uint16_t quick, steady, seen;
} Chance;

enum { QUICK = 4, STEADY = 7, MOST_SEEN = 126 };
static uint8_t memory_of[MOST_SEEN + 1]; /* floor(log2(seen + 2)): a decision moves a mean by 2^-memory */

__attribute__((constructor)) static void make_memories(void) {
    for (int seen = 0; seen <= MOST_SEEN; seen++) {
        int memory = 1;
        while ((seen + 2) >> (memory + 1)) memory++;
        memory_of[seen] = (uint8_t)(memory < STEADY ? memory : STEADY);
    }
}

typedef struct {
    uint64_t low, range;
    uint8_t *out;
    int64_t size, room; /* `size` goes on beyond `room`, where nothing is written */
} Writer;

typedef struct {
    uint64_t range, code; /* `code` is what was read, less the encoder's `low` */
    const uint8_t *next, *end;
} Reader;

/* Without a branch: many decisions are such that no processor foresees them. */
INLINE void learn(Chance *c, int one) {
    const uint32_t all = 0u - (uint32_t)one, quick = c->quick, steady = c->steady;
    const int slow = memory_of[c->seen], fast = slow < QUICK ? slow : QUICK;
    c->seen = (uint16_t)(c->seen + (c->seen < MOST_SEEN));
    c->quick = (uint16_t)(quick + ((all & (65535 - quick)) >> fast) - ((~all & quick) >> fast));
    c->steady = (uint16_t)(steady + ((all & (65535 - steady)) >> slow) - ((~all & steady) >> slow));
}

/* In 1/65536, from 32 to 65504: both sides of a split keep a part of any range. */
INLINE uint32_t odds(const Chance *c) {
    uint32_t p = ((uint32_t)c->quick + c->steady) >> 1;
    return p < 32 ? 32 : p > 65504 ? 65504 : p;
}

static void carry(Writer *w) {
    int64_t at = w->size;
    while (at-- > 0) {
        if (at >= w->room) continue;
        if (++w->out[at]) break;
    }
}

static void start_writer(Writer *w, uint8_t *out, int64_t room) {
    *w = (Writer){.range = UINT64_MAX, .out = out, .room = room};
}

INLINE void add_low(Writer *w, uint64_t value) {
    w->low += value;
    if (__builtin_expect(w->low < value, 0)) carry(w);
}

static void put_bytes(Writer *w, int count) {
    for (int i = 0; i < count; i++) {
        if (w->size < w->room) w->out[w->size] = (uint8_t)(w->low >> 56);
        w->size++;
        w->low <<= 8;
    }
}

INLINE void normalise_writer(Writer *w) {
    if (__builtin_expect(w->range >> 32, 1)) return;
    put_bytes(w, 4);
    w->range <<= 32;
}

INLINE void put_bit(Writer *w, Chance *c, int one) {
    const uint64_t bound = (w->range >> 16) * odds(c);
    if (one) {
        w->range = bound;
    } else {
        add_low(w, bound);
        w->range -= bound;
    }
    normalise_writer(w);
    learn(c, one);
}

/* `put_bit` for decisions that no processor foresees. */
INLINE void put_coin(Writer *w, Chance *c, int one) {
    const uint64_t bound = (w->range >> 16) * odds(c), none = (uint64_t)one - 1;
    add_low(w, bound & none);
    w->range = (bound & ~none) | ((w->range - bound) & none);
    normalise_writer(w);
    learn(c, one);
}

/* `count` bits, at most 16, all alike probable. */
INLINE void put_raw(Writer *w, uint32_t value, int count) {
    w->range >>= count;
    add_low(w, w->range * value);
    normalise_writer(w);
}

static void finish_writer(Writer *w) {
    /* The value in [low, low + range) with the most zeros at its end; zeros at the end of a stream are not stored. */
    for (int keep = 0; keep < 64; keep++) {
        const uint64_t mask = UINT64_MAX >> keep, up = (mask - (w->low & mask) + 1) & mask;
        if (up >= w->range) continue;
        add_low(w, up);
        break;
    }
    put_bytes(w, 8);
    if (w->size > w->room) return;
    while (w->size > 0 && w->out[w->size - 1] == 0) w->size--;
}

INLINE uint64_t next_bytes(Reader *r, int count) {
    uint64_t value = 0;
    for (int i = 0; i < count; i++) value = value << 8 | (r->next < r->end ? *r->next++ : 0);
    return value;
}

static void start_reader(Reader *r, const uint8_t *data, int64_t size) {
    *r = (Reader){.range = UINT64_MAX, .next = data, .end = data + size};
    r->code = next_bytes(r, 8);
}

static void refill(Reader *r) {
    r->code = r->code << 32 | next_bytes(r, 4);
    r->range <<= 32;
}

INLINE void normalise_reader(Reader *r) {
    if (__builtin_expect(!(r->range >> 32), 0)) refill(r);
}

INLINE int get_bit(Reader *r, Chance *c) {
    const uint64_t bound = (r->range >> 16) * odds(c);
    const int one = r->code < bound;
    if (one) {
        r->range = bound;
    } else {
        r->code -= bound;
        r->range -= bound;
    }
    normalise_reader(r);
    learn(c, one);
    return one;
}

INLINE int get_coin(Reader *r, Chance *c) {
    const uint64_t bound = (r->range >> 16) * odds(c), none = (uint64_t)(r->code < bound) - 1;
    r->code -= bound & none;
    r->range = (bound & ~none) | ((r->range - bound) & none);
    normalise_reader(r);
    learn(c, none == 0);
    return none == 0;
}

INLINE uint32_t get_raw(Reader *r, int count) {
    r->range >>= count;
    uint64_t value = r->code / r->range;
    const uint64_t most = (1u << count) - 1;
    if (value > most) value = most; /* a damaged stream; the check of the values finds it */
    r->code -= value * r->range;
    normalise_reader(r);
    return (uint32_t)value;
}

#endif
