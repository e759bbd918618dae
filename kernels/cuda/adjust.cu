// Biases and penalties, by the engine's rules, before a token is drawn; the logits back as they were; and the token that was
// drawn among those that were seen.
//
//   logits f32 [rows][vocabulary]
//   adjusted [blocks]       which draw, its row, how many of its logits count, its penalties, and where its biases are, from
//                           `biases` to `end`, every token another; and its list of what was seen, all ones for none
//   biases u32x2            a token, and the bits of its bias
//   seen u32x2              lists: first how many entries there are and the room for them, that one included; then a token,
//                           every one another, and how often it was generated
//   originals, originals_of_seen f32   what the logits were, an entry each
//   adjust_logits           adds biases, then divides or multiplies by the repetition penalty what was seen, and subtracts the
//                           presence penalty from what was generated and the frequency penalty for each time
//   restore_logits          undoes it
//   remember                counts the token of `chosen` u32x2 [draws] in the list of its draw, or appends it where there is
//                           room; nothing where none was drawn
//
// One block a draw. The operations are the engine's own, none of them contracted, and so are the bits.
//
// Bytes to move: 20 an entry, of which 8 are scattered in sectors of 32; 4 an entry to remember.
#include "warp.cuh"

constexpr int THREADS = 256;
constexpr float GREATEST = 3.402823466e38f;
constexpr uint32_t NOTHING = 0xffffffffu;

struct Adjusted {
    uint32_t draw, row, tokens, biases, end, list;
    float repetition, presence, frequency;
    uint32_t unused;
};

// A NaN is impossible.
__device__ __forceinline__ float usable(float logit) {
    return logit == logit ? fminf(logit, GREATEST) : -__uint_as_float(0x7f800000u);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adjust_logits(float* logits, uint32_t vocabulary, const Adjusted* adjusted, const uint2* biases, const uint2* seen,
                  float* originals, float* originals_of_seen) {
    grid_dependency_wait();
    const Adjusted& own = adjusted[blockIdx.x];
    float* row = logits + uint64_t(own.row) * vocabulary;
    for (uint32_t at = own.biases + threadIdx.x; at < own.end; at += THREADS) {
        const uint32_t token = biases[at].x;
        const float logit = row[token];
        originals[at] = logit;
        row[token] = fminf(usable(logit) + __uint_as_float(biases[at].y), GREATEST);
    }
    __syncthreads();
    if (own.list != NOTHING) {
        const uint32_t end = own.list + 1 + seen[own.list].x;
        for (uint32_t at = own.list + 1 + threadIdx.x; at < end; at += THREADS) {
            const uint32_t token = seen[at].x, times = seen[at].y;
            if (token < own.tokens) {
                const float before = row[token], logit = usable(before);
                originals_of_seen[at] = before;
                const float repeated = logit > 0.0f ? logit / own.repetition : __fmul_rn(logit, own.repetition);
                const float present = __fadd_rn(repeated, times > 0 ? -own.presence : 0.0f);
                row[token] = fminf(__fadd_rn(present, -__fmul_rn(own.frequency, float(times))), GREATEST);
            }
        }
    }
}
EXPORT(adjust_logits)

extern "C" __global__ void __launch_bounds__(THREADS)
    restore_logits(float* logits, uint32_t vocabulary, const Adjusted* adjusted, const uint2* biases, const uint2* seen,
                   const float* originals, const float* originals_of_seen) {
    grid_dependency_wait();
    const Adjusted& own = adjusted[blockIdx.x];
    float* row = logits + uint64_t(own.row) * vocabulary;
    if (own.list != NOTHING) {
        const uint32_t end = own.list + 1 + seen[own.list].x;
        for (uint32_t at = own.list + 1 + threadIdx.x; at < end; at += THREADS) {
            if (seen[at].x < own.tokens) {
                row[seen[at].x] = originals_of_seen[at];
            }
        }
    }
    __syncthreads();
    for (uint32_t at = own.biases + threadIdx.x; at < own.end; at += THREADS) {
        row[biases[at].x] = originals[at];
    }
}
EXPORT(restore_logits)

extern "C" __global__ void __launch_bounds__(THREADS)
    remember(const Adjusted* adjusted, uint2* seen, const uint2* chosen) {
    grid_dependency_wait();
    SHARED(uint32_t, known, 1);
    const Adjusted& own = adjusted[blockIdx.x];
    const uint32_t token = chosen[own.draw].x;
    if (own.list != NOTHING && token != NOTHING) {
        uint2* list = seen + own.list;
        const uint32_t length = list[0].x, room = list[0].y;
        if (threadIdx.x == 0) {
            known[0] = 0;
        }
        __syncthreads();
        for (uint32_t at = 1 + threadIdx.x; at <= length; at += THREADS) {
            if (list[at].x == token) {
                list[at].y += list[at].y < NOTHING;
                known[0] = 1;
            }
        }
        __syncthreads();
        if (threadIdx.x == 0 && known[0] == 0 && length + 1 < room) {
            list[length + 1] = make_uint2(token, 1);
            list[0].x = length + 1;
        }
    }
}
EXPORT(remember)
