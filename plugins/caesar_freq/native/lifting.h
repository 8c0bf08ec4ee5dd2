/* One precision of `lifting.c`; REAL, NAME(x) and ROUND are defined by whoever includes this. */

#include "rows.h"

typedef struct {
    const REAL *z;       /* original, or NULL when decoding */
    REAL *z_hat;         /* values as the decoder has them */
    const uint8_t *mask; /* 1 where nothing is coded, or NULL */
    int32_t *q;          /* in the order of the passes */
    REAL step;
    int lattice;         /* predictions are rounded: all values are integers */
} NAME(Field);

/* Rows of a lattice: predictions are rounded, q = round((z - prediction) / step), z_hat = prediction + step q. */
INLINE void NAME(lattice_row)(const NAME(Field) *f, const NAME(Rows) *r, const Pass *p, REAL same_row, int64_t at,
                              int32_t *q) {
    const REAL step = f->step, inverse = 1 / step;
    REAL before = r->base[0];
    for (int64_t k = 0; k < p->count[2]; k++) {
        const int64_t i = at + k * p->step[2];
        const REAL prediction = ROUND(r->sum[k] + same_row * before);
        if (f->z) q[k] = f->mask && f->mask[i] ? 0 : (int32_t)ROUND((f->z[i] - prediction) * inverse);
        before = prediction + step * (REAL)q[k];
        f->z_hat[i] = before;
    }
}

/* Other rows, whose step is 1. Each value waits for the one before: the fewer operations from one to the next the better. */
INLINE void NAME(encode_row)(const NAME(Field) *f, const NAME(Rows) *r, const Pass *p, REAL same_row, int64_t at,
                             int32_t *q) {
    REAL before = r->base[0];
    for (int64_t k = 0; k < p->count[2]; k++) {
        const int64_t i = at + k * p->step[2];
        const REAL part = same_row * before;
        REAL rounded = ROUND((f->z[i] - r->sum[k]) - part);
        if (f->mask && f->mask[i]) rounded = 0;
        before = (r->sum[k] + part) + rounded;
        q[k] = (int32_t)rounded;
        f->z_hat[i] = before;
    }
}

INLINE void NAME(decode_row)(const NAME(Field) *f, const NAME(Rows) *r, const Pass *p, REAL same_row, int64_t at,
                             const int32_t *q) {
    REAL before = r->base[0];
    for (int64_t k = 0; k < p->count[2]; k++) {
        before = (r->sum[k] + same_row * before) + (REAL)q[k];
        f->z_hat[at + k * p->step[2]] = before;
    }
}

INLINE void NAME(do_row)(const NAME(Field) *f, const NAME(Rows) *r, const Pass *p, REAL same_row, int64_t at, int32_t *q) {
    if (f->lattice)
        NAME(lattice_row)(f, r, p, same_row, at, q);
    else if (f->z)
        NAME(encode_row)(f, r, p, same_row, at, q);
    else
        NAME(decode_row)(f, r, p, same_row, at, q);
}

INLINE int NAME(do_passes)(Coding *c, const NAME(Field) *f, const int16_t *weights) {
    const Grid *g = c->grid;
    Listener decoded[HALVES] = {{.progress = c->decoded}, {.progress = c->decoded + 1}};
    NAME(Rows) rows;
    if (NAME(make_rows)(&rows, g->shape[2])) return NO_MEMORY;
    int32_t *q = f->q;
    int64_t done = c->anchors;
    for (int n = 0; n < c->count; n++) {
        const Pass *p = c->passes + n;
        const int64_t second = in_halves(g) && group_of(p->level) == FINEST ? middle_of(p) : p->count[0];
        Tap taps[TAPS];
        REAL w[TAPS];
        Sources sources;
        list_taps(p, taps);
        plan_sources(&sources, p, taps, TAPS);
        for (int i = 0; i < TAPS; i++) w[i] = (REAL)weights[n * TAPS + i] * (REAL)(1.0 / WEIGHT_ONE);
        for (int64_t i = 0; i < p->count[0]; i++)
            for (int64_t j = 0; j < p->count[1]; j++) {
                const int64_t t = p->begin[0] + i * p->step[0], h = p->begin[1] + j * p->step[1];
                NAME(gather)(&rows, g, p, &sources, f->z_hat, t, h);
                NAME(sum_taps)(&rows, w, p->count[2]);
                if (!f->z) wait_for(decoded + (i >= second), done + p->count[2]);
                const REAL same_row = w[p->axis == 2 ? SAME_ROW_W : SAME_ROW];
                NAME(do_row)(f, &rows, p, same_row, t * row_stride(g, 0) + h * row_stride(g, 1) + p->begin[2], q + done);
                done += p->count[2];
                if (f->z) announce(c->quantised, done);
            }
    }
    free(rows.base);
    return OK;
}
