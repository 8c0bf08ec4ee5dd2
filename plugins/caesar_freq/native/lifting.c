/* Blocks of a field by an interpolating wavelet whose filters are fitted to the block and whose lifting steps have the
   quantiser inside: each value is predicted from values as the decoder has them, so its error is that of its own
   quantisation, at most half a step.

   Two stages work on the rows of the passes (`grid.h`): prediction, which needs decoded values, and entropy coding
   (`coding.h`), which needs magnitudes of quantised values alone. With threads they run side by side. Prediction
   is floating-point arithmetic in a fixed order without fused operations, so every machine decodes the same values. */

#include <math.h>

#include "coding.h"

enum { WEIGHT_ONE = 4096 };

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

/* ---- both stages ---------------------------------------------------------------------------------------------- */

INLINE int64_t count_anchors(const Grid *g) {
    int64_t count = 1;
    for (int x = 0; x < AXES; x++) count *= (g->shape[x] + (1ll << g->levels) - 1) >> g->levels;
    return count;
}

#define BOTH_STAGES(REAL, NAME)                                                                                        \
    WIDE static int NAME##_wide(Coding *c, const Field_##NAME *f, const int16_t *w) {                            \
        return do_passes_##NAME(c, f, w);                                                                              \
    }                                                                                                                  \
    static int NAME##_plain(Coding *c, const Field_##NAME *f, const int16_t *w) {                                \
        return do_passes_##NAME(c, f, w);                                                                              \
    }                                                                                                                  \
    static void anchors_##NAME(const Grid *g, const Field_##NAME *f, int32_t *q) {                                     \
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
    static int predict_##NAME(Coding *c, const Field_##NAME *f, const int16_t *w) {                                    \
        Listener decoded = {.progress = c->decoded};                                                                   \
        if (!f->z) wait_for(&decoded, c->anchors);                                                                     \
        anchors_##NAME(c->grid, f, f->q);                                                                              \
        if (f->z) announce(c->quantised, c->anchors);                                                                  \
        return has_wide() ? NAME##_wide(c, f, w) : NAME##_plain(c, f, w);                                              \
    }                                                                                                                  \
    /* Quantise and code `z`, or decode (`z` NULL). `streams` NULL: quantise alone. */                                 \
    EXPORT int caesar_lift_##NAME(const Grid *g, const REAL *z, REAL *z_hat, const uint8_t *mask, const int16_t *w,    \
                                  REAL step, int lattice, int32_t *q, Streams *streams, const Contexts *contexts,      \
                                  int threads) {                                                                       \
        Pass passes[MAX_PASSES];                                                                                       \
        Progress quantised = {0};                                                                                      \
        const Field_##NAME field = {.z = z, .z_hat = z_hat, .mask = mask, .q = q, .step = step, .lattice = lattice};   \
        Coding coding = {.grid = g, .passes = passes, .count = list_passes(g, passes), .mask = mask, .q = q,           \
                         .streams = streams, .contexts = contexts, .anchors = count_anchors(g),                        \
                         .quantised = &quantised, .encode = z != NULL, .parallel = threads > 1};                       \
        if (!streams) return predict_##NAME(&coding, &field, w);                                                       \
        pthread_t thread;                                                                                              \
        const int parallel = threads > 1 && !pthread_create(&thread, NULL, run_coding, &coding);                       \
        if (!parallel && !z) run_coding(&coding);                                                                      \
        const int result = predict_##NAME(&coding, &field, w);                                                         \
        if (z) announce(&quantised, INT64_MAX);                                                                        \
        if (parallel) pthread_join(thread, NULL);                                                                      \
        if (!parallel && z) run_coding(&coding);                                                                       \
        return result ? result : coding.result;                                                                        \
    }

BOTH_STAGES(float, f32)
BOTH_STAGES(double, f64)

/* Whether the finest level of a block has two streams. */
EXPORT int caesar_in_halves(const Grid *g) { return in_halves(g); }
