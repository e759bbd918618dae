#include "fiber.hpp"

#if defined(__x86_64__)

// Registers that a called function must keep are saved on the stack that is left.
asm(R"(
.text
.globl lockgate_emulator_switch
.type lockgate_emulator_switch,@function
lockgate_emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size lockgate_emulator_switch,.-lockgate_emulator_switch
.section .note.GNU-stack,"",@progbits
.text
)");
extern "C" void lockgate_emulator_switch(void** from, void* to);

namespace emulator {

void* prepare_stack(uint8_t* stack, void (*entry)()) {
    auto top = reinterpret_cast<uintptr_t>(stack + STACK_BYTES) & ~uintptr_t(15);
    auto words = reinterpret_cast<uintptr_t*>(top);
    // As if `entry` had been called: its return address, never used, is at 16n + 8.
    words[-1] = 0;
    words[-2] = reinterpret_cast<uintptr_t>(entry);
    for (int index = 3; index < 9; ++index) {
        words[-index] = 0;
    }
    return words - 8;
}

void switch_stack(void** from, void* to) {
    lockgate_emulator_switch(from, to);
}

}  // namespace emulator

#else

#include <ucontext.h>

namespace emulator {

// The context of a fiber lies at the low end of its stack; the scheduler's on its own.
void* prepare_stack(uint8_t* stack, void (*entry)()) {
    auto context = reinterpret_cast<ucontext_t*>(stack);
    getcontext(context);
    const size_t reserved = (sizeof(ucontext_t) + 63) & ~size_t(63);
    context->uc_stack.ss_sp = stack + reserved;
    context->uc_stack.ss_size = STACK_BYTES - reserved;
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
    return context;
}

void switch_stack(void** from, void* to) {
    ucontext_t here;
    *from = &here;
    swapcontext(&here, static_cast<ucontext_t*>(to));
}

}  // namespace emulator

#endif
