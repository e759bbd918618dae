// Quantized matrix times a few rows of activations.
//
// gemv_N        up to three matrices of any formats, one launch: out_m[row][r] (+)= W_m[r] . x[row] + bias_m[r]
// gemv_swiglu_N out[row][r] = silu(W_0[r] . x[row]) * (W_1[r] . x[row]); both matrices of one format and shape
//   W planes (planes.cuh) [rows][columns]; x 8-bit values [batch][columns] with (scale, scale * sum) of every 32
//   columns; batch <= N in 1, 2, 4, 8; out f32 [batch][rows]
//
// A warp takes ROWS rows, each lane every 32nd group of 32 columns: 16-byte loads that lie side by side, taken apart in
// registers, dp4a against the activations, which stay in the first cache; one float multiply-add a group, then a tree
// over the lanes. The order of operations does not depend on the batch.
//
// Bytes to move: the weights once, columns * rows * (4.5 bits Q4_0, Q4_K .. 8.5 bits Q8_0); activations and outputs are
// little beside them. Operations: 2 * rows * columns * batch in int8, 8 dp4a a group and row of the batch. Bound by
// memory up to a batch of 8.
#include "planes.cuh"
#include "warp.cuh"

constexpr int WARPS = 4;

template <int BATCH>
constexpr int ROWS = BATCH >= 4 ? 4 : 2;

// Blocks that a multiprocessor holds at least: what leaves room for the registers of every format.
template <int BATCH>
constexpr int BLOCKS = BATCH == 1 ? 5 : BATCH == 2 ? 4 : BATCH == 4 ? 3 : 2;

struct Activations {
    const int8_t* values;
    const float2* scales;
    uint32_t columns;
    uint32_t batch;
};

// sums[r][b] = row r of `starts` times activations b, this lane's part.
template <Format F, int BATCH>
__device__ __forceinline__ void add_groups(const Planes (&planes)[ROWS<BATCH>], const uint32_t (&rows)[ROWS<BATCH>],
                                           const Activations& x, float (&sums)[ROWS<BATCH>][BATCH]) {
    const uint32_t groups = x.columns / 32;
    // Two at a time where registers allow it, so that the loads of one are on their way while the other is computed.
#pragma unroll(BATCH <= 2 ? 2 : 1)
    for (uint32_t at = threadIdx.x % 32; at < groups; at += 32) {
        Group weights[ROWS<BATCH>];
#pragma unroll
        for (int row = 0; row < ROWS<BATCH>; ++row) {
            weights[row] = take_group<F>(planes[row], uint64_t(rows[row]) * groups + at);
        }
#pragma unroll
        for (int number = 0; number < BATCH; ++number) {
            // Rows of the batch that are not there are computed as the first, and not written.
            const uint32_t source = number < x.batch ? number : 0;
            const int8_t* from = x.values + uint64_t(source) * x.columns + at * 32;
            const int4 first = load<int4>(from), second = load<int4>(from + 16);
            const float2 scale = load<float2>(x.scales + uint64_t(source) * groups + at);
            const int words[8] = {first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w};
#pragma unroll
            for (int row = 0; row < ROWS<BATCH>; ++row) {
                const Group& group = weights[row];
                int low = 0, high = 0;
#pragma unroll
                for (int word = 0; word < 4; ++word) {
                    low = __dp4a(group.values[word], words[word], low);
                    high = __dp4a(group.values[word + 4], words[word + 4], high);
                }
                float part;
                if constexpr (F == Format::Q6K) {
                    part = fmaf(group.scales[0], float(low), group.scales[1] * float(high)) * scale.x;
                } else {
                    part = fmaf(group.scales[0] * scale.x, float(low + high), group.bias * scale.y);
                }
                sums[row][number] += part;
            }
        }
    }
}

template <int BATCH>
__device__ __forceinline__ void add_up(float (&sums)[ROWS<BATCH>][BATCH]) {
#pragma unroll
    for (int row = 0; row < ROWS<BATCH>; ++row) {
#pragma unroll
        for (int number = 0; number < BATCH; ++number) {
            sums[row][number] = warp_sum(sums[row][number]);
        }
    }
}

struct Matrix {
    const uint8_t* planes;
    const float* bias;
    float* out;
    uint32_t rows;
    uint32_t format;
};

// Asks for what this warp reads first of a matrix: low bits and scales, which are most of it.
template <int COUNT>
__device__ __forceinline__ void ask_for(const uint8_t* start, uint32_t format, uint32_t columns, uint32_t first,
                                        uint32_t rows) {
    with_format(format, [&]<Format F>() {
        const uint32_t groups = columns / 32;
        const Planes planes = planes_of<F>(start, rows, groups);
        ask_for_rows<COUNT>(planes.low, uint64_t(groups) * (F == Format::Q8_0 ? 32 : 16), first, rows);
        ask_for_rows<COUNT>(planes.meta, uint64_t(groups) * META_BYTES<F>, first, rows);
    });
}

