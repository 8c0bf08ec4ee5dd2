/* Passes over the values of a block that numpy would need several for. */

#include <math.h>
#include <stdint.h>

#include "wide.h"

#define INLINE static inline __attribute__((always_inline))
enum { LANES = 8 };

/* Smallest and largest value, and how many are not finite; of no finite value, low > high. */
typedef struct {
    double low, high;
    int64_t odd;
} Survey;

/* Largest absolute error, sum of squared errors, and how many errors are above the bound (or no numbers). */
typedef struct {
    double largest, squares;
    int64_t outside;
} Errors;

#define FOR_TYPE(REAL, name)                                                                                           \
    INLINE int survey_##name(const REAL *x, int64_t n, Survey *s) {                                                    \
        REAL low = (REAL)INFINITY, high = (REAL)-INFINITY;                                                             \
        int64_t odd = 0;                                                                                               \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            const REAL value = x[i];                                                                                   \
            const int finite = value - value == 0;                                                                     \
            odd += !finite;                                                                                            \
            low = finite && value < low ? value : low;                                                                 \
            high = finite && value > high ? value : high;                                                              \
        }                                                                                                              \
        *s = (Survey){low, high, odd};                                                                                 \
        return 0;                                                                                                      \
    }                                                                                                                  \
    INLINE int to_single_##name(const REAL *x, int64_t n, double offset, double unit, float *z) {                      \
        for (int64_t i = 0; i < n; i++) z[i] = (float)(((double)x[i] - offset) / unit);                                \
        return 0;                                                                                                      \
    }                                                                                                                  \
    INLINE int from_single_##name(const float *z, int64_t n, double offset, double unit, REAL *x) {                    \
        for (int64_t i = 0; i < n; i++) x[i] = (REAL)((double)z[i] * unit + offset);                                   \
        return 0;                                                                                                      \
    }                                                                                                                  \
    INLINE int from_double_##name(const double *z, int64_t n, double offset, double unit, REAL *x) {                   \
        for (int64_t i = 0; i < n; i++) x[i] = (REAL)(z[i] * unit + offset);                                           \
        return 0;                                                                                                      \
    }                                                                                                                  \
    /* Sums in a fixed number of lanes, so that all machines agree. */                                                 \
    INLINE int errors_##name(const REAL *x, const REAL *y, const uint8_t *mask, int64_t n, double bound, Errors *e) {   \
        double largest[LANES] = {0}, squares[LANES] = {0};                                                             \
        int64_t outside = 0, i = 0;                                                                                    \
        for (; i < n; i++) {                                                                                           \
            const double gap = mask && mask[i] ? 0 : fabs((double)x[i] - (double)y[i]);                                \
            const int lane = (int)(i % LANES);                                                                         \
            largest[lane] = gap > largest[lane] ? gap : largest[lane];                                                 \
            squares[lane] += gap * gap;                                                                                \
            outside += !(gap <= bound);                                                                                \
        }                                                                                                              \
        *e = (Errors){.outside = outside};                                                                             \
        for (int lane = 0; lane < LANES; lane++) {                                                                     \
            e->largest = largest[lane] > e->largest ? largest[lane] : e->largest;                                      \
            e->squares += squares[lane];                                                                               \
        }                                                                                                              \
        return 0;                                                                                                      \
    }                                                                                                                  \
    EXPORTED(int, survey_##name, (const REAL *x, int64_t n, Survey *s), (x, n, s))                                      \
    EXPORTED(int, to_single_##name, (const REAL *x, int64_t n, double offset, double unit, float *z),                   \
             (x, n, offset, unit, z))                                                                                  \
    EXPORTED(int, from_single_##name, (const float *z, int64_t n, double offset, double unit, REAL *x),                 \
             (z, n, offset, unit, x))                                                                                  \
    EXPORTED(int, from_double_##name, (const double *z, int64_t n, double offset, double unit, REAL *x),                \
             (z, n, offset, unit, x))                                                                                  \
    EXPORTED(int, errors_##name,                                                                                       \
             (const REAL *x, const REAL *y, const uint8_t *mask, int64_t n, double bound, Errors *e),                   \
             (x, y, mask, n, bound, e))

FOR_TYPE(float, f32)
FOR_TYPE(double, f64)
