// Random weights, made where they are computed with: the rule and its reference are src/random.rs, bit for bit.
//
//   random_planes   the planes (planes.cuh) of a quantized matrix, whose stored blocks are random bytes under one
//                   `scale` and `minimum` (bits of f16; of MXFP4 an exponent, and below which random byte it is one more)
//   random_numbers  f16 or bf16 [count], uniform in +-sqrt(3) * deviation; count is a multiple of 8
//
// Word i of unit n (a block, or 32 numbers) is that of SplitMix64 from scramble(seed + n) on: each can be computed alone.
// A thread makes the 32 columns of a group, or 8 numbers. It takes values out of a stored block that is nowhere stored, by
// asking for the bytes that they would lie in, and puts them where planes have them.
//
// Bytes to move: the matrix once, written. Operations: two multiplications of 64 bits for every 8 stored bytes, and again
// for each value where the compiler does not see that two lie in one word. Once a matrix, when a model is made.
#include "planes.cuh"

__device__ __forceinline__ uint64_t scramble(uint64_t value) {
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
    value = (value ^ value >> 27) * 0x94d049bb133111ebu;
    return value ^ value >> 31;
}

// The stored bytes of one unit.
struct Unit {
    uint64_t seed;

    __device__ __forceinline__ Unit(uint64_t matrix, uint64_t number) : seed(scramble(matrix + number)) {}
    __device__ __forceinline__ uint64_t word(uint32_t at) const { return scramble(seed + (at + 1) * uint64_t(0x9e3779b97f4a7c15u)); }
    // Byte `at` behind byte `from`, which is a multiple of 8.
    __device__ __forceinline__ unsigned byte(uint32_t from, uint32_t at) const {
        return unsigned(word(from / 8 + at / 8) >> (at % 8 * 8)) & 0xff;
    }
};

// The value of column `column` of group `group` of its block, as the format counts from zero (Q8_0: as it is stored).
template <Format F>
__device__ __forceinline__ unsigned stored_value(const Unit& unit, uint32_t group, uint32_t column) {
    if constexpr (F == Format::Q8_0) {
        return unit.byte(0, 2 + column);
    } else if constexpr (F == Format::Q4K || F == Format::Q5K) {
        const unsigned low = unit.byte((F == Format::Q4K ? 16 : 48) + group / 2 * 32, column) >> (group % 2 * 4) & 15;
        return F == Format::Q4K ? low : low | (unit.byte(16, column) >> group & 1) << 4;
    } else if constexpr (F == Format::Q6K) {
        const uint32_t part = group / 4, quarter = group % 4;
        const unsigned low = unit.byte(part * 64 + quarter % 2 * 32, column) >> (quarter / 2 * 4) & 15;
        return low | (unit.byte(128 + part * 32, column) >> (quarter * 2) & 3) << 4;
    } else {
        // Behind scale, minimum and fifth bits, as far as there are any.
        constexpr int FIFTH = F == Format::MXFP4 ? 1 : F == Format::Q4_1 || F == Format::Q5_1 ? 4 : 2;
        constexpr int LOW = F == Format::Q5_0 || F == Format::Q5_1 ? FIFTH + 4 : FIFTH;
        const unsigned low = unit.byte(0, LOW + column % 16) >> (column / 16 * 4) & 15;
        return LOW == FIFTH ? low : low | (unit.byte(0, FIFTH + column / 8) >> (column % 8) & 1) << 4;
    }
}

// d, dmin and the six-bit scales and minimums of a block, as planes have them.
__device__ __forceinline__ uint4 six_bit_meta(const Unit& unit, unsigned halves) {
    uint4 meta = make_uint4(halves, 0, 0, 0);
#pragma unroll
    for (int index = 0; index < 4; ++index) {
        const unsigned scale = unit.byte(0, 4 + index), minimum = unit.byte(0, 8 + index), rest = unit.byte(0, 12 + index);
        const int first = 4 * index, second = 4 * (index + 4);
        meta.y |= (scale & 15) << first | (rest & 15) << second;
        meta.z |= (minimum & 15) << first | (rest >> 4) << second;
        meta.w |= (scale >> 4 & 3) << first | (minimum >> 4 & 3) << (first + 2);
        meta.w |= (scale >> 6) << second | (minimum >> 6) << (second + 2);
    }
    return meta;
}

