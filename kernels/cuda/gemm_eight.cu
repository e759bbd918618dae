// Many rows of activations in 8 bits times quantized weights: the twin of gemm_planes (gemm.cu), which rounds both to bf16.
//
//   out[m][n] (+)= x[m] . W[n] + bias[n];   x 8-bit values [rows][columns] with (scale, scale * sum) of every 32 columns
//   W planes (planes.cuh) [outputs][columns]; out f32 [rows][outputs]
// A product of 32 columns is exact in 32 bits (mma.sync of int8), and becomes a number with the scales of its row and its
// output; where a format has a scale for 16 columns, two products of half the columns each do. Sums are f32.
//
// A block computes 64 x 64 outputs, four warps 32 x 32 each, 64 columns a step, from tiles in shared memory whose rows are
// 16 bytes apart from a multiple of 64, so that ldmatrix meets no bank twice. Activations come by cp.async while the step
// before is computed, two tiles of each; weights are taken apart by the thread that loads them, 32 columns each.
//
// Bytes to move: weights once for every 64 rows, activations once for every 64 outputs. Operations: 2 * rows * outputs *
// columns in int8, twice that for two scales, and 3 to 4 in f32 for every 32 of them: bound by the int8 matrix rate, or by
// those. Which of the two kernels is faster is measured on each card (src/cuda/tuning.rs).
#include "gemm_tile.cuh"
#include "planes.cuh"
#include "warp.cuh"

constexpr int TILE = 64;
constexpr int STEP = 64;
constexpr int STRIDE = STEP + 16;
constexpr int GROUPS = STEP / 32;

struct Product {
    const int8_t* values;
    const float2* scales;
    const uint8_t* weights;
    const float* bias;
    float* out;
    uint32_t rows, outputs, columns, add;
};

// One step's share of both sides, with the scales of each of its groups.
struct Tiles {
    uint8_t x[TILE * STRIDE];
    uint8_t weights[TILE * STRIDE];
    float2 x_scales[GROUPS][TILE];
    float2 weight_scales[GROUPS][TILE];
    float weight_biases[GROUPS][TILE];
};

// What lies beyond a matrix is zero, and its scales with it.
template <Format F>
__device__ __forceinline__ void fetch(Tiles& to, const Product& job, const Planes& planes, uint32_t first_row,
                                      uint32_t first_output, uint32_t column) {
#pragma unroll
    for (int part = 0; part < TILE * STEP / 16 / 128; ++part) {
        const uint32_t chunk = part * 128 + threadIdx.x, row = chunk / (STEP / 16), at = chunk % (STEP / 16) * 16;
        const bool exists = first_row + row < job.rows && column + at < job.columns;
        const uint64_t source = exists ? uint64_t(first_row + row) * job.columns + column + at : 0;
        cp_async16(to.x + row * STRIDE + at, job.values + source, exists ? 16 : 0);
    }
    cp_async_commit();
    const uint32_t row = threadIdx.x / GROUPS, group = threadIdx.x % GROUPS, groups = job.columns / 32;
    const uint32_t at = column / 32 + group;
    const bool inside = at < groups;
    store(&to.x_scales[group][row], inside && first_row + row < job.rows
                                        ? load<float2>(job.scales + uint64_t(first_row + row) * groups + at)
                                        : make_float2(0, 0));
    Group weights{};
    if (inside && first_output + row < job.outputs) {
        weights = take_group<F>(planes, uint64_t(first_output + row) * groups + at);
    }
    uint8_t* line = to.weights + row * STRIDE + group * 32;
    store(line, make_uint4(weights.values[0], weights.values[1], weights.values[2], weights.values[3]));
    store(line + 16, make_uint4(weights.values[4], weights.values[5], weights.values[6], weights.values[7]));
    store(&to.weight_scales[group][row], make_float2(weights.scales[0], weights.scales[1]));
    to.weight_biases[group][row] = weights.bias;
}

