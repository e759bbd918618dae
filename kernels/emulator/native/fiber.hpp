// Switching between stacks. x86-64 has its own switch, since ucontext's makes two system calls each time; other
// machines use ucontext.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulator {

constexpr size_t STACK_BYTES = 256 * 1024;

// Prepares a stack on which `entry` will run, and returns what to switch to.
void* prepare_stack(uint8_t* stack, void (*entry)());
// Goes on at `to`; what to come back to is left in `from`.
void switch_stack(void** from, void* to);

}  // namespace emulator
