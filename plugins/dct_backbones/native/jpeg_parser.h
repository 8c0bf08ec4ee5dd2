/* State of reading one file. */

#ifndef JPEG_PARSER_H
#define JPEG_PARSER_H

#include "jpeg_bits.h"

typedef struct {
    int32_t planes, plane[MOST_PLANES], dc[MOST_PLANES], ac[MOST_PLANES];
    int32_t first, last, high, low; /* band of coefficients, and bits before and after this scan */
} Scan;

typedef struct {
    const uint8_t *data;
    int64_t size, at;
    int32_t tables_wanted; /* whether Huffman tables are read */
    int32_t framed, jfif, exif, adobe; /* `adobe`: its transform, or -1 */
    int32_t restart_interval, scans;
    int32_t quantiser_defined[4];
    uint16_t quantisers[4][BLOCK];
    Header header;
    Scan scan;
    Huffman huffman[2][4];       /* DC, AC */
    int8_t bits[MOST_PLANES][BLOCK]; /* of a progressive file: lowest bit that is known, or -1 */
    uint8_t latched[MOST_PLANES];    /* planes whose table is known: that in force when their first scan began */
    uint8_t *segment;            /* of size + PAD bytes */
    int32_t restart;             /* number of the next restart marker */
} Parser;

enum { JPEG_SCAN = 1, JPEG_END = 2 };

int jpeg_open(Parser *parser, const uint8_t *data, int64_t size, int tables_wanted);

/* JPEG_SCAN with `scan` set, JPEG_END, or what is wrong. */
int jpeg_next(Parser *parser);

#endif
