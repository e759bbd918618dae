// What the threads of a warp or a block do together.
#pragma once

#include <intrinsics.cuh>

constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, bits);
    }
    return value;
}

// Asks for the beginnings of ROWS rows of weights, from row `first` of `rows` on, before the kernel in front is done: as many
// lines of 128 bytes as the warp has lanes, so that what all blocks ask for fits into the second cache.
template <int ROWS>
__device__ __forceinline__ void ask_for_rows(const uint8_t* start, uint64_t row_bytes, uint32_t first, uint32_t rows) {
    constexpr int LANES = 32 / ROWS;
    const int lane = threadIdx.x % 32;
    const uint32_t row = first + lane / LANES, at = lane % LANES * 128;
    if (row < rows && at < row_bytes) {
        ask_ahead(start + row * row_bytes + at);
    }
}

// The sum over a block of WARPS warps, in every thread. `parts` holds WARPS numbers; the caller syncs before it is used
// again.
template <int WARPS>
__device__ __forceinline__ float block_sum(float value, float* parts) {
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) {
        parts[threadIdx.x / 32] = value;
    }
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (int warp = 0; warp < WARPS; ++warp) {
        sum += parts[warp];
    }
    return sum;
}

// Where a row goes in the forms that products take; any of them may be absent.
struct Outputs {
    float* floats;
    int8_t* values;
    float2* scales;
    uint16_t* bf16;
};

// Activations below this magnitude count as zero: their scale would not be a normal number.
constexpr float TINY = 1e-30f;

// Writes `value`, this lane's of 32 neighbouring columns of a row, in every form wanted. `at` is its place among all
// elements, `column` < `columns` says whether it exists. 8-bit values come with their scale, and the scale times
// their sum; columns beyond the end count as zero.
__device__ __forceinline__ void write_group(const Outputs& out, uint64_t at, bool exists, float value) {
    if (!exists) {
        value = 0;
    }
    if (out.floats && exists) {
        out.floats[at] = value;
    }
    if (out.bf16 && exists) {
        out.bf16[at] = f32_to_bf16(value);
    }
    if (out.values) {
        // As bits, so that a NaN counts as the greatest of all.
        const unsigned greatest = __reduce_max_sync(ALL_LANES, __float_as_uint(value) & 0x7fffffffu);
        const float size = __uint_as_float(greatest);
        const bool usable = greatest < 0x7f800000u && size >= TINY;
        const int rounded = usable ? __float2int_rn(value * (127.0f / size)) : 0;
        const float scale = greatest >= 0x7f800000u ? __uint_as_float(0x7fffffffu) : usable ? size / 127.0f : 0.0f;
        out.values[at] = int8_t(rounded);
        const int sum = int(__reduce_add_sync(ALL_LANES, unsigned(rounded)));
        if (threadIdx.x % 32 == 0) {
            out.scales[at / 32] = make_float2(scale, scale * float(sum));
        }
    }
}
