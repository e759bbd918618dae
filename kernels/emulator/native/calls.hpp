// What the emulated intrinsics call. Kernels see this header, and they are instrumented: so nothing here is inline,
// and nothing of the standard library's templates comes with it, of which the linker might keep an instrumented copy.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulator {

struct Dim {
    uint32_t x, y, z;
};

// Where in a kernel something was called.
struct Line {
    const char* file = "";
    uint32_t number = 0;

    static constexpr Line current(const char* file = __builtin_FILE(), uint32_t number = __builtin_LINE()) {
        return Line{file, number};
    }
};

// Places are constant within one thread; the compiler may ask once.
[[gnu::const]] Dim thread_place();
[[gnu::const]] Dim block_place();
[[gnu::const]] Dim block_size();
[[gnu::const]] Dim grid_size();
[[gnu::const]] uint32_t lane();

void barrier(Line at);
// Meets the lanes of `mask`, and returns what lane `source` brought.
uint64_t shuffle(const char* what, uint32_t mask, uint64_t value, uint32_t source, Line at);
// Meets the lanes of `mask`; memory is ordered among them.
void warp_barrier(uint32_t mask, Line at);
uint32_t ballot(uint32_t mask, bool vote, Line at);
uint32_t reduce_add(uint32_t mask, uint32_t value, Line at);
uint32_t reduce_max(uint32_t mask, uint32_t value, Line at);

// d += a * b of a whole warp, from fragments as the PTX manual lays them out.
void mma_f16(float* d, const uint32_t* a, const uint32_t* b, Line at);
void mma_bf16(float* d, const uint32_t* a, const uint32_t* b, Line at);
void mma_s8(int* d, const uint32_t* a, const uint32_t* b, Line at);
void load_matrices(uint32_t* out, const void* row, bool transposed, Line at);

// The array that `tag` stands for, the same for all threads of a block.
void* shared_array(const void* tag, size_t bytes);
void* dynamic_shared();
void load_bytes(const void* from, void* to, size_t bytes, Line at);
void store_bytes(void* to, const void* from, size_t bytes, Line at);
void copy_async(void* to, const void* from, uint32_t bytes, uint32_t valid, Line at);
// Waits for the kernel in front.
void dependency_wait();
// Only asks for memory, which must lie within a buffer; it need not have waited.
void ask_ahead(const void* at);
void copy_commit();
void copy_wait(uint32_t groups_left);

uint32_t atomic_add(uint32_t* at, uint32_t value);
uint64_t atomic_add(uint64_t* at, uint64_t value);
uint32_t atomic_max(uint32_t* at, uint32_t value);

float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);
uint16_t f32_to_bf16(float value);
// Eight bits: e5m2, or e4m3; beyond the greatest number that one, or what is not finite.
uint8_t f32_to_f8(float value, bool e5m2, bool saturate);
uint16_t f8_to_f16(uint8_t bits, bool e5m2);

// Makes a kernel of a source file known; `call` unpacks pointers to its arguments.
void add_kernel(const char* name, const char* file, const size_t* parameter_bytes, size_t parameters,
                void (*call)(const void* function, const void* const* arguments), const void* function);

}  // namespace emulator
