/* Coefficients out of JPEG files: sequential and progressive, 8 bits, Huffman codes. */

#include <stdlib.h>

#include "jpeg_parser.h"
#include "wide.h"

enum { BASELINE = 0, DC_FIRST, DC_MORE, AC_FIRST, AC_MORE };

/* Bytes up to the next marker, without the zeros behind 0xFF, become the segment that `bits` reads. */
static void open_segment(Parser *parser, Bits *bits) {
    const uint8_t *at = parser->data + parser->at, *end = parser->data + parser->size;
    uint8_t *to = parser->segment;
    while (at < end) {
        const uint8_t *found = memchr(at, 0xFF, (size_t)(end - at));
        const uint8_t *stop = found ? found : end;
        memcpy(to, at, (size_t)(stop - at));
        to += stop - at, at = stop;
        if (!found) break;
        while (stop < end && *stop == 0xFF) stop++;
        if (stop < end && *stop) break; /* a marker; `at` is where it begins */
        if (stop < end) *to++ = 0xFF;
        at = stop < end ? stop + 1 : end;
    }
    parser->at = at - parser->data;
    memset(to, 0, PAD);
    bits->at = parser->segment, bits->end = to, bits->buffer = 0, bits->count = 0;
}

/* What it means that a segment ended too early. */
static int cut(const Parser *parser) { return parser->at >= parser->size ? JPEG_TRUNCATED : JPEG_DAMAGED; }

/* A byte or more left over: the codes were not those that were written. */
static int closed(const Bits *bits) { return (bits->end - bits->at) * 8 + (int64_t)bits->count < 8; }

static int restart(Parser *parser, Bits *bits) {
    if (!closed(bits)) return JPEG_DAMAGED;
    while (parser->at + 1 < parser->size && parser->data[parser->at + 1] == 0xFF) parser->at++;
    if (parser->size - parser->at < 2) return JPEG_TRUNCATED;
    if (parser->data[parser->at + 1] != 0xD0 + parser->restart) return JPEG_DAMAGED;
    parser->at += 2, parser->restart = (parser->restart + 1) & 7;
    open_segment(parser, bits);
    return JPEG_OK;
}

/* Finish an entry of a table of DC or AC codes: INVALID, or value << 16 | zeros << 8. */
INLINE uint32_t finish(Bits *bits, const Huffman *table, uint32_t entry, int kind) {
    uint32_t size = entry >> 16, zeros = entry & 0xFF00;
    if (size == LONG) {
        const int32_t symbol = next_symbol(bits, table);
        if (symbol < 0) return INVALID;
        size = kind == DC_SYMBOLS ? (uint32_t)symbol : symbol & 15;
        zeros = kind == DC_SYMBOLS ? 0 : (uint32_t)(symbol >> 4) << 8;
        if (size > (kind == DC_SYMBOLS ? MOST_DC_SIZE : MOST_AC_SIZE)) return INVALID;
        if (!size) {
            if (kind == DC_SYMBOLS || zeros == 15 << 8) return zeros;
            return zeros ? INVALID : END_OF_BLOCK << 8;
        }
    } else {
        if (size == INVALID) return INVALID;
        skip(bits, entry & 31);
    }
    return (uint32_t)extend(take(bits, size), size) << 16 | zeros;
}

INLINE uint32_t next_value(Bits *bits, const Huffman *table, int kind) {
    const uint32_t entry = table->fast[bits->buffer >> (64 - FAST)];
    if (UNLIKELY(entry & UNFINISHED)) return finish(bits, table, entry, kind);
    skip(bits, entry & 31);
    return entry & ~255u;
}

INLINE int baseline(Bits *bits, const Huffman *dc, const Huffman *ac, int32_t *before, int16_t *block) {
    memset(block, 0, BLOCK * sizeof *block);
    refill(bits);
    const uint32_t first = next_value(bits, dc, DC_SYMBOLS);
    if (UNLIKELY(first == INVALID)) return JPEG_DAMAGED;
    *before += (int32_t)first >> 16;
    if (UNLIKELY(*before > MOST_DC || *before < -MOST_DC - 1)) return JPEG_DAMAGED;
    block[0] = (int16_t)*before;
    for (uint32_t k = 1;;) { /* what is there after a refill is enough for two coefficients */
        refill(bits);
        for (int i = 0; i < 2; i++) {
            const uint32_t entry = next_value(bits, ac, AC_SYMBOLS);
            k += (entry >> 8) & 255; /* INVALID leads far outside, too */
            if (k >= BLOCK) return entry == END_OF_BLOCK << 8 ? JPEG_OK : JPEG_DAMAGED;
            block[jpeg_natural[k]] = (int16_t)(entry >> 16);
            if (UNLIKELY(++k == BLOCK)) return JPEG_OK;
        }
    }
}