template <int BATCH>
__device__ void multiply(const Activations& x, const Matrix& matrix, uint32_t block, uint32_t add) {
    const uint32_t first = (block * WARPS + threadIdx.x / 32) * ROWS<BATCH>;
    ask_for<ROWS<BATCH>>(matrix.planes, matrix.format, x.columns, first, matrix.rows);
    grid_dependency_wait();
    float sums[ROWS<BATCH>][BATCH] = {};
    with_format(matrix.format, [&]<Format F>() {
        Planes planes[ROWS<BATCH>];
        uint32_t rows[ROWS<BATCH>];
#pragma unroll
        for (int row = 0; row < ROWS<BATCH>; ++row) {
            planes[row] = planes_of<F>(matrix.planes, matrix.rows, x.columns / 32);
            rows[row] = first + row < matrix.rows ? first + row : matrix.rows - 1;
        }
        add_groups<F, BATCH>(planes, rows, x, sums);
    });
    add_up<BATCH>(sums);
    if (threadIdx.x % 32 == 0) {
#pragma unroll
        for (int row = 0; row < ROWS<BATCH>; ++row) {
            const uint32_t at = first + row;
            if (at < matrix.rows) {
                const float bias = matrix.bias ? matrix.bias[at] : 0.0f;
#pragma unroll
                for (int number = 0; number < BATCH; ++number) {
                    if (number < x.batch) {
                        float* to = matrix.out + uint64_t(number) * matrix.rows + at;
                        *to = sums[row][number] + bias + (add ? *to : 0.0f);
                    }
                }
            }
        }
    }
}

template <int BATCH>
__device__ void multiply_swiglu(const Activations& x, const uint8_t* gate, const uint8_t* up, float* out,
                                uint32_t count, uint32_t format) {
    constexpr int HALF = ROWS<BATCH> / 2;
    const uint32_t first = (blockIdx.x * WARPS + threadIdx.x / 32) * HALF;
    ask_for<HALF>(gate, format, x.columns, first, count);
    ask_for<HALF>(up, format, x.columns, first, count);
    grid_dependency_wait();
    float sums[ROWS<BATCH>][BATCH] = {};
    with_format(format, [&]<Format F>() {
        Planes planes[ROWS<BATCH>];
        uint32_t rows[ROWS<BATCH>];
#pragma unroll
        for (int row = 0; row < ROWS<BATCH>; ++row) {
            planes[row] = planes_of<F>(row < HALF ? gate : up, count, x.columns / 32);
            rows[row] = first + row % HALF < count ? first + row % HALF : count - 1;
        }
        add_groups<F, BATCH>(planes, rows, x, sums);
    });
    add_up<BATCH>(sums);
    if (threadIdx.x % 32 == 0) {
#pragma unroll
        for (int row = 0; row < HALF; ++row) {
#pragma unroll
            for (int number = 0; number < BATCH; ++number) {
                if (first + row < count && number < x.batch) {
                    const float value = sums[row][number];
                    out[uint64_t(number) * count + first + row] =
                        value / (1.0f + expf(-value)) * sums[row + HALF][number];
                }
            }
        }
    }
}

#define GEMV(N)                                                                                                      \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS<N>)                                                      \
        gemv_##N(const int8_t* values, const float2* scales, uint32_t columns, uint32_t batch, uint32_t add,         \
                 const uint8_t* planes_0, const float* bias_0, float* out_0, uint32_t rows_0, uint32_t format_0,     \
                 const uint8_t* planes_1, const float* bias_1, float* out_1, uint32_t rows_1, uint32_t format_1,     \
                 const uint8_t* planes_2, const float* bias_2, float* out_2, uint32_t rows_2, uint32_t format_2) {   \
        constexpr uint32_t PER_BLOCK = WARPS * ROWS<N>;                                                              \
        const uint32_t blocks_0 = (rows_0 + PER_BLOCK - 1) / PER_BLOCK, blocks_1 = (rows_1 + PER_BLOCK - 1) / PER_BLOCK; \
        uint32_t block = blockIdx.x;                                                                                 \
        Matrix matrix{planes_0, bias_0, out_0, rows_0, format_0};                                                    \
        if (block >= blocks_0 + blocks_1) {                                                                          \
            matrix = Matrix{planes_2, bias_2, out_2, rows_2, format_2};                                              \
            block -= blocks_0 + blocks_1;                                                                            \
        } else if (block >= blocks_0) {                                                                              \
            matrix = Matrix{planes_1, bias_1, out_1, rows_1, format_1};                                              \
            block -= blocks_0;                                                                                       \
        }                                                                                                            \
        multiply<N>(Activations{values, scales, columns, batch}, matrix, block, add);                                \
    }                                                                                                                \
    EXPORT(gemv_##N)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS<N>)                                                      \
        gemv_swiglu_##N(const int8_t* values, const float2* scales, uint32_t columns, uint32_t batch,                \
                        const uint8_t* gate, const uint8_t* up, float* out, uint32_t rows, uint32_t format) {        \
        multiply_swiglu<N>(Activations{values, scales, columns, batch}, gate, up, out, rows, format);                \
    }                                                                                                                \
    EXPORT(gemv_swiglu_##N)

GEMV(1)
GEMV(2)
GEMV(4)
GEMV(8)
