/* Two probabilities of one decision as one: a weighted sum in the logistic domain, whose weights learn.
   Integers only. */

#ifndef MIXER_H
#define MIXER_H

#include <stdint.h>

#include "range_coder.h"

/* Logits in 1/256; probabilities from 1/512 to 511/512 are told apart. */
enum { LOGITS = 2048, CHANCES = 4096, RATE = 14, MAX_WEIGHT = 1 << 18 };

typedef struct {
    int32_t weight[2]; /* in 1/65536 */
} Mixer;

static int16_t logit_of[CHANCES];        /* of chances in 1/4096 */
static uint16_t chance_of[2 * LOGITS];   /* in 1/32768, of logit + LOGITS */

/* chance = 1 / (1 + e^(-logit/256)); e^(-1/256) is 4278222805 / 2^32. */
__attribute__((constructor)) static void make_mixer(void) {
    uint64_t power = 1ull << 32;
    for (int logit = 0; logit < LOGITS; logit++) {
        uint32_t p = (uint32_t)((1ull << 47) / ((1ull << 32) + power));
        chance_of[LOGITS + logit] = (uint16_t)(p > 32704 ? 32704 : p);
        chance_of[LOGITS - logit] = (uint16_t)(32768 - chance_of[LOGITS + logit]);
        power = power * 4278222805ull >> 32;
    }
    chance_of[0] = chance_of[1];
    int logit = -LOGITS + 1;
    for (int i = 0; i < CHANCES; i++) {
        while (logit < LOGITS - 1 && chance_of[LOGITS + logit] < 8 * i + 4) logit++;
        logit_of[i] = (int16_t)logit;
    }
}

/* The joint chance of a 1 in 1/32768; `logits` keeps what `learn` needs. */
INLINE uint32_t mix(const Mixer *m, const Bit *a, const Bit *b, int32_t logits[2]) {
    logits[0] = logit_of[chance(a) >> 3];
    logits[1] = logit_of[chance(b) >> 3];
    int32_t sum = (m->weight[0] * logits[0] + m->weight[1] * logits[1]) / 65536;
    sum = sum > LOGITS - 1 ? LOGITS - 1 : sum < 1 - LOGITS ? 1 - LOGITS : sum;
    return chance_of[LOGITS + sum];
}

INLINE int32_t within(int32_t weight) {
    return weight > MAX_WEIGHT ? MAX_WEIGHT : weight < -MAX_WEIGHT ? -MAX_WEIGHT : weight;
}

INLINE void learn(Mixer *m, const int32_t logits[2], uint32_t p, int value) {
    const int32_t error = 2 * ((value << 15) - (int32_t)p);
    for (int i = 0; i < 2; i++) m->weight[i] = within(m->weight[i] + error * logits[i] / (1 << RATE));
}

#endif
