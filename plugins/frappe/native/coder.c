/* Entropy coder for planes of int8 latents: adaptive binary range coding with contexts from causal neighbours.

   A plane is coded row by row. Each value is first predicted (where the model has a predictor), then its residual is
   coded as binary decisions: is a run of 8 all zero, is it zero, its sign, is its magnitude above 1, 2, ... 14, and an
   Exp-Golomb rest. Which probability a decision uses follows from the activity: a weighted sum of magnitudes of
   neighbours in this plane and of co-located values in planes coded before. All arithmetic is on integers, so encoder
   and decoder agree on every machine. Every read and write is bounded by the sizes that the caller gives. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define INLINE static inline __attribute__((always_inline))
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("arch=haswell", "default")))
#else
#define WIDE
#endif

enum { LIMIT = 127, LEVELS = 32, RUN = 8, RUN_LEVELS = 16, SIGNS = 27, STEPS = 14, TABLE = 1 << 13 };
enum { AT_RUN = 0, AT_ZERO = RUN_LEVELS, AT_SIGN = AT_ZERO + LEVELS, AT_MORE = AT_SIGN + SIGNS };
enum { CONTEXTS = AT_MORE + STEPS * LEVELS / 2 };
enum { OK = 0, NO_ROOM = -1, NO_MEMORY = -2, DAMAGED = -3 };

/* The model of one channel. Neighbours: W left, N above, and so on; WW and NN are two steps away. */
typedef struct {
    int32_t predict[4];  /* weights of W, N, NW, NE in 1/256; all zero: no prediction */
    int32_t activity[6]; /* weights of |W|, |N|, |NW|, |NE|, |WW|, |NN| */
} Model;

/* Magnitudes of a plane that was coded before, `factor` times coarser than this one. */
typedef struct {
    const uint8_t *magnitudes;
    int32_t height, width, factor;
    int32_t centre, around; /* weights of the co-located value, and of each of its four neighbours */
} Source;

typedef struct {
    uint16_t fast, slow; /* probability of a 1 in 1/65536, from a short and a long memory */
} Bit;

static uint8_t level_of[TABLE];

/* floor(3 · log2(1 + activity / 6)), by integers: level l begins where ((activity + 6) / 6)³ reaches 2^l. */
__attribute__((constructor)) static void make_levels(void) {
    int level = 0;
    for (uint64_t activity = 0; activity < TABLE; activity++) {
        uint64_t cube = (activity + 6) * (activity + 6) * (activity + 6);
        while (level < LEVELS - 1 && cube >= (216ull << (level + 1))) level++;
        level_of[activity] = (uint8_t)level;
    }
}

INLINE int level(uint32_t activity) { return level_of[activity < TABLE ? activity : TABLE - 1]; }

/* ---- range coder ------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t low;
    uint32_t range;
    int started;
    uint8_t cache;
    size_t pending, size, room;
    uint8_t *out;
    uint32_t *counts; /* [CONTEXTS][2], or NULL */
} Encoder;

typedef struct {
    uint32_t range, code;
    uint32_t value; /* the four bytes read last */
    const uint8_t *in, *end;
} Decoder;

static void put(Encoder *e, uint8_t byte) {
    if (e->size < e->room) e->out[e->size] = byte;
    e->size++;
}

static void shift_out(Encoder *e) {
    if ((uint32_t)e->low < 0xFF000000u || e->low >> 32) {
        uint8_t carry = (uint8_t)(e->low >> 32);
        if (e->started) put(e, (uint8_t)(e->cache + carry));
        for (; e->pending; e->pending--) put(e, (uint8_t)(0xFF + carry));
        e->cache = (uint8_t)(e->low >> 24);
        e->started = 1;
    } else {
        e->pending++;
    }
    e->low = (e->low & 0x00FFFFFFu) << 8;
}

