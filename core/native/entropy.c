/* Interleaved rANS over frozen integer tables. `codectk/entropy/fallback.py` does the same in Python, step by step.

   An item is an interval [start, start + freq) of 2^16. A stream codes a series of items with LANES states of 40 bits,
   each of which keeps to [2^24, 2^40): 2^8 above the precision of the tables, where next to nothing is lost by rounding.
   Item number j belongs to lane 0 while j < ALONE, so that short streams pay for one state only, and to lane j mod LANES
   from then on. The decoder reads state 0 before its first item and the others before item ALONE, high byte first, and
   after each item 16 bits, low byte first, if the state needs them. At the end all states are 2^24 and no byte is left.
   The encoder does all that backwards. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define LOWEST (1ull << 24)

enum { PRECISION = 16, LANES = 4, ALONE = 1 << 16, STATE_BYTES = 5 };
enum { CELL = 8, CELLS = 1 << (PRECISION - CELL) }; /* hints for every 2^CELL */
enum { WIDTH_BITS = 6, MAX_WIDTH = 33, CHUNK = 15 }; /* escapes: width of the number, then its digits in chunks */
enum { CUT = -1, IMPOSSIBLE = -2 };

/* Table t has `lengths[t]` intervals, the last for escapes. Interval s stands for the value `offsets[t] + s` and is
   [cumulative[s], cumulative[s + 1]), counted from `cumulative + first[t]`. `hints` holds CELLS intervals per table: those
   that contain 0, 2^CELL, 2 2^CELL and so on. Symbols of tables that are `skippable` are left out where all are zero. */
typedef struct {
    const uint32_t *cumulative;
    const int64_t *first;
    const int32_t *offsets, *lengths;
    const uint16_t *hints;
    const uint8_t *skippable;
} Tables;

typedef struct {
    const uint8_t *data;
    int64_t size, place; /* bytes */
    int64_t item;        /* number of the next */
    uint64_t states[LANES];
} Decoder;

/* An item in one word: start in the high half, freq - 1 in the low one. */
INLINE uint32_t item_of(uint32_t start, uint32_t freq) { return start << 16 | (freq - 1); }

/* The item of a number whose values are all alike probable. */
INLINE uint32_t even(uint32_t value, int bits) {
    return item_of(value << (PRECISION - bits), 1u << (PRECISION - bits));
}

/* A value outside a table, as a number from 2: even above the table, odd below it. */
INLINE uint64_t outside(int64_t value, int64_t first, int64_t count) {
    return value < first ? 2 * (uint64_t)(first - value) + 1 : 2 * (uint64_t)(value - first - count) + 2;
}

/* Binary digits after the leading 1. */
INLINE int width_of(uint64_t number) { return 63 - __builtin_clzll(number); }

/* How many items the symbols take, and in `skip` whether some are left out. */
EXPORT int64_t entropy_count(const Tables *t, const int32_t *symbols, const uint16_t *indexes, int64_t n, int32_t *skip) {
    int64_t items = n, idle = 0;
    uint32_t busy = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t first = t->offsets[indexes[i]], count = t->lengths[indexes[i]] - 1;
        idle += t->skippable[indexes[i]];
        busy |= (uint32_t)symbols[i] & -(uint32_t)t->skippable[indexes[i]];
        if (LIKELY((uint64_t)(symbols[i] - first) < (uint64_t)count)) continue;
        items += 1 + (width_of(outside(symbols[i], first, count)) + CHUNK - 1) / CHUNK;
    }
    *skip = idle && !busy;
    return items + (idle > 0) - (*skip ? idle : 0);
}

static uint32_t *escape(uint32_t *out, uint64_t number) {
    int width = width_of(number);
    *out++ = even((uint32_t)width, WIDTH_BITS);
    while (width) {
        int bits = width < CHUNK ? width : CHUNK;
        width -= bits;
        *out++ = even((uint32_t)(number >> width) & ((1u << bits) - 1), bits);
    }
    return out;
}

static int some_skippable(const Tables *t, const uint16_t *indexes, int64_t n) {
    int64_t i = 0;
    while (i < n && !t->skippable[indexes[i]]) i++;
    return i < n;
}

