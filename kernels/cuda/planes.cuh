// Quantized weights as planes: what lies where in a matrix's one buffer, and how 32 columns of a row are taken apart.
// The host's side, which packs them, is src/cuda/planes.rs.
//
//   low    the low 4 bits of 32 columns in 16 bytes: byte i holds column i below column i + 16 (Q8_0: 32 whole bytes)
//   high   the bits above: 5-bit formats 1 word, bit j of byte i for column 4j + i; 6-bit formats 2 words, 2 bits each
//   meta   scales: f16 (Q4_0 Q5_0 Q8_0); f16 scale and minimum (Q4_1 Q5_1); a byte's exponent (MXFP4);
//          of 256 columns 16 bytes: d and dmin, then low nibbles of 8 scales, of 8 minimums, then their upper bits
//          (Q4_K Q5_K), or 16 signed scales (Q6_K)
//   super  f16 of 256 columns (Q6_K)
// Every plane starts at a multiple of 256 bytes; a plane is row after row.
#pragma once

#include <intrinsics.cuh>

enum class Format : uint32_t { Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4K, Q5K, Q6K, MXFP4 };

// One column's weight is scale * value + bias; the first 16 columns have the first scale.
struct Group {
    int values[8];
    float scales[2];
    float bias;
};

struct Planes {
    const uint8_t* low;
    const uint8_t* high;
    const uint8_t* meta;
    const uint8_t* super;
};

__device__ __forceinline__ uint64_t plane_bytes(uint64_t bytes) { return (bytes + 255) & ~uint64_t(255); }

template <Format F>
__device__ __forceinline__ Planes planes_of(const uint8_t* start, uint32_t rows, uint32_t groups) {
    const uint64_t count = uint64_t(rows) * groups;
    Planes planes;
    planes.low = start;
    planes.high = planes.low + plane_bytes(count * (F == Format::Q8_0 ? 32 : 16));
    constexpr int HIGH_BYTES = F == Format::Q6K ? 8 : F == Format::Q5_0 || F == Format::Q5_1 || F == Format::Q5K ? 4 : 0;
    planes.meta = planes.high + plane_bytes(count * HIGH_BYTES);
    planes.super = planes.meta + plane_bytes(count * 2);
    return planes;
}

// Bytes of a group of 32 columns in the plane of scales.
template <Format F>
constexpr int META_BYTES = F == Format::Q4_1 || F == Format::Q5_1 ? 4 : F == Format::MXFP4 ? 1 : 2;