INLINE int32_t plain_symbol(Bits *bits, const Huffman *table) {
    if (bits->count < 32) refill(bits);
    const uint32_t entry = table->fast[bits->buffer >> (64 - FAST)];
    if (UNLIKELY(entry & UNFINISHED)) return next_symbol(bits, table);
    skip(bits, entry & 31);
    return (int32_t)(entry >> 16);
}

INLINE int dc_first(Bits *bits, const Huffman *dc, const Scan *scan, int32_t *before, int16_t *block) {
    const int32_t size = plain_symbol(bits, dc);
    if (size < 0 || size > MOST_DC_SIZE) return JPEG_DAMAGED;
    if (size) *before += extend(take(bits, (uint32_t)size), (uint32_t)size);
    if (*before > MOST_DC >> scan->low || *before < -(MOST_DC + 1) >> scan->low) return JPEG_DAMAGED;
    block[0] = (int16_t)(*before * (1 << scan->low));
    return JPEG_OK;
}

INLINE int dc_more(Bits *bits, const Scan *scan, int16_t *block) {
    if (bits->count < 32) refill(bits);
    if (take(bits, 1)) block[0] |= (int16_t)(1 << scan->low);
    return JPEG_OK;
}

/* Blocks of a run that ends here: 2^size and `size` bits more; this one is among them. */
INLINE int32_t run_of_ends(Bits *bits, uint32_t size) {
    return (1 << size) + (size ? (int32_t)take(bits, size) : 0);
}

INLINE int ac_first(Bits *bits, const Huffman *ac, const Scan *scan, int32_t *ends, int16_t *block) {
    if (*ends) return --*ends, JPEG_OK;
    for (int32_t k = scan->first; k <= scan->last; k++) {
        const int32_t symbol = plain_symbol(bits, ac);
        if (UNLIKELY(symbol < 0)) return JPEG_DAMAGED;
        const uint32_t zeros = (uint32_t)symbol >> 4, size = (uint32_t)symbol & 15;
        if (!size && zeros < 15) {
            *ends = run_of_ends(bits, zeros) - 1;
            return JPEG_OK;
        }
        k += (int32_t)zeros;
        if (!size) continue;
        if (k > scan->last || size > MOST_AC_SIZE) return JPEG_DAMAGED;
        const int32_t value = extend(take(bits, size), size) * (1 << scan->low);
        if (value > MOST_AC || value < -MOST_AC) return JPEG_DAMAGED;
        block[jpeg_natural[k]] = (int16_t)value;
    }
    return JPEG_OK;
}

/* One more bit of a coefficient that is not zero. */
INLINE void correct(Bits *bits, const Scan *scan, int16_t *coefficient) {
    if (bits->count < 32) refill(bits);
    const int32_t bit = (int32_t)take(bits, 1) << scan->low;
    *coefficient = (int16_t)(*coefficient + (*coefficient < 0 ? -bit : bit));
}

INLINE int ac_more(Bits *bits, const Huffman *ac, const Scan *scan, int32_t *ends, int16_t *block) {
    int32_t k = scan->first;
    for (; !*ends && k <= scan->last; k++) {
        const int32_t symbol = plain_symbol(bits, ac);
        if (UNLIKELY(symbol < 0)) return JPEG_DAMAGED;
        int32_t zeros = symbol >> 4, value = 0;
        const uint32_t size = (uint32_t)symbol & 15;
        if (size > 1) return JPEG_DAMAGED;
        if (!size && zeros < 15) {
            *ends = run_of_ends(bits, (uint32_t)zeros);
            break;
        }
        if (size) value = take(bits, 1) ? 1 << scan->low : -(1 << scan->low);
        for (; k <= scan->last; k++) {
            int16_t *coefficient = block + jpeg_natural[k];
            if (*coefficient)
                correct(bits, scan, coefficient);
            else if (zeros-- == 0)
                break;
        }
        if (k > scan->last) {
            if (size) return JPEG_DAMAGED;
            break;
        }
        block[jpeg_natural[k]] = (int16_t)value;
    }
    if (!*ends) return JPEG_OK;
    for (; k <= scan->last; k++)
        if (block[jpeg_natural[k]]) correct(bits, scan, block + jpeg_natural[k]);
    --*ends;
    return JPEG_OK;
}

typedef struct {
    int32_t which, down, across, h, v;  /* which plane of the scan, and where in the MCU */
    int64_t stride;                     /* blocks of a stored row */
    int16_t *blocks;
    const Huffman *dc, *ac;
} Part;

