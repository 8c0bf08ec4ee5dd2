/* From blocks of a plane to the tensor that a network reads: [channels, rows, columns], turned, scaled and shifted. */

#include <stddef.h>

#include "jpeg.h"

/* Of out[k][row][column]: where in a block, natural order 8 v + u, and what becomes of it: x * factor + shift. */
typedef struct {
    int32_t rows, columns;                      /* of the output */
    int32_t transposed, rows_back, columns_back; /* the last two of the input */
    int32_t count;
    const int32_t *index;
    const float *factor, *shift;
} Gather;

enum { STRIP = 32 };

#define DEFINE_GATHER(NAME, TYPE)                                                                                        \
    /* `stride`: blocks from one row of the input to the next. */                                                        \
    EXPORT void NAME(const TYPE *blocks, int64_t stride, const uint16_t *table, const Gather *plan, float *out) {        \
        const int64_t rows = plan->transposed ? plan->columns : plan->rows;                                              \
        const int64_t columns = plan->transposed ? plan->rows : plan->columns;                                           \
        const ptrdiff_t down = (plan->rows_back ? -stride : stride) * BLOCK;                                             \
        const ptrdiff_t across = plan->columns_back ? -BLOCK : BLOCK;                                                    \
        const ptrdiff_t next_row = plan->transposed ? across : down, next = plan->transposed ? down : across;            \
        const int64_t area = (int64_t)plan->rows * plan->columns;                                                        \
        const TYPE *first = blocks + ((plan->rows_back ? rows - 1 : 0) * stride + (plan->columns_back ? columns - 1 : 0)) * BLOCK; \
        for (int32_t row = 0; row < plan->rows; row++)                                                                   \
            for (int32_t begin = 0; begin < plan->columns; begin += STRIP) {                                             \
                const int32_t end = begin + STRIP < plan->columns ? begin + STRIP : plan->columns;                       \
                for (int32_t k = 0; k < plan->count; k++) {                                                              \
                    const int32_t index = plan->index[k];                                                                \
                    const float factor = plan->factor[k] * (table ? (float)table[index] : 1.0f), shift = plan->shift[k]; \
                    const TYPE *from = first + row * next_row + begin * next + index;                                    \
                    float *to = out + k * area + (int64_t)row * plan->columns;                                           \
                    for (int32_t column = begin; column < end; column++, from += next)                                   \
                        to[column] = (float)*from * factor + shift;                                                      \
                }                                                                                                        \
            }                                                                                                            \
    }

DEFINE_GATHER(gather_integers, int16_t)
DEFINE_GATHER(gather_floats, float)
