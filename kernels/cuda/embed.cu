// Rows of the embedding table for a batch of tokens.
//
//   planes   quantized [vocabulary][columns] (planes.cuh);  numbers   f16, bf16 or f32 [vocabulary][columns]
//   tokens u32 [rows]; out f32 [rows][columns]
// A thread takes apart 32 columns; a warp beyond the last group does nothing. A token that is not in the vocabulary
// gives a row of NaN, never another row.
//
// Bytes to move: a row of weights read and 4 bytes a column written, for each token. No arithmetic to speak of.
#include "planes.cuh"

extern "C" __global__ void __launch_bounds__(128)
    embed_planes(const uint8_t* planes, uint32_t vocabulary, uint32_t columns, uint32_t format, const uint32_t* tokens,
                 float* out) {
    grid_dependency_wait();
    const uint32_t groups = columns / 32, at = blockIdx.x * 128 + threadIdx.x;
    if (at < groups) {
        const uint32_t token = tokens[blockIdx.y];
        float* to = out + uint64_t(blockIdx.y) * columns + at * 32;
        if (token < vocabulary) {
            with_format(format, [&]<Format F>() {
                const Planes all = planes_of<F>(planes, vocabulary, groups);
                const Group group = take_group<F>(all, uint64_t(token) * groups + at);
#pragma unroll
                for (int word = 0; word < 8; ++word) {
                    float numbers[4];
#pragma unroll
                    for (int byte = 0; byte < 4; ++byte) {
                        const float value = float(int8_t(group.values[word] >> (8 * byte)));
                        numbers[byte] = fmaf(group.scales[word / 4], value, group.bias);
                    }
                    store(to + 4 * word, make_float4(numbers[0], numbers[1], numbers[2], numbers[3]));
                }
            });
        } else {
            for (int column = 0; column < 32; ++column) {
                to[column] = __uint_as_float(0x7fffffffu);
            }
        }
    }
}
EXPORT(embed_planes)

// `format`: 0 f16, 1 bf16, 2 f32.
extern "C" __global__ void __launch_bounds__(128)
    embed_numbers(const uint8_t* table, uint32_t vocabulary, uint32_t columns, uint32_t format, const uint32_t* tokens,
                  float* out) {
    grid_dependency_wait();
    const uint32_t column = blockIdx.x * 128 + threadIdx.x;
    if (column < columns) {
        const uint32_t token = tokens[blockIdx.y];
        float value = __uint_as_float(0x7fffffffu);
        if (token < vocabulary) {
            const uint64_t at = uint64_t(token) * columns + column;
            value = format == 2   ? load<float>(table + 4 * at)
                    : format == 1 ? bf16_to_f32(load<uint16_t>(table + 2 * at))
                                  : f16_to_f32(load<uint16_t>(table + 2 * at));
        }
        out[uint64_t(blockIdx.y) * columns + column] = value;
    }
}
EXPORT(embed_numbers)
