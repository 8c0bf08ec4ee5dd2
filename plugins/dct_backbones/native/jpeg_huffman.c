/* Tables of Huffman codes for decoding. */

#include "jpeg_bits.h"

/* counts[0..15] of codes of 1..16 bits. */
int jpeg_huffman_define(Huffman *table, const uint8_t *counts, const uint8_t *symbols, int32_t symbol_count) {
    uint32_t code = 0;
    int32_t index = 0;
    table->defined = table->ready = 0;
    table->lengths[0] = 0;
    table->limit[0] = 0;
    table->offset[0] = 0;
    for (int length = 1; length <= 16; length++) {
        const uint32_t count = counts[length - 1];
        table->lengths[length] = (uint8_t)count;
        table->offset[length] = index - (int32_t)code;
        code += count;
        index += (int32_t)count;
        if (code > 1u << length) return JPEG_DAMAGED;
        table->limit[length] = code << (16 - length);
        code <<= 1;
    }
    if (index != symbol_count || index > 256) return JPEG_DAMAGED;
    memset(table->symbols, 0, sizeof table->symbols);
    memcpy(table->symbols, symbols, (size_t)symbol_count);
    table->defined = 1;
    return JPEG_OK;
}

/* Entry of a code of `length` bits, with its value still to come: size << 16 | zeros << 8 | length. */
static uint32_t unfinished(int kind, uint32_t symbol, uint32_t length) {
    if (kind == PLAIN_SYMBOLS) return symbol << 16 | length;
    const uint32_t size = kind == DC_SYMBOLS ? symbol : symbol & 15, zeros = kind == DC_SYMBOLS ? 0 : symbol >> 4;
    const int odd = kind == AC_SYMBOLS && !size && zeros && zeros != 15;
    if (odd || size > (kind == DC_SYMBOLS ? MOST_DC_SIZE : MOST_AC_SIZE))
        return (uint32_t)INVALID << 16 | UNFINISHED | length;
    if (size) return size << 16 | zeros << 8 | UNFINISHED | length;
    if (kind == AC_SYMBOLS && !zeros) return END_OF_BLOCK << 8 | length;
    return zeros << 8 | length;
}

void jpeg_huffman_prepare(Huffman *table, int kind) {
    if (table->ready == kind + 1) return;
    uint32_t code = 0, index = 0;
    for (int i = 0; i < 1 << FAST; i++) table->fast[i] = (uint32_t)LONG << 16 | UNFINISHED;
    for (uint32_t length = 1; length <= FAST; length++, code <<= 1)
        for (uint32_t i = 0; i < table->lengths[length]; i++, code++, index++) {
            const uint32_t spare = FAST - length, entry = unfinished(kind, table->symbols[index & 255], length);
            uint32_t *to = table->fast + ((uint64_t)code << spare);
            const uint32_t size = entry >> 16;
            for (uint32_t rest = 0; rest < 1u << spare; rest++) to[rest] = entry;
            if (!(entry & UNFINISHED) || size > spare) continue;
            for (uint32_t rest = 0; rest < 1u << spare; rest++) {
                const int32_t value = extend(rest >> (spare - size), size);
                to[rest] = (uint32_t)value << 16 | (entry & 0xFF00) | (length + size);
            }
        }
    table->ready = (uint8_t)(kind + 1);
}