/* Write the items of the symbols, as many as `entropy_count` says, and with the `skip` that it gives. */
EXPORT void entropy_items(const Tables *t, const int32_t *symbols, const uint16_t *indexes, int64_t n, int32_t skip,
                          uint32_t *out) {
    if (some_skippable(t, indexes, n)) *out++ = even((uint32_t)skip, 1);
    for (int64_t i = 0; i < n; i++) {
        uint32_t index = indexes[i];
        if (skip && t->skippable[index]) continue;
        const uint32_t *cumulative = t->cumulative + t->first[index];
        int64_t first = t->offsets[index], count = t->lengths[index] - 1, s = symbols[i] - first;
        int inside = LIKELY((uint64_t)s < (uint64_t)count);
        if (!inside) s = count;
        *out++ = item_of(cumulative[s], cumulative[s + 1] - cumulative[s]);
        if (!inside) out = escape(out, outside(symbols[i], first, count));
    }
}

static uint8_t *put_state(uint8_t *out, uint64_t state) {
    for (int i = 0; i < STATE_BYTES; i++) *--out = (uint8_t)(state >> 8 * i);
    return out;
}

INLINE uint8_t *encode_item(uint8_t *out, uint64_t *state, uint32_t item) {
    uint32_t start = item >> 16, freq = (item & 0xFFFF) + 1;
    uint64_t x = *state;
    if (x >> 24 >= freq) {
        *--out = (uint8_t)(x >> 8);
        *--out = (uint8_t)x;
        x >>= 16;
    }
    /* Exact, as x is below 2^40 and a quotient that is no integer is at least 2^-16 below the next; and faster than to
       divide 64-bit integers. */
    uint64_t quotient = (uint64_t)((double)(int64_t)x / (double)(int32_t)freq);
    *state = (quotient << PRECISION) + (x - quotient * freq) + start;
    return out;
}

/* Code all items, the last first. Returns how many bytes it wrote to the end of `out`, of 2 n + STATE_BYTES LANES. */
EXPORT int64_t entropy_pack(const uint32_t *items, int64_t n, uint8_t *out) {
    uint64_t x[LANES];
    uint8_t *end = out + 2 * n + STATE_BYTES * LANES, *place = end;
    for (int lane = 0; lane < LANES; lane++) x[lane] = LOWEST;
    int64_t j = n;
    for (; j > ALONE && j % LANES; j--) place = encode_item(place, &x[(j - 1) % LANES], items[j - 1]);
    for (; j > ALONE; j -= LANES)
        for (int lane = LANES; lane--;) place = encode_item(place, &x[lane], items[j - LANES + lane]);
    if (n > ALONE)
        for (int lane = LANES; --lane;) place = put_state(place, x[lane]);
    for (; j; j--) place = encode_item(place, &x[0], items[j - 1]);
    if (n) place = put_state(place, x[0]);
    return end - place;
}

INLINE uint32_t word_at(const uint8_t *data) { return (uint32_t)data[0] | (uint32_t)data[1] << 8; }

static int get_states(Decoder *d, int from, int to) {
    for (int lane = from; lane < to; lane++) {
        if (d->size - d->place < STATE_BYTES) return CUT;
        uint64_t state = 0;
        for (int i = 0; i < STATE_BYTES; i++) state = state << 8 | d->data[d->place++];
        if (state < LOWEST) return IMPOSSIBLE;
        d->states[lane] = state;
    }
    return 0;
}

/* Read the states that the next item is the first to need. */
INLINE int begin_item(Decoder *d) {
    if (d->item == 0) return get_states(d, 0, 1);
    return d->item == ALONE ? get_states(d, 1, LANES) : 0;
}

INLINE uint64_t *state_of(Decoder *d) { return &d->states[d->item < ALONE ? 0 : d->item % LANES]; }

/* Remove an item from a state: as x is at least 2^24, what is left is at least 2^8, and 16 bits more are enough. */
INLINE uint64_t without(uint64_t x, uint32_t start, uint32_t freq) {
    return freq * (x >> PRECISION) + (x & 0xFFFF) - start;
}

INLINE int end_item(Decoder *d, uint64_t *state) {
    d->item++;
    if (*state >= LOWEST) return 0;
    if (d->size - d->place < 2) return CUT;
    *state = *state << 16 | word_at(d->data + d->place);
    d->place += 2;
    return 0;
}

static int decode_even(Decoder *d, int bits, uint32_t *value) {
    int error = begin_item(d);
    if (error) return error;
    uint64_t *state = state_of(d);
    *value = (uint32_t)(*state & 0xFFFF) >> (PRECISION - bits);
    *state = without(*state, *value << (PRECISION - bits), 1u << (PRECISION - bits));
    return end_item(d, state);
}