INLINE void adapt(Bit *bit, int value) {
    if (value) {
        bit->fast += (uint16_t)((65535 - bit->fast) >> 4);
        bit->slow += (uint16_t)((65535 - bit->slow) >> 7);
    } else {
        bit->fast -= bit->fast >> 4;
        bit->slow -= bit->slow >> 7;
    }
}

INLINE void encode(Encoder *e, Bit *bits, int context, int value) {
    Bit *bit = bits + context;
    uint32_t bound = (e->range >> 15) * (((uint32_t)bit->fast + bit->slow) >> 2);
    if (e->counts) e->counts[2 * context + value]++;
    if (value) {
        e->range = bound;
    } else {
        e->low += bound;
        e->range -= bound;
    }
    adapt(bit, value);
    while (e->range < 1u << 24) {
        e->range <<= 8;
        shift_out(e);
    }
}

INLINE void encode_plain(Encoder *e, uint32_t value, int count) {
    while (count--) {
        e->range >>= 1;
        if (!(value >> count & 1)) e->low += e->range;
        while (e->range < 1u << 24) {
            e->range <<= 8;
            shift_out(e);
        }
    }
}

/* The value in [low, low + range) that ends in the most zeros. */
static uint64_t shortest(uint64_t low, uint32_t range) {
    for (int keep = 0; keep < 32; keep++) {
        uint64_t mask = 0xFFFFFFFFull >> keep, value = (low + mask) & ~mask;
        if (value < low + range) return value;
    }
    return low;
}

static void finish(Encoder *e) {
    e->low = shortest(e->low, e->range);
    for (int i = 0; i < 5; i++) shift_out(e);
    if (e->size > e->room) return;
    while (e->size && e->out[e->size - 1] == 0) e->size--; /* the decoder reads zeros behind the end */
}

/* Whether the bytes read are those that an encoder writes for these decisions, and no more. */
static int finished(const Decoder *d) {
    return d->in == d->end && (uint32_t)shortest(d->value - d->code, d->range) == d->value;
}

INLINE void shift_in(Decoder *d) {
    uint8_t byte = d->in < d->end ? *d->in++ : 0;
    d->code = d->code << 8 | byte;
    d->value = d->value << 8 | byte;
}

INLINE int decode(Decoder *d, Bit *bits, int context) {
    Bit *bit = bits + context;
    uint32_t bound = (d->range >> 15) * (((uint32_t)bit->fast + bit->slow) >> 2);
    int value = d->code < bound;
    if (value) {
        d->range = bound;
    } else {
        d->code -= bound;
        d->range -= bound;
    }
    adapt(bit, value);
    while (d->range < 1u << 24) {
        d->range <<= 8;
        shift_in(d);
    }
    return value;
}

INLINE uint32_t decode_plain(Decoder *d, int count) {
    uint32_t value = 0;
    while (count--) {
        d->range >>= 1;
        int bit = d->code < d->range;
        if (!bit) d->code -= d->range;
        value = value << 1 | (uint32_t)bit;
        while (d->range < 1u << 24) {
            d->range <<= 8;
            shift_in(d);
        }
    }
    return value;
}

/* ---- one residual ------------------------------------------------------------------------------------------ */

INLINE void encode_residual(Encoder *e, Bit *bits, int value, int q, int signs) {
    encode(e, bits, AT_ZERO + q, value != 0);
    if (!value) return;
    encode(e, bits, AT_SIGN + signs, value < 0);
    int magnitude = abs(value);
    for (int step = 1; step <= STEPS; step++) {
        int more = magnitude > step;
        encode(e, bits, AT_MORE + (step - 1) * (LEVELS / 2) + q / 2, more);
        if (!more) return;
    }
    uint32_t rest = (uint32_t)(magnitude - STEPS - 1) + 4; /* Exp-Golomb of order 2 */
    int length = 31 - __builtin_clz(rest);
    for (int i = 2; i < length; i++) encode_plain(e, 1, 1);
    encode_plain(e, 0, 1);
    encode_plain(e, rest & ((1u << length) - 1), length);
}

