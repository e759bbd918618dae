// Matrices of f16, bf16 or f32 times a few rows of activations in f32.
//
// gemv_float_N        up to three matrices of any of these formats, one launch: out_m[row][r] (+)= W_m[r] . x[row] + bias_m[r]
// gemv_float_swiglu_N out[row][r] = silu(W_0[r] . x[row]) * (W_1[r] . x[row])
//   W [rows][columns], columns a multiple of 8; x f32 [batch][columns]; batch <= N in 1, 2, 4, 8; out f32 [batch][rows]
//
// A warp takes ROWS rows, each lane every 32nd run of 8 columns; f32 multiply-adds, then a tree over the lanes. The order
// of operations does not depend on the batch.
//
// Bytes to move: the weights once, 2 or 4 a weight. Operations: 2 * rows * columns * batch. Bound by memory.
#include "warp.cuh"

constexpr int WARPS = 4;

template <int BATCH>
constexpr int ROWS = BATCH >= 4 ? 4 : 2;

enum class Number : uint32_t { F16, BF16, F32 };

template <Number N>
constexpr uint32_t NUMBER_BYTES = N == Number::F32 ? 4 : 2;

// Eight weights of a row as they are stored.
template <Number N>
struct Eight {
    uint4 words[N == Number::F32 ? 2 : 1];
};

template <Number N>
__device__ __forceinline__ Eight<N> take_eight(const uint8_t* row, uint32_t at) {
    Eight<N> eight;
    eight.words[0] = load_once<uint4>(row + uint64_t(at) * NUMBER_BYTES<N>);
    if constexpr (N == Number::F32) {
        eight.words[1] = load_once<uint4>(row + uint64_t(at) * 4 + 16);
    }
    return eight;
}

template <Number N>
__device__ __forceinline__ void numbers_of(const Eight<N>& eight, float (&numbers)[8]) {
#pragma unroll
    for (int half = 0; half < (N == Number::F32 ? 2 : 1); ++half) {
        const uint4 all = eight.words[half];
        const unsigned words[4] = {all.x, all.y, all.z, all.w};
#pragma unroll
        for (int word = 0; word < 4; ++word) {
            if constexpr (N == Number::F32) {
                numbers[4 * half + word] = __uint_as_float(words[word]);
            } else if constexpr (N == Number::BF16) {
                numbers[2 * word] = __uint_as_float(words[word] << 16);
                numbers[2 * word + 1] = __uint_as_float(words[word] & 0xffff0000u);
            } else {
                numbers[2 * word] = f16_to_f32(uint16_t(words[word]));
                numbers[2 * word + 1] = f16_to_f32(uint16_t(words[word] >> 16));
            }
        }
    }
}

// Adds this lane's runs of 8 columns from `at` on, STEPS of them, 256 apart: all are loaded before the first is used.
template <Number N, int BATCH, int STEPS>
__device__ __forceinline__ void add_runs(const uint8_t* const (&rows)[ROWS<BATCH>], const float* x, uint32_t columns,
                                         uint32_t batch, uint32_t at, float (&sums)[ROWS<BATCH>][BATCH]) {
    Eight<N> stored[STEPS][ROWS<BATCH>];
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
#pragma unroll
        for (int row = 0; row < ROWS<BATCH>; ++row) {
            stored[step][row] = take_eight<N>(rows[row], at + step * 256);
        }
    }
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        float weights[ROWS<BATCH>][8];
#pragma unroll
        for (int row = 0; row < ROWS<BATCH>; ++row) {
            numbers_of<N>(stored[step][row], weights[row]);
        }
#pragma unroll
        for (int number = 0; number < BATCH; ++number) {
            const float* from = x + uint64_t(number < batch ? number : 0) * columns + at + step * 256;
            const float4 low = load<float4>(from), high = load<float4>(from + 4);
            const float values[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
            for (int row = 0; row < ROWS<BATCH>; ++row) {
#pragma unroll
                for (int column = 0; column < 8; ++column) {
                    sums[row][number] = fmaf(weights[row][column], values[column], sums[row][number]);
                }
            }
        }
    }
}

template <Number N, int BATCH>
__device__ __forceinline__ void add_row(const uint8_t* const (&rows)[ROWS<BATCH>], const float* x, uint32_t columns,
                                        uint32_t batch, float (&sums)[ROWS<BATCH>][BATCH]) {
    // As many bytes on their way as registers allow: two kilobytes a warp and more.
    constexpr int STEPS = BATCH == 1 ? 4 : BATCH == 2 ? 2 : 1;
    uint32_t at = threadIdx.x % 32 * 8;
    for (; at + (STEPS - 1) * 256 < columns; at += STEPS * 256) {
        add_runs<N, BATCH, STEPS>(rows, x, columns, batch, at, sums);
    }
    for (; at < columns; at += 256) {
        add_runs<N, BATCH, 1>(rows, x, columns, batch, at, sums);
    }
}

template <int BATCH>
__device__ __forceinline__ void multiply(const uint8_t* const (&rows)[ROWS<BATCH>], const float* x, uint32_t columns,
                                         uint32_t batch, uint32_t format, float (&sums)[ROWS<BATCH>][BATCH]) {
    switch (static_cast<Number>(format)) {
        case Number::F16: add_row<Number::F16, BATCH>(rows, x, columns, batch, sums); break;
        case Number::BF16: add_row<Number::BF16, BATCH>(rows, x, columns, batch, sums); break;
        case Number::F32: add_row<Number::F32, BATCH>(rows, x, columns, batch, sums); break;
    }
#pragma unroll
    for (int row = 0; row < ROWS<BATCH>; ++row) {
#pragma unroll
        for (int number = 0; number < BATCH; ++number) {
            sums[row][number] = warp_sum(sums[row][number]);
        }
    }
}

