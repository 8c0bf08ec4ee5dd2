/* Entropy coder for planes of int8 latents: adaptive binary range coding with contexts from causal neighbours.

   A plane is coded row by row. Each value is first predicted (where the model has a predictor), then its residual is
   coded as binary decisions: is a run of 8 all zero, is it zero, its sign, is its magnitude above 1, 2, ... 14, and an
   Exp-Golomb rest. Which probability a decision uses follows from the activity: a weighted sum of magnitudes of
   neighbours in this plane and of co-located values in planes coded before. All arithmetic is on integers, so encoder
   and decoder agree on every machine. Every read and write is bounded by the sizes that the caller gives; those of
   sources are a plane's own over `factor`. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mixer.h"
#include "range_coder.h"
#include "wide.h"

enum { LIMIT = 127, LEVELS = 32, RUN = 8, RUN_LEVELS = 16, SIGNS = 27, STEPS = 14, TABLE = 1 << 13 };
enum { AT_RUN = 0, AT_ZERO = RUN_LEVELS, AT_SIGN = AT_ZERO + LEVELS, AT_MORE = AT_SIGN + SIGNS };
enum { CONTEXTS = AT_MORE + STEPS * LEVELS / 2 };
/* In a mix, decisions on zero and on the first step also have a context of the pattern around. */
enum { PATTERNS = 432, ZERO_PATTERN = 0, MORE_PATTERN = PATTERNS, MIXERS = 2 * LEVELS };
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

/* ---- one residual ------------------------------------------------------------------------------------------ */

/* All that adapts while a plane is coded. Functions that have it also have an encoder or a decoder, the other NULL. */
typedef struct {
    uint32_t *counts; /* of zeros and ones in each context, then in each pattern; or NULL */
    Bit bits[CONTEXTS];
    Bit patterns[2 * PATTERNS];
    Mixer mixers[MIXERS];
} State;

/* Codes one decision: returns `value` when encoding, the decoded one when decoding. */
INLINE int code(State *s, Encoder *e, Decoder *d, int context, int value) {
    Bit *bit = s->bits + context;
    if (e)
        encode_bit(e, chance(bit), value);
    else
        value = decode_bit(d, chance(bit));
    if (s->counts) s->counts[2 * context + value]++;
    adapt(bit, value);
    return value;
}

INLINE int code_mixed(State *s, Encoder *e, Decoder *d, int context, int pattern, Mixer *mixer, int value) {
    Bit *bit = s->bits + context, *other = s->patterns + pattern;
    int32_t logits[2];
    const uint32_t p = mix(mixer, bit, other, logits);
    if (e)
        encode_bit(e, p, value);
    else
        value = decode_bit(d, p);
    if (s->counts) {
        s->counts[2 * context + value]++;
        s->counts[2 * (CONTEXTS + pattern) + value]++;
    }
    learn(mixer, logits, p, value);
    adapt(bit, value);
    adapt(other, value);
    return value;
}

INLINE int code_rest(Encoder *e, Decoder *d, int magnitude) {
    if (e) { /* Exp-Golomb of order 2 */
        uint32_t rest = (uint32_t)(magnitude - STEPS - 1) + 4;
        int length = 31 - __builtin_clz(rest);
        for (int i = 2; i < length; i++) encode_even(e, 1, 1);
        encode_even(e, 0, 1);
        encode_even(e, rest & ((1u << length) - 1), length);
        return magnitude;
    }
    int length = 2;
    while (length < 9 && decode_even(d, 1)) length++;
    return (int)((1u << length | decode_even(d, length)) - 4) + STEPS + 1;
}