template <Format F>
__device__ __forceinline__ void multiply(const Product& job) {
    constexpr bool TWO_SCALES = F == Format::Q6K;
    constexpr bool NO_BIAS = F == Format::Q6K || F == Format::Q8_0 || F == Format::MXFP4;
    Tiles* tiles = dynamic_shared<Tiles>();
    const uint32_t first_output = blockIdx.x * TILE, first_row = blockIdx.y * TILE;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp / 2 * 32, warp_output = warp % 2 * 32;
    const Planes planes = planes_of<F>(job.weights, job.outputs, job.columns / 32);
    float sums[2][4][4] = {};
    fetch<F>(tiles[0], job, planes, first_row, first_output, 0);
    int buffer = 0;
    for (uint32_t column = 0; column < job.columns; column += STEP) {
        cp_async_wait<0>();
        __syncthreads();
        // The other buffer was read before this barrier.
        if (column + STEP < job.columns) {
            fetch<F>(tiles[buffer ^ 1], job, planes, first_row, first_output, column + STEP);
        }
        const Tiles& from = tiles[buffer];
        // One group after the other: their numbers together would not fit into registers.
#pragma unroll 1
        for (int group = 0; group < GROUPS; ++group) {
            unsigned left[2][4], right[2][4];
            float2 x_scales[2][2];
#pragma unroll
            for (int part = 0; part < 2; ++part) {
                ldmatrix_x4(left[part],
                            from.x + (warp_row + part * 16 + lane % 16) * STRIDE + group * 32 + lane / 16 * 16);
                const int output = warp_output + part * 16 + lane % 8 + lane / 16 * 8;
                ldmatrix_x4(right[part], from.weights + output * STRIDE + group * 32 + lane / 8 % 2 * 16);
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    x_scales[part][half] =
                        load<float2>(&from.x_scales[group][warp_row + part * 16 + lane / 4 + half * 8]);
                }
            }
#pragma unroll
            for (int eight = 0; eight < 4; ++eight) {
                const int output = warp_output + eight * 8 + lane % 4 * 2;
                const float2 scales[2] = {load<float2>(&from.weight_scales[group][output]),
                                          load<float2>(&from.weight_scales[group][output + 1])};
                const float biases[2] = {from.weight_biases[group][output], from.weight_biases[group][output + 1]};
                const unsigned* columns = right[eight / 2] + eight % 2 * 2;
#pragma unroll
                for (int part = 0; part < 2; ++part) {
                    int low[4] = {0, 0, 0, 0}, high[4] = {0, 0, 0, 0};
                    mma_s8(low, left[part], columns[0], TWO_SCALES ? 0 : columns[1]);
                    if constexpr (TWO_SCALES) {
                        mma_s8(high, left[part], 0, columns[1]);
                    }
#pragma unroll
                    for (int number = 0; number < 4; ++number) {
                        const float2 x_scale = x_scales[part][number / 2], scale = scales[number % 2];
                        float& sum = sums[part][eight][number];
                        if constexpr (TWO_SCALES) {
                            sum = fmaf(fmaf(scale.x, float(low[number]), scale.y * float(high[number])), x_scale.x, sum);
                        } else {
                            sum = fmaf(scale.x * x_scale.x, float(low[number]), sum);
                        }
                        if constexpr (!NO_BIAS) {
                            sum = fmaf(biases[number % 2], x_scale.y, sum);
                        }
                    }
                }
            }
        }
        buffer ^= 1;
    }
    store_sums(job, sums, first_row + warp_row, first_output + warp_output, lane);
}

extern "C" __global__ void __launch_bounds__(128, 3)
    gemm_planes_s8(const int8_t* values, const float2* scales, const uint8_t* weights, const float* bias, float* out,
                   uint32_t rows, uint32_t outputs, uint32_t columns, uint32_t add, uint32_t format) {
    grid_dependency_wait();
    const Product job{values, scales, weights, bias, out, rows, outputs, columns, add};
    with_format(format, [&]<Format F>() { multiply<F>(job); });
}
EXPORT(gemm_planes_s8)
