// Judges every access of a kernel to memory. The compiler calls the functions at the end before each access (what
// -fsanitize=thread inserts; its own runtime is not linked): a thread's own stack is its own business, shared memory is
// checked for bounds and races, and anything else must lie within one buffer of the device.
#include <cstdio>

#include "machine.hpp"

namespace emulator {

// Who touched a byte of shared memory last. Marks of another block epoch are stale.
struct Cell {
    uint32_t write_epoch = 0, write_warp_epoch = 0;
    uint32_t read_epoch = 0, read_warp_epoch = 0;
    uint16_t writer = 0, reader = 0;
    bool many_warps = false, many_lanes = false;
};

namespace {

thread_local std::vector<std::vector<Cell>*> spare;

[[noreturn]] void race(const char* first, uint32_t other, const char* second, size_t offset) {
    fail(std::string(second) + " byte " + std::to_string(offset) + " of a shared array that thread " +
         std::to_string(other) + " " + first + " with no barrier between: a race");
}

std::string hex(uintptr_t address) {
    char text[24];
    std::snprintf(text, sizeof text, "0x%zx", static_cast<size_t>(address));
    return text;
}

}  // namespace

std::vector<Cell>* take_cells(size_t bytes) {
    auto cells = spare.empty() ? new std::vector<Cell>() : spare.back();
    if (!spare.empty()) {
        spare.pop_back();
    }
    if (cells->size() < bytes) {
        cells->resize(bytes);
    }
    return cells;
}

void give_cells(std::vector<Cell>* cells) { spare.push_back(cells); }

static void access_shared(const Shared& shared, size_t offset, size_t bytes, bool write) {
    const Thread& thread = *view.thread;
    const uint32_t epoch = view.block_epoch, warp_epoch = view.warp->epoch;
    const uint16_t self = static_cast<uint16_t>(thread.index);
    const uint32_t warp = thread.warp;
    for (size_t at = offset; at < offset + bytes; ++at) {
        Cell& cell = (*shared.cells)[at];
        if (cell.write_epoch == epoch && cell.writer != self &&
            (cell.writer / 32u != warp || cell.write_warp_epoch == warp_epoch)) {
            race("wrote", cell.writer, write ? "writes" : "reads", at);
        }
        const bool read_now = cell.read_epoch == epoch;
        if (write) {
            if (read_now) {
                const bool other_warp = cell.many_warps || cell.reader / 32u != warp;
                const bool other_lane =
                    cell.read_warp_epoch == warp_epoch && (cell.reader != self || cell.many_lanes);
                if (other_warp || other_lane) {
                    race("read", cell.reader, "writes", at);
                }
            }
            cell.write_epoch = epoch;
            cell.write_warp_epoch = warp_epoch;
            cell.writer = self;
        } else if (!read_now) {
            cell.read_epoch = epoch;
            cell.read_warp_epoch = warp_epoch;
            cell.reader = self;
            cell.many_warps = cell.many_lanes = false;
        } else if (cell.reader / 32u != warp) {
            cell.many_warps = true;
        } else if (cell.read_warp_epoch != warp_epoch) {
            cell.read_warp_epoch = warp_epoch;
            cell.reader = self;
            cell.many_lanes = false;
        } else if (cell.reader != self) {
            cell.many_lanes = true;
        }
    }
}

void access(const void* at, size_t bytes, bool write) {
    if (!view.thread) {
        return;
    }
    const auto address = reinterpret_cast<uintptr_t>(at);
    if (address >= view.stack_low && address < view.stack_high) {
        return;
    }
    for (const Shared& shared : *view.shared) {
        const uintptr_t offset = address - reinterpret_cast<uintptr_t>(shared.start);
        if (offset < shared.bytes) {
            if (offset + bytes > shared.bytes) {
                fail(std::string(write ? "writes" : "reads") + " " + std::to_string(bytes) + " bytes at byte " +
                     std::to_string(offset) + " of a shared array of " + std::to_string(shared.bytes));
            }
            access_shared(shared, offset, bytes, write);
            return;
        }
    }
    if (!view.thread->may_touch_buffers) {
        fail(std::string(write ? "writes" : "reads") + " a buffer before it waits for the kernel in front");
    }
    // The last buffer that starts at or before the address.
    size_t low = 0, high = view.buffer_count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        (view.buffers[middle].start <= address ? low : high) = view.buffers[middle].start <= address ? middle + 1 : middle;
    }
    if (low > 0) {
        const Range& buffer = view.buffers[low - 1];
        const uintptr_t offset = address - buffer.start;
        if (offset + bytes <= buffer.bytes) {
            return;
        }
        // Guard bands keep strays of moderate length nearest to the buffer that they left.
        fail(std::string(write ? "writes" : "reads") + " " + std::to_string(bytes) + " bytes at byte " +
             std::to_string(offset) + " of a buffer of " + std::to_string(buffer.bytes) + ": out of bounds");
    }
    fail(std::string(write ? "writes" : "reads") + " " + std::to_string(bytes) + " bytes at " + hex(address) +
         ", which no buffer holds: out of bounds");
}

}  // namespace emulator

#define HOOKS(bytes)                                                                                    \
    extern "C" void __tsan_read##bytes(void* at) { emulator::access(at, bytes, false); }                \
    extern "C" void __tsan_write##bytes(void* at) { emulator::access(at, bytes, true); }                \
    extern "C" void __tsan_unaligned_read##bytes(void* at) { emulator::access(at, bytes, false); }      \
    extern "C" void __tsan_unaligned_write##bytes(void* at) { emulator::access(at, bytes, true); }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
extern "C" void __tsan_read_range(void* at, size_t bytes) { emulator::access(at, bytes, false); }
extern "C" void __tsan_write_range(void* at, size_t bytes) { emulator::access(at, bytes, true); }
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
