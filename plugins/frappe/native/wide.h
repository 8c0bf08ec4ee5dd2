/* One body of code, compiled twice where a processor may or may not have wide vectors, and chosen when it is called. */

#ifndef WIDE_H
#define WIDE_H

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define WIDE __attribute__((target("avx2,fma,bmi,bmi2")))
INLINE int has_wide(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}
#else
#define WIDE
INLINE int has_wide(void) { return 0; }
#endif

/* Export `frappe_NAME`, which runs the inline function NAME, and `frappe_NAME_plain`, which does without wide vectors. */
#define EXPORTED(type, name, parameters, arguments)                               \
    EXPORT type frappe_##name##_plain parameters { return name arguments; }       \
    WIDE static type name##_wide parameters { return name arguments; }            \
    EXPORT type frappe_##name parameters {                                        \
        return has_wide() ? name##_wide arguments : frappe_##name##_plain arguments; \
    }

#endif
