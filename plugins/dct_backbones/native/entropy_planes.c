/* Entropy coder for the quantised DCT coefficients of a picture's planes, one stream for each.

   Adaptive binary range coding, with several contexts mixed for each decision. All arithmetic is on integers, so that
   every machine writes and reads the same bytes. Every read and write is bounded by the sizes that the caller gives; a
   damaged stream gives an error or other coefficients, which the check of the symbols finds. */

#include <stdlib.h>

#include "entropy_block.h"

enum { OK = 0, NO_MEMORY = -1, DAMAGED = -2 };
enum { MOST_VALUE = 4095 }; /* of a dequantised coefficient; those of pictures of 8 bits are below 2048 */

static const int16_t zeros[64];
static const Trace blank;

static Counts count_values(const int16_t *block) {
    Counts n = {0};
    for (int v = 1; v < 8; v++) {
        n.edge[0] += block[8 * v] != 0;
        n.edge[1] += block[v] != 0;
        for (int u = 1; u < 8; u++) n.inside += block[8 * v + u] != 0;
    }
    return n;
}

static void dequantise(const int16_t *block, const uint16_t *table, int32_t values[64]) {
    for (int i = 0; i < 64; i++) {
        const int64_t value = (int64_t)block[i] * table[i];
        values[i] = (int32_t)(value > MOST_VALUE ? MOST_VALUE : value < -MOST_VALUE ? -MOST_VALUE : value);
    }
}

/* Columns (or rows) 0, 1, 6 and 7 of a block in 1/8 grey levels. */
static void border_pixels(const int32_t values[64], int row, int32_t pixels[4][8]) {
    const int along = row ? 1 : 8, cross = row ? 8 : 1;
    static const int at[4] = {0, 1, 6, 7};
    for (int k = 0; k < 4; k++) {
        int32_t part[8];
        for (int i = 0; i < 8; i++) {
            int32_t sum = 0;
            for (int j = 0; j < 8; j++) sum += basis[at[k]][j] * values[i * along + j * cross];
            part[i] = sum >> 8;
        }
        for (int x = 0; x < 8; x++) {
            int32_t sum = 0;
            for (int i = 0; i < 8; i++) sum += basis[x][i] * part[i];
            pixels[k][x] = sum >> 11;
        }
    }
}

/* Expectations of the mean from every pixel along both borders: that slopes of both blocks meet half way. `values` are
   without the mean. Fills the pixels of `mine`. */
static Expected expect_mean(const Site *s, const int32_t values[64], Trace *mine) {
    int sums[2] = {0, 0}, low = INT32_MAX, high = INT32_MIN;
    const int there[2] = {s->has_left, s->has_above}, steps = steps_of(s->plane, 0);
    for (int row = 0; row < 2; row++) {
        int32_t pixels[4][8];
        border_pixels(values, row, pixels);
        memcpy(mine->pixels[row][0], pixels[3], sizeof pixels[3]);
        memcpy(mine->pixels[row][1], pixels[2], sizeof pixels[2]);
        const int32_t(*next)[8] = s->traces[row]->pixels[row];
        for (int i = 0; i < 8 && there[row]; i++) {
            const int mean = (3 * next[0][i] - next[1][i] - 3 * pixels[0][i] + pixels[1][i]) / 2;
            sums[row] += mean;
            low = mean < low ? mean : low;
            high = mean > high ? mean : high;
        }
    }
    const int count = 8 * (there[0] + there[1]);
    if (!count) return (Expected){0, 0, 0};
    const int differ = count == 16 ? (sums[1] - sums[0]) / steps / 4 : 0;
    return (Expected){8 * (sums[0] + sums[1]) / (count * steps), 8 * (high - low) / (4 * steps), differ};
}

/* What later blocks need of a block that is known; `values` without the mean. */
static void keep_trace(const Site *s, int32_t values[64], Trace *mine) {
    const int64_t first = (int64_t)s->known[0] * s->plane->table[0];
    const int32_t mean = (int32_t)(first > MOST_VALUE ? MOST_VALUE : first < -MOST_VALUE ? -MOST_VALUE : first);
    for (int i = 0; i < 32; i++) (&mine->pixels[0][0][0])[i] += mean;
    values[0] = mean;
    for (int row = 0; row < 2; row++)
        for (int which = 0; which < 2; which++)
            for (int i = 1; i < 8; i++) {
                const int32_t *line = values + (row ? i : 8 * i);
                int32_t sum = 0;
                for (int k = 0; k < 8; k++) {
                    const int32_t part = edge_basis[which][k] * line[row ? 8 * k : k];
                    sum += k & 1 ? -part : part;
                }
                mine->beyond[row][which][i] = sum;
            }
}