/* Undo `escape` and `outside`. */
static int decode_escape(Decoder *d, int64_t first, int64_t count, int32_t *symbol) {
    uint32_t width, part;
    int error = decode_even(d, WIDTH_BITS, &width);
    if (error) return error;
    if (width > MAX_WIDTH || !width) return IMPOSSIBLE;
    uint64_t number = 1;
    while (width) {
        int bits = width < CHUNK ? (int)width : CHUNK;
        if ((error = decode_even(d, bits, &part))) return error;
        number = number << bits | part;
        width -= (uint32_t)bits;
    }
    int64_t half = (int64_t)(number >> 1), value = number & 1 ? first - half : first + count + half - 1;
    if (value < INT32_MIN || value > INT32_MAX) return IMPOSSIBLE;
    *symbol = (int32_t)value;
    return 0;
}

INLINE uint32_t find(const Tables *t, uint32_t index, uint32_t slot, const uint32_t *cumulative) {
    uint32_t s = t->hints[index * CELLS + (slot >> CELL)];
    while (cumulative[s + 1] <= slot) s++;
    return s;
}

static int decode_one(const Tables *t, Decoder *d, uint32_t index, int32_t *symbol) {
    int error = begin_item(d);
    if (error) return error;
    const uint32_t *cumulative = t->cumulative + t->first[index];
    uint64_t *state = state_of(d);
    uint32_t s = find(t, index, *state & 0xFFFF, cumulative);
    *state = without(*state, cumulative[s], cumulative[s + 1] - cumulative[s]);
    if ((error = end_item(d, state))) return error;
    if (s == (uint32_t)t->lengths[index] - 1) return decode_escape(d, t->offsets[index], s, symbol);
    *symbol = (int32_t)((uint32_t)t->offsets[index] + s);
    return 0;
}

/* Whole rounds of LANES symbols, as long as there are bytes for one and none is an escape: a round that meets one is not
   done. Returns how many symbols it did. */
static int64_t decode_rounds(const Tables *t, Decoder *d, const uint16_t *indexes, int64_t n, int32_t *out) {
    uint64_t x[LANES], next[LANES];
    int64_t i = 0, place = d->place;
    memcpy(x, d->states, sizeof x);
    for (; n - i >= LANES && d->size - place >= 2 * LANES; i += LANES) {
        int64_t ahead = place;
        int escapes = 0;
        for (int lane = 0; lane < LANES; lane++) {
            uint32_t index = indexes[i + lane];
            const uint32_t *cumulative = t->cumulative + t->first[index];
            uint32_t s = find(t, index, x[lane] & 0xFFFF, cumulative);
            uint64_t y = without(x[lane], cumulative[s], cumulative[s + 1] - cumulative[s]);
            uint32_t word = word_at(d->data + ahead);
            int short_of = y < LOWEST;
            next[lane] = short_of ? y << 16 | word : y;
            ahead += 2 * short_of;
            escapes |= s == (uint32_t)t->lengths[index] - 1;
            out[i + lane] = (int32_t)((uint32_t)t->offsets[index] + s);
        }
        if (!LIKELY(!escapes)) break;
        memcpy(x, next, sizeof x);
        place = ahead;
    }
    memcpy(d->states, x, sizeof x);
    d->place = place;
    d->item += i;
    return i;
}

static int decode_all(const Tables *t, Decoder *d, const uint16_t *indexes, int64_t n, int32_t *out) {
    for (int64_t i = 0; i < n; i++) {
        if (d->item > ALONE && d->item % LANES == 0) i += decode_rounds(t, d, indexes + i, n - i, out + i);
        if (i == n) break;
        int error = decode_one(t, d, indexes[i], out + i);
        if (error) return error;
    }
    return 0;
}

/* Decode `n` symbols with room for `n` indexes; 0, CUT or IMPOSSIBLE. */
EXPORT int32_t entropy_decode(const Tables *t, Decoder *d, const uint16_t *indexes, int64_t n, uint16_t *room,
                              int32_t *out) {
    uint32_t skip = 0;
    if (some_skippable(t, indexes, n)) {
        int error = decode_even(d, 1, &skip);
        if (error) return error;
    }
    if (!skip) return decode_all(t, d, indexes, n, out);
    int64_t coded = 0;
    for (int64_t i = 0; i < n; i++) { /* `room` is written where it is not needed, for want of a branch */
        room[coded] = indexes[i];
        coded += !t->skippable[indexes[i]];
    }
    int error = decode_all(t, d, room, coded, out);
    if (error) return error;
    for (int64_t i = n; i--;) { /* apart from the back, where none is overwritten that is still to be moved */
        int kept = !t->skippable[indexes[i]];
        coded -= kept;
        out[i] = kept ? out[coded] : 0;
    }
    return 0;
}
