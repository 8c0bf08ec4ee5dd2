/* Markers and their segments (T.81, annex B). Every length is checked against the data before it is used. */

#include "jpeg_parser.h"

const uint8_t jpeg_natural[BLOCK] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
};

enum { SOI = 0xD8, EOI = 0xD9, SOS = 0xDA, DQT = 0xDB, DHT = 0xC4, DRI = 0xDD, APP0 = 0xE0, APP1 = 0xE1, APP14 = 0xEE };

typedef struct {
    const uint8_t *at;
    int64_t left;
} Segment;

static int32_t two(const uint8_t *at) { return at[0] << 8 | at[1]; }

int jpeg_open(Parser *parser, const uint8_t *data, int64_t size, int tables_wanted) {
    parser->data = data, parser->size = size, parser->at = 2, parser->tables_wanted = tables_wanted;
    parser->framed = parser->jfif = parser->exif = parser->restart_interval = parser->scans = parser->restart = 0;
    parser->adobe = -1, parser->segment = NULL;
    memset(parser->quantiser_defined, 0, sizeof parser->quantiser_defined);
    memset(&parser->header, 0, sizeof parser->header);
    memset(parser->bits, -1, sizeof parser->bits);
    memset(parser->latched, 0, sizeof parser->latched);
    parser->header.orientation = 1;
    for (int i = 0; i < 8; i++) parser->huffman[i / 4][i % 4].defined = 0;
    return size < 4 || data[0] != 0xFF || data[1] != SOI ? JPEG_NO_JPEG : JPEG_OK;
}

/* The next marker; what lies between segments is passed over, as other readers do. */
static int next_marker(Parser *parser) {
    while (parser->at + 1 < parser->size) {
        const uint8_t *found = memchr(parser->data + parser->at, 0xFF, (size_t)(parser->size - 1 - parser->at));
        if (!found) break;
        parser->at = found - parser->data + 1;
        const int code = parser->data[parser->at];
        if (code == 0xFF) continue;
        parser->at++;
        if (code) return code;
    }
    return JPEG_TRUNCATED;
}

static int next_segment(Parser *parser, Segment *segment) {
    if (parser->size - parser->at < 2) return JPEG_TRUNCATED;
    const int64_t length = two(parser->data + parser->at);
    if (length < 2) return JPEG_DAMAGED;
    if (length > parser->size - parser->at) return JPEG_TRUNCATED;
    segment->at = parser->data + parser->at + 2, segment->left = length - 2;
    parser->at += length;
    return JPEG_OK;
}

static int read_quantisers(Parser *parser, Segment s) {
    while (s.left > 0) {
        const int wide = s.at[0] >> 4, number = s.at[0] & 15, step = wide ? 2 : 1;
        if (wide > 1 || number > 3 || s.left < 1 + BLOCK * step) return JPEG_DAMAGED;
        for (int k = 0; k < BLOCK; k++) {
            const int32_t value = wide ? two(s.at + 1 + 2 * k) : s.at[1 + k];
            if (!value) return JPEG_DAMAGED;
            parser->quantisers[number][jpeg_natural[k]] = (uint16_t)value;
        }
        parser->quantiser_defined[number] = 1;
        s.at += 1 + BLOCK * step, s.left -= 1 + BLOCK * step;
    }
    return JPEG_OK;
}

static int read_huffman(Parser *parser, Segment s) {
    while (s.left > 0) {
        const int kind = s.at[0] >> 4, number = s.at[0] & 15;
        if (kind > 1 || number > 3 || s.left < 17) return JPEG_DAMAGED;
        int32_t count = 0;
        for (int i = 1; i <= 16; i++) count += s.at[i];
        if (count > 256 || s.left < 17 + count) return JPEG_DAMAGED;
        const int code = jpeg_huffman_define(&parser->huffman[kind][number], s.at + 1, s.at + 17, count);
        if (code) return code;
        s.at += 17 + count, s.left -= 17 + count;
    }
    return JPEG_OK;
}

/* Orientation of EXIF (tag 0x0112 of the first directory of a TIFF file); whatever does not fit is passed over. As in
   other readers the first segment counts, and none behind the first scan. */
