#include "machine.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sys/mman.h>

#include "fiber.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulator {

thread_local Machine* machine = nullptr;
thread_local View view{};

namespace {

// Stacks outlive launches: mapping a thousand of them takes longer than most launches.
struct Stacks {
    std::vector<uint8_t*> all;
    uint8_t* get(size_t index) {
        while (all.size() <= index) {
            void* stack = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (stack == MAP_FAILED) {
                std::perror("the emulator has no memory for a thread's stack");
                std::abort();
            }
            all.push_back(static_cast<uint8_t*>(stack));
        }
        return all[index];
    }
    ~Stacks() {
        for (uint8_t* stack : all) {
            munmap(stack, STACK_BYTES);
        }
    }
};
thread_local Stacks stacks;
// Never repeats within a thread of the host, so that marks of earlier blocks are stale by themselves.
thread_local uint32_t block_epoch = 0;

std::vector<Kernel>& registry() {
    static std::vector<Kernel> kernels;
    return kernels;
}

std::string place(Dim dim) {
    return "(" + std::to_string(dim.x) + ", " + std::to_string(dim.y) + ", " + std::to_string(dim.z) + ")";
}

}  // namespace

std::string text(Line at) {
    const char* name = std::strrchr(at.file, '/');
    return std::string(name ? name + 1 : at.file) + ":" + std::to_string(at.number);
}

struct Machine {
    const Kernel* kernel;
    const void* const* arguments;
    Dim grid, block, block_at;
    size_t shared_bytes;
    Options options;
    uint64_t random;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<uint64_t> ready;
    size_t cursor = 0;
    size_t at_barrier = 0;
    Line barrier_at;
    std::vector<Shared> shared;
    void* scheduler = nullptr;
    void* asan_fake_stack = nullptr;
    const void* asan_stack = nullptr;
    size_t asan_stack_bytes = 0;
    std::string error;

    uint64_t next_random() {
        random = random * 6364136223846793005u + 1442695040888963407u;
        return random >> 33;
    }

    void set_ready(uint32_t index) {
        threads[index].state = State::Ready;
        ready[index / 64] |= uint64_t(1) << (index % 64);
    }

    // The first ready thread from `from` on, around the end; threads.size() when there is none.
    size_t first_ready(size_t from) const {
        const size_t words = ready.size();
        for (size_t step = 0; step <= words; ++step) {
            const size_t word = (from / 64 + step) % words;
            uint64_t bits = ready[word];
            if (step == 0) {
                bits &= ~uint64_t(0) << (from % 64);
            } else if (step == words) {
                bits &= (uint64_t(1) << (from % 64)) - 1;
            }
            if (bits) {
                return word * 64 + __builtin_ctzll(bits);
            }
        }
        return threads.size();
    }

    size_t last_ready() const {
        for (size_t word = ready.size(); word-- > 0;) {
            if (ready[word]) {
                return word * 64 + 63 - __builtin_clzll(ready[word]);
            }
        }
        return threads.size();
    }

    size_t pick() {
        switch (options.schedule) {
            case Schedule::InOrder: return first_ready(0);
            case Schedule::Reverse: return last_ready();
            case Schedule::Interleaved:
                cursor = (cursor + 33) % threads.size();
                return first_ready(cursor);
            case Schedule::Random: return first_ready(next_random() % threads.size());
        }
        return threads.size();
    }

    void enter(Thread& thread);
    void leave(Thread& thread, bool forever);
    void run_block();
    std::string stuck() const;
};

namespace {

void thread_main() {
    Machine& self = *machine;
    Thread& thread = *view.thread;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &self.asan_stack, &self.asan_stack_bytes);
#endif
    self.kernel->call(self.kernel->function, self.arguments);
    if (!thread.copies.empty()) {
        fail("returned with a cp.async that it never waited for");
    }
    thread.state = State::Done;
    self.leave(thread, true);
    std::abort();
}

}  // namespace

void Machine::enter(Thread& thread) {
    view.thread = &thread;
    view.warp = &warps[thread.warp];
    view.stack_low = reinterpret_cast<uintptr_t>(thread.stack);
    view.stack_high = view.stack_low + STACK_BYTES;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&asan_fake_stack, thread.stack, STACK_BYTES);
#endif
    switch_stack(&scheduler, thread.stack_pointer);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(asan_fake_stack, nullptr, nullptr);
#endif
    view.thread = nullptr;
}

