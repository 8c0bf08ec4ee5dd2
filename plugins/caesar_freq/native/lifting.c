/* Blocks of a field by an interpolating wavelet whose filters are fitted to the block and whose lifting steps have the
   quantiser inside: each value is predicted from values as the decoder has them, so its error is that of its own
   quantisation, at most half a step.

   Two stages work on the rows of the passes (`grid.h`): prediction, which needs decoded values, and entropy coding, which
   needs magnitudes of quantised values alone. With two threads they run side by side, one row behind the other. Prediction
   is floating-point arithmetic in a fixed order without fused operations, so every machine decodes the same values. */

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "grid.h"
#include "symbols.h"
#include "wide.h"

enum { OK = 0, NO_MEMORY = -1, NO_ROOM = -2, WEIGHT_ONE = 4096 };

enum { TOLD_EVERY = 1 << 13 };

/* How far the first of the two stages is, in values. It tells so now and then, and the second one remembers what it heard:
   what both touch at every row would cost more than a row. */
typedef struct {
    atomic_llong done;
    char apart[64];
    int64_t told; /* the first stage's */
    char from_here[64];
    int64_t heard; /* the second stage's */
} Progress;

INLINE void announce(Progress *p, int64_t done) {
    if (done - p->told < TOLD_EVERY) return;
    p->told = done;
    atomic_store_explicit(&p->done, done, memory_order_release);
}

INLINE void wait_for(Progress *p, int64_t done) {
    while (p->heard < done) {
        p->heard = atomic_load_explicit(&p->done, memory_order_acquire);
        if (p->heard < done) sched_yield();
    }
}

#define REAL float
#define NAME(x) x##_f32
#define ROUND(x) rintf(x)
#include "lifting.h"
#undef REAL
#undef NAME
#undef ROUND
#define REAL double
#define NAME(x) x##_f64
#define ROUND(x) rint(x)
#include "lifting.h"

/* ---- entropy coding of the passes ---------------------------------------------------------------------------- */

/* The streams of the groups of levels. Of groups that a decoder lacks, all values are 0. */
typedef struct {
    uint8_t *data[GROUPS];
    int64_t size[GROUPS], room;
} Streams;

typedef struct {
    const Grid *grid;
    const Pass *passes;
    int count;
    const uint8_t *mask;
    int32_t *q;
    Streams *streams;
    const Contexts *contexts; /* or NULL */
    int64_t anchors;
    Progress *progress;
    int encode, result;
} Coding;

/* What the contexts of a row are made of. */
typedef struct {
    uint16_t *energy, *magnitudes; /* (width); those of the whole block, or their logarithms where a network reads them */
    uint16_t *copies;              /* (width + 2) */
    Surroundings surroundings;
} Around;

INLINE uint16_t *copy_magnitudes(uint16_t *to, const uint16_t *from, int64_t step, int64_t count) {
    to[0] = 0;
    for (int64_t k = 0; k < count; k++) to[1 + k] = from[k * step];
    to[1 + count] = 0;
    return to + 1;
}

INLINE void add_energy(uint16_t *energy, const uint16_t *a, int weight, int64_t m) {
    for (int64_t k = 0; k < m; k++) {
        uint32_t sum = energy[k] + (uint32_t)weight * a[k];
        energy[k] = (uint16_t)(sum > 65535 ? 65535 : sum);
    }
}

/* Add a row of neighbours: weights of the values beside, before and after it. */
INLINE void add_row(Around *a, const Grid *g, const Pass *p, int64_t t, int64_t h, int weight, int before, int after) {
    if (t < 0 || h < 0 || t >= g->shape[0] || h >= g->shape[1]) return;
    const int64_t m = p->count[2];
    const uint16_t *from = a->magnitudes + t * row_stride(g, 0) + h * row_stride(g, 1) + p->begin[2];
    const uint16_t *row = copy_magnitudes(a->copies, from, p->step[2], m);
    add_energy(a->energy, row, weight, m);
    if (before) add_energy(a->energy, row - 1, before, m);
    if (after) add_energy(a->energy, row + 1, after, m);
}

