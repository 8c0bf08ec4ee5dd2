/* Bits and Huffman codes of entropy-coded data, after the zero bytes behind 0xFF are taken out. */

#ifndef JPEG_BITS_H
#define JPEG_BITS_H

#include <string.h>

#include "jpeg.h"

enum { FAST = 10, UNFINISHED = 0x80, END_OF_BLOCK = 128, PAD = 512 };

/* A code table. An entry of `fast` holds for the next FAST bits: in bits 0..7 how many to take, in bits 8..15 how many
   zeros come first, in the upper half the value, if code and value fit into FAST bits. Otherwise UNFINISHED is set, and
   the upper half holds the size of the value in bits, or LONG where the code itself does not fit, or INVALID. */
typedef struct {
    uint8_t defined, ready;
    uint8_t lengths[17], symbols[256];
    uint32_t limit[17]; /* of codes of that length, aligned to 16 bits: the first 16 bits lie below it */
    int32_t offset[17]; /* index of a symbol, less its code */
    uint32_t fast[1 << FAST];
} Huffman;

enum { LONG = 0x7F00, INVALID = 0x7F01 };

/* `at` runs past `end` by at most what one block takes; PAD zero bytes lie there. */
typedef struct {
    const uint8_t *at, *end;
    uint64_t buffer;
    uint32_t count;
} Bits;

INLINE uint64_t load_big_endian(const uint8_t *at) {
    uint64_t x;
    memcpy(&x, at, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return x;
}

/* At least 56 bits are there after it. */
INLINE void refill(Bits *bits) {
    bits->buffer |= load_big_endian(bits->at) >> bits->count;
    bits->at += (63 - bits->count) >> 3;
    bits->count |= 56;
}

INLINE void skip(Bits *bits, uint32_t n) {
    bits->buffer <<= n;
    bits->count -= n;
}

/* n in 1..16. */
INLINE uint32_t take(Bits *bits, uint32_t n) {
    const uint32_t value = (uint32_t)(bits->buffer >> (64 - n));
    skip(bits, n);
    return value;
}

/* Whether more was taken than there is. */
INLINE int overrun(const Bits *bits) { return (bits->at - bits->end) * 8 > (int64_t)bits->count; }

/* The signed value that `size` bits stand for (T.81, F.2.2.1), 1..16. */
INLINE int32_t extend(uint32_t value, uint32_t size) {
    return (int32_t)value - (value >> (size - 1) ? 0 : (int32_t)(1u << size) - 1);
}

/* The next symbol, or -1. Up to 16 bits are taken. */
INLINE int32_t next_symbol(Bits *bits, const Huffman *table) {
    const uint32_t ahead = (uint32_t)(bits->buffer >> 48);
    for (uint32_t length = 1; length <= 16; length++)
        if (ahead < table->limit[length]) {
            skip(bits, length);
            return table->symbols[(uint8_t)((int32_t)(ahead >> (16 - length)) + table->offset[length])];
        }
    return -1;
}

/* How `define` reads symbols: DC sizes, runs and sizes of AC coefficients, or symbols as they are (progressive). */
enum { DC_SYMBOLS = 0, AC_SYMBOLS = 1, PLAIN_SYMBOLS = 2 };

int jpeg_huffman_define(Huffman *table, const uint8_t *counts, const uint8_t *symbols, int32_t symbol_count);
void jpeg_huffman_prepare(Huffman *table, int kind);

#endif