static void read_exif(Parser *parser, Segment s) {
    if (parser->exif || parser->scans || s.left < 14 || memcmp(s.at, "Exif\0\0", 6)) return;
    parser->exif = 1;
    const uint8_t *tiff = s.at + 6;
    const int64_t size = s.left - 6;
    const int big = tiff[0] == 'M';
    if (tiff[0] != tiff[1] || (tiff[0] != 'M' && tiff[0] != 'I')) return;
#define SHORT(x) (uint32_t)(big ? (x)[0] << 8 | (x)[1] : (x)[1] << 8 | (x)[0])
    if (SHORT(tiff + 2) != 42) return;
    const uint8_t *high = tiff + (big ? 4 : 6), *low = tiff + (big ? 6 : 4);
    const int64_t directory = (int64_t)SHORT(high) << 16 | SHORT(low);
    if (directory > size - 2) return;
    const int64_t entries = SHORT(tiff + directory);
    for (int64_t i = 0, at = directory + 2; i < entries && at <= size - 12; i++, at += 12)
        if (SHORT(tiff + at) == 0x0112 && SHORT(tiff + at + 2) == 3) {
            const uint32_t value = SHORT(tiff + at + 8);
            if (value >= 1 && value <= 8) parser->header.orientation = (int32_t)value;
            return;
        }
#undef SHORT
}

static int64_t over(int64_t a, int64_t b) { return (a + b - 1) / b; }

static void lay_out(Header *h) {
    if (h->planes == 1) h->plane[0].h = h->plane[0].v = 1; /* factors of a lone plane mean nothing */
    h->most_h = h->most_v = 1;
    for (int i = 0; i < h->planes; i++) {
        if (h->plane[i].h > h->most_h) h->most_h = h->plane[i].h;
        if (h->plane[i].v > h->most_v) h->most_v = h->plane[i].v;
    }
    h->mcu_rows = (int32_t)over(h->height, 8 * h->most_v), h->mcu_columns = (int32_t)over(h->width, 8 * h->most_h);
    for (int i = 0; i < h->planes; i++) {
        Plane *p = &h->plane[i];
        p->rows = h->mcu_rows * p->v, p->columns = h->mcu_columns * p->h;
        p->shown_rows = (int32_t)over((int64_t)h->height * p->v, 8 * h->most_v);
        p->shown_columns = (int32_t)over((int64_t)h->width * p->h, 8 * h->most_h);
    }
}

static int read_frame(Parser *parser, Segment s, int code) {
    Header *h = &parser->header;
    if (parser->framed || s.left < 6) return JPEG_DAMAGED;
    if (s.at[0] != 8) return JPEG_BITS;
    h->height = two(s.at + 1), h->width = two(s.at + 3), h->planes = s.at[5], h->progressive = code == 0xC2;
    if (!h->height) return JPEG_NO_HEIGHT;
    if (!h->width) return JPEG_DAMAGED;
    if (h->planes != 1 && h->planes != 3) return JPEG_COMPONENTS;
    if (s.left != 6 + 3 * h->planes) return JPEG_DAMAGED;
    for (int i = 0; i < h->planes; i++) {
        Plane *p = &h->plane[i];
        const uint8_t *at = s.at + 6 + 3 * i;
        p->id = at[0], p->h = at[1] >> 4, p->v = at[1] & 15, p->quantiser = at[2];
        if (p->h < 1 || p->h > 4 || p->v < 1 || p->v > 4) return JPEG_SAMPLING;
        if (p->quantiser > 3) return JPEG_DAMAGED;
        for (int j = 0; j < i; j++)
            if (h->plane[j].id == p->id) return JPEG_DAMAGED;
    }
    lay_out(h);
    parser->framed = 1;
    return JPEG_OK;
}

/* As libjpeg tells it. */
static int32_t colour_of(const Parser *parser) {
    const Header *h = &parser->header;
    if (h->planes == 1) return COLOUR_GREY;
    if (parser->jfif) return COLOUR_YCC;
    if (parser->adobe >= 0) return parser->adobe ? COLOUR_YCC : COLOUR_RGB;
    return h->plane[0].id == 'R' && h->plane[1].id == 'G' && h->plane[2].id == 'B' ? COLOUR_RGB : COLOUR_YCC;
}