static int32_t parts_of(const Parser *parser, const Window *window, int16_t *const *blocks, Part *parts) {
    int32_t count = 0;
    const Scan *scan = &parser->scan;
    for (int i = 0; i < scan->planes; i++) {
        const Plane *plane = &parser->header.plane[scan->plane[i]];
        const int32_t h = scan->planes > 1 ? plane->h : 1, v = scan->planes > 1 ? plane->v : 1;
        for (int32_t j = 0; j < h * v; j++) {
            Part *part = &parts[count++];
            part->which = i, part->down = j / h, part->across = j % h, part->h = h, part->v = v;
            part->stride = (int64_t)plane->h * (window->column_end - window->column_begin);
            part->blocks = blocks[scan->plane[i]];
            part->dc = &parser->huffman[0][scan->dc[i]], part->ac = &parser->huffman[1][scan->ac[i]];
        }
    }
    return count;
}

INLINE int one_block(
    Bits *bits, const Part *part, const Scan *scan, int32_t *before, int32_t *ends, int16_t *block, int kind) {
    switch (kind) {
    case BASELINE: return baseline(bits, part->dc, part->ac, &before[part->which], block);
    case DC_FIRST: return dc_first(bits, part->dc, scan, &before[part->which], block);
    case DC_MORE: return dc_more(bits, scan, block);
    case AC_FIRST: return ac_first(bits, part->ac, scan, ends, block);
    default: return ac_more(bits, part->ac, scan, ends, block);
    }
}

/* Every block of a scan. Of a file of more scans than one, `window` is all of it. `bits` is a copy of what others are
   given the address of, and stays in registers. */
INLINE int walk(Parser *parser, const Window *window, int16_t *const *blocks, int kind) {
    const Scan *scan = &parser->scan;
    const Header *header = &parser->header;
    const Plane *lone = &header->plane[scan->plane[0]];
    int32_t rows = scan->planes > 1 ? header->mcu_rows : lone->shown_rows;
    const int32_t columns = scan->planes > 1 ? header->mcu_columns : lone->shown_columns;
    Part parts[MOST_MCU_BLOCKS];
    const int32_t part_count = parts_of(parser, window, blocks, parts);
    int32_t before[MOST_PLANES] = {0}, ends = 0, left = parser->restart_interval;
    int16_t elsewhere[BLOCK];
    const Window inside = header->one_scan ? *window : (Window){0, rows, 0, columns};
    rows = inside.row_end, parser->restart = 0;
    Bits shared;
    open_segment(parser, &shared);
    Bits bits = shared;
    for (int32_t row = 0; row < rows; row++)
        for (int32_t column = 0; column < columns; column++) {
            if (parser->restart_interval && !left--) {
                shared = bits;
                const int code = ends ? JPEG_DAMAGED : restart(parser, &shared);
                if (code) return code;
                bits = shared, left = parser->restart_interval - 1;
                memset(before, 0, sizeof before);
            }
            const int kept = row >= inside.row_begin && column >= inside.column_begin && column < inside.column_end;
            for (int32_t i = 0; i < part_count; i++) {
                const Part *part = &parts[i];
                const int64_t down = (int64_t)(row - inside.row_begin) * part->v + part->down;
                const int64_t across = (int64_t)(column - inside.column_begin) * part->h + part->across;
                int16_t *block = kept ? part->blocks + (down * part->stride + across) * BLOCK : elsewhere;
                const int code = one_block(&bits, part, scan, before, &ends, block, kind);
                if (UNLIKELY(overrun(&bits))) return cut(parser);
                if (UNLIKELY(code)) return code;
            }
        }
    if (header->one_scan && rows < header->mcu_rows) return JPEG_OK;
    return !ends && closed(&bits) ? JPEG_OK : JPEG_DAMAGED;
}

/* A scan of a progressive file adds to what is known, one bit below that or a band not yet seen (T.81, G.1.1.1). */
static int follows(Parser *parser) {
    const Scan *scan = &parser->scan;
    if (scan->first > scan->last || scan->last >= BLOCK || (!scan->first && scan->last)) return 0;
    if ((scan->first && scan->planes > 1) || scan->low > (scan->first ? 9 : 10)) return 0;
    if (scan->high && scan->low != scan->high - 1) return 0;
    for (int i = 0; i < scan->planes; i++) {
        int8_t *bits = parser->bits[scan->plane[i]];
        if (scan->first && bits[0] < 0) return 0;
        for (int32_t k = scan->first; k <= scan->last; k++) {
            if (bits[k] != (scan->high ? scan->high : -1)) return 0;
            bits[k] = (int8_t)scan->low;
        }
    }
    return 1;
}

