/* Rows of values and what is predicted from them, in one precision: REAL and NAME(x) are defined by whoever includes this.

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