INLINE void gather_energy(Around *a, const Grid *g, const Pass *p, int64_t t, int64_t h) {
    const int64_t m = p->count[2], s = p->half;
    memset(a->energy, 0, sizeof(uint16_t) * (size_t)m);
    if (p->axis == 2) { /* the known values beside are in the row itself */
        const int64_t known = (g->shape[2] + p->step[2] - 1) / p->step[2];
        const uint16_t *from = a->magnitudes + t * row_stride(g, 0) + h * row_stride(g, 1);
        const uint16_t *row = copy_magnitudes(a->copies, from, p->step[2], known);
        add_energy(a->energy, row, 3, m);
        add_energy(a->energy, row + 1, 3, m);
        add_row(a, g, p, t, h - p->step[1], 7, 2, 2);
        add_row(a, g, p, t - p->step[0], h, 6, 0, 0);
        return;
    }
    const int64_t dt = p->axis == 0 ? s : 0, dh = p->axis == 1 ? s : 0;
    add_row(a, g, p, t - dt, h - dh, 2, 1, 1);
    add_row(a, g, p, t + dt, h + dh, 2, 1, 1);
    add_row(a, g, p, t - 2 * dt, h - 2 * dh, 5, 0, 0);
    if (p->axis == 0)
        add_row(a, g, p, t, h - p->step[1], 7, 2, 2);
    else
        add_row(a, g, p, t - p->step[0], h, 7, 2, 2);
}

INLINE int sign_of(int32_t q) { return (q > 0) - (q < 0) + 1; }

/* `learned` is a constant where this is called. */
INLINE void code_row(const Coding *c, Around *a, Model *m, Writer *w, Reader *r, const Pass *p, int64_t at, int32_t *q,
                     const int32_t *above, int learned) {
    uint32_t last = 0, last_but_one = 0;
    int sign = 1;
    int64_t sum = 0;
    const int64_t step = p->step[2], count = p->count[2];
    for (int64_t k = 0; k < count; k++) {
        const int64_t i = at + k * step;
        if (c->mask && c->mask[i]) {
            q[k] = 0;
            continue;
        }
        const int level =
            learned ? level_by_network(&a->surroundings, c->contexts, k, (int16_t)last, (int16_t)last_but_one)
                    : level_of(a->energy[k] + 8 * last + 2 * last_but_one);
        const int signs = 3 * sign + (above ? sign_of(above[k]) : 1);
        if (w)
            put_symbol(w, m, level, signs, q[k]);
        else
            q[k] = get_symbol(r, m, level, signs);
        last_but_one = last;
        last = a->magnitudes[i] = learned ? (uint16_t)log_of[magnitude_of(q[k])] : magnitude_of(q[k]);
        sum += last;
        sign = sign_of(q[k]);
    }
    if (learned) end_row(&a->surroundings, sum, count);
}

INLINE void code_anchors(const Coding *c, Model *m, Writer *w, Reader *r) {
    for (int64_t i = 0; i < c->anchors; i++) {
        if (w)
            put_symbol(w, m, LEVELS / 2, 4, c->q[i]);
        else
            c->q[i] = get_symbol(r, m, LEVELS / 2, 4);
    }
}