static int read_scan(Parser *parser, Segment s) {
    Header *h = &parser->header;
    Scan *scan = &parser->scan;
    if (!parser->framed || s.left < 1) return JPEG_DAMAGED;
    scan->planes = s.at[0];
    if (scan->planes < 1 || scan->planes > h->planes || s.left != 4 + 2 * scan->planes) return JPEG_DAMAGED;
    int blocks = 0;
    for (int i = 0; i < scan->planes; i++) {
        int found = -1;
        for (int j = 0; j < h->planes; j++)
            if (h->plane[j].id == s.at[1 + 2 * i]) found = j;
        for (int j = 0; j < i; j++)
            if (scan->plane[j] == found) found = -1;
        scan->plane[i] = found, scan->dc[i] = s.at[2 + 2 * i] >> 4, scan->ac[i] = s.at[2 + 2 * i] & 15;
        if (found < 0 || scan->dc[i] > 3 || scan->ac[i] > 3) return JPEG_DAMAGED;
        blocks += h->plane[found].h * h->plane[found].v;
        if (!parser->latched[found]) {
            if (!parser->quantiser_defined[h->plane[found].quantiser]) return JPEG_NO_QUANTISER;
            memcpy(h->plane[found].table, parser->quantisers[h->plane[found].quantiser], sizeof h->plane[found].table);
            parser->latched[found] = 1;
        }
    }
    if (scan->planes > 1 && blocks > MOST_MCU_BLOCKS) return JPEG_SAMPLING;
    const uint8_t *band = s.at + 1 + 2 * scan->planes;
    scan->first = band[0], scan->last = band[1], scan->high = band[2] >> 4, scan->low = band[2] & 15;
    if (++parser->scans > MOST_SCANS) return JPEG_SCANS;
    if (parser->scans == 1) {
        h->one_scan = !h->progressive && scan->planes == h->planes;
        h->colour = colour_of(parser);
    }
    return JPEG_SCAN;
}

/* Frames that are not read: what is the matter with each. */
static int refused(int code) {
    switch (code) {
    case 0xC3: case 0xC8: case 0xCB: return JPEG_LOSSLESS;
    case 0xC5: case 0xC6: case 0xC7: case 0xCD: case 0xCE: case 0xCF: case 0xDE: case 0xDF: return JPEG_HIERARCHICAL;
    case 0xC9: case 0xCA: case 0xCC: return JPEG_ARITHMETIC;
    default: return JPEG_OK;
    }
}

static int read_segment(Parser *parser, Segment s, int code) {
    switch (code) {
    case 0xC0: case 0xC1: case 0xC2: return read_frame(parser, s, code);
    case SOS: return read_scan(parser, s);
    case DQT: return read_quantisers(parser, s);
    case DHT: return parser->tables_wanted ? read_huffman(parser, s) : JPEG_OK;
    case DRI:
        if (s.left != 2) return JPEG_DAMAGED;
        parser->restart_interval = two(s.at);
        return JPEG_OK;
    case APP0:
        if (s.left >= 5 && !memcmp(s.at, "JFIF", 5)) parser->jfif = 1;
        return JPEG_OK;
    case APP1: read_exif(parser, s); return JPEG_OK;
    case APP14:
        if (s.left >= 12 && !memcmp(s.at, "Adobe", 5)) parser->adobe = s.at[11];
        return JPEG_OK;
    default: return refused(code);
    }
}

int jpeg_next(Parser *parser) {
    for (;;) {
        Segment segment;
        const int code = next_marker(parser);
        if (code < 0) return code;
        if (code == EOI) return parser->framed ? JPEG_END : JPEG_NO_PICTURE;
        if (code == 0x01 || (code >= 0xD0 && code <= 0xD7)) continue; /* these have no segment */
        if (code == SOI) return JPEG_DAMAGED;
        int result = next_segment(parser, &segment);
        if (!result) result = read_segment(parser, segment, code);
        if (result) return result;
    }
}
