/* Functions that are compiled twice, with and without wide vectors, and chosen when they are called. No fused
   multiply-add in either: both give the same values. */

#ifndef WIDE_H
#define WIDE_H

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define WIDE __attribute__((target("avx2,bmi,bmi2")))
static inline int has_wide(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"); }
#else
#define WIDE
static inline int has_wide(void) { return 0; }
#endif

/* Export `caesar_NAME`, which runs the inline function NAME. */
#define EXPORTED(type, name, parameters, arguments)                     \
    static type name##_plain parameters { return name arguments; }      \
    WIDE static type name##_wide parameters { return name arguments; }  \
    EXPORT type caesar_##name parameters {                              \
        return has_wide() ? name##_wide arguments : name##_plain arguments; \
    }

#endif