struct Matrix {
    const uint8_t* weights;
    const float* bias;
    float* out;
    uint32_t rows;
    uint32_t format;
};

template <int BATCH>
__device__ void plain(const Matrix& matrix, uint32_t block, const float* x, uint32_t columns, uint32_t batch,
                      uint32_t add) {
    const uint32_t first = (block * WARPS + threadIdx.x / 32) * ROWS<BATCH>;
    const uint64_t row_bytes = uint64_t(columns) * (matrix.format == uint32_t(Number::F32) ? 4 : 2);
    ask_for_rows<ROWS<BATCH>>(matrix.weights, row_bytes, first, matrix.rows);
    grid_dependency_wait();
    const uint8_t* rows[ROWS<BATCH>];
#pragma unroll
    for (int row = 0; row < ROWS<BATCH>; ++row) {
        rows[row] = matrix.weights + (first + row < matrix.rows ? first + row : matrix.rows - 1) * row_bytes;
    }
    float sums[ROWS<BATCH>][BATCH] = {};
    multiply<BATCH>(rows, x, columns, batch, matrix.format, sums);
    if (threadIdx.x % 32 == 0) {
#pragma unroll
        for (int row = 0; row < ROWS<BATCH>; ++row) {
            const uint32_t at = first + row;
            if (at < matrix.rows) {
                const float bias = matrix.bias ? matrix.bias[at] : 0.0f;
#pragma unroll
                for (int number = 0; number < BATCH; ++number) {
                    if (number < batch) {
                        float* to = matrix.out + uint64_t(number) * matrix.rows + at;
                        *to = sums[row][number] + bias + (add ? *to : 0.0f);
                    }
                }
            }
        }
    }
}

template <int BATCH>
__device__ void swiglu(const uint8_t* gate, const uint8_t* up, const float* x, float* out, uint32_t count,
                       uint32_t columns, uint32_t batch, uint32_t format) {
    constexpr int HALF = ROWS<BATCH> / 2;
    const uint32_t first = (blockIdx.x * WARPS + threadIdx.x / 32) * HALF;
    const uint64_t row_bytes = uint64_t(columns) * (format == uint32_t(Number::F32) ? 4 : 2);
    ask_for_rows<HALF>(gate, row_bytes, first, count);
    ask_for_rows<HALF>(up, row_bytes, first, count);
    grid_dependency_wait();
    const uint8_t* rows[ROWS<BATCH>];
#pragma unroll
    for (int row = 0; row < ROWS<BATCH>; ++row) {
        const uint32_t at = first + row % HALF < count ? first + row % HALF : count - 1;
        rows[row] = (row < HALF ? gate : up) + at * row_bytes;
    }
    float sums[ROWS<BATCH>][BATCH] = {};
    multiply<BATCH>(rows, x, columns, batch, format, sums);
    if (threadIdx.x % 32 == 0) {
#pragma unroll
        for (int row = 0; row < HALF; ++row) {
#pragma unroll
            for (int number = 0; number < BATCH; ++number) {
                if (first + row < count && number < batch) {
                    const float value = sums[row][number];
                    out[uint64_t(number) * count + first + row] =
                        value / (1.0f + expf(-value)) * sums[row + HALF][number];
                }
            }
        }
    }
}

#define GEMV_FLOAT(N)                                                                                               \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                                                        \
        gemv_float_##N(const float* x, uint32_t columns, uint32_t batch, uint32_t add, const uint8_t* weights_0,    \
                       const float* bias_0, float* out_0, uint32_t rows_0, uint32_t format_0,                       \
                       const uint8_t* weights_1, const float* bias_1, float* out_1, uint32_t rows_1,                \
                       uint32_t format_1, const uint8_t* weights_2, const float* bias_2, float* out_2,              \
                       uint32_t rows_2, uint32_t format_2) {                                                        \
        constexpr uint32_t PER_BLOCK = WARPS * ROWS<N>;                                                             \
        const uint32_t blocks_0 = (rows_0 + PER_BLOCK - 1) / PER_BLOCK;                                             \
        const uint32_t blocks_1 = (rows_1 + PER_BLOCK - 1) / PER_BLOCK;                                             \
        uint32_t block = blockIdx.x;                                                                                \
        Matrix matrix{weights_0, bias_0, out_0, rows_0, format_0};                                                  \
        if (block >= blocks_0 + blocks_1) {                                                                         \
            matrix = Matrix{weights_2, bias_2, out_2, rows_2, format_2};                                            \
            block -= blocks_0 + blocks_1;                                                                           \
        } else if (block >= blocks_0) {                                                                             \
            matrix = Matrix{weights_1, bias_1, out_1, rows_1, format_1};                                            \
            block -= blocks_0;                                                                                      \
        }                                                                                                           \
        plain<N>(matrix, block, x, columns, batch, add);                                                            \
    }                                                                                                               \
    EXPORT(gemv_float_##N)                                                                                          \
    extern "C" __global__ void __launch_bounds__(WARPS * 32)                                                        \
        gemv_float_swiglu_##N(const float* x, uint32_t columns, uint32_t batch, const uint8_t* gate,                \
                              const uint8_t* up, float* out, uint32_t rows, uint32_t format) {                      \
        swiglu<N>(gate, up, x, out, rows, columns, batch, format);                                                  \
    }                                                                                                               \
    EXPORT(gemv_float_swiglu_##N)

GEMV_FLOAT(1)
GEMV_FLOAT(2)
GEMV_FLOAT(4)
GEMV_FLOAT(8)
