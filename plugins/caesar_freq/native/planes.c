/* Entropy coding of transform coefficients that are already quantised: of cosine blocks in place, and of boxes (the bands
   of a wavelet, or corrections of values).

   The context of a coefficient is a sum of magnitudes: of the same frequency in the blocks before, of the frequencies just
   below in the same block, and the running mean of its frequency. In a box: of values before, and of the one that covers
   the same place in the next coarser band. */

#include <stdlib.h>
#include <string.h>

#include "symbols.h"
#include "wide.h"

enum { OK = 0, NO_MEMORY = -1, NO_ROOM = -2, AXES = 3, MODELS = 4, MOST = 4095, MEAN_ONE = 16, MEAN_RATE = 4 };

typedef struct {
    int64_t shape[AXES], blocks[AXES];
} Blocks;

typedef struct {
    Writer *w;
    Reader *r;
    Model *models;
    int32_t *q;
} Coder;

INLINE uint32_t magnitude(int32_t q) {
    const uint32_t m = q < 0 ? 0u - (uint32_t)q : (uint32_t)q;
    return m > MOST ? MOST : m;
}

INLINE uint32_t code(Coder *c, int model, uint32_t energy, int64_t at) {
    if (c->w)
        put_symbol(c->w, c->models + model, level_of(energy), 4, c->q[at]);
    else
        c->q[at] = get_symbol(c->r, c->models + model, level_of(energy), 4);
    return magnitude(c->q[at]);
}

INLINE int64_t block_begin(const Blocks *b, int axis, int64_t i) { return i * b->shape[axis] / b->blocks[axis]; }

/* Where the same frequency lies in the block before along an axis, or -1. */
INLINE int64_t before(const Blocks *b, int axis, int64_t i, int64_t frequency) {
    if (i == 0) return -1;
    const int64_t begin = block_begin(b, axis, i - 1), length = block_begin(b, axis, i) - begin;
    return frequency < length ? begin + frequency : -1;
}

INLINE void code_block(Coder *c, const Blocks *b, const int64_t *place, const int64_t *longest, uint32_t *means) {
    int64_t begin[AXES], length[AXES];
    const int64_t stride[AXES] = {b->shape[1] * b->shape[2], b->shape[2], 1};
    for (int x = 0; x < AXES; x++) {
        begin[x] = block_begin(b, x, place[x]);
        length[x] = block_begin(b, x, place[x] + 1) - begin[x];
    }
    for (int64_t u = 0; u < length[0]; u++)
        for (int64_t v = 0; v < length[1]; v++)
            for (int64_t w = 0; w < length[2]; w++) {
                const int64_t f[AXES] = {u, v, w};
                const int64_t at = (begin[0] + u) * stride[0] + (begin[1] + v) * stride[1] + begin[2] + w;
                uint32_t *mean = means + (u * longest[1] + v) * longest[2] + w, near = 0, below = 0;
                for (int x = 0; x < AXES; x++) {
                    const int64_t other = before(b, x, place[x], f[x]);
                    if (other >= 0) near += magnitude(c->q[at + (other - begin[x] - f[x]) * stride[x]]);
                    if (f[x]) below += magnitude(c->q[at - stride[x]]);
                }
                const uint32_t energy = *mean * 16 / MEAN_ONE + 3 * near + 2 * below;
                const int64_t sum = u + v + w;
                const uint32_t m = code(c, sum == 0 ? 0 : sum < 4 ? 1 : sum < 16 ? 2 : 3, energy, at);
                *mean += ((int32_t)(m * MEAN_ONE) - (int32_t)*mean) / (1 << MEAN_RATE);
            }
}

INLINE int code_blocks(Coder *c, const Blocks *b) {
    int64_t longest[AXES], place[AXES];
    for (int x = 0; x < AXES; x++) longest[x] = (b->shape[x] + b->blocks[x] - 1) / b->blocks[x];
    uint32_t *means = calloc((size_t)(longest[0] * longest[1] * longest[2]), sizeof(uint32_t));
    if (!means) return NO_MEMORY;
    for (place[0] = 0; place[0] < b->blocks[0]; place[0]++)
        for (place[1] = 0; place[1] < b->blocks[1]; place[1]++)
            for (place[2] = 0; place[2] < b->blocks[2]; place[2]++) code_block(c, b, place, longest, means);
    free(means);
    return OK;
}

/* Parts of an array, one after the other, coarse ones first. `parent` is where the box begins that covers the same places
   at half the resolution, or -1. */
typedef struct {
    int64_t begin[AXES], size[AXES], parent[AXES];
} Box;

INLINE void code_box(Coder *c, const int64_t *shape, const Box *box, int model) {
    const int64_t stride[AXES] = {shape[1] * shape[2], shape[2], 1};
    for (int64_t t = 0; t < box->size[0]; t++)
        for (int64_t h = 0; h < box->size[1]; h++)
            for (int64_t x = 0; x < box->size[2]; x++) {
                const int64_t at = (box->begin[0] + t) * stride[0] + (box->begin[1] + h) * stride[1] + box->begin[2] + x;
                uint32_t energy = 0;
                if (x) energy += 7 * magnitude(c->q[at - 1]);
                if (x > 1) energy += 2 * magnitude(c->q[at - 2]);
                if (h) energy += 7 * magnitude(c->q[at - stride[1]]);
                if (h && x + 1 < box->size[2]) energy += 3 * magnitude(c->q[at - stride[1] + 1]);
                if (h && x) energy += 3 * magnitude(c->q[at - stride[1] - 1]);
                if (t) energy += 6 * magnitude(c->q[at - stride[0]]);
                if (box->parent[0] >= 0)
                    energy += 4 * magnitude(c->q[(box->parent[0] + t / 2) * stride[0] + (box->parent[1] + h / 2) * stride[1] +
                                                 box->parent[2] + x / 2]);
                code(c, model, energy, at);
            }
}

INLINE int run(Coder *c, const Blocks *blocks, const Box *boxes, int64_t count) {
    c->models = malloc(sizeof(Model) * MODELS);
    if (!c->models) return NO_MEMORY;
    for (int i = 0; i < MODELS; i++) start_model(c->models + i);
    int result = OK;
    for (int64_t i = 0; i < count; i++) code_box(c, blocks->shape, boxes + i, count - i > MODELS ? 0 : (int)(MODELS - count + i));
    if (!count) result = code_blocks(c, blocks);
    free(c->models);
    return result;
}

/* Size of the stream, or an error. */
INLINE int64_t encode_planes(const Blocks *blocks, const Box *boxes, int64_t count, int32_t *q, uint8_t *out, int64_t room) {
    Writer writer;
    start_writer(&writer, out, room);
    Coder coder = {.w = &writer, .q = q};
    const int result = run(&coder, blocks, boxes, count);
    if (result) return result;
    finish_writer(&writer);
    return writer.size > room ? NO_ROOM : writer.size;
}

INLINE int decode_planes(const Blocks *blocks, const Box *boxes, int64_t count, int32_t *q, const uint8_t *data,
                         int64_t size) {
    Reader reader;
    start_reader(&reader, data, size);
    Coder coder = {.r = &reader, .q = q};
    return run(&coder, blocks, boxes, count);
}

EXPORTED(int64_t, encode_planes,
         (const Blocks *blocks, const Box *boxes, int64_t count, int32_t *q, uint8_t *out, int64_t room),
         (blocks, boxes, count, q, out, room))
EXPORTED(int, decode_planes,
         (const Blocks *blocks, const Box *boxes, int64_t count, int32_t *q, const uint8_t *data, int64_t size),
         (blocks, boxes, count, q, data, size))
