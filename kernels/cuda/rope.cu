// Between the projections and attention: norms of the heads of queries and keys where the model has them, rotation,
// and keys and values into the paged cache.
//
//   q f32 [rows][heads][dim], k, v f32 [rows][kv_heads][dim]; norms f32 [dim] or absent
//   table f32 [positions][2][pairs]: cosines, sines; dimensions beyond the pairs stay as they are
//   split        pair i is dimensions i and i + pairs;   interleaved   2i and 2i + 1
//   queries f16 [rows][heads][dim]
//   slots u32 [rows]: page * 16 + place in it, or all ones for a row that pads a batch and is not stored
//   cache of keys, of values: [page][kv_head][16 tokens][dim] f16, or 8-bit values behind which come
//   f16 scales [16 tokens][dim / 32], for each page and head
// One warp a head; rotated through shared memory, since a pair's halves are in different lanes.
//
// Bytes to move: 4 a number read, 2 (or 1.06) written. Bound by the launch.
#include "warp.cuh"

constexpr int WARPS = 4;
constexpr int DIM_MAX = 256;
constexpr uint32_t PAGE_TOKENS = 16;

struct Head {
    float* numbers;
    uint32_t dim;
};

__device__ __forceinline__ void normalise(const Head& head, const float* weight, float epsilon) {
    const int lane = threadIdx.x % 32;
    float squares = 0;
    for (uint32_t at = lane; at < head.dim; at += 32) {
        squares += head.numbers[at] * head.numbers[at];
    }
    const float factor = 1.0f / sqrtf(warp_sum(squares) / float(head.dim) + epsilon);
    for (uint32_t at = lane; at < head.dim; at += 32) {
        head.numbers[at] = head.numbers[at] * factor * weight[at];
    }
}

__device__ __forceinline__ void rotate(const Head& head, const float* angles, uint32_t pairs, uint32_t interleaved) {
    __syncwarp();
    for (uint32_t pair = threadIdx.x % 32; pair < pairs; pair += 32) {
        const uint32_t first = interleaved ? 2 * pair : pair, second = interleaved ? first + 1 : pair + pairs;
        const float cosine = angles[pair], sine = angles[pairs + pair];
        const float a = head.numbers[first], b = head.numbers[second];
        head.numbers[first] = a * cosine - b * sine;
        head.numbers[second] = b * cosine + a * sine;
    }
    __syncwarp();
}

__device__ __forceinline__ void keep(const Head& head, uint8_t* cache, uint32_t slot, uint32_t kv_head,
                                     uint32_t kv_heads, uint32_t eight_bits) {
    const int lane = threadIdx.x % 32;
    const uint64_t place = uint64_t(slot / PAGE_TOKENS) * kv_heads + kv_head;
    const uint32_t token = slot % PAGE_TOKENS;
    if (!eight_bits) {
        uint16_t* to = reinterpret_cast<uint16_t*>(cache) + (place * PAGE_TOKENS + token) * head.dim;
        for (uint32_t at = lane; at < head.dim; at += 32) {
            to[at] = f32_to_f16(head.numbers[at]);
        }
        return;
    }
    const uint32_t groups = head.dim / 32;
    uint8_t* start = cache + place * PAGE_TOKENS * (head.dim + 2 * groups);
    int8_t* values = reinterpret_cast<int8_t*>(start) + token * head.dim;
    uint16_t* scales = reinterpret_cast<uint16_t*>(start + PAGE_TOKENS * head.dim) + token * groups;
    for (uint32_t group = 0; group < groups; ++group) {
        const float value = head.numbers[group * 32 + lane];
        const unsigned greatest = __reduce_max_sync(ALL_LANES, __float_as_uint(value) & 0x7fffffffu);
        const float size = __uint_as_float(greatest);
        // As in a stored block of Q8_0: the values are of the scale as it is kept, so that it rounds only once.
        const uint16_t scale = f32_to_f16(size / 127.0f);
        const float kept = f16_to_f32(scale);
        const float inverse = kept > 0 ? 1.0f / kept : 0.0f;
        const float scaled = fminf(fmaxf(value * inverse, -127.0f), 127.0f);
        values[group * 32 + lane] = int8_t(__float2int_rn(scaled));
        if (lane == 0) {
            scales[group] = scale;
        }
    }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32)
    rope_and_keep(const float* q, const float* k, const float* v, const float* q_norm, const float* k_norm,
                  float epsilon, const float* table, uint32_t pairs, uint32_t interleaved, const uint32_t* positions,
                  const uint32_t* slots, uint32_t heads, uint32_t kv_heads, uint32_t dim, uint16_t* queries,
                  uint8_t* keys, uint8_t* values, uint32_t eight_bits) {
    grid_dependency_wait();
    SHARED(float, numbers, WARPS * DIM_MAX);
    const uint32_t number = blockIdx.x * WARPS + threadIdx.x / 32, row = blockIdx.y;
    const int lane = threadIdx.x % 32;
    if (number < heads + 2 * kv_heads) {
        const bool is_query = number < heads, is_key = !is_query && number < heads + kv_heads;
        const uint32_t kv_head = is_query ? 0 : is_key ? number - heads : number - heads - kv_heads;
        const float* from = is_query ? q + (uint64_t(row) * heads + number) * dim
                                     : (is_key ? k : v) + (uint64_t(row) * kv_heads + kv_head) * dim;
        const Head head{numbers + threadIdx.x / 32 * DIM_MAX, dim};
        for (uint32_t at = lane; at < dim; at += 32) {
            head.numbers[at] = from[at];
        }
        const float* norm = is_query ? q_norm : k_norm;
        if ((is_query || is_key) && norm) {
            normalise(head, norm, epsilon);
        }
        if (is_query || is_key) {
            rotate(head, table + uint64_t(positions[row]) * 2 * pairs, pairs, interleaved);
        }
        const uint32_t slot = slots[row];
        if (is_query) {
            for (uint32_t at = lane; at < dim; at += 32) {
                queries[(uint64_t(row) * heads + number) * dim + at] = f32_to_f16(head.numbers[at]);
            }
        } else if (slot != 0xffffffffu) {
            keep(head, is_key ? keys : values, slot, kv_head, kv_heads, eight_bits);
        }
    }
}
EXPORT(rope_and_keep)
