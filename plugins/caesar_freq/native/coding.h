/* Entropy coding of the passes of a block: contexts from magnitudes of quantised values, adaptive chances, range coder.

   The passes of the finest level hold most of the values. In a large block their rows fall into two halves along T, which
   have chances and a stream of their own, so that two threads code them. A half looks at the other's rows of earlier
   passes, never at those of the pass both are at. */

#ifndef CODING_H
#define CODING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "context.h"
#include "grid.h"
#include "symbols.h"
#include "wide.h"

enum { OK = 0, NO_MEMORY = -1, NO_ROOM = -2 };
enum { HALVES = 2, STREAMS = GROUPS + HALVES - 1, FINEST = GROUPS - 1 };
enum { FEWEST_IN_HALVES = 1 << 18, FEWEST_SLICES = 8, TOLD_EVERY = 1 << 13 };

/* How far one stage is, in values. It tells so now and then, and those who follow remember what they heard: what both
   touch at every row would cost more than a row. */
typedef struct {
    atomic_llong done;
    char apart[64];
    int64_t told; /* the first stage's */
    char from_here[64];
} Progress;

typedef struct {
    Progress *progress;
    int64_t heard;
    char apart[64];
} Listener;

INLINE void announce(Progress *p, int64_t done) {
    if (done - p->told < TOLD_EVERY) return;
    p->told = done;
    atomic_store_explicit(&p->done, done, memory_order_release);
}

/* There are more threads than the two that have work to do: one that waits must leave them the processors. */
static void rest(void) {
    const struct timespec moment = {0, 20000};
    nanosleep(&moment, NULL);
}

INLINE void wait_for(Listener *l, int64_t done) {
    while (l->heard < done) {
        l->heard = atomic_load_explicit(&l->progress->done, memory_order_acquire);
        if (l->heard < done) rest();
    }
}

INLINE int in_halves(const Grid *g) {
    const int64_t values = (int64_t)g->shape[0] * g->shape[1] * g->shape[2];
    return g->levels > 0 && g->shape[0] >= FEWEST_SLICES && values >= FEWEST_IN_HALVES;
}

/* The first slice of a pass that belongs to its second half. */
INLINE int64_t middle_of(const Pass *p) { return (p->count[0] + 1) / 2; }

/* The streams of the groups of levels, and of the second half of the last group. Of groups that a decoder lacks, all
   values are 0. */
typedef struct {
    uint8_t *data[STREAMS];
    int64_t size[STREAMS], room;
} Streams;

/* What the contexts of a row are made of. */
typedef struct {
    uint16_t *magnitudes; /* of the whole block, or their logarithms where a network reads them */
    uint16_t *energy;     /* (width) */
    uint16_t *copies;     /* (width + 2) */
    Surroundings surroundings;
} Around;

/* Who codes: all, or a half of the finest level. */
typedef struct {
    struct Coding *coding;
    Model *models;
    Around around;
    Writer writer;
    Reader reader;
    Listener quantised; /* when encoding */
    int number;
} Part;

typedef struct Coding {
    const Grid *grid;
    const Pass *passes;
    int count;
    const uint8_t *mask;
    int32_t *q;
    Streams *streams;
    const Contexts *contexts; /* or NULL */
    int64_t anchors;
    Progress *quantised;      /* when encoding: what can be coded */
    Progress decoded[HALVES]; /* when decoding: what can be predicted, all or by half */
    int encode, parallel, result;
    Part parts[HALVES];
    atomic_int passes_done[HALVES];
} Coding;

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

/* A row of neighbours: weights of the values beside, before and after it. Rows before slice `first` are not known. */
INLINE void add_row(Around *a, const Grid *g, const Pass *p, int64_t t, int64_t h, int64_t first, int weight, int before,
                    int after) {
    if (t < first || h < 0 || t >= g->shape[0] || h >= g->shape[1]) return;
    const int64_t m = p->count[2];
    const uint16_t *from = a->magnitudes + t * row_stride(g, 0) + h * row_stride(g, 1) + p->begin[2];
    const uint16_t *row = copy_magnitudes(a->copies, from, p->step[2], m);
    add_energy(a->energy, row, weight, m);
    if (before) add_energy(a->energy, row - 1, before, m);
    if (after) add_energy(a->energy, row + 1, after, m);
}

