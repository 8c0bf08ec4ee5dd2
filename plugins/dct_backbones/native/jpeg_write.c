/* Scans of JPEG files, each with the Huffman codes that suit it best: its symbols are counted, then written. */

#include <stdlib.h>
#include <string.h>

#include "jpeg.h"

enum { CODES = 257, LONGEST = 16, ROOM_OF_BLOCK = 2048, MOST_ENDS = 0x7FFF, MOST_CORRECTIONS = 1000 };

typedef struct {
    int32_t planes, plane[MOST_PLANES], code[MOST_PLANES]; /* `code`: 0 or 1, which pair of tables */
    int32_t first, last, high, low, progressive;
} ScanPlan;

typedef struct {
    int64_t count[CODES];
    uint8_t lengths[LONGEST + 1], symbols[256], size[256];
    uint16_t code[256];
    int32_t symbol_count;
} Codes;

/* While `counting`, nothing is written. */
typedef struct {
    int counting, failed;
    uint8_t *out;
    int64_t size, room;
    uint64_t buffer;
    int32_t held; /* bits in `buffer` */
    Codes codes[2][2];
    int32_t before[MOST_PLANES], ends, correction_count;
    uint8_t corrections[MOST_CORRECTIONS];
} Sink;

static void byte(Sink *sink, uint32_t value) { sink->out[sink->size++] = (uint8_t)value; }

/* n up to 16. */
INLINE void put(Sink *sink, uint32_t value, int32_t n) {
    if (sink->counting) return;
    sink->buffer = sink->buffer << n | value, sink->held += n;
    while (sink->held >= 8) {
        const uint32_t next = (uint32_t)(sink->buffer >> (sink->held -= 8)) & 255;
        byte(sink, next);
        if (next == 255) byte(sink, 0);
    }
}

INLINE void put_symbol(Sink *sink, Codes *codes, uint32_t symbol) {
    if (sink->counting)
        codes->count[symbol]++;
    else
        put(sink, codes->code[symbol], codes->size[symbol]);
}

INLINE int32_t size_of(uint32_t magnitude) { return magnitude ? 32 - __builtin_clz(magnitude) : 0; }

/* The `size` bits of a value. */
INLINE void put_value(Sink *sink, int32_t value, int32_t size) {
    if (size) put(sink, (uint32_t)(value < 0 ? value - 1 : value) & ((1u << size) - 1), size);
}

/* ---- codes ----------------------------------------------------------------------------------------------------- */

/* Numbers of codes by length, none above 16 any more, without that of ones. */
static void shorten(int32_t lengths[CODES]) {
    for (int i = CODES - 1; i > LONGEST; i--)
        while (lengths[i]) {
            int j = i - 2;
            while (!lengths[j]) j--;
            lengths[i] -= 2, lengths[i - 1]++, lengths[j + 1] += 2, lengths[j]--;
        }
    int longest = LONGEST;
    while (longest && !lengths[longest]) longest--;
    lengths[longest]--;
}

/* Lengths of the best codes of at most 16 bits, none of ones only (T.81, K.2). */
static void choose_lengths(Codes *codes) {
    int32_t size[CODES] = {0}, other[CODES], lengths[CODES] = {0};
    int64_t count[CODES];
    memcpy(count, codes->count, sizeof count);
    count[256] = 1; /* takes the code of ones */
    for (int i = 0; i < CODES; i++) other[i] = -1;
    for (;;) {
        int a = -1, b = -1; /* the two rarest; of equals the later */
        for (int i = 0; i < CODES; i++) {
            if (!count[i]) continue;
            if (a < 0 || count[i] <= count[a])
                b = a, a = i;
            else if (b < 0 || count[i] <= count[b])
                b = i;
        }
        if (b < 0) break;
        count[a] += count[b], count[b] = 0;
        int last = a;
        for (;; last = other[last]) {
            size[last]++;
            if (other[last] < 0) break;
        }
        other[last] = b;
        for (int i = b; i >= 0; i = other[i]) size[i]++;
    }
    for (int i = 0; i < CODES; i++)
        if (size[i]) lengths[size[i]]++;
    shorten(lengths);
    for (int i = 1; i <= LONGEST; i++) codes->lengths[i] = (uint8_t)lengths[i];
    codes->symbol_count = 0;
    for (int i = 1; i < CODES; i++)
        for (int symbol = 0; symbol < 256; symbol++)
            if (size[symbol] == i) codes->symbols[codes->symbol_count++] = (uint8_t)symbol;
}

static void make_codes(Codes *codes) {
    choose_lengths(codes);
    uint32_t code = 0;
    int32_t index = 0;
    for (int length = 1; length <= LONGEST; length++, code <<= 1)
        for (int i = 0; i < codes->lengths[length]; i++, index++, code++) {
            codes->code[codes->symbols[index]] = (uint16_t)code;
            codes->size[codes->symbols[index]] = (uint8_t)length;
        }
}