void Machine::leave(Thread& thread, bool forever) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(forever ? nullptr : &thread.asan_fake_stack, asan_stack, asan_stack_bytes);
#else
    (void)forever;
#endif
    switch_stack(&thread.stack_pointer, scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(thread.asan_fake_stack, &asan_stack, &asan_stack_bytes);
#endif
}

std::string Machine::stuck() const {
    std::string found = "deadlock:";
    size_t returned = 0;
    for (size_t index = 0; index < threads.size();) {
        const Thread& first = threads[index];
        if (first.state == State::Done) {
            ++returned, ++index;
            continue;
        }
        size_t end = index + 1;
        while (end < threads.size() && threads[end].state == first.state && text(threads[end].at) == text(first.at)) {
            ++end;
        }
        found += " threads " + std::to_string(index) + " to " + std::to_string(end - 1) + " wait for " +
                first.waits_for + " at " + text(first.at) + ";";
        index = end;
    }
    return found + " " + std::to_string(returned) + " have returned";
}

void Machine::run_block() {
    const size_t count = count_of(block);
    ++block_epoch;
    view.block_epoch = block_epoch;
    at_barrier = 0;
    cursor = 0;
    threads.resize(count);
    warps.assign((count + 31) / 32, Warp{});
    ready.assign((count + 63) / 64, 0);
    for (size_t index = 0; index < count; ++index) {
        Thread& thread = threads[index];
        thread.index = static_cast<uint32_t>(index);
        thread.warp = thread.index / 32;
        thread.lane = thread.index % 32;
        thread.place = Dim{thread.index % block.x, thread.index / block.x % block.y, thread.index / block.x / block.y};
        thread.copies.clear();
        thread.copy_group = 0;
        thread.may_touch_buffers = !options.early;
        thread.stack = stacks.get(index);
#if defined(__SANITIZE_ADDRESS__)
        // What an earlier fiber poisoned on this stack is none of this one's business.
        __asan_unpoison_memory_region(thread.stack, STACK_BYTES);
#endif
        thread.stack_pointer = prepare_stack(thread.stack, thread_main);
        warps[thread.warp].lanes |= 1u << thread.lane;
        set_ready(thread.index);
    }
    for (;;) {
        const size_t index = pick();
        if (index >= count) {
            break;
        }
        ready[index / 64] &= ~(uint64_t(1) << (index % 64));
        enter(threads[index]);
        if (!error.empty()) {
            break;
        }
    }
    bool all_done = true;
    for (const Thread& thread : threads) {
        all_done &= thread.state == State::Done;
    }
    if (error.empty() && !all_done) {
        error = stuck();
    }
    if (!error.empty()) {
        error = std::string(kernel->name) + ", block " + place(block_at) + ": " + error;
    }
    for (Shared& array : shared) {
        give_cells(array.cells);
        std::free(array.start);
    }
    shared.clear();
}

void fail(const std::string& message) {
    Machine& self = *machine;
    Thread& thread = *view.thread;
    self.error = "thread " + place(thread.place) + " " + message;
    self.leave(thread, false);
    std::abort();
}

std::string launch(const Kernel& kernel, Dim grid, Dim block, size_t shared_bytes, const void* const* arguments,
                   const Range* buffers, size_t buffer_count, Options options) {
    const size_t threads = count_of(block), blocks = count_of(grid);
    if (threads == 0 || threads > 1024 || block.z > 64) {
        return std::string(kernel.name) + ": a block of " + place(block) + " threads";
    }
    if (blocks == 0 || grid.x > 0x7fffffff || grid.y > 0xffff || grid.z > 0xffff) {
        return std::string(kernel.name) + ": a grid of " + place(grid) + " blocks";
    }
    if (machine) {
        return std::string(kernel.name) + ": launched from within a kernel";
    }
    auto self = std::make_unique<Machine>();
    self->kernel = &kernel;
    self->arguments = arguments;
    self->grid = grid;
    self->block = block;
    self->shared_bytes = shared_bytes;
    self->options = options;
    self->random = options.seed * 2 + 1;
    machine = self.get();
    view = View{nullptr, nullptr, 0, &self->shared, buffers, buffer_count, 0, 0};
    const size_t offset = options.schedule == Schedule::Random ? self->next_random() % blocks : 0;
    for (size_t number = 0; number < blocks && self->error.empty(); ++number) {
        size_t at = (number + offset) % blocks;
        if (options.schedule == Schedule::Reverse) {
            at = blocks - 1 - number;
        }
        self->block_at = Dim{static_cast<uint32_t>(at % grid.x), static_cast<uint32_t>(at / grid.x % grid.y),
                             static_cast<uint32_t>(at / grid.x / grid.y)};
        self->run_block();
    }
    machine = nullptr;
    view = View{};
    return self->error;
}