/* Codes a residual and returns it; a decoded one may lie beyond ±2·LIMIT where the bytes are damaged. */
INLINE int code_residual(State *s, Encoder *e, Decoder *d, int value, int q, int signs, int pattern, int mixed) {
    int some = value != 0;
    some = mixed ? code_mixed(s, e, d, AT_ZERO + q, ZERO_PATTERN + pattern, s->mixers + q, some)
                 : code(s, e, d, AT_ZERO + q, some);
    if (!some) return 0;
    const int negative = code(s, e, d, AT_SIGN + signs, value < 0), context = AT_MORE + q / 2;
    int magnitude = 1, more = abs(value) > 1;
    more = mixed ? code_mixed(s, e, d, context, MORE_PATTERN + pattern, s->mixers + LEVELS + q, more)
                 : code(s, e, d, context, more);
    while (more && ++magnitude <= STEPS)
        more = code(s, e, d, context + (magnitude - 1) * (LEVELS / 2), abs(value) > magnitude);
    if (magnitude > STEPS) magnitude = code_rest(e, d, abs(value));
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

static void free_rows(Rows *r) {
    free(r->above);
    free(r->runs);
    free(r->rows);
    free(r->values);
    free(r->coarse);
}

static int make_rows(Rows *r, int32_t width) {
    size_t stride = (size_t)width + 2 * BORDER;
    memset(r, 0, sizeof *r);
    r->width = width;
    r->above = calloc(stride, sizeof *r->above);
    r->runs = calloc(stride / RUN + 1, sizeof *r->runs);
    r->rows = calloc(3, stride);
    r->values = calloc(2, stride);
    r->coarse = calloc(stride, sizeof *r->coarse);
    if (r->above && r->runs && r->rows && r->values && r->coarse) return OK;
    free_rows(r);
    return NO_MEMORY;
}

/* out[x] += centre · here[x] + around · (left + right + above + below) */
INLINE void add_stencil(uint16_t *restrict out, const Source *s, int32_t y) {
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

INLINE void add_own(uint16_t *restrict out, const uint8_t *n, const uint8_t *nn, const int32_t *a, int32_t w) {
    const uint16_t an = (uint16_t)a[1], anw = (uint16_t)a[2], ane = (uint16_t)a[3], ann = (uint16_t)a[5];
    for (int32_t x = 0; x < w; x++)
        out[x] += (uint16_t)(an * n[x] + anw * n[x - 1] + ane * n[x + 1] + ann * nn[x]);
}

INLINE void sum_runs(uint32_t *restrict out, const uint16_t *in, int32_t w) {
    for (int32_t run = 0; run * RUN < w; run++) {
        uint32_t sum = 0;
        for (int32_t i = 0; i < RUN; i++) sum += in[run * RUN + i]; /* the border behind the row is zero */
        out[run] = sum;
    }
}

INLINE void begin_row(Rows *r, const Model *m, const Source *sources, int32_t count, int32_t y) {
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
        if (s->factor == 2) /* nearly always, and with a constant the compiler finds vectors */
            for (int32_t x = 0; x < s->width; x++) {
                r->above[2 * x] += r->coarse[x];
                r->above[2 * x + 1] += r->coarse[x];
            }
        else
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

/* Which signs are around: a number below SIGNS; the one in the middle where all are zero. */
INLINE int signs_of(int w, int n, int relative) { return SIGNS / 2 + 3 * sign(w) + 9 * sign(n) + sign(relative); }

INLINE int run_level(uint32_t sum) { return level(sum >> 1); }

INLINE int least(int value, int bound) { return value < bound ? value : bound; }

/* Which magnitudes around are zero, one or more: a number below PATTERNS. `here`, `n`, `nn`: at the current place. */
INLINE int pattern_of(const uint8_t *here, const uint8_t *n, const uint8_t *nn, int relative) {
    int number = least(n[0], 2) + 3 * least(here[-1], 2) + 9 * least(n[-1], 1) + 18 * least(n[1], 1);
    return number + 36 * least(abs(relative), 2) + 108 * least(here[-2], 1) + 216 * least(nn[0], 1);
}

/* Whether one of up to RUN values is not zero. */
INLINE int any(const int8_t *values, int32_t length) {
    uint64_t all = 0;
    if (length == RUN)
        memcpy(&all, values, RUN);
    else
        for (int32_t i = 0; i < length; i++) all |= (uint8_t)values[i];
    return all != 0;
}

/* Codes whether up to RUN values are all zero, where that is likely at level `q`; if so, nothing else is coded. */
INLINE int zero_run(State *s, Encoder *e, Decoder *d, int q, int8_t *values, int32_t length) {
    if (q >= RUN_LEVELS || code(s, e, d, AT_RUN + q, e ? any(values, length) : 0)) return 0;
    if (d) memset(values, 0, (size_t)length);
    return 1;
}

/* One plane, forwards or backwards; the same walk for both, so that they cannot disagree. */
INLINE int walk(State *s, Encoder *e, Decoder *d, int8_t *plane, uint8_t *magnitudes, const int8_t *relative,
                int32_t height, int32_t width, const Model *m, const Source *sources, int32_t count, int predicted,
                int mixed) {
    Rows r;
    if (make_rows(&r, width)) return NO_MEMORY;
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
                const int32_t length = width - x < RUN ? width - x : RUN;
                if (zero_run(s, e, d, run_level(r.runs[x / RUN] + 4 * a_w * here[x - 1]), line + x, length)) {
                    x += length - 1;
                    continue;
                }
            }
            int q = level(r.above[x] + a_w * here[x - 1] + a_ww * here[x - 2]);
            int guess = predicted ? predict(m, values + x, above + x) : 0, beside = other ? other[x] : 0;
            int signs = predicted ? SIGNS / 2 : signs_of(values[x - 1], above[x], beside);
            int pattern = mixed ? pattern_of(here + x, here + x + stride, here + x + 2 * stride, beside) : 0;
            int residual = code_residual(s, e, d, e ? line[x] - guess : 0, q, signs, pattern, mixed);
            int value = residual + guess;
            if (value < -LIMIT || value > LIMIT) {
                result = DAMAGED;
                break;
            }
            values[x] = line[x] = (int8_t)value;
            here[x] = (uint8_t)abs(residual);
        }
        if (d) memcpy(magnitudes + (size_t)y * width, here, (size_t)width);
    }
    free_rows(&r);
    return result;
}