// Group `at` of the matrix: row * (columns / 32) + group of the row.
template <Format F>
__device__ __forceinline__ Group take_group(const Planes& planes, uint64_t at) {
    Group group;
    if constexpr (F == Format::Q8_0) {
        const uint4 first = load_once<uint4>(planes.low + at * 32), second = load_once<uint4>(planes.low + at * 32 + 16);
        group.values[0] = first.x, group.values[1] = first.y, group.values[2] = first.z, group.values[3] = first.w;
        group.values[4] = second.x, group.values[5] = second.y, group.values[6] = second.z, group.values[7] = second.w;
    } else {
        const uint4 low = load_once<uint4>(planes.low + at * 16);
        const unsigned words[4] = {low.x, low.y, low.z, low.w};
#pragma unroll
        for (int word = 0; word < 4; ++word) {
            group.values[word] = words[word] & 0x0f0f0f0f;
            group.values[word + 4] = words[word] >> 4 & 0x0f0f0f0f;
        }
    }
    if constexpr (F == Format::Q5_0 || F == Format::Q5_1 || F == Format::Q5K) {
        const unsigned high = load_once<unsigned>(planes.high + at * 4);
#pragma unroll
        for (int word = 0; word < 8; ++word) {
            group.values[word] |= (high >> word & 0x01010101) << 4;
        }
    }
    if constexpr (F == Format::Q6K) {
        const uint2 high = load_once<uint2>(planes.high + at * 8);
#pragma unroll
        for (int word = 0; word < 8; ++word) {
            const unsigned bits = (word < 4 ? high.x : high.y) >> (2 * (word % 4)) & 0x03030303;
            // Byte by byte minus 32; the bit on top keeps one byte from borrowing of the next.
            group.values[word] = (((group.values[word] | bits << 4) | 0x80808080u) - 0x20202020u) ^ 0x80808080u;
        }
    }
    if constexpr (F == Format::MXFP4) {
        // Twice the values of e2m1, looked up four at a time: magnitudes 0 to 12, then the same below zero.
#pragma unroll
        for (int word = 0; word < 8; ++word) {
            const unsigned codes = group.values[word];
            const unsigned nibbles = (codes & 0x7) | (codes >> 4 & 0x70) | (codes >> 8 & 0x700) | (codes >> 12 & 0x7000);
            const unsigned magnitudes = __byte_perm(0x03020100u, 0x0c080604u, nibbles);
            // Byte by byte the negation of those with the sign bit: flip all bits and add one. Zeros must stay what
            // they are, or the one would carry.
            const unsigned signs = (codes >> 3 & 0x01010101u) & ((magnitudes + 0x7f7f7f7fu) >> 7);
            const unsigned result = (magnitudes ^ signs * 0xffu) + signs;
            group.values[word] = result;
        }
    }
    group.bias = 0;
    if constexpr (F == Format::Q4_0 || F == Format::Q5_0 || F == Format::Q8_0) {
        const float scale = f16_to_f32(load_once<uint16_t>(planes.meta + at * 2));
        group.scales[0] = group.scales[1] = scale;
        group.bias = F == Format::Q4_0 ? -8 * scale : F == Format::Q5_0 ? -16 * scale : 0;
    } else if constexpr (F == Format::Q4_1 || F == Format::Q5_1) {
        const unsigned both = load_once<unsigned>(planes.meta + at * 4);
        group.scales[0] = group.scales[1] = f16_to_f32(both & 0xffff);
        group.bias = f16_to_f32(both >> 16);
    } else if constexpr (F == Format::Q4K || F == Format::Q5K) {
        const uint4 meta = load<uint4>(planes.meta + at / 8 * 16);
        const unsigned shift = at % 8 * 4;
        const unsigned scale = (meta.y >> shift & 15) | (meta.w >> shift & 3) << 4;
        const unsigned minimum = (meta.z >> shift & 15) | (meta.w >> shift >> 2 & 3) << 4;
        group.scales[0] = group.scales[1] = f16_to_f32(meta.x & 0xffff) * float(scale);
        group.bias = -f16_to_f32(meta.x >> 16) * float(minimum);
    } else if constexpr (F == Format::Q6K) {
        const unsigned both = load<uint16_t>(planes.meta + at * 2);
        const float scale = f16_to_f32(load<uint16_t>(planes.super + at / 8 * 2));
        group.scales[0] = scale * float(int8_t(both));
        group.scales[1] = scale * float(int8_t(both >> 8));
    } else if constexpr (F == Format::MXFP4) {
        // Half, since the values are doubled: 2^(exponent - 128).
        const unsigned exponent = load_once<uint8_t>(planes.meta + at);
        const unsigned bits = exponent > 1 ? (exponent - 1) << 23 : 0x00200000u << exponent;
        group.scales[0] = group.scales[1] = __uint_as_float(bits);
    }
    return group;
}

// Calls `body` with the format as a constant.
template <class Body>
__device__ __forceinline__ void with_format(uint32_t format, Body body) {
    switch (static_cast<Format>(format)) {
        case Format::Q4_0: body.template operator()<Format::Q4_0>(); break;
        case Format::Q4_1: body.template operator()<Format::Q4_1>(); break;
        case Format::Q5_0: body.template operator()<Format::Q5_0>(); break;
        case Format::Q5_1: body.template operator()<Format::Q5_1>(); break;
        case Format::Q8_0: body.template operator()<Format::Q8_0>(); break;
        case Format::Q4K: body.template operator()<Format::Q4K>(); break;
        case Format::Q5K: body.template operator()<Format::Q5K>(); break;
        case Format::Q6K: body.template operator()<Format::Q6K>(); break;
        case Format::MXFP4: body.template operator()<Format::MXFP4>(); break;
    }
}