/* `first` is the first slice of the part. */
INLINE void gather_energy(Around *a, const Grid *g, const Pass *p, int64_t t, int64_t h, int64_t first) {
    const int64_t m = p->count[2], s = p->half;
    memset(a->energy, 0, sizeof(uint16_t) * (size_t)m);
    if (p->axis == 2) { /* the known values beside are in the row itself */
        const int64_t known = (g->shape[2] + p->step[2] - 1) / p->step[2];
        const uint16_t *from = a->magnitudes + t * row_stride(g, 0) + h * row_stride(g, 1);
        const uint16_t *row = copy_magnitudes(a->copies, from, p->step[2], known);
        add_energy(a->energy, row, 3, m);
        add_energy(a->energy, row + 1, 3, m);
        add_row(a, g, p, t, h - p->step[1], first, 7, 2, 2);
        add_row(a, g, p, t - p->step[0], h, first, 6, 0, 0);
        return;
    }
    const int64_t dt = p->axis == 0 ? s : 0, dh = p->axis == 1 ? s : 0;
    add_row(a, g, p, t - dt, h - dh, 0, 2, 1, 1);
    add_row(a, g, p, t + dt, h + dh, 0, 2, 1, 1);
    add_row(a, g, p, t - 2 * dt, h - 2 * dh, first, 5, 0, 0);
    if (p->axis == 0)
        add_row(a, g, p, t, h - p->step[1], first, 7, 2, 2);
    else
        add_row(a, g, p, t - p->step[0], h, first, 7, 2, 2);
}

INLINE int sign_of(int32_t q) { return (q > 0) - (q < 0) + 1; }

/* `learned` is a constant where this is called. */
INLINE void code_row(Part *part, Model *m, const Pass *p, int64_t at, int32_t *q, const int32_t *above, int learned) {
    const Coding *c = part->coding;
    Around *a = &part->around;
    Writer *w = c->encode ? &part->writer : NULL;
    Reader *r = &part->reader;
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

INLINE void code_anchors(Part *part) {
    const Coding *c = part->coding;
    Model *m = part->models + MODELS - 1;
    for (int64_t i = 0; i < c->anchors; i++) {
        if (c->encode)
            put_symbol(&part->writer, m, LEVELS / 2, 4, c->q[i]);
        else
            c->q[i] = get_symbol(&part->reader, m, LEVELS / 2, 4);
    }
}

INLINE int model_of(const Pass *p) { return p->level == 0 ? p->place : p->level == 1 ? 3 + p->place : 6; }

/* The rows of slices `begin` to `end` of a pass, the first of which is number `done` of the values. */
INLINE void code_slices(Part *part, const Pass *p, int64_t done, int64_t begin, int64_t end, int learned) {
    Coding *c = part->coding;
    const Grid *g = c->grid;
    Around *a = &part->around;
    const int64_t first = p->begin[0] + begin * p->step[0], n = p->count[2];
    if (learned) begin_pass(&a->surroundings, p, first);
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < p->count[1]; j++) {
            const int64_t t = p->begin[0] + i * p->step[0], h = p->begin[1] + j * p->step[1];
            int32_t *q = c->q + done;
            const int64_t at = t * row_stride(g, 0) + h * row_stride(g, 1) + p->begin[2];
            if (learned) {
                gather_logs(&a->surroundings, g, p, (const int16_t *)a->magnitudes, t, h);
                sum_units(&a->surroundings, c->contexts, n);
            } else {
                gather_energy(a, g, p, t, h, first);
            }
            done += n;
            if (c->encode) wait_for(&part->quantised, done);
            code_row(part, part->models + model_of(p), p, at, q, j ? q - n : NULL, learned);
            if (!c->encode) announce(&c->decoded[part->number], done);
        }
}

INLINE void code_some(Part *part, const Pass *p, int64_t done, int64_t begin, int64_t end) {
    done += begin * p->count[1] * p->count[2];
    if (part->coding->contexts)
        code_slices(part, p, done, begin, end, 1);
    else
        code_slices(part, p, done, begin, end, 0);
}

INLINE int make_part(Coding *c, int number, uint16_t *magnitudes) {
    Part *part = c->parts + number;
    const size_t width = (size_t)c->grid->shape[2];
    *part = (Part){.coding = c, .quantised.progress = c->quantised, .number = number};
    part->around.magnitudes = magnitudes;
    part->models = malloc(sizeof(Model) * MODELS);
    part->around.energy = malloc(sizeof(uint16_t) * (2 * width + 4));
    if (make_surroundings(&part->around.surroundings, c->grid->shape[2]) || !part->models || !part->around.energy)
        return NO_MEMORY;
    part->around.copies = part->around.energy + width;
    for (int i = 0; i < MODELS; i++) start_model(part->models + i);
    if (c->contexts) start_by_weights(part->models, c->contexts);
    return OK;
}

static void free_part(Part *part) {
    free(part->models);
    free(part->around.energy);
    free(part->around.surroundings.rows);
}

INLINE void start_stream(Part *part, int stream) {
    const Streams *s = part->coding->streams;
    if (part->coding->encode)
        start_writer(&part->writer, s->data[stream], s->room);
    else
        start_reader(&part->reader, s->data[stream], s->size[stream]);
}