static int has_prediction(const Model *m) { return m->predict[0] || m->predict[1] || m->predict[2] || m->predict[3]; }

/* The tables of a channel. */
typedef struct {
    const uint16_t *contexts; /* [CONTEXTS] probability of a 1 at the start, in 1/65536 */
    const uint16_t *patterns; /* [2·PATTERNS] the same; NULL: nothing is mixed */
    const int32_t *mixers;    /* [MIXERS][2] weights at the start */
} Tables;

INLINE int run(State *s, Encoder *e, Decoder *d, const Tables *t, int8_t *plane, uint8_t *magnitudes,
               const int8_t *relative, int32_t height, int32_t width, const Model *m, const Source *sources,
               int32_t count) {
    for (int i = 0; i < CONTEXTS; i++) s->bits[i].fast = s->bits[i].slow = t->contexts[i];
    if (!t->patterns)
        return has_prediction(m) ? walk(s, e, d, plane, magnitudes, relative, height, width, m, sources, count, 1, 0)
                                 : walk(s, e, d, plane, magnitudes, relative, height, width, m, sources, count, 0, 0);
    for (int i = 0; i < 2 * PATTERNS; i++) s->patterns[i].fast = s->patterns[i].slow = t->patterns[i];
    memcpy(s->mixers, t->mixers, sizeof s->mixers);
    return has_prediction(m) ? walk(s, e, d, plane, magnitudes, relative, height, width, m, sources, count, 1, 1)
                             : walk(s, e, d, plane, magnitudes, relative, height, width, m, sources, count, 0, 1);
}

/* ---- what Python calls ------------------------------------------------------------------------------------- */

EXPORT int32_t frappe_contexts(void) { return CONTEXTS; }
EXPORT int32_t frappe_patterns(void) { return 2 * PATTERNS; }
EXPORT int32_t frappe_mixers(void) { return MIXERS; }

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

/* Code a plane into at most `room` bytes. `relative`: a plane whose signs help, or NULL. `counts`: decisions to add to,
   [contexts + patterns][2], or NULL; with them, `learnt` gets the mixers' weights at the end. Returns the number of
   bytes, or an error below zero. */
INLINE int64_t encode(const int8_t *plane, const int8_t *relative, int32_t height, int32_t width, const Model *m,
                      const Tables *tables, const Source *sources, int32_t count, uint8_t *out, int64_t room,
                      uint32_t *counts, int32_t *learnt) {
    Encoder e = {.range = 0xFFFFFFFFu, .out = out, .room = (size_t)room};
    State s = {.counts = counts};
    int result = run(&s, &e, NULL, tables, (int8_t *)plane, NULL, relative, height, width, m, sources, count);
    if (result) return result;
    finish(&e);
    if (counts && tables->patterns) memcpy(learnt, s.mixers, sizeof s.mixers);
    return e.size > e.room ? NO_ROOM : (int64_t)e.size;
}

/* Decode `size` bytes into a plane and its magnitudes. Returns 0, or an error below zero. */
INLINE int32_t decode(const uint8_t *data, int64_t size, int8_t *plane, uint8_t *magnitudes, const int8_t *relative,
                      int32_t height, int32_t width, const Model *m, const Tables *tables, const Source *sources,
                      int32_t count) {
    Decoder d;
    State s = {.counts = NULL};
    if (size && data[size - 1] == 0) return DAMAGED; /* an encoder leaves zeros at the end out */
    start_decoder(&d, data, (size_t)size);
    int result = run(&s, NULL, &d, tables, plane, magnitudes, relative, height, width, m, sources, count);
    if (result) return result;
    return finished(&d) ? OK : DAMAGED;
}

EXPORTED(int64_t, encode,
         (const int8_t *plane, const int8_t *relative, int32_t height, int32_t width, const Model *m,
          const Tables *tables, const Source *sources, int32_t count, uint8_t *out, int64_t room, uint32_t *counts,
          int32_t *learnt),
         (plane, relative, height, width, m, tables, sources, count, out, room, counts, learnt))

EXPORTED(int32_t, decode,
         (const uint8_t *data, int64_t size, int8_t *plane, uint8_t *magnitudes, const int8_t *relative,
          int32_t height, int32_t width, const Model *m, const Tables *tables, const Source *sources, int32_t count),
         (data, size, plane, magnitudes, relative, height, width, m, tables, sources, count))