template <Format F>
__device__ __forceinline__ void make_group(uint8_t* start, const Planes& planes, uint64_t at, uint64_t seed, unsigned scale,
                                           unsigned minimum) {
    constexpr bool LONG = F == Format::Q4K || F == Format::Q5K || F == Format::Q6K;
    const uint32_t group = LONG ? at % 8 : 0;
    const Unit unit(seed, LONG ? at / 8 : at);
    uint8_t* const low = start + (planes.low - start);
    uint8_t* const high = start + (planes.high - start);
    uint8_t* const meta = start + (planes.meta - start);
    uint8_t* const super = start + (planes.super - start);

    unsigned words[8] = {}, fifths = 0, above[2] = {};
#pragma unroll
    for (int column = 0; column < 32; ++column) {
        const unsigned value = stored_value<F>(unit, group, column);
        if constexpr (F == Format::Q8_0) {
            words[column / 4] |= value << (column % 4 * 8);
        } else {
            words[column % 16 / 4] |= (value & 15) << (column % 4 * 8 + column / 16 * 4);
            fifths |= (value >> 4 & 1) << (column % 4 * 8 + column / 4);
            above[column / 16] |= (value >> 4) << (column % 4 * 8 + column % 16 / 4 * 2);
        }
    }
    store(low + at * (F == Format::Q8_0 ? 32 : 16), make_uint4(words[0], words[1], words[2], words[3]));
    if constexpr (F == Format::Q8_0) {
        store(low + at * 32 + 16, make_uint4(words[4], words[5], words[6], words[7]));
    }
    if constexpr (F == Format::Q5_0 || F == Format::Q5_1 || F == Format::Q5K) {
        store(high + at * 4, fifths);
    }
    if constexpr (F == Format::Q6K) {
        store(high + at * 8, make_uint2(above[0], above[1]));
        store(meta + at * 2, uint16_t(unit.byte(192, 2 * group) | unit.byte(192, 2 * group + 1) << 8));
        if (group == 0) {
            store(super + at / 8 * 2, uint16_t(scale));
        }
    } else if constexpr (LONG) {
        if (group == 0) {
            store(meta + at / 8 * 16, six_bit_meta(unit, scale | minimum << 16));
        }
    } else if constexpr (F == Format::MXFP4) {
        store(meta + at, uint8_t(scale + (unit.byte(0, 0) < minimum)));
    } else if constexpr (META_BYTES<F> == 4) {
        store(meta + at * 4, scale | minimum << 16);
    } else {
        store(meta + at * 2, uint16_t(scale));
    }
}

extern "C" __global__ void __launch_bounds__(128)
    random_planes(uint8_t* planes, uint32_t rows, uint32_t columns, uint32_t format, uint64_t seed, uint32_t scale,
                  uint32_t minimum) {
    grid_dependency_wait();
    const uint32_t groups = columns / 32;
    const uint64_t at = uint64_t(blockIdx.x) * 128 + threadIdx.x;
    if (at < uint64_t(rows) * groups) {
        with_format(format, [&]<Format F>() {
            make_group<F>(planes, planes_of<F>(planes, rows, groups), at, seed, scale, minimum);
        });
    }
}
EXPORT(random_planes)

// `format`: 0 f16, 1 bf16.
extern "C" __global__ void __launch_bounds__(128)
    random_numbers(uint8_t* numbers, uint64_t count, uint32_t format, uint64_t seed, float deviation) {
    grid_dependency_wait();
    const uint64_t first = (uint64_t(blockIdx.x) * 128 + threadIdx.x) * 8;
    if (first < count) {
        const Unit unit(seed, first / 32);
        unsigned words[4] = {};
#pragma unroll
        for (int number = 0; number < 8; ++number) {
            // The upper 24 bits, as many as a float keeps: no rounding before the products.
            const uint64_t word = unit.word(uint32_t(first % 32) + number);
            const float symmetric = float(uint32_t(word >> 40)) / 8388608.0f - 1.0f;
            const float value = __fmul_rn(__fmul_rn(symmetric, deviation), 1.7320508f);
            const unsigned bits = format == 1 ? f32_to_bf16(value) : f32_to_f16(value);
            words[number / 2] |= bits << (number % 2 * 16);
        }
        store(numbers + first * 2, make_uint4(words[0], words[1], words[2], words[3]));
    }
}
EXPORT(random_numbers)
