// Biases and penalties, by the engine's rules, before a token is drawn; and the logits back as they were.
//
//   logits f32 [rows][vocabulary]
//   adjusted [blocks]       which row, its penalties, and where its entries are: biases from `biases` to `seen`, tokens that
//                           were seen from there to `end`; within either every token is another
//   entries u32x2           a token, and the bits of its bias or how often it was generated
//   originals f32 [entries] what the logits were
//   adjust_logits           adds biases, then divides or multiplies by the repetition penalty what was seen, and subtracts the
//                           presence penalty from what was generated and the frequency penalty for each time
//   restore_logits          undoes it
//
// One block a row. The operations are the engine's own, none of them contracted, and so are the bits.
//
// Bytes to move: 20 an entry, of which 8 are scattered in sectors of 32.
#include "warp.cuh"

constexpr int THREADS = 256;
constexpr float GREATEST = 3.402823466e38f;

struct Adjusted {
    uint32_t row, biases, seen, end;
    float repetition, presence, frequency;
    uint32_t unused;
};

// A NaN is impossible.
__device__ __forceinline__ float usable(float logit) {
    return logit == logit ? fminf(logit, GREATEST) : -__uint_as_float(0x7f800000u);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adjust_logits(float* logits, uint32_t vocabulary, const Adjusted* adjusted, const uint2* entries, float* originals) {
    grid_dependency_wait();
    const Adjusted& own = adjusted[blockIdx.x];
    float* row = logits + uint64_t(own.row) * vocabulary;
    for (uint32_t at = own.biases + threadIdx.x; at < own.seen; at += THREADS) {
        const uint32_t token = entries[at].x;
        const float logit = row[token];
        originals[at] = logit;
        row[token] = fminf(usable(logit) + __uint_as_float(entries[at].y), GREATEST);
    }
    __syncthreads();
    for (uint32_t at = own.seen + threadIdx.x; at < own.end; at += THREADS) {
        const uint32_t token = entries[at].x, times = entries[at].y;
        const float before = row[token], logit = usable(before);
        originals[at] = before;
        const float repeated = logit > 0.0f ? logit / own.repetition : __fmul_rn(logit, own.repetition);
        const float present = __fadd_rn(repeated, times > 0 ? -own.presence : 0.0f);
        row[token] = fminf(__fadd_rn(present, -__fmul_rn(own.frequency, float(times))), GREATEST);
    }
    grid_dependency_launch();
}
EXPORT(adjust_logits)

extern "C" __global__ void __launch_bounds__(THREADS)
    restore_logits(float* logits, uint32_t vocabulary, const Adjusted* adjusted, const uint2* entries,
                   const float* originals) {
    grid_dependency_wait();
    const Adjusted& own = adjusted[blockIdx.x];
    float* row = logits + uint64_t(own.row) * vocabulary;
    for (uint32_t at = own.seen + threadIdx.x; at < own.end; at += THREADS) {
        row[entries[at].x] = originals[at];
    }
    __syncthreads();
    for (uint32_t at = own.biases + threadIdx.x; at < own.seen; at += THREADS) {
        row[entries[at].x] = originals[at];
    }
    grid_dependency_launch();
}
EXPORT(restore_logits)
