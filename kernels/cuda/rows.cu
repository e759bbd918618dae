// Row by row: RMS norm behind a residual sum, SiLU times up, and plain rounding, each into the forms that products take.
//
// rms_norm      x += delta (if given); out = x / sqrt(mean(x^2) + epsilon) * weight       one block of 256 a row
// activate      out = silu(gate) * up, or just gate where there is no up                   one warp 32 columns
//   x, delta, gate, up f32 [rows][columns]; weight f32 [columns]
//   out: any of f32, bf16 [rows][columns]; 8-bit values [rows][columns] with (scale, scale * sum) of every 32 columns
//
// Bytes to move: rms_norm reads 4 to 8 a number and writes 4 (x, with a delta) and 1.25, 2 or 4; activate reads 8 and
// writes the same. Operations: under 10 a number. Bound by memory, or by the launch where a row is all there is.
#include "warp.cuh"

constexpr int NORM_WARPS = 8;

extern "C" __global__ void __launch_bounds__(NORM_WARPS * 32)
    rms_norm(float* x, const float* delta, const float* weight, uint32_t columns, float epsilon, float* floats,
             int8_t* values, float2* scales, uint16_t* bf16) {
    grid_dependency_wait();
    SHARED(float, parts, NORM_WARPS);
    const uint64_t row = uint64_t(blockIdx.x) * columns;
    float squares = 0;
    for (uint32_t column = threadIdx.x; column < columns; column += NORM_WARPS * 32) {
        float value = x[row + column];
        if (delta) {
            value += delta[row + column];
            x[row + column] = value;
        }
        squares += value * value;
    }
    const float mean = block_sum<NORM_WARPS>(squares, parts) / float(columns);
    const float factor = 1.0f / sqrtf(mean + epsilon);
    const Outputs out{floats, values, scales, bf16};
    // Each thread reads back what it wrote itself.
    for (uint32_t first = threadIdx.x & ~31u; first < columns; first += NORM_WARPS * 32) {
        const uint32_t column = first + threadIdx.x % 32;
        const bool exists = column < columns;
        write_group(out, row + column, exists, exists ? x[row + column] * factor * weight[column] : 0.0f);
    }
}
EXPORT(rms_norm)

constexpr int ACTIVATE_WARPS = 4;

extern "C" __global__ void __launch_bounds__(ACTIVATE_WARPS * 32)
    activate(const float* gate, const float* up, uint32_t columns, float* floats, int8_t* values, float2* scales,
             uint16_t* bf16) {
    grid_dependency_wait();
    const uint64_t row = uint64_t(blockIdx.y) * columns;
    const uint32_t column = blockIdx.x * (ACTIVATE_WARPS * 32) + threadIdx.x;
    // Whole warps leave together.
    if ((column & ~31u) < columns) {
        const bool exists = column < columns;
        float value = exists ? gate[row + column] : 0.0f;
        if (up && exists) {
            value = value / (1.0f + expf(-value)) * up[row + column];
        }
        write_group(Outputs{floats, values, scales, bf16}, row + column, exists, value);
    }
}
EXPORT(activate)
