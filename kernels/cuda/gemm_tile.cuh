// What the matrix products of many rows have in common: how the sums of a warp go out.
//
// A warp's part of a tile is 32 rows of 32 outputs, held as mma.sync leaves it: two times 16 rows, four times 8 outputs,
// of which a lane has two neighbouring outputs of two rows.
#pragma once

#include <intrinsics.cuh>

// Writes sums[16 rows][8 outputs][number] from `first_row` and `first_output` on, or adds them where the job says so. What
// lies beyond the matrix is left out.
template <typename Job>
__device__ __forceinline__ void store_sums(const Job& job, const float (&sums)[2][4][4], uint32_t first_row, uint32_t first_output,
                                           uint32_t lane) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
#pragma unroll
        for (int eight = 0; eight < 4; ++eight) {
#pragma unroll
            for (int number = 0; number < 4; ++number) {
                const uint32_t row = first_row + part * 16 + lane / 4 + number / 2 * 8;
                const uint32_t at = first_output + eight * 8 + lane % 4 * 2 + number % 2;
                if (row < job.rows && at < job.outputs) {
                    float* to = job.out + uint64_t(row) * job.outputs + at;
                    *to = sums[part][eight][number] + (job.bias ? job.bias[at] : 0.0f) + (job.add ? *to : 0.0f);
                }
            }
        }
    }
}