INLINE void finish_stream(Part *part, int stream) {
    Coding *c = part->coding;
    if (!c->encode) return;
    finish_writer(&part->writer);
    c->streams->size[stream] = part->writer.size;
}

/* One half of the passes of the finest level, or both. Who codes one half waits for the other after every pass. */
INLINE void code_halves(Coding *c, int from, int to, int n, int64_t done) {
    for (int i = from; i < to; i++) start_stream(c->parts + i, FINEST + i);
    for (; n < c->count; done += c->passes[n++].values) {
        const Pass *p = c->passes + n;
        const int64_t middle = middle_of(p);
        for (int i = from; i < to; i++) code_some(c->parts + i, p, done, i ? middle : 0, i ? p->count[0] : middle);
        if (to - from == HALVES) continue;
        atomic_store_explicit(&c->passes_done[from], n + 1, memory_order_release);
        while (atomic_load_explicit(&c->passes_done[!from], memory_order_acquire) <= n) rest();
    }
    for (int i = from; i < to; i++) {
        finish_stream(c->parts + i, FINEST + i);
        if (!c->encode) announce(&c->decoded[i], INT64_MAX);
    }
}

/* What a thread of the second half is told. */
typedef struct {
    Coding *coding;
    int n;
    int64_t done;
} Half;

INLINE void code_second_half(const Half *h) { code_halves(h->coding, 1, HALVES, h->n, h->done); }
WIDE static void code_second_half_wide(const Half *h) { code_second_half(h); }
static void code_second_half_plain(const Half *h) { code_second_half(h); }

static void *run_second_half(void *argument) {
    if (has_wide())
        code_second_half_wide(argument);
    else
        code_second_half_plain(argument);
    return NULL;
}

INLINE void code_finest(Coding *c, int n, int64_t done) {
    Half half = {c, n, done};
    pthread_t thread;
    const int parallel = c->parallel && !pthread_create(&thread, NULL, run_second_half, &half);
    code_halves(c, 0, parallel ? 1 : HALVES, n, done);
    if (parallel) pthread_join(thread, NULL);
}

/* A group of passes as a whole, from number n to `end`; the first group also holds the anchors. */
INLINE void code_group(Coding *c, int group, int n, int end, int64_t done) {
    Part *part = c->parts;
    start_stream(part, group);
    if (group == 0) {
        if (c->encode) wait_for(&part->quantised, c->anchors);
        code_anchors(part);
    }
    for (; n < end; done += c->passes[n++].values) code_some(part, c->passes + n, done, 0, c->passes[n].count[0]);
    finish_stream(part, group);
}

INLINE int count_parts(const Coding *c) { return in_halves(c->grid) ? HALVES : 1; }

INLINE void code_groups(Coding *c) {
    int64_t done = c->anchors;
    for (int group = 0, n = 0; group < GROUPS; group++) {
        int end = n;
        int64_t values = 0;
        for (; end < c->count && group_of(c->passes[end].level) == group; end++) values += c->passes[end].values;
        if (!c->encode && !c->streams->data[group]) {
            memset(c->q + done, 0, sizeof(int32_t) * (size_t)values);
            if (group == 0) memset(c->q, 0, sizeof(int32_t) * (size_t)c->anchors);
        } else if (group == FINEST && count_parts(c) == HALVES) {
            code_finest(c, n, done);
        } else {
            code_group(c, group, n, end, done);
        }
        n = end;
        done += values;
        if (!c->encode) announce(&c->decoded[0], done);
    }
}

WIDE static void code_groups_wide(Coding *c) { code_groups(c); }
static void code_groups_plain(Coding *c) { code_groups(c); }

static int code(Coding *c) {
    const size_t all = (size_t)c->grid->shape[2] * (size_t)c->grid->shape[1] * (size_t)c->grid->shape[0];
    uint16_t *magnitudes = calloc(all, sizeof(uint16_t));
    int result = magnitudes ? OK : NO_MEMORY;
    for (int i = 0; i < count_parts(c); i++)
        if (make_part(c, i, magnitudes)) result = NO_MEMORY;
    if (!result) {
        if (has_wide())
            code_groups_wide(c);
        else
            code_groups_plain(c);
    }
    for (int i = 0; i < STREAMS && c->encode; i++)
        if (c->streams->size[i] > c->streams->room) result = NO_ROOM;
    for (int i = 0; i < count_parts(c); i++) free_part(c->parts + i);
    free(magnitudes);
    return result;
}

static void *run_coding(void *argument) {
    Coding *c = argument;
    c->result = code(c);
    for (int i = 0; i < HALVES && !c->encode; i++) announce(&c->decoded[i], INT64_MAX);
    return NULL;
}

#endif
