// Many rows of activations times a matrix: prompts, and batches beyond what gemv takes.
//
//   out[m][n] (+)= x[m] . W[n] + bias[n];   x bf16 [rows][columns]; out f32 [rows][outputs]
//   W bf16 or f16 [outputs][columns] (gemm_bf16, gemm_f16), or planes [outputs][columns] (gemm_planes)
// Weights are rounded to bf16 on their way into shared memory, activations have been before: a product is exact, sums
// are f32.
//
// A block computes 64 x 64 outputs, four warps 32 x 32 each, 64 columns a step, from tiles in shared memory whose rows
// are 16 bytes apart from a multiple of 128, so that ldmatrix meets no bank twice. Activations and bf16 weights come by
// cp.async while the step before is computed, two tiles of each; quantized weights are taken apart by the thread that
// loads them, 32 columns each.
//
// Bytes to move: weights once for every 64 rows, activations once for every 64 outputs. Operations: 2 * rows * outputs *
// columns: bound by the bf16 matrix rate from some hundred rows on.
#include "gemm_tile.cuh"
#include "planes.cuh"
#include "warp.cuh"

constexpr int TILE = 64;
constexpr int STEP = 64;
constexpr int STRIDE = STEP + 8;

enum class Weights { BF16, F16, PLANES };

struct Product {
    const uint16_t* x;
    const uint8_t* weights;
    const float* bias;
    float* out;
    uint32_t rows, outputs, columns, add;
};

// A tile of 16-bit rows; what lies beyond the matrix is zero.
__device__ __forceinline__ void fetch_tile(uint16_t* to, const uint16_t* from, uint32_t first, uint32_t rows,
                                           uint32_t columns, uint32_t column) {
#pragma unroll
    for (int part = 0; part < TILE * STEP / 8 / 128; ++part) {
        const uint32_t chunk = part * 128 + threadIdx.x, row = chunk / (STEP / 8), at = chunk % (STEP / 8) * 8;
        const bool exists = first + row < rows && column + at < columns;
        const uint64_t source = exists ? uint64_t(first + row) * columns + column + at : 0;
        cp_async16(to + row * STRIDE + at, from + source, exists ? 16 : 0);
    }
}

// Half a row of the tile, 32 columns, to bf16.
template <Format F>
__device__ __forceinline__ void unpack_tile(uint16_t* to, const Planes& planes, uint32_t first, uint32_t rows,
                                            uint32_t groups, uint32_t column) {
    const uint32_t row = threadIdx.x / 2, group = column / 32 + threadIdx.x % 2;
    uint16_t* at = to + row * STRIDE + threadIdx.x % 2 * 32;
    if (first + row < rows && group < groups) {
        const Group weights = take_group<F>(planes, uint64_t(first + row) * groups + group);
#pragma unroll
        for (int word = 0; word < 8; word += 2) {
            unsigned packed[4];
#pragma unroll
            for (int half = 0; half < 4; ++half) {
                const int values = weights.values[word + half / 2] >> (16 * (half % 2));
                const float scale = weights.scales[word / 4];
                packed[half] = pack_bf16(fmaf(scale, float(int8_t(values)), weights.bias),
                                         fmaf(scale, float(int8_t(values >> 8)), weights.bias));
            }
            store(at + word * 4, make_uint4(packed[0], packed[1], packed[2], packed[3]));
        }
    } else {
#pragma unroll
        for (int part = 0; part < 4; ++part) {
            store(at + part * 8, make_uint4(0, 0, 0, 0));
        }
    }
}

