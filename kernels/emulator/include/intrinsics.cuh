// What kernels use of the language and the machine, for the host's compiler: the twin of cuda/ptx/intrinsics.cuh,
// with the same names. Kernels include <intrinsics.cuh>, and the include path decides which one they get.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#include "../native/calls.hpp"

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__

struct dim3 { unsigned x, y, z; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace emulator {

// The arguments lie in the host's memory, not the device's.
template <class... A, size_t... I>
__attribute__((no_sanitize("thread"))) void call_with(void (*function)(A...), const void* const* arguments,
                                                      std::index_sequence<I...>) {
    function(*static_cast<const A*>(arguments[I])...);
}

template <class... A>
void unpack(const void* function, const void* const* arguments) {
    call_with(reinterpret_cast<void (*)(A...)>(const_cast<void*>(function)), arguments,
              std::index_sequence_for<A...>());
}

struct Registered {
    template <class... A>
    Registered(const char* name, const char* file, void (*function)(A...)) {
        const size_t parameter_bytes[] = {sizeof(A)...};
        add_kernel(name, file, parameter_bytes, sizeof...(A), unpack<A...>,
                   reinterpret_cast<const void*>(function));
    }
};

template <class T>
uint64_t to_word(T value) {
    static_assert(sizeof(T) <= 8);
    uint64_t word = 0;
    std::memcpy(&word, &value, sizeof value);
    return word;
}
template <class T>
T from_word(uint64_t word) {
    T value;
    std::memcpy(&value, &word, sizeof value);
    return value;
}

}  // namespace emulator

#define threadIdx (emulator::thread_place())
#define blockIdx (emulator::block_place())
#define blockDim (emulator::block_size())
#define gridDim (emulator::grid_size())

// Makes a kernel known by its name.
#define EXPORT(name) static const emulator::Registered name##_registered{#name, __FILE__, name};

// An array in shared memory, aligned for vectors.
#define SHARED(type, name, count)  \
    static char name##_tag;        \
    type* const name = static_cast<type*>(emulator::shared_array(&name##_tag, sizeof(type) * (count)))

// The shared memory whose size the launch gave.
template <class T>
inline T* dynamic_shared() { return static_cast<T*>(emulator::dynamic_shared()); }

using Line = emulator::Line;
#define HERE Line at = Line::current()

inline void __syncthreads(HERE) { emulator::barrier(at); }
inline void __syncwarp(unsigned mask = 0xffffffffu, HERE) { emulator::warp_barrier(mask, at); }

template <class T>
inline T shuffle(const char* what, unsigned mask, T value, int source, Line at) {
    return emulator::from_word<T>(emulator::shuffle(what, mask, emulator::to_word(value), unsigned(source), at));
}
template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, HERE) {
    const int lane = int(emulator::lane());
    return shuffle("__shfl_sync", mask, value, (lane & ~(width - 1)) | (source & (width - 1)), at);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, HERE) {
    const int lane = int(emulator::lane()), source = lane ^ bits;
    // A lane beyond the width keeps its own.
    const bool beyond = (source & ~(width - 1)) > (lane & ~(width - 1));
    return shuffle("__shfl_xor_sync", mask, value, beyond ? lane : source, at);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, int delta, int width = 32, HERE) {
    const int lane = int(emulator::lane());
    return shuffle("__shfl_up_sync", mask, value, (lane & (width - 1)) < delta ? lane : lane - delta, at);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, int delta, int width = 32, HERE) {
    const int lane = int(emulator::lane());
    return shuffle("__shfl_down_sync", mask, value, (lane & (width - 1)) + delta >= width ? lane : lane + delta, at);
}
inline unsigned __ballot_sync(unsigned mask, int vote, HERE) { return emulator::ballot(mask, vote != 0, at); }
inline int __any_sync(unsigned mask, int vote, HERE) { return emulator::ballot(mask, vote != 0, at) != 0; }
inline int __all_sync(unsigned mask, int vote, HERE) { return emulator::ballot(mask, vote != 0, at) == mask; }
inline unsigned __reduce_add_sync(unsigned mask, unsigned value, HERE) { return emulator::reduce_add(mask, value, at); }
inline unsigned __reduce_max_sync(unsigned mask, unsigned value, HERE) { return emulator::reduce_max(mask, value, at); }
inline unsigned __reduce_min_sync(unsigned mask, unsigned value, HERE) { return ~emulator::reduce_max(mask, ~value, at); }

inline unsigned atomicAdd(unsigned* at, unsigned value) { return emulator::atomic_add(at, value); }
inline int atomicAdd(int* at, int value) {
    return static_cast<int>(emulator::atomic_add(reinterpret_cast<unsigned*>(at), static_cast<unsigned>(value)));
}
inline unsigned long long atomicAdd(unsigned long long* at, unsigned long long value) {
    return emulator::atomic_add(reinterpret_cast<uint64_t*>(at), value);
}
inline unsigned atomicMax(unsigned* at, unsigned value) { return emulator::atomic_max(at, value); }
inline void __threadfence() {}

inline int __dp4a(int left, int right, int sum) {
    for (int byte = 0; byte < 4; ++byte) {
        sum += int(int8_t(left >> (8 * byte))) * int(int8_t(right >> (8 * byte)));
    }
    return sum;
}
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned select) {
    const uint64_t bytes = uint64_t(high) << 32 | low;
    unsigned result = 0;
    for (int byte = 0; byte < 4; ++byte) {
        const unsigned code = select >> (4 * byte) & 0xf;
        unsigned value = unsigned(bytes >> (8 * (code & 7))) & 0xff;
        if (code & 8) {
            value = value & 0x80 ? 0xff : 0;
        }
        result |= value << (8 * byte);
    }
    return result;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return unsigned((uint64_t(high) << 32 | low) >> (shift & 31));
}
inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __clz(int value) { return value ? __builtin_clz(unsigned(value)) : 32; }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline unsigned __float_as_uint(float value) { return emulator::from_word<unsigned>(emulator::to_word(value)); }
inline float __uint_as_float(unsigned value) { return emulator::from_word<float>(value); }
inline float rsqrtf(float value) { return 1.0f / std::sqrt(value); }
inline float __fadd_rn(float left, float right) { return left + right; }
inline float __fmul_rn(float left, float right) { return left * right; }
inline float __fdividef(float left, float right) { return left / right; }
inline int __float2int_rn(float value) { return int(std::nearbyint(value)); }
inline unsigned long long __float2ull_rn(float value) { return (unsigned long long)(std::nearbyint(value)); }

inline unsigned min(unsigned left, unsigned right) { return left < right ? left : right; }
inline unsigned max(unsigned left, unsigned right) { return left > right ? left : right; }

// Vectors of 2 to 16 bytes, whole and aligned.
template <class T>
inline T load(const void* from, HERE) {
    T value;
    emulator::load_bytes(from, &value, sizeof value, at);
    return value;
}
// The same for what is read once: it need not stay in any cache.
template <class T>
inline T load_once(const void* from, HERE) { return load<T>(from, at); }
template <class T>
inline void store(void* to, T value, HERE) { emulator::store_bytes(to, &value, sizeof value, at); }

// Half precision as bits.
inline float f16_to_f32(uint16_t bits) { return emulator::f16_to_f32(bits); }
inline uint16_t f32_to_f16(float value) { return emulator::f32_to_f16(value); }
inline float bf16_to_f32(uint16_t bits) { return __uint_as_float(unsigned(bits) << 16); }
inline uint16_t f32_to_bf16(float value) { return emulator::f32_to_bf16(value); }
inline unsigned pack_f16(float low, float high) { return f32_to_f16(low) | unsigned(f32_to_f16(high)) << 16; }
inline unsigned pack_bf16(float low, float high) { return f32_to_bf16(low) | unsigned(f32_to_bf16(high)) << 16; }

inline void mma_f16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, HERE) {
    const unsigned b[2] = {b0, b1};
    emulator::mma_f16(d, a, b, at);
}
inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, HERE) {
    const unsigned b[2] = {b0, b1};
    emulator::mma_bf16(d, a, b, at);
}
inline void mma_s8(int (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, HERE) {
    const unsigned b[2] = {b0, b1};
    emulator::mma_s8(d, a, b, at);
}

// Four 8 x 8 matrices of 16-bit elements; lane i names row i % 8 of matrix i / 8.
inline void ldmatrix_x4(unsigned (&out)[4], const void* row, HERE) { emulator::load_matrices(out, row, false, at); }
inline void ldmatrix_x4_trans(unsigned (&out)[4], const void* row, HERE) { emulator::load_matrices(out, row, true, at); }

// 16 bytes to shared memory, which are there only after cp_async_wait; of them `valid` are read, the rest is zero.
inline void cp_async16(void* to, const void* from, unsigned valid = 16, HERE) {
    emulator::copy_async(to, from, 16, valid, at);
}
inline void cp_async_commit() { emulator::copy_commit(); }
template <int GROUPS_LEFT>
inline void cp_async_wait() { emulator::copy_wait(GROUPS_LEFT); }

// The previous kernel of the stream has finished, where launches overlap.
inline void grid_dependency_wait() { emulator::dependency_wait(); }
// What is never written while kernels run may be asked for before that; it must be there.
inline void ask_ahead(const void* at) { emulator::ask_ahead(at); }
