// A program of its own, built with AddressSanitizer: runs one recorded launch, each buffer allocated exactly as long as
// it is, and exits with 0, or with 1 and a line about what the emulator found.
//
// The record: words of 64 bits unless said otherwise. Name (length, bytes), grid, block, shared bytes, schedule, seed,
// number of buffers, each (length, bytes), number of arguments, each (kind, then for 0 a length and bytes, for 1 a
// buffer and an offset).
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "machine.hpp"

using namespace emulator;

static FILE* record;

static uint64_t word() {
    uint64_t value;
    if (std::fread(&value, sizeof value, 1, record) != 1) {
        std::fprintf(stderr, "the record ends early\n");
        std::exit(2);
    }
    return value;
}

static void bytes(void* to, size_t count) {
    if (count && std::fread(to, 1, count, record) != count) {
        std::fprintf(stderr, "the record ends early\n");
        std::exit(2);
    }
}

int main(int count, char** arguments) {
    if (count != 2 || !(record = std::fopen(arguments[1], "rb"))) {
        std::fprintf(stderr, "usage: %s RECORD\n", arguments[0]);
        return 2;
    }
    std::string name(word(), 0);
    bytes(name.data(), name.size());
    auto dim = [] { const auto x = uint32_t(word()), y = uint32_t(word()), z = uint32_t(word()); return Dim{x, y, z}; };
    const Dim grid = dim(), block = dim();
    const size_t shared_bytes = word();
    const auto schedule = Schedule(word());
    const uint64_t seed = word();
    std::vector<uint8_t*> buffers;
    std::vector<Range> ranges;
    for (uint64_t left = word(); left > 0; --left) {
        const size_t length = word();
        void* start = nullptr;
        if (posix_memalign(&start, 256, length ? length : 1) != 0) {
            return 2;
        }
        bytes(start, length);
        buffers.push_back(static_cast<uint8_t*>(start));
        ranges.push_back(Range{reinterpret_cast<uintptr_t>(start), length});
    }
    std::sort(ranges.begin(), ranges.end(), [](const Range& left, const Range& right) { return left.start < right.start; });
    std::vector<std::vector<uint64_t>> values;
    for (uint64_t left = word(); left > 0; --left) {
        if (word() == 0) {
            const size_t length = word();
            values.emplace_back((length + 7) / 8);
            bytes(values.back().data(), length);
        } else {
            const uint64_t buffer = word(), offset = word();
            values.push_back({reinterpret_cast<uint64_t>(buffers.at(buffer) + offset)});
        }
    }
    std::vector<const void*> pointers;
    for (const auto& value : values) {
        pointers.push_back(value.data());
    }
    const Kernel* kernel = find_kernel(name.c_str());
    if (!kernel) {
        std::fprintf(stderr, "%s: no such kernel\n", name.c_str());
        return 2;
    }
    const std::string error = launch(*kernel, grid, block, shared_bytes, pointers.data(), ranges.data(), ranges.size(),
                                     Options{schedule, seed, false});
    for (uint8_t* buffer : buffers) {
        std::free(buffer);
    }
    if (!error.empty()) {
        std::fprintf(stderr, "%s\n", error.c_str());
        return 1;
    }
    return 0;
}