/* The residual, or a value beyond ±2·LIMIT where there is none. */
INLINE int decode_residual(Decoder *d, Bit *bits, int q, int signs) {
    if (!decode(d, bits, AT_ZERO + q)) return 0;
    int negative = decode(d, bits, AT_SIGN + signs);
    int magnitude = 1;
    while (magnitude <= STEPS && decode(d, bits, AT_MORE + (magnitude - 1) * (LEVELS / 2) + q / 2)) magnitude++;
    if (magnitude > STEPS) {
        int length = 2;
        while (length < 9 && decode_plain(d, 1)) length++;
        magnitude = (int)((1u << length | decode_plain(d, length)) - 4) + STEPS + 1;
    }
    return negative ? -magnitude : magnitude;
}

/* ---- activity ---------------------------------------------------------------------------------------------- */

/* Rows of magnitudes and signed values around the current one; each begins two places after a zero border. */
typedef struct {
    int32_t width, sources;
    uint16_t *above;    /* activity of all that is known before the row begins */
    uint32_t *runs;     /* its sum over each run of 8 */
    uint8_t *rows;      /* magnitudes: current, N, NN */
    int8_t *values;     /* values: current, N */
    uint16_t *coarse;   /* room for one row of a coarser plane */
} Rows;

enum { BORDER = 8 };

static int make_rows(Rows *r, int32_t width) {
    size_t stride = (size_t)width + 2 * BORDER;
    memset(r, 0, sizeof *r);
    r->width = width;
    r->above = calloc(stride, sizeof *r->above);
    r->runs = calloc(stride / RUN + 1, sizeof *r->runs);
    r->rows = calloc(3, stride);
    r->values = calloc(2, stride);
    r->coarse = calloc(stride, sizeof *r->coarse);
    return r->above && r->runs && r->rows && r->values && r->coarse ? OK : NO_MEMORY;
}

static void free_rows(Rows *r) {
    free(r->above);
    free(r->runs);
    free(r->rows);
    free(r->values);
    free(r->coarse);
}

/* out[x] += centre · here[x] + around · (left + right + above + below) */
WIDE static void add_stencil(uint16_t *restrict out, const Source *s, int32_t y) {
    const int32_t w = s->width;
    const uint16_t centre = (uint16_t)s->centre, around = (uint16_t)s->around;
    const uint8_t *here = s->magnitudes + (size_t)y * w;
    const uint8_t *up = y > 0 ? here - w : NULL, *down = y + 1 < s->height ? here + w : NULL;
    for (int32_t x = 0; x < w; x++) out[x] += (uint16_t)(centre * here[x]);
    if (!around) return;
    if (up)
        for (int32_t x = 0; x < w; x++) out[x] += (uint16_t)(around * up[x]);
    if (down)
        for (int32_t x = 0; x < w; x++) out[x] += (uint16_t)(around * down[x]);
    for (int32_t x = 1; x < w; x++) out[x] += (uint16_t)(around * here[x - 1]);
    for (int32_t x = 0; x + 1 < w; x++) out[x] += (uint16_t)(around * here[x + 1]);
}

WIDE static void add_own(uint16_t *restrict out, const uint8_t *n, const uint8_t *nn, const int32_t *a, int32_t w) {
    const uint16_t an = (uint16_t)a[1], anw = (uint16_t)a[2], ane = (uint16_t)a[3], ann = (uint16_t)a[5];
    for (int32_t x = 0; x < w; x++)
        out[x] += (uint16_t)(an * n[x] + anw * n[x - 1] + ane * n[x + 1] + ann * nn[x]);
}

WIDE static void sum_runs(uint32_t *restrict out, const uint16_t *in, int32_t w) {
    for (int32_t run = 0; run * RUN < w; run++) {
        uint32_t sum = 0;
        for (int32_t i = 0; i < RUN; i++) sum += in[run * RUN + i]; /* the border behind the row is zero */
        out[run] = sum;
    }
}

