// Shared arrays, vectors, and copies that happen later.
#include <cstdlib>
#include <cstring>

#include "machine.hpp"

namespace emulator {

static void aligned_access(const void* at, size_t bytes, bool write, Line line) {
    if (reinterpret_cast<uintptr_t>(at) % bytes) {
        fail("touches " + std::to_string(bytes) + " misaligned bytes at " + text(line));
    }
    access(at, bytes, write);
}

void load_bytes(const void* from, void* to, size_t bytes, Line at) {
    aligned_access(from, bytes, false, at);
    std::memcpy(to, from, bytes);
}

void store_bytes(void* to, const void* from, size_t bytes, Line at) {
    aligned_access(to, bytes, true, at);
    std::memcpy(to, from, bytes);
}

static void* new_shared(const void* tag, size_t bytes) {
    void* start = nullptr;
    // No malloc of zero bytes: an empty array still has an address.
    if (posix_memalign(&start, 128, bytes ? bytes : 1) != 0) {
        fail("has no memory for shared arrays");
    }
    // All ones: NaN in every float format, and no plausible index.
    std::memset(start, 0xff, bytes);
    shared_arrays().push_back(Shared{tag, static_cast<uint8_t*>(start), bytes, take_cells(bytes)});
    return start;
}

void* shared_array(const void* tag, size_t bytes) {
    for (const Shared& array : shared_arrays()) {
        if (array.tag == tag) {
            return array.start;
        }
    }
    size_t sum = dynamic_shared_bytes() + bytes;
    for (const Shared& array : shared_arrays()) {
        sum += array.tag ? array.bytes : 0;
    }
    if (sum > 227 * 1024) {
        fail("uses " + std::to_string(sum) + " bytes of shared memory: no card has as much");
    }
    return new_shared(tag, bytes);
}

void* dynamic_shared() {
    for (const Shared& array : shared_arrays()) {
        if (array.tag == nullptr) {
            return array.start;
        }
    }
    return new_shared(nullptr, dynamic_shared_bytes());
}

void copy_async(void* to, const void* from, uint32_t bytes, uint32_t valid, Line at) {
    const auto address = reinterpret_cast<uintptr_t>(from);
    if (reinterpret_cast<uintptr_t>(to) % bytes || address % bytes) {
        fail("cp.async of " + std::to_string(bytes) + " misaligned bytes at " + text(at));
    }
    PendingCopy copy{to, address, bytes, valid, view.thread->copy_group, {}};
    if (valid > 0) {
        access(from, valid, false);
        std::memcpy(copy.data, from, valid);
    }
    view.thread->copies.push_back(copy);
}

void copy_commit() { ++view.thread->copy_group; }

void copy_wait(uint32_t groups_left) {
    Thread& thread = *view.thread;
    size_t kept = 0;
    for (PendingCopy& copy : thread.copies) {
        // Uncommitted copies are waited for by nobody.
        if (copy.group + groups_left < thread.copy_group) {
            access(copy.to, copy.bytes, true);
            std::memcpy(copy.to, copy.data, copy.bytes);
        } else {
            thread.copies[kept++] = copy;
        }
    }
    thread.copies.resize(kept);
}

}  // namespace emulator