/* ---- blocks ---------------------------------------------------------------------------------------------------- */

INLINE void write_dc(Sink *sink, Codes *codes, int32_t *before, int32_t value) {
    const int32_t difference = value - *before, size = size_of((uint32_t)abs(difference));
    *before = value;
    put_symbol(sink, codes, (uint32_t)size);
    put_value(sink, difference, size);
}

INLINE void write_sequential(Sink *sink, Codes *dc, Codes *ac, int32_t *before, const int16_t *block) {
    uint32_t zeros = 0;
    write_dc(sink, dc, before, block[0]);
    for (int k = 1; k < BLOCK; k++) {
        const int32_t value = block[jpeg_natural[k]];
        if (!value) {
            zeros++;
            continue;
        }
        for (; zeros > 15; zeros -= 16) put_symbol(sink, ac, 0xF0);
        const int32_t size = size_of((uint32_t)abs(value));
        put_symbol(sink, ac, zeros << 4 | (uint32_t)size);
        put_value(sink, value, size);
        zeros = 0;
    }
    if (zeros) put_symbol(sink, ac, 0);
}

static void put_bits(Sink *sink, const uint8_t *bits, int32_t count) {
    for (int32_t i = 0; i < count; i++) put(sink, bits[i], 1);
}

/* The run of ends of blocks so far, and the corrections inside it. */
static void put_ends(Sink *sink, Codes *ac) {
    if (sink->ends) {
        const int32_t size = size_of((uint32_t)sink->ends) - 1;
        put_symbol(sink, ac, (uint32_t)size << 4);
        if (size) put(sink, (uint32_t)sink->ends & ((1u << size) - 1), size);
        sink->ends = 0;
    }
    put_bits(sink, sink->corrections, sink->correction_count);
    sink->correction_count = 0;
}

static void write_ac_first(Sink *sink, Codes *ac, const ScanPlan *plan, const int16_t *block) {
    uint32_t zeros = 0;
    for (int32_t k = plan->first; k <= plan->last; k++) {
        const int32_t value = block[jpeg_natural[k]], magnitude = abs(value) >> plan->low;
        if (!magnitude) {
            zeros++;
            continue;
        }
        put_ends(sink, ac);
        for (; zeros > 15; zeros -= 16) put_symbol(sink, ac, 0xF0);
        const int32_t size = size_of((uint32_t)magnitude);
        put_symbol(sink, ac, zeros << 4 | (uint32_t)size);
        put_value(sink, value < 0 ? -magnitude : magnitude, size);
        zeros = 0;
    }
    if (zeros && ++sink->ends == MOST_ENDS) put_ends(sink, ac);
}

static void write_ac_more(Sink *sink, Codes *ac, const ScanPlan *plan, const int16_t *block) {
    int32_t magnitudes[BLOCK], last_new = 0, count = 0;
    uint32_t zeros = 0;
    uint8_t bits[BLOCK];
    for (int32_t k = plan->first; k <= plan->last; k++) {
        magnitudes[k] = abs(block[jpeg_natural[k]]) >> plan->low;
        if (magnitudes[k] == 1) last_new = k;
    }
    for (int32_t k = plan->first; k <= plan->last; k++) {
        if (!magnitudes[k]) {
            zeros++;
            continue;
        }
        for (; zeros > 15 && k <= last_new; zeros -= 16) {
            put_ends(sink, ac);
            put_symbol(sink, ac, 0xF0);
            put_bits(sink, bits, count);
            count = 0;
        }
        if (magnitudes[k] > 1) {
            bits[count++] = magnitudes[k] & 1;
            continue;
        }
        put_ends(sink, ac);
        put_symbol(sink, ac, zeros << 4 | 1);
        put(sink, block[jpeg_natural[k]] >= 0, 1);
        put_bits(sink, bits, count);
        zeros = 0, count = 0;
    }
    if (!zeros && !count) return;
    sink->ends++;
    memcpy(sink->corrections + sink->correction_count, bits, (size_t)count);
    sink->correction_count += count;
    if (sink->ends == MOST_ENDS || sink->correction_count > MOST_CORRECTIONS - BLOCK) put_ends(sink, ac);
}

static void write_block(Sink *sink, const ScanPlan *plan, int which, const int16_t *block) {
    Codes *dc = &sink->codes[0][plan->code[which]], *ac = &sink->codes[1][plan->code[which]];
    if (!plan->progressive)
        write_sequential(sink, dc, ac, &sink->before[which], block);
    else if (plan->first)
        plan->high ? write_ac_more(sink, ac, plan, block) : write_ac_first(sink, ac, plan, block);
    else if (plan->high)
        put(sink, (uint32_t)(block[0] >> plan->low) & 1, 1);
    else
        write_dc(sink, dc, &sink->before[which], block[0] >> plan->low);
}