static void begin_row(Rows *r, const Model *m, const Source *sources, int32_t count, int32_t y) {
    const size_t stride = (size_t)r->width + 2 * BORDER;
    memmove(r->rows + stride, r->rows, 2 * stride);
    memset(r->rows, 0, stride);
    memmove(r->values + stride, r->values, stride);
    memset(r->values, 0, stride);
    memset(r->above, 0, stride * sizeof *r->above);
    add_own(r->above, r->rows + stride + BORDER, r->rows + 2 * stride + BORDER, m->activity, r->width);
    for (int32_t i = 0; i < count; i++) {
        const Source *s = sources + i;
        if (s->factor == 1) {
            add_stencil(r->above, s, y);
            continue;
        }
        memset(r->coarse, 0, (size_t)s->width * sizeof *r->coarse);
        add_stencil(r->coarse, s, y / s->factor);
        for (int32_t x = 0; x < s->width; x++)
            for (int32_t k = 0; k < s->factor; k++) r->above[x * s->factor + k] += r->coarse[x];
    }
    sum_runs(r->runs, r->above, r->width);
}

INLINE int predict(const Model *m, const int8_t *here, const int8_t *n) {
    int sum = m->predict[0] * here[-1] + m->predict[1] * n[0] + m->predict[2] * n[-1] + m->predict[3] * n[1];
    int value = (sum + 128) >> 8;
    return value > LIMIT ? LIMIT : value < -LIMIT ? -LIMIT : value;
}

INLINE int sign(int value) { return (value > 0) - (value < 0); }

INLINE int run_level(uint32_t sum) { return level(sum >> 1); }

/* One plane, forwards (data NULL) or backwards; the same walk for both, so that they cannot disagree. */
INLINE int walk(Encoder *e, Decoder *d, int8_t *plane, uint8_t *magnitudes, const int8_t *relative, int32_t height,
                int32_t width, const Model *m, Bit *bits, const Source *sources, int32_t count, int predicted) {
    Rows r;
    if (make_rows(&r, width)) {
        free_rows(&r);
        return NO_MEMORY;
    }
    const size_t stride = (size_t)width + 2 * BORDER;
    const uint32_t a_w = (uint32_t)m->activity[0], a_ww = (uint32_t)m->activity[4];
    uint8_t *here = r.rows + BORDER;
    int8_t *values = r.values + BORDER, *above = values + stride;
    int result = OK;
    for (int32_t y = 0; y < height && result == OK; y++) {
        int8_t *line = plane + (size_t)y * width;
        const int8_t *other = relative ? relative + (size_t)y * width : NULL;
        begin_row(&r, m, sources, count, y);
        for (int32_t x = 0; x < width; x++) {
            if (x % RUN == 0 && !predicted) {
                int q = run_level(r.runs[x / RUN] + 4 * a_w * here[x - 1]);
                int32_t length = width - x < RUN ? width - x : RUN;
                if (q < RUN_LEVELS) {
                    int some = 0;
                    if (e) {
                        for (int32_t i = 0; i < length; i++) some |= line[x + i];
                        some = some != 0;
                        encode(e, bits, AT_RUN + q, some);
                    } else {
                        some = decode(d, bits, AT_RUN + q);
                    }
                    if (!some) {
                        if (d) memset(line + x, 0, (size_t)length);
                        x += length - 1;
                        continue;
                    }
                }
            }
            int q = level(r.above[x] + a_w * here[x - 1] + a_ww * here[x - 2]);
            int guess = predicted ? predict(m, values + x, above + x) : 0;
            int signs = 13;
            if (!predicted) signs += 3 * sign(values[x - 1]) + 9 * sign(above[x]) + (other ? sign(other[x]) : 0);
            int residual;
            if (e) {
                residual = line[x] - guess;
                encode_residual(e, bits, residual, q, signs);
            } else {
                residual = decode_residual(d, bits, q, signs);
                int value = residual + guess;
                if (value < -LIMIT || value > LIMIT) {
                    result = DAMAGED;
                    break;
                }
                line[x] = (int8_t)value;
            }
            values[x] = line[x];
            here[x] = (uint8_t)abs(residual);
        }
        if (d) memcpy(magnitudes + (size_t)y * width, here, (size_t)width);
    }
    free_rows(&r);
    return result;
}

