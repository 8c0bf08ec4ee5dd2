/* Adaptive binary range coding. Integers only, so that every machine writes and reads the same bytes.

   The coder keeps a range of 32 bits; a decision with probability p (of a 1, in 1/65536) splits it. Carries are settled
   in the bytes already written. The decoder reads zeros behind the end of its stream. */

#ifndef RANGE_CODER_H
#define RANGE_CODER_H

#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

/* Two memories of one chance, in 1/65536: `quick` follows the last dozen of decisions, `steady` the last hundred. */
typedef struct {
    uint16_t quick, steady;
} Chance;

typedef struct {
    uint64_t low;
    uint32_t range;
    uint8_t *out;
    int64_t size, room; /* `size` goes on beyond `room`, where nothing is written */
} Writer;

typedef struct {
    uint32_t range, code;
    const uint8_t *next, *end;
    int64_t beyond; /* bytes read behind the end */
} Reader;

INLINE void learn(Chance *c, int one) {
    if (one) {
        c->quick += (65535 - c->quick) >> 4;
        c->steady += (65535 - c->steady) >> 7;
    } else {
        c->quick -= c->quick >> 4;
        c->steady -= c->steady >> 7;
    }
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

INLINE void normalise_writer(Writer *w) {
    while (w->range < 1u << 24) {
        if (w->size < w->room) w->out[w->size] = (uint8_t)(w->low >> 24);
        w->size++;
        w->low = (w->low << 8) & 0xFFFFFFFFu;
        w->range <<= 8;
    }
}

INLINE void put_bit(Writer *w, Chance *c, int one) {
    uint32_t bound = (uint32_t)(((uint64_t)w->range * odds(c)) >> 16);
    if (one) {
        w->range = bound;
    } else {
        w->low += bound;
        w->range -= bound;
    }
    if (w->low >> 32) {
        carry(w);
        w->low &= 0xFFFFFFFFu;
    }
    normalise_writer(w);
    learn(c, one);
}

/* `count` bits, at most 16, all alike probable. */
INLINE void put_raw(Writer *w, uint32_t value, int count) {
    w->range >>= count;
    w->low += (uint64_t)w->range * value;
    if (w->low >> 32) {
        carry(w);
        w->low &= 0xFFFFFFFFu;
    }
    normalise_writer(w);
}

static void finish_writer(Writer *w) {
    /* The value in [low, low + range) with the most zeros at its end; zeros at the end of a stream are not stored. */
    uint64_t value = w->low;
    for (int keep = 0; keep < 32; keep++) {
        uint64_t mask = 0xFFFFFFFFull >> keep;
        value = (w->low + mask) & ~mask;
        if (value < w->low + w->range) break;
    }
    w->low = value;
    if (w->low >> 32) {
        carry(w);
        w->low &= 0xFFFFFFFFu;
    }
    for (int i = 0; i < 4; i++) {
        if (w->size < w->room) w->out[w->size] = (uint8_t)(w->low >> 24);
        w->size++;
        w->low = (w->low << 8) & 0xFFFFFFFFu;
    }
    if (w->size > w->room) return;
    while (w->size > 0 && w->out[w->size - 1] == 0) w->size--;
}

INLINE uint32_t next_byte(Reader *r) {
    if (r->next < r->end) return *r->next++;
    r->beyond++;
    return 0;
}

static void start_reader(Reader *r, const uint8_t *data, int64_t size) {
    *r = (Reader){.range = 0xFFFFFFFFu, .next = data, .end = data + size};
    for (int i = 0; i < 4; i++) r->code = r->code << 8 | next_byte(r);
}

INLINE void normalise_reader(Reader *r) {
    while (r->range < 1u << 24) {
        r->range <<= 8;
        r->code = r->code << 8 | next_byte(r);
    }
}

INLINE int get_bit(Reader *r, Chance *c) {
    uint32_t bound = (uint32_t)(((uint64_t)r->range * odds(c)) >> 16);
    int one = r->code < bound;
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

INLINE uint32_t get_raw(Reader *r, int count) {
    r->range >>= count;
    uint32_t value = r->code / r->range, most = (1u << count) - 1;
    if (value > most) value = most; /* a damaged stream; the check of the file finds it */
    r->code -= value * r->range;
    normalise_reader(r);
    return value;
}

#endif
