/* Functions that are compiled twice, with and without wide vectors, and chosen when they are called. No fused
   multiply-add in either: both give the same values. */

#ifndef WIDE_H
#define WIDE_H

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define WIDE __attribute__((target("avx2,bmi,bmi2")))
static inline int has_wide(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"); }
#else
#define WIDE
static inline int has_wide(void) { return 0; }
#endif

#endif