static int has_prediction(const Model *m) { return m->predict[0] || m->predict[1] || m->predict[2] || m->predict[3]; }

static void start(Bit *bits, const uint16_t *tables) {
    for (int i = 0; i < CONTEXTS; i++) bits[i].fast = bits[i].slow = tables[i];
}

/* ---- what Python calls ------------------------------------------------------------------------------------- */

EXPORT int32_t frappe_contexts(void) { return CONTEXTS; }

/* Magnitudes of the residuals of a plane (height, width). */
EXPORT void frappe_magnitudes(const int8_t *plane, int32_t height, int32_t width, const Model *m, uint8_t *out) {
    const size_t size = (size_t)height * width;
    if (!has_prediction(m)) {
        for (size_t i = 0; i < size; i++) out[i] = (uint8_t)abs(plane[i]);
        return;
    }
    for (int32_t y = 0; y < height; y++)
        for (int32_t x = 0; x < width; x++) {
            const size_t i = (size_t)y * width + x;
            int8_t around[4] = {0, plane[i], 0, 0}, n[3] = {0, 0, 0};
            around[0] = x ? plane[i - 1] : 0;
            if (y) {
                n[0] = x ? plane[i - width - 1] : 0;
                n[1] = plane[i - width];
                n[2] = x + 1 < width ? plane[i - width + 1] : 0;
            }
            out[i] = (uint8_t)abs(plane[i] - predict(m, around + 1, n + 1));
        }
}

/* Code a plane into at most `room` bytes. `relative`: a plane whose signs help, or NULL. `counts`: [contexts][2] to add
   decisions to, or NULL. Returns the number of bytes, or an error below zero. */
EXPORT int64_t frappe_encode(const int8_t *plane, const int8_t *relative, int32_t height, int32_t width, const Model *m,
                             const uint16_t *tables, const Source *sources, int32_t count, uint8_t *out, int64_t room,
                             uint32_t *counts) {
    Bit bits[CONTEXTS];
    Encoder e = {.range = 0xFFFFFFFFu, .out = out, .room = (size_t)room, .counts = counts};
    start(bits, tables);
    int8_t *in = (int8_t *)plane;
    int result = has_prediction(m)
                     ? walk(&e, NULL, in, NULL, relative, height, width, m, bits, sources, count, 1)
                     : walk(&e, NULL, in, NULL, relative, height, width, m, bits, sources, count, 0);
    if (result) return result;
    finish(&e);
    return e.size > e.room ? NO_ROOM : (int64_t)e.size;
}

/* Decode `size` bytes into a plane and its magnitudes. Returns 0, or an error below zero. */
EXPORT int32_t frappe_decode(const uint8_t *data, int64_t size, int8_t *plane, uint8_t *magnitudes,
                             const int8_t *relative, int32_t height, int32_t width, const Model *m,
                             const uint16_t *tables, const Source *sources, int32_t count) {
    Bit bits[CONTEXTS];
    Decoder d = {.range = 0xFFFFFFFFu, .in = data, .end = data + size};
    start(bits, tables);
    if (size && data[size - 1] == 0) return DAMAGED; /* an encoder leaves zeros at the end out */
    for (int i = 0; i < 4; i++) shift_in(&d);
    int result = has_prediction(m)
                     ? walk(NULL, &d, plane, magnitudes, relative, height, width, m, bits, sources, count, 1)
                     : walk(NULL, &d, plane, magnitudes, relative, height, width, m, bits, sources, count, 0);
    if (result) return result;
    return finished(&d) ? OK : DAMAGED;
}
