// The emulated machine: one fiber a CUDA thread, blocks one after another, on the calling thread.
//
// Owns: fibers, schedules, barriers and warp rendezvous (machine.cpp), and the judgement of every memory access
// (memory.cpp). Kernels reach it through include/intrinsics.cuh; nothing here is instrumented.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "calls.hpp"

namespace emulator {

struct Range {
    uintptr_t start;
    size_t bytes;
};

enum class Schedule : uint32_t { InOrder, Reverse, Interleaved, Random };

// What a kernel's parameters look like, and how to call it with pointers to their values.
struct Kernel {
    const char* name;
    // The source file that it is in.
    const char* file;
    std::vector<size_t> parameter_bytes;
    void (*call)(const void* function, const void* const* arguments);
    const void* function;
};

inline size_t count_of(Dim dim) { return size_t(dim.x) * dim.y * dim.z; }

// A copy that cp.async asked for and that has not happened yet.
struct PendingCopy {
    void* to;
    uintptr_t from;
    uint32_t bytes, valid;
    uint32_t group;
    uint8_t data[16];
};

enum class State : uint8_t { Ready, AtBarrier, AtWarp, Done };

struct Thread {
    void* stack_pointer = nullptr;
    uint8_t* stack = nullptr;
    uint32_t index = 0, warp = 0, lane = 0;
    Dim place{};
    State state = State::Done;
    const char* waits_for = "";
    Line at;
    std::vector<PendingCopy> copies;
    uint32_t copy_group = 0;
    // Until the kernel in front is done, buffers are not to be touched.
    bool may_touch_buffers = true;
    void* asan_fake_stack = nullptr;
};

// Lanes that meet: each leaves a number, and goes on when all of the mask have come.
struct Meeting {
    uint32_t mask = 0, arrived = 0;
    const char* what = "";
    uint32_t turn = 0;
    uint64_t values[2][32];
};

struct Warp {
    uint32_t lanes = 0;
    // Grows at each __syncwarp, which orders the warp's accesses to memory.
    uint32_t epoch = 0;
    std::vector<Meeting> meetings;
};

struct Cell;

// One array in shared memory, exactly as long as the kernel says.
struct Shared {
    const void* tag;
    uint8_t* start;
    size_t bytes;
    std::vector<Cell>* cells;
};

struct Machine;
extern thread_local Machine* machine;

struct Options {
    Schedule schedule;
    uint64_t seed;
    // Whether the kernel in front may still be at work when this one begins.
    bool early;
};

// Runs a launch; an empty string, or what went wrong.
std::string launch(const Kernel& kernel, Dim grid, Dim block, size_t shared_bytes, const void* const* arguments,
                   const Range* buffers, size_t buffer_count, Options options);

const Kernel* find_kernel(const char* name);
const std::vector<Kernel>& kernels();

// Judges an access; does not return when it is wrong.
void access(const void* at, size_t bytes, bool write);
[[noreturn]] void fail(const std::string& message);

// Meets the lanes of `mask`: each leaves a number, and goes on when all have come. `complete` runs once, on the last
// to come, before any goes on.
const uint64_t* meet(const char* what, uint32_t mask, uint64_t value, bool orders_memory, Line at,
                     void (*complete)(uint64_t* values, uint32_t mask) = nullptr);
std::string text(Line at);
std::vector<Shared>& shared_arrays();
size_t dynamic_shared_bytes();

// For memory.cpp: what an access needs to know of the running thread.
struct View {
    Thread* thread;
    Warp* warp;
    uint32_t block_epoch;
    const std::vector<Shared>* shared;
    const Range* buffers;
    size_t buffer_count;
    uintptr_t stack_low, stack_high;
};
extern thread_local View view;
std::vector<Cell>* take_cells(size_t bytes);
void give_cells(std::vector<Cell>* cells);

}  // namespace emulator
