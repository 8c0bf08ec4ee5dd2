/* Planes of quantised DCT coefficients as pixels, in integers: the same picture on every machine, and the one that
   libjpeg makes of the same file with its default settings.

   Sources: C. Loeffler, A. Ligtenberg, G. Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications", ICASSP
   1989, with the constants of 13 bits of libjpeg's accurate integer transform; its triangle filter for halved chroma;
   and ITU-T T.871 (JFIF) for colour. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { BITS = 13, PASS = 2, LARGEST = 8191, LARGEST_PASS = 16383, NO_MEMORY = -1 };

static int32_t within(int64_t x, int32_t limit) { return (int32_t)(x > limit ? limit : x < -limit ? -limit : x); }
static uint8_t level(int32_t x) { return (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x); }

/* One transform of 8 values, results in 1/2^BITS. */
static void inverse(const int32_t in[8], int32_t out[8]) {
    const int32_t z1 = (in[2] + in[6]) * 4433, even2 = z1 - in[6] * 15137, even3 = z1 + in[2] * 6270;
    const int32_t even0 = (in[0] + in[4]) * (1 << BITS), even1 = (in[0] - in[4]) * (1 << BITS);
    const int32_t a0 = even0 + even3, a3 = even0 - even3, a1 = even1 + even2, a2 = even1 - even2;
    const int32_t z5 = (in[7] + in[3] + in[5] + in[1]) * 9633;
    const int32_t z3 = z5 - (in[7] + in[3]) * 16069, z4 = z5 - (in[5] + in[1]) * 3196;
    const int32_t z17 = (in[7] + in[1]) * -7373, z35 = (in[5] + in[3]) * -20995;
    const int32_t b0 = in[7] * 2446 + z17 + z3, b1 = in[5] * 16819 + z35 + z4;
    const int32_t b2 = in[3] * 25172 + z35 + z3, b3 = in[1] * 12299 + z17 + z4;
    const int32_t a[4] = {a0, a1, a2, a3}, b[4] = {b3, b2, b1, b0};
    for (int i = 0; i < 4; i++) {
        out[i] = a[i] + b[i];
        out[7 - i] = a[i] - b[i];
    }
}

static void block_pixels(const int16_t *block, const uint16_t *table, uint8_t *out, int64_t stride) {
    int32_t passed[64], in[8], line[8];
    for (int x = 0; x < 8; x++) {
        for (int y = 0; y < 8; y++) in[y] = within((int64_t)block[8 * y + x] * table[8 * y + x], LARGEST);
        inverse(in, line);
        for (int y = 0; y < 8; y++)
            passed[8 * y + x] = within((line[y] + (1 << (BITS - PASS - 1))) >> (BITS - PASS), LARGEST_PASS);
    }
    for (int y = 0; y < 8; y++) {
        inverse(passed + 8 * y, line);
        for (int x = 0; x < 8; x++)
            out[y * stride + x] = level(((line[x] + (1 << (BITS + PASS + 2))) >> (BITS + PASS + 3)) + 128);
    }
}

/* (rows 8) x (columns 8) samples of a plane. */
EXPORT void pixels_of_blocks(
    const int16_t *blocks, const uint16_t *table, int64_t rows, int64_t columns, uint8_t *out) {
    for (int64_t y = 0; y < rows; y++)
        for (int64_t x = 0; x < columns; x++)
            block_pixels(blocks + 64 * (y * columns + x), table, out + (8 * y * columns + x) * 8, 8 * columns);
}

/* ---- chroma to full size --------------------------------------------------------------------------------------- */

/* A row of `n` weighted sums, in 1/`scale`, to twice as many pixels: 3/4 of the nearer and 1/4 of the farther one. */
static void double_row(
    const int32_t *sum, int64_t n, int32_t scale, int32_t round_left, int32_t round_right, uint8_t *out) {
    for (int64_t x = 0; x < n; x++) {
        const int32_t left = x ? sum[x - 1] : sum[x], right = x + 1 < n ? sum[x + 1] : sum[x];
        out[2 * x] = (uint8_t)((3 * sum[x] + left + round_left) / (4 * scale));
        out[2 * x + 1] = (uint8_t)((3 * sum[x] + right + round_right) / (4 * scale));
    }
}

/* A plane of `height` x `width` samples, `stride` apart, at `down` x `across` times its size; 2 by the triangle filter,
   others by repetition. `out` has (height down) x (width across) places. */
EXPORT int pixels_enlarge(
    const uint8_t *in, int64_t height, int64_t width, int64_t stride, int32_t down, int32_t across, uint8_t *out) {
    const int64_t wide = width * across;
    const int smooth_across = across == 2 && down <= 2 && width > 2;
    const int smooth_down = down == 2 && (across == 1 || smooth_across);
    int32_t *sum = malloc((size_t)width * sizeof *sum);
    if (!sum) return NO_MEMORY;
    for (int64_t y = 0; y < height * down; y++, out += wide) {
        const int64_t here = y / down, step = y % down ? 1 : -1, next = here + step;
        const uint8_t *a = in + here * stride, *b = in + (next < 0 || next >= height ? here : next) * stride;
        for (int64_t x = 0; x < width; x++) sum[x] = smooth_down ? 3 * a[x] + b[x] : a[x];
        if (smooth_across && smooth_down)
            double_row(sum, width, 4, 8, 7, out);
        else if (smooth_across)
            double_row(sum, width, 1, 1, 2, out);
        else if (smooth_down)
            for (int64_t x = 0; x < width; x++) out[x] = (uint8_t)((sum[x] + (step < 0 ? 1 : 2)) >> 2);
        else
            for (int64_t x = 0; x < wide; x++) out[x] = a[x / across];
    }
    free(sum);
    return 0;
}

/* ---- colour ---------------------------------------------------------------------------------------------------- */

/* `n` pixels of planes Y, Cb, Cr to red, green and blue side by side. */
EXPORT void pixels_rgb(const uint8_t *luma, const uint8_t *cb, const uint8_t *cr, int64_t n, uint8_t *out) {
    for (int64_t i = 0; i < n; i++) {
        const int32_t y = luma[i], b = cb[i] - 128, r = cr[i] - 128;
        out[3 * i] = level(y + ((91881 * r + 32768) >> 16));
        out[3 * i + 1] = level(y + ((-22554 * b - 46802 * r + 32768) >> 16));
        out[3 * i + 2] = level(y + ((116130 * b + 32768) >> 16));
    }
}
