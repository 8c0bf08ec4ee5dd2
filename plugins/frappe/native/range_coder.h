/* Binary range coder, and probabilities that adapt. Integers only: encoder and decoder agree on every machine. */

#ifndef RANGE_CODER_H
#define RANGE_CODER_H

#include <stddef.h>
#include <stdint.h>

#include "wide.h"

typedef struct {
    uint16_t fast, slow; /* probability of a 1 in 1/65536, from a short and a long memory */
} Bit;

typedef struct {
    uint64_t low;
    uint32_t range;
    int started;
    uint8_t cache;
    size_t pending, size, room;
    uint8_t *out;
} Encoder;

typedef struct {
    uint32_t range, code;
    uint32_t value; /* the four bytes read last */
    int beyond;     /* whether `code` was ever outside `range`, where no encoder ends */
    const uint8_t *in, *end;
} Decoder;

static void put(Encoder *e, uint8_t byte) {
    if (e->size < e->room) e->out[e->size] = byte;
    e->size++;
}

static void shift_out(Encoder *e) {
    if ((uint32_t)e->low < 0xFF000000u || e->low >> 32) {
        uint8_t carry = (uint8_t)(e->low >> 32);
        if (e->started) put(e, (uint8_t)(e->cache + carry));
        for (; e->pending; e->pending--) put(e, (uint8_t)(0xFF + carry));
        e->cache = (uint8_t)(e->low >> 24);
        e->started = 1;
    } else {
        e->pending++;
    }
    e->low = (e->low & 0x00FFFFFFu) << 8;
}

INLINE void adapt(Bit *bit, int value) {
    if (value) {
        bit->fast += (uint16_t)((65535 - bit->fast) >> 4);
        bit->slow += (uint16_t)((65535 - bit->slow) >> 7);
    } else {
        bit->fast -= bit->fast >> 4;
        bit->slow -= bit->slow >> 7;
    }
}

/* Probability of a 1 in 1/32768. */
INLINE uint32_t chance(const Bit *bit) { return ((uint32_t)bit->fast + bit->slow) >> 2; }

INLINE void encode_bit(Encoder *e, uint32_t p, int value) {
    uint32_t bound = (e->range >> 15) * p;
    if (value) {
        e->range = bound;
    } else {
        e->low += bound;
        e->range -= bound;
    }
    while (e->range < 1u << 24) {
        e->range <<= 8;
        shift_out(e);
    }
}

INLINE void encode_even(Encoder *e, uint32_t value, int count) {
    while (count--) {
        e->range >>= 1;
        if (!(value >> count & 1)) e->low += e->range;
        while (e->range < 1u << 24) {
            e->range <<= 8;
            shift_out(e);
        }
    }
}

/* The value in [low, low + range) that ends in the most zeros. */
static uint64_t shortest(uint64_t low, uint32_t range) {
    for (int keep = 0; keep < 32; keep++) {
        uint64_t mask = 0xFFFFFFFFull >> keep, value = (low + mask) & ~mask;
        if (value < low + range) return value;
    }
    return low;
}

static void finish(Encoder *e) {
    e->low = shortest(e->low, e->range);
    for (int i = 0; i < 5; i++) shift_out(e);
    if (e->size > e->room) return;
    while (e->size && e->out[e->size - 1] == 0) e->size--; /* the decoder reads zeros behind the end */
}

/* Whether the bytes read are those that an encoder writes for these decisions, and no more. */
static int finished(const Decoder *d) {
    return !d->beyond && d->in == d->end && (uint32_t)shortest(d->value - d->code, d->range) == d->value;
}

INLINE void shift_in(Decoder *d) {
    uint8_t byte = d->in < d->end ? *d->in++ : 0;
    d->code = d->code << 8 | byte;
    d->value = d->value << 8 | byte;
}

static void start_decoder(Decoder *d, const uint8_t *data, size_t size) {
    *d = (Decoder){.range = 0xFFFFFFFFu, .in = data, .end = data + size};
    for (int i = 0; i < 4; i++) shift_in(d);
    d->beyond = d->code >= d->range;
}

INLINE int decode_bit(Decoder *d, uint32_t p) {
    uint32_t bound = (d->range >> 15) * p;
    int value = d->code < bound;
    if (value) {
        d->range = bound;
    } else {
        d->code -= bound;
        d->range -= bound;
    }
    while (d->range < 1u << 24) {
        d->range <<= 8;
        shift_in(d);
    }
    return value;
}

INLINE uint32_t decode_even(Decoder *d, int count) {
    uint32_t value = 0;
    while (count--) {
        d->range >>= 1;
        int bit = d->code < d->range;
        if (!bit) d->code -= d->range;
        d->beyond |= d->code >= d->range; /* the last of an odd range belongs to neither half */
        value = value << 1 | (uint32_t)bit;
        while (d->range < 1u << 24) {
            d->range <<= 8;
            shift_in(d);
        }
    }
    return value;
}

#endif
