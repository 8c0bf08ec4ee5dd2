/* From blocks of a plane to the tensor that a network reads: [channels, rows, columns], turned, scaled and shifted. */

#include <stddef.h>

#include "jpeg.h"

/* Of out[k][row][column]: where in a block, natural order 8 v + u, and what becomes of it: x * factor + shift. */
typedef struct {
    int32_t rows, columns;                       /* of the output */
    int32_t transposed, rows_back, columns_back; /* the last two of the input */
    int32_t count;
    const int32_t *index;
    const float *factor, *shift;
} Gather;

enum { STRIP = 32 };

/* In values: where in the input the output begins, and the steps of its rows and columns. */
typedef struct {
    ptrdiff_t first, row, column;
} Way;

static Way way_of(int64_t stride, const Gather *plan) {
    const int64_t rows = plan->transposed ? plan->columns : plan->rows;
    const int64_t columns = plan->transposed ? plan->rows : plan->columns;
    const ptrdiff_t down = (plan->rows_back ? -stride : stride) * BLOCK;
    const ptrdiff_t across = plan->columns_back ? -BLOCK : BLOCK;
    const int64_t first = (plan->rows_back ? rows - 1 : 0) * stride + (plan->columns_back ? columns - 1 : 0);
    return (Way){first * BLOCK, plan->transposed ? across : down, plan->transposed ? down : across};
}

/* By strips of blocks, which stay in the cache while channel after channel is taken from them. Of `integers` and
   `floats` one is NULL; `table` holds the steps of integers. */
INLINE void gather(
    const int16_t *integers, const float *floats, int64_t stride, const uint16_t *table, const Gather *plan,
    float *out) {
    const Way way = way_of(stride, plan);
    const int64_t area = (int64_t)plan->rows * plan->columns;
    for (int32_t row = 0; row < plan->rows; row++)
        for (int32_t begin = 0; begin < plan->columns; begin += STRIP) {
            const int32_t count = begin + STRIP < plan->columns ? STRIP : plan->columns - begin;
            for (int32_t k = 0; k < plan->count; k++) {
                ptrdiff_t at = way.first + row * way.row + begin * way.column + plan->index[k];
                const float step = integers ? (float)table[plan->index[k]] : 1.0f;
                const float factor = plan->factor[k] * step, shift = plan->shift[k];
                float *to = out + k * area + (int64_t)row * plan->columns + begin;
                for (int32_t i = 0; i < count; i++, at += way.column)
                    to[i] = (integers ? (float)integers[at] : floats[at]) * factor + shift;
            }
        }
}

/* `stride`: blocks from one row of the input to the next. */
EXPORT void gather_integers(
    const int16_t *blocks, int64_t stride, const uint16_t *table, const Gather *plan, float *out) {
    gather(blocks, NULL, stride, table, plan, out);
}

EXPORT void gather_floats(const float *blocks, int64_t stride, const uint16_t *table, const Gather *plan, float *out) {
    gather(NULL, blocks, stride, table, plan, out);
}
