// Kernels with faults planted in them, and their sound twins: what the emulator must find, and must not.
#include <intrinsics.cuh>

// out[i] = the sum of 64 numbers, by way of shared memory; `fault` leaves a barrier out.
template <bool FAULT>
__device__ void reverse_by_barrier(const float* in, float* out) {
    SHARED(float, line, 64);
    line[threadIdx.x] = in[threadIdx.x];
    if (!FAULT) {
        __syncthreads();
    }
    out[threadIdx.x] = line[63 - threadIdx.x];
}
extern "C" __global__ void sound_barrier(const float* in, float* out) { reverse_by_barrier<false>(in, out); }
extern "C" __global__ void missing_barrier(const float* in, float* out) { reverse_by_barrier<true>(in, out); }
EXPORT(sound_barrier)
EXPORT(missing_barrier)

// All threads write the same word: nobody can say which value stays.
extern "C" __global__ void race(const float* in, float* out) {
    SHARED(float, word, 1);
    word[0] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = word[0];
}
EXPORT(race)

// Writes over what a slower warp still reads.
extern "C" __global__ void write_after_read(const float* in, float* out) {
    SHARED(float, line, 64);
    line[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = line[63 - threadIdx.x];
    line[threadIdx.x] = 0;
}
EXPORT(write_after_read)

// Within a warp __syncwarp is enough.
extern "C" __global__ void sound_warp(const float* in, float* out) {
    SHARED(float, line, 64);
    line[threadIdx.x] = in[threadIdx.x];
    __syncwarp();
    out[threadIdx.x] = line[threadIdx.x ^ 31];
}
EXPORT(sound_warp)

extern "C" __global__ void read_beyond(const float* in, float* out) { out[threadIdx.x] = in[threadIdx.x + 1]; }
extern "C" __global__ void write_beyond(const float* in, float* out) { out[threadIdx.x + 1] = in[threadIdx.x]; }
EXPORT(read_beyond)
EXPORT(write_beyond)

extern "C" __global__ void shared_beyond(const float* in, float* out) {
    float* line = dynamic_shared<float>();
    line[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = line[threadIdx.x + 1];
}
EXPORT(shared_beyond)

// Half of the threads never come to the barrier.
extern "C" __global__ void divergent_barrier(const float* in, float* out) {
    if (threadIdx.x < 32) {
        __syncthreads();
    }
    out[threadIdx.x] = in[threadIdx.x];
}
EXPORT(divergent_barrier)

extern "C" __global__ void two_barriers(const float* in, float* out) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    out[threadIdx.x] = in[threadIdx.x];
}
EXPORT(two_barriers)

extern "C" __global__ void partial_shuffle(const float* in, float* out) {
    float value = in[threadIdx.x];
    if (threadIdx.x != 5) {
        value = __shfl_xor_sync(0xffffffffu, value, 1);
    }
    out[threadIdx.x] = value;
}
EXPORT(partial_shuffle)

extern "C" __global__ void misaligned_vector(const float* in, float* out) {
    const float4 value = load<float4>(in + threadIdx.x);
    out[threadIdx.x] = value.x;
}
EXPORT(misaligned_vector)

// Begins while the kernel in front is at work, and waits for it before, behind or beside what it reads.
extern "C" __global__ void sound_early(const float* in, float* out) {
    SHARED(float, line, 64);
    line[threadIdx.x] = float(threadIdx.x);
    grid_dependency_wait();
    out[threadIdx.x] = in[threadIdx.x] + line[threadIdx.x];
}
extern "C" __global__ void reads_early(const float* in, float* out) {
    const float value = in[threadIdx.x];
    grid_dependency_wait();
    out[threadIdx.x] = value;
}
extern "C" __global__ void one_thread_early(const float* in, float* out) {
    if (threadIdx.x != 63) {
        grid_dependency_wait();
    }
    out[threadIdx.x] = in[threadIdx.x];
}
extern "C" __global__ void copies_early(const float* in, float* out) {
    SHARED(float, line, 256);
    cp_async16(line + 4 * threadIdx.x, in + threadIdx.x / 4 * 4);
    grid_dependency_wait();
    cp_async_commit();
    cp_async_wait<0>();
    out[threadIdx.x] = line[4 * threadIdx.x];
}
// Asks for what it will read, or for what is not there, before it waits.
extern "C" __global__ void asks_early(const float* in, float* out) {
    ask_ahead(in + threadIdx.x);
    grid_dependency_wait();
    out[threadIdx.x] = in[threadIdx.x];
}
extern "C" __global__ void asks_beyond(const float* in, float* out) {
    ask_ahead(in + threadIdx.x + 1);
    grid_dependency_wait();
    out[threadIdx.x] = in[threadIdx.x];
}
EXPORT(asks_early)
EXPORT(asks_beyond)
EXPORT(sound_early)
EXPORT(reads_early)
EXPORT(one_thread_early)
EXPORT(copies_early)

// Uses what cp.async was asked for; `wait` says for how many groups it waits.
template <bool WAIT>
__device__ void copy_then_use(const float* in, float* out) {
    SHARED(float, line, 256);
    cp_async16(line + 4 * threadIdx.x, in + 4 * threadIdx.x);
    cp_async_commit();
    if (WAIT) {
        cp_async_wait<0>();
    }
    __syncthreads();
    out[threadIdx.x] = line[255 - threadIdx.x];
    if (!WAIT) {
        cp_async_wait<0>();
    }
}
extern "C" __global__ void sound_copy(const float* in, float* out) { copy_then_use<true>(in, out); }
extern "C" __global__ void missing_wait(const float* in, float* out) { copy_then_use<false>(in, out); }
EXPORT(sound_copy)
EXPORT(missing_wait)

extern "C" __global__ void never_waits(const float* in, float* out) {
    SHARED(float, line, 256);
    cp_async16(line + 4 * threadIdx.x, in + 4 * threadIdx.x);
    cp_async_commit();
    out[threadIdx.x] = 1;
}
EXPORT(never_waits)

// d[16][8] = a[16][16] * b[8][16]^T with f16 fragments; the faulty one takes the rows of a from the wrong lanes.
template <bool FAULT>
__device__ void multiply(const uint16_t* a, const uint16_t* b, float* d) {
    const int lane = threadIdx.x, group = FAULT ? lane % 8 : lane / 4, place = FAULT ? lane / 8 : lane % 4;
    auto pair = [](const uint16_t* from) { return load<unsigned>(from); };
    const unsigned fragment[4] = {pair(a + group * 16 + place * 2), pair(a + (group + 8) * 16 + place * 2),
                                  pair(a + group * 16 + place * 2 + 8), pair(a + (group + 8) * 16 + place * 2 + 8)};
    const uint16_t* column = b + lane / 4 * 16 + lane % 4 * 2;
    float sums[4] = {0, 0, 0, 0};
    mma_f16(sums, fragment, pair(column), pair(column + 8));
    for (int index = 0; index < 4; ++index) {
        d[(lane / 4 + index / 2 * 8) * 8 + lane % 4 * 2 + index % 2] = sums[index];
    }
}
extern "C" __global__ void sound_mma(const uint16_t* a, const uint16_t* b, float* d) { multiply<false>(a, b, d); }
extern "C" __global__ void wrong_mma_lane(const uint16_t* a, const uint16_t* b, float* d) { multiply<true>(a, b, d); }
EXPORT(sound_mma)
EXPORT(wrong_mma_lane)

// d[16][8] = a[16][32] * b[8][32]^T in int8; the faulty one takes the columns of b from the wrong lanes.
template <bool FAULT>
__device__ void multiply_s8(const int8_t* a, const int8_t* b, int* d) {
    const int lane = threadIdx.x, group = lane / 4, place = lane % 4;
    auto four = [](const int8_t* from) { return load<unsigned>(from); };
    const int8_t *upper = a + group * 32 + place * 4, *lower = upper + 8 * 32;
    const unsigned fragment[4] = {four(upper), four(lower), four(upper + 16), four(lower + 16)};
    const int8_t* column = FAULT ? b + lane % 8 * 32 + lane / 8 * 4 : b + group * 32 + place * 4;
    int sums[4] = {0, 0, 0, 0};
    mma_s8(sums, fragment, four(column), four(column + 16));
    for (int index = 0; index < 4; ++index) {
        d[(group + index / 2 * 8) * 8 + place * 2 + index % 2] = sums[index];
    }
}
extern "C" __global__ void sound_mma_s8(const int8_t* a, const int8_t* b, int* d) { multiply_s8<false>(a, b, d); }
extern "C" __global__ void wrong_mma_s8_lane(const int8_t* a, const int8_t* b, int* d) { multiply_s8<true>(a, b, d); }
EXPORT(sound_mma_s8)
EXPORT(wrong_mma_s8_lane)

// The product in f16 by way of ldmatrix, plain for a and b.
extern "C" __global__ void matrix_loads(const uint16_t* a, const uint16_t* b, float* d) {
    SHARED(uint16_t, tile, 384);
    const int lane = threadIdx.x;
    store(tile + 8 * lane, load<uint4>(a + 8 * lane));
    if (lane < 16) {
        store(tile + 256 + 8 * lane, load<uint4>(b + 8 * lane));
    }
    __syncwarp();
    unsigned fragment[4], columns[4];
    ldmatrix_x4(fragment, tile + lane % 16 * 16 + lane / 16 * 8);
    ldmatrix_x4(columns, tile + 256 + lane % 8 * 16 + lane / 8 % 2 * 8);
    float sums[4] = {0, 0, 0, 0};
    mma_f16(sums, fragment, columns[0], columns[1]);
    for (int index = 0; index < 4; ++index) {
        d[(lane / 4 + index / 2 * 8) * 8 + lane % 4 * 2 + index % 2] = sums[index];
    }
}
EXPORT(matrix_loads)

// b given as [16][8]: ldmatrix.trans turns it.
extern "C" __global__ void transposed_loads(const uint16_t* a, const uint16_t* b, float* d) {
    SHARED(uint16_t, tile, 384);
    const int lane = threadIdx.x;
    store(tile + 8 * lane, load<uint4>(a + 8 * lane));
    if (lane < 16) {
        store(tile + 256 + 8 * lane, load<uint4>(b + 8 * lane));
    }
    __syncwarp();
    unsigned fragment[4], columns[4];
    ldmatrix_x4(fragment, tile + lane % 16 * 16 + lane / 16 * 8);
    ldmatrix_x4_trans(columns, tile + 256 + lane % 16 * 8);
    float sums[4] = {0, 0, 0, 0};
    mma_f16(sums, fragment, columns[0], columns[1]);
    for (int index = 0; index < 4; ++index) {
        d[(lane / 4 + index / 2 * 8) * 8 + lane % 4 * 2 + index % 2] = sums[index];
    }
}
EXPORT(transposed_loads)

// One row a thread: covers all rows only when the grid does.
extern "C" __global__ void double_rows(const float* in, float* out, unsigned rows) {
    const unsigned row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row < rows) {
        out[row] = 2 * in[row];
    }
}
EXPORT(double_rows)

// Writes beyond an array of its own stack: what only AddressSanitizer sees.
extern "C" __global__ void stack_beyond(const float* in, float* out) {
    float own[4];
    volatile unsigned length = 4 + (in[0] == 0);
    for (unsigned index = 0; index < length; ++index) {
        own[index] = in[index];
    }
    out[threadIdx.x] = own[threadIdx.x % 4];
}
EXPORT(stack_beyond)
