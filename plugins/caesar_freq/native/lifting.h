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
INLINE void NAME(gather)(NAME(Rows) *r, const Grid *g, const Pass *p, const Tap *taps, const REAL *values, int64_t t,
                         int64_t h) {
    const int64_t m = p->count[2];
    int64_t seen_t[TAPS], seen_h[TAPS];
    int seen_before[TAPS], kept = 0;
    for (int i = 0; i < TAPS; i++) {
        const int64_t *along = taps[i].along, at_t = t + along[0], at_h = h + along[1];
        r->source[i] = NULL;
        if (along[0] == 0 && along[1] == 0 && !taps[i].before) continue; /* the row itself */
        if (at_t < 0 || at_t >= g->shape[0] || at_h < 0 || at_h >= g->shape[1]) {
            r->source[i] = r->base;
            continue;
        }
        const int across = p->axis == 2 && taps[i].before;
        int found = 0;
        while (found < kept && (seen_t[found] != at_t || seen_h[found] != at_h || seen_before[found] != across)) found++;
        REAL *row = r->rows + found * (r->width + 2 * PAD);
        if (found == kept) {
            const REAL *from = values + at_t * row_stride(g, 0) + at_h * row_stride(g, 1);
            const int64_t known = across ? (g->shape[2] + p->step[2] - 1) / p->step[2] : m;
            NAME(copy_row)(row, from + (across ? 0 : p->begin[2]), p->step[2], known);
            seen_t[kept] = at_t, seen_h[kept] = at_h, seen_before[kept++] = across;
        }
        r->source[i] = row + PAD + (across ? (along[2] + p->half) / p->step[2] : along[2] / p->step[2]);
    }
    const REAL *low = r->source[0], *high = r->source[1] == r->base ? low : r->source[1];
    for (int64_t k = 0; k < m; k++) r->base[k] = (low[k] + high[k]) * (REAL)0.5;
}

/* The part of the predictions of a row that does not depend on the row itself. */
INLINE void NAME(sum_taps)(NAME(Rows) *r, const REAL *weights, int64_t m) {
    REAL left = 1;
    for (int i = 0; i < TAPS; i++) left -= weights[i];
    for (int64_t k = 0; k < m; k++) r->sum[k] = left * r->base[k];
    for (int i = 0; i < TAPS; i++) {
        const REAL *source = r->source[i], weight = weights[i];
        REAL *sum = r->sum;
        if (!source || weight == 0) continue;
        for (int64_t k = 0; k < m; k++) sum[k] += weight * source[k];
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

/* Quantise one row: q = round((z - prediction) / step), z_hat = prediction + step q; or only the latter. */
INLINE void NAME(do_row)(const NAME(Field) *f, const NAME(Rows) *r, const Pass *p, REAL same_row, int64_t at, int32_t *q) {
    const REAL step = f->step, inverse = 1 / step;
    const int64_t m = p->count[2], stride = p->step[2];
    REAL before = r->base[0];
    for (int64_t k = 0; k < m; k++) {
        const int64_t i = at + k * stride;
        REAL prediction = r->sum[k] + same_row * before;
        if (f->lattice) prediction = ROUND(prediction);
        if (f->z) {
            const REAL distance = (f->z[i] - prediction) * inverse;
            q[k] = f->mask && f->mask[i] ? 0 : (int32_t)ROUND(distance);
        }
        before = prediction + step * (REAL)q[k];
        f->z_hat[i] = before;
    }
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
        list_taps(p, taps);
        for (int i = 0; i < TAPS; i++) w[i] = (REAL)weights[n * TAPS + i] * (REAL)(1.0 / WEIGHT_ONE);
        for (int64_t i = 0; i < p->count[0]; i++)
            for (int64_t j = 0; j < p->count[1]; j++) {
                const int64_t t = p->begin[0] + i * p->step[0], h = p->begin[1] + j * p->step[1];
                NAME(gather)(&rows, g, p, taps, f->z_hat, t, h);
                NAME(sum_taps)(&rows, w, p->count[2]);
                if (!f->z) wait_for(progress, done + p->count[2]);
                const REAL same_row = w[p->axis == 2 ? 15 : p->axis == 0 || p->axis == 1 ? 13 : 0];
                NAME(do_row)(f, &rows, p, same_row, t * row_stride(g, 0) + h * row_stride(g, 1) + p->begin[2], q + done);
                done += p->count[2];
                if (f->z) announce(progress, done);
            }
    }
    free(rows.base);
    return OK;
}
