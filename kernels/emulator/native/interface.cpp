// The C interface that Rust calls.
#include <cstdio>
#include <cstring>

#include "machine.hpp"

using namespace emulator;

struct LaunchRequest {
    const char* kernel;
    Dim grid, block;
    size_t shared_bytes;
    const void* const* arguments;
    const size_t* argument_bytes;
    size_t argument_count;
    const Range* buffers;
    size_t buffer_count;
    uint32_t schedule;
    uint64_t seed;
    bool early;
    char* error;
    size_t error_bytes;
};

// Whether the launch went well; if not, `error` says why, ending in a zero.
extern "C" bool lockgate_emulator_launch(const LaunchRequest* request) {
    std::string error;
    const Kernel* kernel = find_kernel(request->kernel);
    if (!kernel) {
        error = std::string(request->kernel) + ": no such kernel";
    } else if (kernel->parameter_bytes.size() != request->argument_count) {
        error = std::string(request->kernel) + ": takes " + std::to_string(kernel->parameter_bytes.size()) +
                " arguments, not " + std::to_string(request->argument_count);
    } else {
        for (size_t index = 0; index < request->argument_count && error.empty(); ++index) {
            if (kernel->parameter_bytes[index] != request->argument_bytes[index]) {
                error = std::string(request->kernel) + ": argument " + std::to_string(index) + " has " +
                        std::to_string(kernel->parameter_bytes[index]) + " bytes, not " +
                        std::to_string(request->argument_bytes[index]);
            }
        }
        if (error.empty()) {
            error = launch(*kernel, request->grid, request->block, request->shared_bytes, request->arguments,
                           request->buffers, request->buffer_count,
                           Options{static_cast<Schedule>(request->schedule), request->seed, request->early});
        }
    }
    std::snprintf(request->error, request->error_bytes, "%s", error.c_str());
    return error.empty();
}

// The name of kernel `index`, or null behind the last.
extern "C" const char* lockgate_emulator_kernel(size_t index) {
    return index < kernels().size() ? kernels()[index].name : nullptr;
}

// The source file of a kernel that there is.
extern "C" const char* lockgate_emulator_kernel_file(size_t index) { return kernels()[index].file; }

// The bytes of a parameter of a kernel that there is, or 0 behind the last.
extern "C" size_t lockgate_emulator_kernel_parameter(size_t index, size_t number) {
    const auto& bytes = kernels()[index].parameter_bytes;
    return number < bytes.size() ? bytes[number] : 0;
}