static int ready(Parser *parser, int with_dc, int with_ac, int plain) {
    const Scan *scan = &parser->scan;
    for (int i = 0; i < scan->planes; i++) {
        Huffman *dc = &parser->huffman[0][scan->dc[i]], *ac = &parser->huffman[1][scan->ac[i]];
        if ((with_dc && !dc->defined) || (with_ac && !ac->defined)) return 0;
        if (with_dc) jpeg_huffman_prepare(dc, plain ? PLAIN_SYMBOLS : DC_SYMBOLS);
        if (with_ac) jpeg_huffman_prepare(ac, plain ? PLAIN_SYMBOLS : AC_SYMBOLS);
    }
    return 1;
}

static int walk_plain(Parser *parser, const Window *window, int16_t *const *blocks) {
    return walk(parser, window, blocks, BASELINE);
}

WIDE static int walk_wide(Parser *parser, const Window *window, int16_t *const *blocks) {
    return walk(parser, window, blocks, BASELINE);
}

static int sequential_scan(Parser *parser, const Window *window, int16_t *const *blocks) {
    const Scan *scan = &parser->scan;
    for (int i = 0; i < scan->planes; i++) {
        if (parser->bits[scan->plane[i]][0] >= 0) return JPEG_DAMAGED; /* that plane was there already */
        parser->bits[scan->plane[i]][0] = 0;
    }
    if (!ready(parser, 1, 1, 0)) return JPEG_NO_HUFFMAN;
    return has_wide() ? walk_wide(parser, window, blocks) : walk_plain(parser, window, blocks);
}

static int progressive_scan(Parser *parser, const Window *window, int16_t *const *blocks) {
    const Scan *scan = &parser->scan;
    if (!follows(parser)) return JPEG_DAMAGED;
    if (!ready(parser, !scan->first && !scan->high, scan->first, 1)) return JPEG_NO_HUFFMAN;
    if (scan->first)
        return scan->high ? walk(parser, window, blocks, AC_MORE) : walk(parser, window, blocks, AC_FIRST);
    return scan->high ? walk(parser, window, blocks, DC_MORE) : walk(parser, window, blocks, DC_FIRST);
}

static int all_planes(const Parser *parser) {
    for (int i = 0; i < parser->header.planes; i++)
        if (parser->bits[i][0] < 0) return 0;
    return 1;
}

/* All scans, up to the end of the file; of sequential ones until every plane is there. */
static int read_scans(Parser *parser, const Window *window, int16_t *const *blocks) {
    for (;;) {
        int code = jpeg_next(parser);
        if (code == JPEG_END) return all_planes(parser) ? JPEG_OK : JPEG_MISSING_PLANE;
        if (code < 0) return code;
        if (parser->header.progressive)
            code = progressive_scan(parser, window, blocks);
        else
            code = sequential_scan(parser, window, blocks);
        if (code || (!parser->header.progressive && all_planes(parser))) return code;
    }
}

/* Size, planes and the like; tables of planes of the first scan only. */
EXPORT int32_t jpeg_header(const uint8_t *data, int64_t size, Header *header) {
    Parser *parser = malloc(sizeof *parser);
    if (!parser) return JPEG_NO_MEMORY;
    int code = jpeg_open(parser, data, size, 0);
    if (!code) code = jpeg_next(parser);
    *header = parser->header;
    free(parser);
    if (code == JPEG_END) return JPEG_NO_PICTURE;
    return code < 0 ? code : JPEG_OK;
}

/* Coefficients into `blocks`, by plane, natural order: as many as `header` (of jpeg_header, of the same data) says, or
   those of the window of a file of one scan. On return the header has all tables. */
EXPORT int32_t jpeg_read(
    const uint8_t *data, int64_t size, Header *header, const Window *given, int16_t *const *blocks) {
    Window window = {0, header->mcu_rows, 0, header->mcu_columns};
    if (given && header->one_scan) window = *given;
    Parser *parser = malloc(sizeof *parser);
    uint8_t *segment = malloc((size_t)size + PAD);
    int code = parser && segment ? jpeg_open(parser, data, size, 1) : JPEG_NO_MEMORY;
    if (!code) {
        parser->segment = segment;
        if (!header->one_scan)
            for (int i = 0; i < header->planes; i++) {
                const Plane *plane = &header->plane[i];
                memset(blocks[i], 0, sizeof **blocks * BLOCK * (size_t)plane->rows * (size_t)plane->columns);
            }
        code = read_scans(parser, &window, blocks);
        if (!code) *header = parser->header;
    }
    free(segment);
    free(parser);
    return code;
}
