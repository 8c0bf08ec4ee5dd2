/* Adaptive binary range coding. Integers only, so that every machine writes and reads the same bytes.

   The coder keeps a range of 64 bits; a decision with chance p (of a 1, in 1/65536) splits it, and four bytes are
   written when less than 32 bits are left. Carries are settled in the bytes already written. Zeros at the end of a
   stream are not stored, at most MOST_LEFT_OUT of them; a decoder that needs more has met a damaged stream. */

#ifndef ENTROPY_RANGE_H
#define ENTROPY_RANGE_H

#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

typedef struct {
    uint64_t low, range;
    uint8_t *out;
    int64_t size, room; /* `size` goes on beyond `room`, where nothing is written */
} Writer;

enum { MOST_LEFT_OUT = 64 };

typedef struct {
    uint64_t range, code; /* `code` is what was read, less the encoder's `low` */
    const uint8_t *next, *end;
    int64_t behind; /* bytes read behind the end, all 0 */
} Reader;

static void carry(Writer *w) {
    int64_t at = w->size;
    while (at-- > 0) {
        if (at >= w->room) continue;
        if (++w->out[at]) break;
    }
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

INLINE void put_bit(Writer *w, uint32_t p, int one) {
    const uint64_t bound = (w->range >> 16) * p;
    const uint64_t none = (uint64_t)one - 1; /* no branch: no processor foresees these */
    add_low(w, bound & none);
    w->range = (bound & ~none) | ((w->range - bound) & none);
    if (__builtin_expect(!(w->range >> 32), 0)) {
        put_bytes(w, 4);
        w->range <<= 32;
    }
}

static void finish_writer(Writer *w) {
    /* The value in [low, low + range) with the most zeros at its end. */
    for (int keep = 0; keep < 64; keep++) {
        const uint64_t mask = UINT64_MAX >> keep, up = (mask - (w->low & mask) + 1) & mask;
        if (up >= w->range) continue;
        add_low(w, up);
        break;
    }
    put_bytes(w, 8);
    if (w->size > w->room) return;
    for (int i = 0; i < MOST_LEFT_OUT && w->size > 0 && w->out[w->size - 1] == 0; i++) w->size--;
}

INLINE uint64_t next_bytes(Reader *r, int count) {
    uint64_t value = 0;
    for (int i = 0; i < count; i++) {
        r->behind += r->next == r->end;
        value = value << 8 | (r->next < r->end ? *r->next++ : 0);
    }
    return value;
}

INLINE int get_bit(Reader *r, uint32_t p) {
    const uint64_t bound = (r->range >> 16) * p;
    const uint64_t none = (uint64_t)(r->code < bound) - 1;
    r->code -= bound & none;
    r->range = (bound & ~none) | ((r->range - bound) & none);
    if (__builtin_expect(!(r->range >> 32), 0)) {
        r->code = r->code << 32 | next_bytes(r, 4);
        r->range <<= 32;
    }
    return none == 0;
}

#endif
