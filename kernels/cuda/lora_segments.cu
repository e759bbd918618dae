// What adapters add to a projection of many rows, in runs of rows with the same adapter: the twin of lora.cu, which takes
// each row on its own, for prompts and large batches.
//
//   shrink  low[row][r] = scale_a * A_a[r] . x[row]      a block 16 rows and 16 entries of `low`, its warps share columns
//   expand  out[row][n] += B_a[n] . low[row]             a block 64 rows and 128 outputs, a warp 64 and 32
//   x bf16 [rows][columns], columns a multiple of 8; tiles u32 [tiles][3]: first row, rows (1 to 64), adapter, no row in
//   two; rows in no tile are neither read nor written; the rest as in lora.cu
// Adapters and `low` are rounded to bf16 on their way into registers, as weights and activations of gemm.cu are; sums are
// f32. Columns are dealt to the places of a fragment so that a lane's are neighbours in memory: a sum does not care.
//
// Bytes to move: 4 * rank * (columns + outputs) for each tile of 64 rows (shrink: for each 16, out of the cache); x once
// for 16 entries of rank. Operations: 2 * rank * (columns + outputs) a row at the bf16 matrix rate, of which a tile of few
// rows wastes the rest. Bound by memory.
#include "warp.cuh"

constexpr int WARPS = 4;
constexpr int TILE = 64;
constexpr int PART = 16;

struct Tile {
    uint32_t first, rows, adapter;
};

__device__ __forceinline__ Tile take_tile(const uint32_t* tiles, uint32_t number) {
    return Tile{tiles[3 * number], tiles[3 * number + 1], tiles[3 * number + 2]};
}

// Eight neighbouring numbers in bf16.
__device__ __forceinline__ uint4 rounded(const float* from) {
    const float4 low = load<float4>(from), high = load<float4>(from + 4);
    return make_uint4(pack_bf16(low.x, low.y), pack_bf16(low.z, low.w), pack_bf16(high.x, high.y),
                      pack_bf16(high.z, high.w));
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
    lora_shrink_segments(const uint16_t* x, uint32_t columns, const uint32_t* tiles, const uint64_t* a,
                         const uint32_t* ranks, const float* scales, float* low, uint32_t rank_max) {
    grid_dependency_wait();
    SHARED(float, parts, WARPS * PART * 16);
    const Tile tile = take_tile(tiles, blockIdx.y / (TILE / PART));
    const uint32_t part = blockIdx.y % (TILE / PART) * PART, first_entry = blockIdx.x * 16;
    const uint32_t rank = ranks[tile.adapter];
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, place = lane % 4;
    // The whole block leaves together.
    if (part < tile.rows && first_entry < rank) {
        const float* weights = reinterpret_cast<const float*>(a[tile.adapter]);
        float sums[2][4] = {};
        for (uint32_t column = warp * 32 + place * 8; column < columns + place * 8; column += WARPS * 32) {
            const bool inside = column < columns;
            uint4 left[2], right[2];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const uint32_t row = part + group + half * 8, entry = first_entry + group + half * 8;
                left[half] = inside && row < tile.rows
                                 ? load<uint4>(x + uint64_t(tile.first + row) * columns + column)
                                 : make_uint4(0, 0, 0, 0);
                right[half] = inside && entry < rank ? rounded(weights + uint64_t(entry) * columns + column)
                                                     : make_uint4(0, 0, 0, 0);
            }
            const unsigned early[4] = {left[0].x, left[1].x, left[0].y, left[1].y};
            const unsigned late[4] = {left[0].z, left[1].z, left[0].w, left[1].w};
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                mma_bf16(sums[half], early, right[half].x, right[half].y);
                mma_bf16(sums[half], late, right[half].z, right[half].w);
            }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
#pragma unroll
            for (int number = 0; number < 4; ++number) {
                const uint32_t row = group + number / 2 * 8, entry = half * 8 + place * 2 + number % 2;
                parts[(warp * PART + row) * 16 + entry] = sums[half][number];
            }
        }
        __syncthreads();
        for (uint32_t at = threadIdx.x; at < PART * 16; at += WARPS * 32) {
            const uint32_t row = part + at / 16, entry = first_entry + at % 16;
            float sum = 0;
#pragma unroll
            for (int warps = 0; warps < WARPS; ++warps) {
                sum += parts[warps * PART * 16 + at];
            }
            if (row < tile.rows && entry < rank) {
                low[uint64_t(tile.first + row) * rank_max + entry] = sum * scales[tile.adapter];
            }
        }
    }
}
EXPORT(lora_shrink_segments)

// Two neighbours in bf16, or zero for what is beyond the rank.
__device__ __forceinline__ unsigned take_pair(const float* row, uint32_t entry, uint32_t rank) {
    return pack_bf16(entry < rank ? row[entry] : 0.0f, entry + 1 < rank ? row[entry + 1] : 0.0f);
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
    lora_expand_segments(const float* low, uint32_t rank_max, const uint32_t* tiles, const uint64_t* b,
                         const uint32_t* ranks, float* out, uint32_t outputs) {
    grid_dependency_wait();
    const Tile tile = take_tile(tiles, blockIdx.y);
    const uint32_t rank = ranks[tile.adapter];
    const uint32_t lane = threadIdx.x % 32, group = lane / 4, place = lane % 4;
    const uint32_t first_output = (blockIdx.x * WARPS + threadIdx.x / 32) * 32;
    const float* weights = reinterpret_cast<const float*>(b[tile.adapter]);
    float sums[TILE / PART][4][4] = {};
    for (uint32_t entry = place * 2; entry < rank + place * 2; entry += 16) {
        unsigned right[4][2];
#pragma unroll
        for (int eight = 0; eight < 4; ++eight) {
            const uint32_t output = first_output + eight * 8 + group;
            const uint32_t known = output < outputs ? rank : 0;
            const float* row = weights + uint64_t(output) * rank;
            right[eight][0] = take_pair(row, entry, known);
            right[eight][1] = take_pair(row, entry + 8, known);
        }
#pragma unroll
        for (int part = 0; part < TILE / PART; ++part) {
            const uint32_t upper = part * PART + group, lower = upper + 8;
            const float* rows[2] = {low + uint64_t(tile.first + upper) * rank_max,
                                    low + uint64_t(tile.first + lower) * rank_max};
            const uint32_t known[2] = {upper < tile.rows ? rank : 0, lower < tile.rows ? rank : 0};
            const unsigned left[4] = {take_pair(rows[0], entry, known[0]), take_pair(rows[1], entry, known[1]),
                                      take_pair(rows[0], entry + 8, known[0]),
                                      take_pair(rows[1], entry + 8, known[1])};
#pragma unroll
            for (int eight = 0; eight < 4; ++eight) {
                mma_bf16(sums[part][eight], left, right[eight][0], right[eight][1]);
            }
        }
    }
#pragma unroll
    for (int part = 0; part < TILE / PART; ++part) {
#pragma unroll
        for (int eight = 0; eight < 4; ++eight) {
#pragma unroll
            for (int number = 0; number < 4; ++number) {
                const uint32_t row = part * PART + group + number / 2 * 8;
                const uint32_t output = first_output + eight * 8 + place * 2 + number % 2;
                if (row < tile.rows && output < outputs) {
                    out[uint64_t(tile.first + row) * outputs + output] += sums[part][eight][number];
                }
            }
        }
    }
}
EXPORT(lora_expand_segments)
