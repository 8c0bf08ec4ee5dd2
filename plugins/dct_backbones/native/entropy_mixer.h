/* Several chances of one decision as one: a weighted sum in the logistic domain, whose weights learn. Integers only.

   Source: M. Mahoney, "Adaptive weighing of context models for lossless data compression", Florida Tech. CS-2005-16. */

#ifndef ENTROPY_MIXER_H
#define ENTROPY_MIXER_H

#include <stdint.h>

#include "entropy_range.h"

/* Logits in 1/256, below 8 on both sides; weights in 1/8192. */
enum { LOGITS = 2048, CHANCES = 4096, INPUTS = 5, WEIGHT_BITS = 13, FIRST_WEIGHT = 2600, RATE = 12 };
enum { LEAST = 24, MOST = 65536 - LEAST };

/* The chance of a 1 in a context, in the upper 22 bits, and of how many decisions it is the mean. */
typedef uint32_t Slot;
enum { SEEN_BITS = 10, SEEN = (1 << SEEN_BITS) - 1, MOST_SEEN = 250 };
#define EVEN (1u << 31)

typedef struct {
    int16_t weight[INPUTS];
} Mixer;

static int16_t logit_of[CHANCES];       /* of chances in 1/4096 */
static uint16_t chance_of[2 * LOGITS];  /* in 1/65536, of logit + LOGITS */
static int32_t step_of[MOST_SEEN + 1];  /* how far a decision moves a mean, in 1/65536 */

/* chance = 1 / (1 + e^(-logit/256)); e^(-1/256) is 4278222805 / 2^32. */
__attribute__((constructor)) static void make_mixer_tables(void) {
    uint64_t power = 1ull << 32;
    for (int logit = 0; logit < LOGITS; logit++) {
        const uint32_t p = (uint32_t)((1ull << 48) / ((1ull << 32) + power));
        chance_of[LOGITS + logit] = (uint16_t)p;
        chance_of[LOGITS - logit] = (uint16_t)(65536 - p);
        power = power * 4278222805ull >> 32;
    }
    chance_of[0] = chance_of[1];
    int logit = 1 - LOGITS;
    for (int i = 0; i < CHANCES; i++) {
        while (logit < LOGITS - 1 && chance_of[LOGITS + logit] < 16 * i + 8) logit++;
        logit_of[i] = (int16_t)logit;
    }
    for (int seen = 0; seen <= MOST_SEEN; seen++) step_of[seen] = 2 * 65536 / (2 * seen + 5);
}

/* Moves a mean towards `target`, the largest chance or 0. */
INLINE void learn(Slot *slot, uint32_t target) {
    const uint32_t seen = *slot & SEEN, chance = *slot >> SEEN_BITS;
    const int32_t gap = (int32_t)(target - chance);
    const uint32_t moved = chance + (uint32_t)((gap >> 6) * step_of[seen] >> 10);
    *slot = (moved << SEEN_BITS | seen) + (seen < MOST_SEEN);
}

/* The joint chance of a 1 in 1/65536, and the logits that `teach` needs. */
INLINE uint32_t mix(const Mixer *m, Slot *const *slots, int count, int16_t logits[INPUTS]) {
    int32_t sum = 0;
    for (int i = 0; i < count; i++) {
        logits[i] = logit_of[*slots[i] >> 20];
        sum += m->weight[i] * logits[i];
    }
    sum >>= WEIGHT_BITS;
    const uint32_t p = chance_of[LOGITS + (sum > LOGITS - 1 ? LOGITS - 1 : sum < 1 - LOGITS ? 1 - LOGITS : sum)];
    return p < LEAST ? LEAST : p > MOST ? MOST : p;
}

INLINE void teach(Mixer *m, const int16_t logits[INPUTS], int count, uint32_t p, int one) {
    const int16_t error = (int16_t)(((one << 16) - (int32_t)p) * RATE / 32);
    for (int i = 0; i < count; i++) {
        const int32_t weight = m->weight[i] + ((((int16_t)(logits[i] * 2) * error >> 16) + 1) >> 1);
        m->weight[i] = (int16_t)(weight > INT16_MAX ? INT16_MAX : weight < INT16_MIN ? INT16_MIN : weight);
    }
}

#endif
