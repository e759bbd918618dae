// What adapters add to a projection, each row its own: out[row] += B . (scale * (A . x[row])).
//
//   shrink  low[row][r] = scale_a * A_a[r] . x[row]      one warp an entry of `low`
//   expand  out[row][n] += B_a[n] . low[row]             one thread an output
//   x f32 [rows][columns]; adapters u32 [rows], all ones for a row without one, which is neither read nor written;
//   tables u64 [adapters]: addresses of A f32 [rank][columns] and of B f32 [outputs][rank]; ranks u32, scales f32
//   [adapters]; low f32 [rows][rank_max]
//
// Rows of one adapter that lie together find its weights in the cache, so that one pair of kernels serves decoding
// (each row another adapter) and prompts (many rows of one). A row's order of operations is its own.
//
// Bytes to move: 4 * rank * (columns + outputs) for each adapter of the batch. Operations: 2 * rank * (columns + outputs)
// a row. Bound by the launch up to some dozens of rows.
#include "warp.cuh"

constexpr int WARPS = 4;
constexpr uint32_t NO_ADAPTER = 0xffffffffu;

extern "C" __global__ void __launch_bounds__(WARPS * 32)
    lora_shrink(const float* x, uint32_t columns, const uint32_t* adapters, const uint64_t* a, const uint32_t* ranks,
                const float* scales, float* low, uint32_t rank_max) {
    grid_dependency_wait();
    const uint32_t row = blockIdx.y, entry = blockIdx.x * WARPS + threadIdx.x / 32, adapter = adapters[row];
    if (adapter != NO_ADAPTER && entry < ranks[adapter]) {
        const float* weights = reinterpret_cast<const float*>(a[adapter]) + uint64_t(entry) * columns;
        const float* from = x + uint64_t(row) * columns;
        float sum = 0;
        for (uint32_t column = threadIdx.x % 32; column < columns; column += 32) {
            sum = fmaf(weights[column], from[column], sum);
        }
        sum = warp_sum(sum);
        if (threadIdx.x % 32 == 0) {
            low[uint64_t(row) * rank_max + entry] = sum * scales[adapter];
        }
    }
}
EXPORT(lora_shrink)

extern "C" __global__ void __launch_bounds__(WARPS * 32)
    lora_expand(const float* low, uint32_t rank_max, const uint32_t* adapters, const uint64_t* b, const uint32_t* ranks,
                float* out, uint32_t outputs) {
    grid_dependency_wait();
    const uint32_t row = blockIdx.y, output = blockIdx.x * (WARPS * 32) + threadIdx.x, adapter = adapters[row];
    if (adapter != NO_ADAPTER && output < outputs) {
        const uint32_t rank = ranks[adapter];
        const float* weights = reinterpret_cast<const float*>(b[adapter]) + uint64_t(output) * rank;
        const float* from = low + uint64_t(row) * rank_max;
        float sum = 0;
        for (uint32_t entry = 0; entry < rank; ++entry) {
            sum = fmaf(weights[entry], from[entry], sum);
        }
        out[uint64_t(row) * outputs + output] += sum;
    }
}
EXPORT(lora_expand)