const Kernel* find_kernel(const char* name) {
    for (const Kernel& kernel : registry()) {
        if (std::strcmp(kernel.name, name) == 0) {
            return &kernel;
        }
    }
    return nullptr;
}

void add_kernel(const char* name, const char* file, const size_t* parameter_bytes, size_t parameters,
                void (*call)(const void*, const void* const*), const void* function) {
    registry().push_back(Kernel{name, file, {parameter_bytes, parameter_bytes + parameters}, call, function});
}
const std::vector<Kernel>& kernels() { return registry(); }

Dim thread_place() { return view.thread->place; }
Dim block_place() { return machine->block_at; }
Dim block_size() { return machine->block; }
Dim grid_size() { return machine->grid; }
uint32_t lane() { return view.thread->lane; }
void dependency_wait() { view.thread->may_touch_buffers = true; }
void ask_ahead(const void* at) {
    const bool waited = view.thread->may_touch_buffers;
    view.thread->may_touch_buffers = true;
    access(at, 1, false);
    view.thread->may_touch_buffers = waited;
}
std::vector<Shared>& shared_arrays() { return machine->shared; }
size_t dynamic_shared_bytes() { return machine->shared_bytes; }

void barrier(Line at) {
    Machine& self = *machine;
    Thread& thread = *view.thread;
    if (self.at_barrier > 0 && text(self.barrier_at) != text(at)) {
        fail("waits at the barrier at " + text(at) + " while others wait at " + text(self.barrier_at));
    }
    self.barrier_at = at;
    if (++self.at_barrier == self.threads.size()) {
        self.at_barrier = 0;
        view.block_epoch = ++block_epoch;
        for (Thread& other : self.threads) {
            if (other.state == State::AtBarrier) {
                self.set_ready(other.index);
            }
        }
        // The last to come gives way as all others did, so that schedules decide who is first.
        self.set_ready(thread.index);
    } else {
        thread.state = State::AtBarrier;
        thread.waits_for = "the barrier";
        thread.at = at;
    }
    self.leave(thread, false);
}

const uint64_t* meet(const char* what, uint32_t mask, uint64_t value, bool orders_memory, Line at,
                     void (*complete)(uint64_t*, uint32_t)) {
    Machine& self = *machine;
    Thread& thread = *view.thread;
    Warp& warp = *view.warp;
    const uint32_t own = 1u << thread.lane;
    if (!(mask & own)) {
        fail(std::string("calls ") + what + " at " + text(at) + " with a mask that leaves itself out");
    }
    if (mask & ~warp.lanes) {
        fail(std::string("calls ") + what + " at " + text(at) + " with a mask of lanes that do not exist");
    }
    size_t number = 0;
    while (number < warp.meetings.size() && warp.meetings[number].mask != mask) {
        ++number;
    }
    if (number == warp.meetings.size()) {
        warp.meetings.reserve(8);
        if (number == 8) {
            fail("uses more than 8 different masks of lanes");
        }
        warp.meetings.emplace_back().mask = mask;
    }
    Meeting& meeting = warp.meetings[number];
    if (meeting.arrived == 0) {
        meeting.what = what;
    } else if (std::strcmp(meeting.what, what) != 0) {
        fail(std::string("calls ") + what + " at " + text(at) + " while other lanes wait in " + meeting.what);
    }
    meeting.arrived |= own;
    uint64_t* values = meeting.values[meeting.turn & 1];
    values[thread.lane] = value;
    if (meeting.arrived == mask) {
        if (complete) {
            complete(values, mask);
        }
        meeting.arrived = 0;
        ++meeting.turn;
        warp.epoch += orders_memory;
        for (uint32_t lane = 0; lane < 32; ++lane) {
            if (mask >> lane & 1) {
                const uint32_t other = thread.warp * 32 + lane;
                if (other != thread.index) {
                    self.set_ready(other);
                }
            }
        }
        return values;
    }
    thread.state = State::AtWarp;
    thread.waits_for = what;
    thread.at = at;
    self.leave(thread, false);
    return values;
}

}  // namespace emulator
