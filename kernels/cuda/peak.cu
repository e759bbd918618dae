// The bf16 matrix rate of a card: products of constant tiles that come from no memory, one after another.
//
//   out[thread] = 16 * TILES * steps * a * b      f32 [blocks * 128]; a, b numbers that bf16 holds
// Each warp keeps TILES tiles of 16 x 8 sums, so that no product waits for the one before it.
//
// Bytes to move: 4 a thread. Operations: 4096 * TILES * steps a warp: the rate of mma.sync itself, which is what the
// products of many rows are measured against. Cards from Hopper on do more by wgmma, which nothing here uses.
#include "warp.cuh"

constexpr int TILES = 8;

extern "C" __global__ void __launch_bounds__(128) peak_bf16(float* out, float a, float b, uint32_t steps) {
    grid_dependency_wait();
    const unsigned left = pack_bf16(a, a), right = pack_bf16(b, b);
    const unsigned rows[4] = {left, left, left, left};
    float sums[TILES][4] = {};
    for (uint32_t step = 0; step < steps; ++step) {
#pragma unroll
        for (int tile = 0; tile < TILES; ++tile) {
            mma_bf16(sums[tile], rows, right, right);
        }
    }
    float sum = 0;
#pragma unroll
    for (int tile = 0; tile < TILES; ++tile) {
        sum += sums[tile][0];
    }
    out[blockIdx.x * 128 + threadIdx.x] = sum;
}
EXPORT(peak_bf16)
