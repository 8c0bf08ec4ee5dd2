/* One precision of `lifting.c`; REAL, NAME(x) and ROUND are defined by whoever includes this.

   A row is what a pass visits along W at one place of T and H. Rows of neighbours are copied, one after the other value,
   with PAD values more at each end that repeat the last; where a row lies outside the block, the base takes its place. */

typedef struct {
    REAL *base, *sum, *rows;                 /* (width), (width), (TAPS, width + 2 PAD) */
    const REAL *source[TAPS];                /* where the values of each tap begin */
    int64_t width;
} NAME(Rows);

static int NAME(make_rows)(NAME(Rows) *r, int64_t width) {
    r->width = width;
    r->base = malloc(sizeof(REAL) * (size_t)(2 * width + TAPS * (width + 2 * PAD)));
    if (!r->base) return NO_MEMORY;
    r->sum = r->base + width;
    r->rows = r->sum + width;
    return OK;
}

INLINE void NAME(copy_row)(REAL *to, const REAL *from, int64_t step, int64_t count) {
    REAL *row = to + PAD;
    if (step == 1)
        memcpy(row, from, sizeof(REAL) * (size_t)count);
    else if (step == 2)
        for (int64_t k = 0; k < count; k++) row[k] = from[2 * k];
    else
        for (int64_t k = 0; k < count; k++) row[k] = from[step * k];
    for (int k = 0; k < PAD; k++) {
        to[k] = row[0];
        row[count + k] = row[count - 1];
    }
}

/* Copy the rows around (t, h) and point to the values of every tap. The tap that is the value just before stays NULL. */
INLINE void NAME(gather)(NAME(Rows) *r, const Grid *g, const Pass *p, const Sources *s, const REAL *values, int64_t t,
                         int64_t h) {
    const int64_t m = p->count[2];
    const REAL *rows[TAPS];
    for (int n = 0; n < s->count; n++) {
        const int64_t at_t = t + s->along_t[n], at_h = h + s->along_h[n];
        rows[n] = NULL;
        if (at_t < 0 || at_t >= g->shape[0] || at_h < 0 || at_h >= g->shape[1]) continue;
        REAL *row = r->rows + n * (r->width + 2 * PAD);
        const REAL *from = values + at_t * row_stride(g, 0) + at_h * row_stride(g, 1);
        const int64_t known = s->across[n] ? (g->shape[2] + p->step[2] - 1) / p->step[2] : m;
        NAME(copy_row)(row, from + (s->across[n] ? 0 : p->begin[2]), p->step[2], known);
        rows[n] = row + PAD;
    }
    for (int i = 0; i < TAPS; i++)
        r->source[i] = s->row[i] < 0 ? NULL : rows[s->row[i]] ? rows[s->row[i]] + s->shift[i] : r->base;
    const REAL *low = r->source[0], *high = r->source[1] == r->base ? low : r->source[1];
    for (int64_t k = 0; k < m; k++) r->base[k] = (low[k] + high[k]) * (REAL)0.5;
}

/* The part of the predictions of a row that does not depend on the row itself. Four taps at a time; the order of the
   additions is part of the format. */
INLINE void NAME(sum_taps)(NAME(Rows) *r, const REAL *weights, int64_t m) {
    const REAL *source[TAPS + 3];
    REAL weight[TAPS + 3], left = 1, *sum = r->sum;
    int n = 0;
    for (int i = 0; i < TAPS; i++) {
        left -= weights[i];
        if (!r->source[i] || weights[i] == 0) continue;
        source[n] = r->source[i];
        weight[n++] = weights[i];
    }
    for (; n % 4; n++) source[n] = r->base, weight[n] = 0;
    for (int64_t k = 0; k < m; k++) sum[k] = left * r->base[k];
    for (int i = 0; i < n; i += 4) {
        const REAL *a = source[i], *b = source[i + 1], *c = source[i + 2], *d = source[i + 3];
        const REAL u = weight[i], v = weight[i + 1], w = weight[i + 2], x = weight[i + 3];
        for (int64_t k = 0; k < m; k++) sum[k] += (u * a[k] + v * b[k]) + (w * c[k] + x * d[k]);
    }
}

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

INLINE int NAME(do_passes)(const Grid *g, const Pass *passes, int count, const NAME(Field) *f, const int16_t *weights,
                           int64_t done, Progress *progress) {
    NAME(Rows) rows;
    if (NAME(make_rows)(&rows, g->shape[2])) return NO_MEMORY;
    int32_t *q = f->q;
    for (int n = 0; n < count; n++) {
        const Pass *p = passes + n;
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
                if (!f->z) wait_for(progress, done + p->count[2]);
                const REAL same_row = w[p->axis == 2 ? SAME_ROW_W : SAME_ROW];
                NAME(do_row)(f, &rows, p, same_row, t * row_stride(g, 0) + h * row_stride(g, 1) + p->begin[2], q + done);
                done += p->count[2];
                if (f->z) announce(progress, done);
            }
    }
    free(rows.base);
    return OK;
}