// A tile of f16 weights to bf16.
__device__ __forceinline__ void round_tile(uint16_t* to, const uint16_t* from, uint32_t first, uint32_t rows,
                                           uint32_t columns, uint32_t column) {
#pragma unroll
    for (int part = 0; part < TILE * STEP / 8 / 128; ++part) {
        const uint32_t chunk = part * 128 + threadIdx.x, row = chunk / (STEP / 8), at = chunk % (STEP / 8) * 8;
        unsigned packed[4] = {0, 0, 0, 0};
        if (first + row < rows && column + at < columns) {
            const uint4 words = load_once<uint4>(from + uint64_t(first + row) * columns + column + at);
            const unsigned all[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
            for (int word = 0; word < 4; ++word) {
                packed[word] = pack_bf16(f16_to_f32(uint16_t(all[word])), f16_to_f32(uint16_t(all[word] >> 16)));
            }
        }
        store(to + row * STRIDE + at, make_uint4(packed[0], packed[1], packed[2], packed[3]));
    }
}

template <Weights W, Format F>
__device__ __forceinline__ void multiply(const Product& job) {
    uint16_t* tiles = dynamic_shared<uint16_t>();
    constexpr int SIZE = TILE * STRIDE;
    const uint32_t first_output = blockIdx.x * TILE, first_row = blockIdx.y * TILE;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp / 2 * 32, warp_output = warp % 2 * 32;
    const uint32_t groups = job.columns / 32;
    Planes planes{};
    if constexpr (W == Weights::PLANES) {
        planes = planes_of<F>(job.weights, job.outputs, groups);
    }
    auto fetch = [&](uint32_t column, int buffer) {
        uint16_t* x = tiles + buffer * 2 * SIZE;
        fetch_tile(x, job.x, first_row, job.rows, job.columns, column);
        const uint16_t* numbers = reinterpret_cast<const uint16_t*>(job.weights);
        if constexpr (W == Weights::BF16) {
            fetch_tile(x + SIZE, numbers, first_output, job.outputs, job.columns, column);
        } else if constexpr (W == Weights::F16) {
            round_tile(x + SIZE, numbers, first_output, job.outputs, job.columns, column);
        } else {
            unpack_tile<F>(x + SIZE, planes, first_output, job.outputs, groups, column);
        }
        cp_async_commit();
    };
    float sums[2][4][4] = {};
    fetch(0, 0);
    int buffer = 0;
    for (uint32_t column = 0; column < job.columns; column += STEP) {
        cp_async_wait<0>();
        __syncthreads();
        // The other buffer was read before this barrier.
        if (column + STEP < job.columns) {
            fetch(column + STEP, buffer ^ 1);
        }
        const uint16_t* x = tiles + buffer * 2 * SIZE;
        const uint16_t* weights = x + SIZE;
#pragma unroll
        for (int k = 0; k < STEP; k += 16) {
            unsigned left[2][4], right[2][4];
#pragma unroll
            for (int part = 0; part < 2; ++part) {
                ldmatrix_x4(left[part], x + (warp_row + part * 16 + lane % 16) * STRIDE + k + lane / 16 * 8);
                const int output = warp_output + part * 16 + lane % 8 + lane / 16 * 8;
                ldmatrix_x4(right[part], weights + output * STRIDE + k + lane / 8 % 2 * 8);
            }
#pragma unroll
            for (int part = 0; part < 2; ++part) {
#pragma unroll
                for (int output = 0; output < 4; ++output) {
                    const int half = output % 2 * 2;
                    mma_bf16(sums[part][output], left[part], right[output / 2][half], right[output / 2][half + 1]);
                }
            }
        }
        buffer ^= 1;
    }
    store_sums(job, sums, first_row + warp_row, first_output + warp_output, lane);
}

#define GEMM(NAME, BODY)                                                                                          \
    extern "C" __global__ void __launch_bounds__(128, 4)                                                          \
        NAME(const uint16_t* x, const uint8_t* weights, const float* bias, float* out, uint32_t rows,             \
             uint32_t outputs, uint32_t columns, uint32_t add, uint32_t format) {                                 \
        grid_dependency_wait();                                                                                   \
        const Product job{x, weights, bias, out, rows, outputs, columns, add};                                    \
        BODY;                                                                                                     \
    }                                                                                                             \
    EXPORT(NAME)

GEMM(gemm_bf16, (void)format; (multiply<Weights::BF16, Format::Q8_0>(job)))
GEMM(gemm_f16, (void)format; (multiply<Weights::F16, Format::Q8_0>(job)))
GEMM(gemm_planes, with_format(format, [&]<Format F>() { multiply<Weights::PLANES, F>(job); }))
