/* What the context network is trained on: its features at rows of a block, in the order of the passes. */

#include "context.h"
#include "wide.h"

enum { NO_MEMORY = -1 };

typedef struct {
    int16_t *features;   /* (room, FEATURES) */
    int32_t *magnitudes; /* (room) */
    uint8_t *kinds;      /* (room) */
    uint8_t *levels;     /* (room), that `contexts` lead to; or NULL */
    const Contexts *contexts;
    int64_t room, count;
} Examples;

INLINE void add_examples(Examples *e, Surroundings *s, const int32_t *q, const uint8_t *mask, int64_t step, int64_t m) {
    int16_t last = 0, last_but_one = 0;
    if (e->levels) sum_units(s, e->contexts, m);
    for (int64_t k = 0; k < m && e->count < e->room; k++) {
        if (mask && mask[k * step]) continue;
        int16_t *features = e->features + e->count * FEATURES;
        for (int i = 0; i < AROUND; i++) features[i] = s->source[i][k];
        for (int i = 0; i < ROW_MEANS; i++) features[FIRST_MEAN + i] = (int16_t)s->means[i];
        features[LAST] = last;
        features[LAST_BUT_ONE] = last_but_one;
        if (e->levels) e->levels[e->count] = (uint8_t)level_by_network(s, e->contexts, k, last, last_but_one);
        e->magnitudes[e->count] = q[k] < 0 ? -q[k] : q[k];
        e->kinds[e->count++] = (uint8_t)s->kind;
        last_but_one = last;
        last = log_of[magnitude_of(q[k])];
    }
}

INLINE void visit_row(Surroundings *s, const int32_t *q, const uint8_t *mask, int16_t *logs, int64_t step, int64_t m) {
    int64_t sum = 0;
    for (int64_t k = 0; k < m; k++) {
        if (mask && mask[k * step]) continue;
        logs[k * step] = log_of[magnitude_of(q[k])];
        sum += logs[k * step];
    }
    end_row(s, sum, m);
}

INLINE int64_t context_examples(const Grid *g, const uint8_t *mask, const int32_t *q, int64_t every, Examples *e) {
    Pass passes[MAX_PASSES];
    Surroundings s;
    int16_t *logs = calloc((size_t)g->shape[0] * (size_t)g->shape[1] * (size_t)g->shape[2], sizeof(int16_t));
    if (!logs || make_surroundings(&s, g->shape[2])) {
        free(logs);
        return NO_MEMORY;
    }
    int64_t rows = 0;
    const int n = list_passes(g, passes);
    for (const Pass *p = passes; p < passes + n; p++) {
        begin_pass(&s, p, 0);
        for (int64_t row = 0; row < p->count[0] * p->count[1]; row++, rows++) {
            const int64_t t = p->begin[0] + row / p->count[1] * p->step[0];
            const int64_t h = p->begin[1] + row % p->count[1] * p->step[1];
            const int64_t at = t * row_stride(g, 0) + h * row_stride(g, 1) + p->begin[2], m = p->count[2];
            const uint8_t *masked = mask ? mask + at : NULL;
            gather_logs(&s, g, p, logs, t, h);
            if (rows % every == 0) add_examples(e, &s, q, masked, p->step[2], m);
            visit_row(&s, q, masked, logs + at, p->step[2], m);
            q += m;
        }
    }
    free(s.rows);
    free(logs);
    return e->count;
}

/* Features, magnitudes and kinds of one row in `every`, and levels unless `contexts` is NULL; returns how many values
   there are, or NO_MEMORY. `q` holds the quantised values of the block behind its anchors, all of them above -2^31. */
EXPORTED(int64_t, context_examples,
         (const Grid *g, const uint8_t *mask, const int32_t *q, int64_t every, Examples *e),
         (g, mask, q, every, e))
