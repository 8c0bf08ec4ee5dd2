/* JPEG files (ITU-T T.81): what the parts of the reader and of the writer share. */

#ifndef JPEG_H
#define JPEG_H

#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))
#define EXPORT __attribute__((visibility("default")))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

enum { MOST_PLANES = 3, BLOCK = 64, MOST_MCU_BLOCKS = 10, MOST_SCANS = 256 };

/* Of coefficients and, in bits, of what is coded of them. */
enum { MOST_DC = 2047, MOST_AC = 1023, MOST_DC_SIZE = 12, MOST_AC_SIZE = 10 };

/* What can be wrong with a file; `jpeg/file.py` puts it into words. */
enum {
    JPEG_OK = 0,
    JPEG_NO_MEMORY = -1,
    JPEG_NO_JPEG = -2,
    JPEG_TRUNCATED = -3,
    JPEG_DAMAGED = -4,
    JPEG_ARITHMETIC = -5,
    JPEG_LOSSLESS = -6,
    JPEG_HIERARCHICAL = -7,
    JPEG_BITS = -8,
    JPEG_NO_HEIGHT = -9,
    JPEG_COMPONENTS = -10,
    JPEG_SAMPLING = -11,
    JPEG_NO_HUFFMAN = -12,
    JPEG_NO_QUANTISER = -13,
    JPEG_NO_PICTURE = -14,
    JPEG_MISSING_PLANE = -15,
    JPEG_SCANS = -16,
    JPEG_NO_ROOM = -17,
    JPEG_COEFFICIENT = -18,
};

enum { COLOUR_GREY = 0, COLOUR_YCC = 1, COLOUR_RGB = 2 };

typedef struct {
    int32_t id, h, v;
    int32_t rows, columns;             /* blocks in store, whole MCUs */
    int32_t shown_rows, shown_columns; /* blocks that the picture covers */
    int32_t quantiser;                 /* number of its table, 0..3 */
    uint16_t table[BLOCK];             /* that table, natural order v * 8 + u */
} Plane;

typedef struct {
    int32_t height, width, planes, progressive, one_scan, orientation, colour;
    int32_t mcu_rows, mcu_columns, most_h, most_v;
    Plane plane[MOST_PLANES];
} Header;

/* MCUs to keep, [begin, end): of a file of one scan only these are stored, and nothing below them is read. */
typedef struct {
    int32_t row_begin, row_end, column_begin, column_end;
} Window;

/* Place in a block, natural order v * 8 + u, of the k-th coefficient of a scan. */
extern const uint8_t jpeg_natural[BLOCK];

#endif