INLINE void code_pass(const Coding *c, Around *a, Model *m, Writer *w, Reader *r, const Pass *p, int64_t *done,
                      int learned) {
    const Grid *g = c->grid;
    if (learned) begin_pass(&a->surroundings, p);
    for (int64_t i = 0; i < p->count[0]; i++)
        for (int64_t j = 0; j < p->count[1]; j++) {
            const int64_t t = p->begin[0] + i * p->step[0], h = p->begin[1] + j * p->step[1], n = p->count[2];
            int32_t *q = c->q + *done;
            const int64_t at = t * row_stride(g, 0) + h * row_stride(g, 1) + p->begin[2];
            if (learned) {
                gather_logs(&a->surroundings, g, p, (const int16_t *)a->magnitudes, t, h);
                sum_units(&a->surroundings, c->contexts, n);
            } else {
                gather_energy(a, g, p, t, h);
            }
            *done += n;
            if (w) wait_for(c->progress, *done);
            code_row(c, a, m, w, r, p, at, q, j ? q - n : NULL, learned);
            if (r) announce(c->progress, *done);
        }
}

INLINE void free_around(Around *a) {
    free(a->magnitudes);
    free(a->energy);
    free(a->surroundings.rows);
}

INLINE int make_around(Around *a, const Grid *g) {
    const size_t width = (size_t)g->shape[2], all = width * (size_t)g->shape[1] * (size_t)g->shape[0];
    a->magnitudes = calloc(all, sizeof(uint16_t));
    a->energy = malloc(sizeof(uint16_t) * (2 * width + 4));
    a->copies = a->energy + width;
    if (!make_surroundings(&a->surroundings, g->shape[2]) && a->magnitudes && a->energy) return OK;
    free_around(a);
    return NO_MEMORY;
}

INLINE int model_of(const Pass *p) { return p->level == 0 ? p->place : p->level == 1 ? 3 + p->place : 6; }

/* All passes, group by group: the first also holds the anchors. */
INLINE int code_groups(Coding *c) {
    Around around;
    Model *models = malloc(sizeof(Model) * MODELS);
    if (!models || make_around(&around, c->grid)) {
        free(models);
        return NO_MEMORY;
    }
    for (int i = 0; i < MODELS; i++) start_model(models + i);
    if (c->contexts) start_by_weights(models, c->contexts);
    int64_t done = c->anchors;
    int n = 0, result = OK;
    for (int group = 0; group < GROUPS; group++) {
        Writer writer;
        Reader reader;
        start_writer(&writer, c->streams->data[group], c->streams->room);
        Writer *w = c->encode ? &writer : NULL;
        Reader *r = c->encode ? NULL : &reader;
        const int absent = !c->encode && !c->streams->data[group];
        if (r && !absent) start_reader(r, c->streams->data[group], c->streams->size[group]);
        if (group == 0) {
            if (w) wait_for(c->progress, done);
            if (!absent) code_anchors(c, models + MODELS - 1, w, r);
            if (r) announce(c->progress, done);
        }
        for (; n < c->count && group_of(c->passes[n].level) == group; n++) {
            const Pass *p = c->passes + n;
            if (absent) {
                memset(c->q + done, 0, sizeof(int32_t) * (size_t)p->values);
                done += p->values;
                announce(c->progress, done);
            } else if (c->contexts) {
                code_pass(c, &around, models + model_of(p), w, r, p, &done, 1);
            } else {
                code_pass(c, &around, models + model_of(p), w, r, p, &done, 0);
            }
        }
        if (!w) continue;
        finish_writer(w);
        c->streams->size[group] = w->size;
        if (w->size > w->room) result = NO_ROOM;
    }
    free_around(&around);
    free(models);
    return result;
}

WIDE static int code_groups_wide(Coding *c) { return code_groups(c); }
static int code_groups_plain(Coding *c) { return code_groups(c); }

static void *run_coding(void *argument) {
    Coding *c = argument;
    c->result = has_wide() ? code_groups_wide(c) : code_groups_plain(c);
    if (!c->encode) announce(c->progress, INT64_MAX);
    return NULL;
}

/* ---- both stages ---------------------------------------------------------------------------------------------- */

INLINE int64_t count_anchors(const Grid *g) {
    int64_t count = 1;
    for (int x = 0; x < AXES; x++) count *= (g->shape[x] + (1ll << g->levels) - 1) >> g->levels;
    return count;
}