/* Room for a block and the corrections before it, at two bytes for each. */
static int make_room(Sink *sink) {
    if (sink->counting || sink->room - sink->size >= ROOM_OF_BLOCK) return 1;
    const int64_t room = sink->room + sink->room / 2 + 4 * ROOM_OF_BLOCK;
    uint8_t *out = realloc(sink->out, (size_t)room);
    if (!out) return 0;
    sink->out = out, sink->room = room;
    return 1;
}

static int walk(Sink *sink, const Header *header, const ScanPlan *plan, const int16_t *const *blocks) {
    const int single = plan->planes == 1;
    const Plane *lone = &header->plane[plan->plane[0]];
    const int32_t rows = single ? lone->shown_rows : header->mcu_rows;
    const int32_t columns = single ? lone->shown_columns : header->mcu_columns;
    memset(sink->before, 0, sizeof sink->before);
    sink->ends = sink->correction_count = 0;
    for (int32_t row = 0; row < rows; row++)
        for (int32_t column = 0; column < columns; column++)
            for (int i = 0; i < plan->planes; i++) {
                const Plane *plane = &header->plane[plan->plane[i]];
                const int32_t h = single ? 1 : plane->h, v = single ? 1 : plane->v;
                for (int32_t y = 0; y < v; y++)
                    for (int32_t x = 0; x < h; x++) {
                        const int64_t at = ((int64_t)row * v + y) * plane->columns + (int64_t)column * h + x;
                        if (!make_room(sink)) return JPEG_NO_MEMORY;
                        write_block(sink, plan, i, blocks[plan->plane[i]] + at * BLOCK);
                    }
            }
    if (!make_room(sink)) return JPEG_NO_MEMORY;
    put_ends(sink, &sink->codes[1][plan->code[0]]);
    return JPEG_OK;
}

static int in_bounds(const Header *header, const ScanPlan *plan, const int16_t *const *blocks) {
    for (int i = 0; i < plan->planes; i++) {
        const Plane *plane = &header->plane[plan->plane[i]];
        const int16_t *block = blocks[plan->plane[i]], *end = block + (int64_t)plane->rows * plane->columns * BLOCK;
        int out = 0;
        for (; block < end; block += BLOCK) {
            out |= block[0] > MOST_DC || block[0] < -MOST_DC - 1;
            for (int k = 1; k < BLOCK; k++) out |= block[k] > MOST_AC || block[k] < -MOST_AC;
        }
        if (out) return 0;
    }
    return 1;
}

static void put_tables(Sink *sink) {
    for (int kind = 0; kind < 2; kind++)
        for (int number = 0; number < 2; number++) {
            Codes *codes = &sink->codes[kind][number];
            int64_t total = 0;
            for (int i = 0; i < 256; i++) total += codes->count[i];
            if (!total) continue;
            make_codes(codes);
            const int32_t length = 19 + codes->symbol_count;
            byte(sink, 0xFF), byte(sink, 0xC4), byte(sink, (uint32_t)length >> 8), byte(sink, (uint32_t)length);
            byte(sink, (uint32_t)(kind << 4 | number));
            for (int i = 1; i <= LONGEST; i++) byte(sink, codes->lengths[i]);
            for (int i = 0; i < codes->symbol_count; i++) byte(sink, codes->symbols[i]);
        }
}

static void put_scan(Sink *sink, const Header *header, const ScanPlan *plan) {
    byte(sink, 0xFF), byte(sink, 0xDA), byte(sink, 0), byte(sink, 6 + 2 * (uint32_t)plan->planes);
    byte(sink, (uint32_t)plan->planes);
    for (int i = 0; i < plan->planes; i++)
        byte(sink, (uint32_t)header->plane[plan->plane[i]].id), byte(sink, (uint32_t)plan->code[i] * 17);
    byte(sink, (uint32_t)plan->first), byte(sink, (uint32_t)plan->last);
    byte(sink, (uint32_t)(plan->high << 4 | plan->low));
}

/* Tables and data of a scan. Returns their size or what is wrong; `*out` is to be given to jpeg_release. */
EXPORT int64_t jpeg_write(const Header *header, const ScanPlan *plan, const int16_t *const *blocks, uint8_t **out) {
    *out = NULL;
    if (!in_bounds(header, plan, blocks)) return JPEG_COEFFICIENT;
    Sink *sink = calloc(1, sizeof *sink);
    if (!sink) return JPEG_NO_MEMORY;
    sink->counting = 1;
    walk(sink, header, plan, blocks);
    sink->counting = 0;
    int64_t result = make_room(sink) ? JPEG_OK : JPEG_NO_MEMORY;
    if (!result) {
        put_tables(sink);
        put_scan(sink, header, plan);
        result = walk(sink, header, plan, blocks);
        if (!result && sink->held) put(sink, (1u << (8 - sink->held)) - 1, 8 - sink->held);
    }
    if (!result)
        *out = sink->out, result = sink->size;
    else
        free(sink->out);
    free(sink);
    return result;
}

EXPORT void jpeg_release(uint8_t *out) { free(out); }