static int code_block(Coder *c, Site *s, Trace *mine) {
    const Counts none = {0}, first = s->first ? count_values(s->first) : none;
    const Counts other = s->other ? count_values(s->other) : none;
    Counts counts;
    int32_t values[64];
    counts.inside = code_inside(c, s, &first, &other);
    if (counts.inside < 0) return DAMAGED;
    dequantise(s->known, s->plane->table, values);
    for (int row = 0; row < 2; row++) {
        counts.edge[row] = code_edge(c, s, row, counts.inside, values, first.edge[row], other.edge[row]);
        if (counts.edge[row] < 0) return DAMAGED;
    }
    dequantise(s->known, s->plane->table, values);
    mine->error = 0;
    if (s->plane->kept & 1) {
        const Expected expected = expect_mean(s, values, mine);
        mine->error = code_first(c, s, &expected);
    }
    keep_trace(s, values, mine);
    mine->counts = counts;
    return OK;
}

/* Blocks and traces around block (y, x). */
static Site look_around(const Plane *planes, int index, int y, int x, Trace *const lines[2]) {
    const Plane *p = planes + index;
    const ptrdiff_t w = p->columns;
    int16_t *here = p->blocks + 64 * (y * w + x);
    Site s = {.plane = p, .kind = index > 0, .here = here, .has_left = x > 0, .has_above = y > 0};
    const int there[NEIGHBOURS] = {x > 0, y > 0, x > 0 && y > 0, y > 0 && x + 1 < w, x > 1, y > 1};
    const ptrdiff_t away[NEIGHBOURS] = {-1, -w, -w - 1, 1 - w, -2, -2 * w};
    const Trace *traces[4] = {lines[0] + x - 1, lines[1] + x, lines[1] + x - 1, lines[1] + x + 1};
    for (int i = 0; i < NEIGHBOURS; i++) s.near[i] = there[i] ? here + 64 * away[i] : zeros;
    for (int i = 0; i < 4; i++) s.traces[i] = there[i] ? traces[i] : &blank;
    if (index) {
        const ptrdiff_t top = (int64_t)y * planes->rows / p->rows, left = (int64_t)x * planes->columns / w;
        s.first = planes->blocks + 64 * (top * planes->columns + left);
    }
    if (index == 2) s.other = planes[1].blocks + 64 * (y * w + x);
    return s;
}

static int code_plane(Coder *c, const Plane *planes, int index) {
    const Plane *p = planes + index;
    Trace *traces = calloc(2 * (size_t)p->columns, sizeof *traces);
    if (!traces) return NO_MEMORY;
    int result = OK;
    for (int y = 0; y < p->rows && result == OK; y++) {
        Trace *const lines[2] = {traces + (y & 1) * p->columns, traces + !(y & 1) * p->columns};
        for (int x = 0; x < p->columns && result == OK; x++) {
            Site s = look_around(planes, index, y, x, lines);
            result = code_block(c, &s, lines[0] + x);
            if (c->reader && c->reader->behind > MOST_LEFT_OUT) result = DAMAGED;
        }
    }
    free(traces);
    return result;
}

#define EXPORT __attribute__((visibility("default")))

/* Writes the streams of all planes one after the other to `out`, at most `room` bytes, and their sizes. Blocks must be
   0 where `kept` is not set; the third plane has the shape of the second, if there is one. */
EXPORT int entropy_encode(const Plane *planes, int32_t count, uint8_t *out, int64_t room, int64_t *sizes) {
    Model *model = malloc(sizeof *model);
    if (!model) return NO_MEMORY;
    start_model(model);
    int result = OK;
    for (int i = 0; i < count; i++) {
        Writer writer = {.range = UINT64_MAX, .out = out, .room = room};
        Coder coder = {.model = model, .writer = &writer};
        result = code_plane(&coder, planes, i);
        finish_writer(&writer);
        if (writer.size > room) result = DAMAGED;
        if (result != OK) break;
        sizes[i] = writer.size;
        out += writer.size;
        room -= writer.size;
    }
    free(model);
    return result;
}

/* Reads the streams of the first `streams` of all planes into their blocks, which must be 0. */
EXPORT int entropy_decode(const Plane *planes, int32_t streams, const uint8_t *const *data, const int64_t *sizes) {
    Model *model = malloc(sizeof *model);
    if (!model) return NO_MEMORY;
    start_model(model);
    int result = OK;
    for (int i = 0; i < streams && result == OK; i++) {
        Reader reader = {.range = UINT64_MAX, .next = data[i], .end = data[i] + sizes[i]};
        reader.code = next_bytes(&reader, 8);
        Coder coder = {.model = model, .reader = &reader};
        result = code_plane(&coder, planes, i);
    }
    free(model);
    return result;
}