#define BOTH_STAGES(REAL, NAME)                                                                                        \
    WIDE static int NAME##_wide(const Grid *g, const Pass *p, int n, const Field_##NAME *f, const int16_t *w,            \
                                int64_t done, Progress *progress) {                                                    \
        return do_passes_##NAME(g, p, n, f, w, done, progress);                                                              \
    }                                                                                                                  \
    static int NAME##_plain(const Grid *g, const Pass *p, int n, const Field_##NAME *f, const int16_t *w,               \
                            int64_t done, Progress *progress) {                                                        \
        return do_passes_##NAME(g, p, n, f, w, done, progress);                                                              \
    }                                                                                                                  \
    static void anchors_##NAME(const Grid *g, const Field_##NAME *f, int32_t *q) {                                      \
        REAL last = 0;                                                                                                 \
        const int64_t s = 1ll << g->levels;                                                                            \
        for (int64_t t = 0; t < g->shape[0]; t += s)                                                                   \
            for (int64_t h = 0; h < g->shape[1]; h += s)                                                               \
                for (int64_t x = 0; x < g->shape[2]; x += s, q++) {                                                    \
                    const int64_t i = t * row_stride(g, 0) + h * row_stride(g, 1) + x;                                 \
                    if (f->z) *q = f->mask && f->mask[i] ? 0 : (int32_t)rint(((double)f->z[i] - last) / f->step);      \
                    last += f->step * (REAL)*q;                                                                        \
                    f->z_hat[i] = last;                                                                                \
                }                                                                                                      \
    }                                                                                                                  \
    static int predict_##NAME(const Grid *g, const Pass *p, int n, const Field_##NAME *f, const int16_t *w,             \
                              int64_t anchors, Progress *progress) {                                                   \
        if (!f->z) wait_for(progress, anchors);                                                                        \
        anchors_##NAME(g, f, f->q);                                                                                    \
        if (f->z) announce(progress, anchors);                                                                         \
        return has_wide() ? NAME##_wide(g, p, n, f, w, anchors, progress) : NAME##_plain(g, p, n, f, w, anchors, progress); \
    }                                                                                                                  \
    /* Quantise and code `z`, or decode (`z` NULL). `streams` NULL: quantise alone. */                                  \
    EXPORT int caesar_lift_##NAME(const Grid *g, const REAL *z, REAL *z_hat, const uint8_t *mask, const int16_t *w,     \
                                  REAL step, int lattice, int32_t *q, Streams *streams, const Contexts *contexts,      \
                                  int threads) {                                                                       \
        Pass passes[MAX_PASSES];                                                                                       \
        const int n = list_passes(g, passes);                                                                          \
        const int64_t anchors = count_anchors(g);                                                                      \
        Progress progress = {0};                                                                                       \
        Field_##NAME field = {.z = z, .z_hat = z_hat, .mask = mask, .q = q, .step = step, .lattice = lattice};         \
        Coding coding = {.grid = g, .passes = passes, .count = n, .mask = mask, .q = q, .streams = streams,            \
                         .contexts = contexts, .anchors = anchors, .progress = &progress, .encode = z != NULL};                              \
        if (!streams) return predict_##NAME(g, passes, n, &field, w, anchors, &progress);                              \
        pthread_t thread;                                                                                              \
        const int parallel = threads > 1 && !pthread_create(&thread, NULL, run_coding, &coding);                       \
        if (!parallel && !z) run_coding(&coding);                                                                      \
        int result = predict_##NAME(g, passes, n, &field, w, anchors, &progress);                                      \
        if (z) announce(&progress, INT64_MAX);                                                                         \
        if (parallel) pthread_join(thread, NULL);                                                                      \
        if (!parallel && z) run_coding(&coding);                                                                       \
        return result ? result : coding.result;                                                                        \
    }

BOTH_STAGES(float, f32)
BOTH_STAGES(double, f64)
