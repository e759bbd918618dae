// Causal attention over a paged cache, for decoding and for prompts: one algorithm, two ways to share it out.
//
//   queries f16 [rows][heads][DIM], rotated; cache as rope.cu writes it, f16 or 8 bits; out f32 [rows][heads][DIM]
//   sequences u32 [sequences][5]: first row, rows, position of the first row, first of its page table, tokens of a part
//   pages u32: the page tables of all sequences
//   score = q . k * scale, then cap * tanh(score / cap) where a cap is given; a row at position p sees the tokens
//   p - window < t <= p; out = sum of softmax(score) * v
//
// The heads that share a key-value head are packed with the rows into the 16 rows of an mma tile: packed row
// i is row i / GROUP, head i % GROUP. Four warps, each with one page (16 tokens) of keys and one of values in
// shared memory, fetched by cp.async while the other of the two is used. Pages in 8 bits arrive as they are stored, and are
// widened to f16 once they are there, keys and values in turn in one place; in prefill with heads of 256, for which smaller
// cards have no room, they are widened on their way:
//   decode   the block has 16 packed rows; each warp walks every fourth page on its own, without a barrier; the warps'
//            results are merged at the end. A sequence is split over blocks by its own length alone
//            (src/cuda/split.rs); attention_merge puts the parts together by their log-sum-exp.
//   prefill  the block has 64 packed rows, 16 a warp; all warps use all four pages between two barriers.
// Scores and weights are f32, the products f16 with f32 sums. The softmax is online, in powers of two.
//
// Bytes to move: decode reads 4 (2.13) bytes a token, key-value head and dimension: bound by memory. Prefill does
// 4 operations a packed row, token and dimension: bound by the f16 matrix rate.
#include "warp.cuh"

constexpr int WARPS = 4;
constexpr int PAGE_TOKENS = 16;
constexpr float NEGATIVE_INFINITY = -3.0e38f;
constexpr float LOG2_E = 1.4426950408889634f;

struct Task {
    const uint16_t* queries;
    const uint8_t* keys;
    const uint8_t* values;
    const uint32_t* pages;
    float* out;
    float* partial;
    uint32_t heads, kv_heads;
    float scale, cap;
    uint32_t window;
    uint32_t splits;
};

// Words of `sequences` for each.
constexpr int SEQUENCE_WORDS = 5;

// f16 numbers from one row of a tile to the next: 16 bytes more than the row, so that the eight rows that ldmatrix takes
// at a time lie in different banks.
template <int DIM>
constexpr int STRIDE = DIM + 8;

// Bytes of a page of one head as it is stored in 8 bits: values, then a scale of every 32.
template <int DIM>
constexpr int NARROW_BYTES = PAGE_TOKENS * (DIM + DIM / 16);

template <int DIM, bool EIGHT_BITS, bool SPLIT>
constexpr bool STAGED = EIGHT_BITS && (SPLIT || DIM <= 128);

// What a warp has in shared memory: a tile of keys and one of values; or, staged, a tile for either and both as stored.
template <int DIM, bool STAGE>
constexpr int WARP_BYTES = STAGE ? PAGE_TOKENS * STRIDE<DIM> * 2 + 2 * NARROW_BYTES<DIM> : 2 * PAGE_TOKENS * STRIDE<DIM> * 2;

// Widens the first `tokens` tokens of a page of one head in 8 bits into f16 rows of STRIDE; the others are zero, whatever
// stands there.
template <int DIM>
__device__ __forceinline__ void widen_page(uint16_t* to, const uint8_t* from, uint32_t tokens) {
    constexpr int GROUPS = DIM / 32;
    for (int chunk = threadIdx.x % 32; chunk < PAGE_TOKENS * DIM / 8; chunk += 32) {
        const uint32_t token = chunk / (DIM / 8), column = chunk % (DIM / 8) * 8;
        unsigned words[4] = {0, 0, 0, 0};
        if (token < tokens) {
            const uint2 values = load<uint2>(from + chunk * 8);
            const uint8_t* scales = from + PAGE_TOKENS * DIM;
            const float scale = f16_to_f32(load<uint16_t>(scales + (token * GROUPS + column / 32) * 2));
#pragma unroll
            for (int word = 0; word < 4; ++word) {
                const unsigned pair = (word < 2 ? values.x : values.y) >> (16 * (word % 2));
                words[word] = pack_f16(scale * float(int8_t(pair)), scale * float(int8_t(pair >> 8)));
            }
        }
        store(to + token * STRIDE<DIM> + column, make_uint4(words[0], words[1], words[2], words[3]));
    }
}

// Asks for the first `tokens` tokens of a page of one head, which is there with the copies' wait: as f16 rows of STRIDE in
// `to`, the others zero whatever the cache holds there; or, staged, as it is stored in `narrow`, with what the cache holds.
template <int DIM, bool EIGHT_BITS, bool STAGE>
__device__ __forceinline__ void fetch_page(uint16_t* to, uint8_t* narrow, const uint8_t* cache, uint64_t place,
                                           uint32_t tokens) {
    const int lane = threadIdx.x % 32;
    if constexpr (!EIGHT_BITS) {
        const uint16_t* from = reinterpret_cast<const uint16_t*>(cache) + place * (PAGE_TOKENS * DIM);
        for (int chunk = lane; chunk < PAGE_TOKENS * DIM / 8; chunk += 32) {
            const uint32_t token = chunk / (DIM / 8);
            cp_async16(to + token * STRIDE<DIM> + chunk % (DIM / 8) * 8, from + chunk * 8, token < tokens ? 16 : 0);
        }
    } else if constexpr (!STAGE) {
        widen_page<DIM>(to, cache + place * NARROW_BYTES<DIM>, tokens);
    } else {
        const uint8_t* from = cache + place * NARROW_BYTES<DIM>;
        for (int chunk = lane; chunk < NARROW_BYTES<DIM> / 16; chunk += 32) {
            // Scales of several tokens share 16 bytes: of a page that is wanted, all of them.
            const uint32_t token = chunk < DIM ? chunk / (DIM / 16) : 0;
            cp_async16(narrow + chunk * 16, from + chunk * 16, token < tokens ? 16 : 0);
        }
    }
}

// A tile's running softmax: this thread's part of 16 rows, of which it has two.
template <int DIM>
struct Rows {
    float sums[DIM / 8][4];
    float greatest[2], weight[2];
};

// SPLIT: decode, each warp has its own pages and all warps the same 16 rows.
template <int DIM, bool EIGHT_BITS, bool SPLIT>
__device__ void attend(const Task& task, const uint32_t* sequences) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t* sequence = sequences + blockIdx.z * SEQUENCE_WORDS;
    const uint32_t first_row = sequence[0], rows = sequence[1], first_position = sequence[2];
    const uint32_t part_tokens = sequence[4];
    const uint32_t* pages = task.pages + sequence[3];
    const uint32_t group = task.heads / task.kv_heads, kv_head = blockIdx.y;
    const uint32_t packed = rows * group;
    const uint32_t tile = SPLIT ? 0 : blockIdx.x, part = SPLIT ? blockIdx.x : 0;
    constexpr uint32_t TILE_ROWS = SPLIT ? 16 : 16 * WARPS;
    if (tile * TILE_ROWS >= packed) {
        return;
    }
    const uint32_t warp_first = tile * TILE_ROWS + (SPLIT ? 0 : warp * 16);
    const uint32_t last_packed = min((tile + 1) * TILE_ROWS, packed) - 1;
    // Tokens that some row of the block sees, and of those the ones of this part.
    const uint32_t end = first_position + last_packed / group + 1;
    const uint32_t earliest = first_position + tile * TILE_ROWS / group + 1;
    uint32_t begin = task.window && earliest > task.window ? earliest - task.window : 0;
    uint32_t part_end = end;
    if (SPLIT && task.splits > 1) {
        begin = max(begin, part * part_tokens);
        part_end = min(end, (part + 1) * part_tokens);
        // Of a sequence with fewer parts than another, or in front of the window: nobody asks for it.
        if (begin >= part_end) {
            return;
        }
    }
    constexpr uint32_t STEP = PAGE_TOKENS * WARPS;
    const uint32_t seen_first = begin;
    begin = begin / STEP * STEP;

    uint16_t* shared = dynamic_shared<uint16_t>();
    constexpr int PAGE = PAGE_TOKENS * STRIDE<DIM>;
    constexpr bool STAGE = STAGED<DIM, EIGHT_BITS, SPLIT>;
    uint16_t* own_queries = shared + (SPLIT ? 0 : warp * PAGE);
    uint8_t* warps = reinterpret_cast<uint8_t*>(shared + (SPLIT ? 1 : WARPS) * PAGE);
    auto keys_of = [&](int of) { return reinterpret_cast<uint16_t*>(warps + of * WARP_BYTES<DIM, STAGE>); };
    auto values_of = [&](int of) { return keys_of(of) + (STAGE ? 0 : PAGE); };
    uint8_t* narrow_keys = reinterpret_cast<uint8_t*>(keys_of(warp) + PAGE);
    uint8_t* narrow_values = narrow_keys + NARROW_BYTES<DIM>;

    // Tokens of this warp's page of the step at `from`, none of one that nobody sees.
    auto tokens_of = [&](uint32_t from) -> uint32_t {
        const uint32_t first = from + warp * PAGE_TOKENS;
        return first < part_end && first + PAGE_TOKENS > seen_first ? part_end - first : 0;
    };
    // A page that nobody sees is not looked up: it may belong to someone else.
    auto fetch = [&](uint16_t* to, uint8_t* narrow, const uint8_t* cache, uint32_t from) {
        const uint32_t tokens = tokens_of(from);
        const uint64_t page = tokens ? pages[from / PAGE_TOKENS + warp] : 0;
        fetch_page<DIM, EIGHT_BITS, STAGE>(to, narrow, cache, page * task.kv_heads + kv_head, tokens);
        cp_async_commit();
    };
    auto meet = [] {
        if constexpr (SPLIT) {
            __syncwarp();
        } else {
            __syncthreads();
        }
    };
    // Waits for the older of the two copies that are on their way, the one that `to` is for.
    auto arrive = [&](uint16_t* to, const uint8_t* narrow, uint32_t from) {
        cp_async_wait<1>();
        if constexpr (STAGE) {
            // For the other lanes' copies too.
            __syncwarp();
            widen_page<DIM>(to, narrow, tokens_of(from));
        }
        meet();
    };

    fetch(keys_of(warp), narrow_keys, task.keys, begin);
    fetch(values_of(warp), narrow_values, task.values, begin);
    // The queries of this warp's 16 packed rows; in a split all warps have the same and share the work.
    for (int chunk = SPLIT ? threadIdx.x : lane; chunk < PAGE_TOKENS * DIM / 8; chunk += SPLIT ? WARPS * 32 : 32) {
        const int row = chunk / (DIM / 8), column = chunk % (DIM / 8) * 8;
        const uint32_t at = warp_first + row;
        uint4 numbers = make_uint4(0, 0, 0, 0);
        if (at < packed) {
            const uint64_t head = uint64_t(first_row + at / group) * task.heads + kv_head * group + at % group;
            numbers = load<uint4>(task.queries + head * DIM + column);
        }
        store(own_queries + row * STRIDE<DIM> + column, numbers);
    }
    __syncthreads();

    Rows<DIM> state;
#pragma unroll
    for (int column = 0; column < DIM / 8; ++column) {
        state.sums[column][0] = state.sums[column][1] = state.sums[column][2] = state.sums[column][3] = 0;
    }
    state.greatest[0] = state.greatest[1] = NEGATIVE_INFINITY;
    state.weight[0] = state.weight[1] = 0;
    // Positions of this thread's two rows; rows that are not there see nothing.
    uint32_t sees_end[2], sees_begin[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const uint32_t at = warp_first + lane / 4 + half * 8;
        const uint32_t position = first_position + at / group;
        sees_end[half] = at < packed ? min(position + 1, part_end) : 0;
        sees_begin[half] = task.window && position + 1 > task.window ? position + 1 - task.window : 0;
        if (SPLIT && task.splits > 1) {
            sees_begin[half] = max(sees_begin[half], part * part_tokens);
        }
    }

    constexpr int PAGES = SPLIT ? 1 : WARPS;
    for (uint32_t from = begin; from < part_end; from += STEP) {
        arrive(keys_of(warp), narrow_keys, from);
        // scores[2 * page + half]: tokens 8 * half .. of the page.
        float scores[2 * PAGES][4];
#pragma unroll
        for (int at = 0; at < 2 * PAGES; ++at) {
            scores[at][0] = scores[at][1] = scores[at][2] = scores[at][3] = 0;
        }
#pragma unroll
        for (int column = 0; column < DIM; column += 16) {
            unsigned query[4];
            ldmatrix_x4(query, own_queries + lane % 16 * STRIDE<DIM> + column + lane / 16 * 8);
#pragma unroll
            for (int page = 0; page < PAGES; ++page) {
                const uint16_t* keys = keys_of(SPLIT ? warp : page);
                unsigned key[4];
                ldmatrix_x4(key, keys + (lane % 8 + lane / 16 * 8) * STRIDE<DIM> + column + lane / 8 % 2 * 8);
                mma_f16(scores[2 * page], query, key[0], key[1]);
                mma_f16(scores[2 * page + 1], query, key[2], key[3]);
            }
        }
        meet();
        if (from + STEP < part_end) {
            fetch(keys_of(warp), narrow_keys, task.keys, from + STEP);
        } else {
            cp_async_commit();
        }

        float greatest[2] = {state.greatest[0], state.greatest[1]};
#pragma unroll
        for (int at = 0; at < 2 * PAGES; ++at) {
            const uint32_t token = from + (SPLIT ? warp * PAGE_TOKENS : 0) + at * 8 + lane % 4 * 2;
#pragma unroll
            for (int number = 0; number < 4; ++number) {
                const int half = number / 2;
                const uint32_t own = token + number % 2;
                float score = scores[at][number] * task.scale;
                if (task.cap > 0) {
                    score = task.cap * tanhf(score / task.cap);
                }
                const bool seen = own >= sees_begin[half] && own < sees_end[half];
                scores[at][number] = seen ? score * LOG2_E : NEGATIVE_INFINITY;
                greatest[half] = fmaxf(greatest[half], scores[at][number]);
            }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            greatest[half] = fmaxf(greatest[half], __shfl_xor_sync(ALL_LANES, greatest[half], 1));
            greatest[half] = fmaxf(greatest[half], __shfl_xor_sync(ALL_LANES, greatest[half], 2));
            const float fade = exp2f(state.greatest[half] - greatest[half]);
            state.greatest[half] = greatest[half];
            state.weight[half] *= fade;
#pragma unroll
            for (int column = 0; column < DIM / 8; ++column) {
                state.sums[column][2 * half] *= fade;
                state.sums[column][2 * half + 1] *= fade;
            }
        }
        unsigned weights[PAGES][4];
#pragma unroll
        for (int at = 0; at < 2 * PAGES; ++at) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float pair[2];
#pragma unroll
                for (int number = 0; number < 2; ++number) {
                    const float score = scores[at][2 * half + number];
                    // A row that has seen nothing yet has no greatest score to compare with.
                    pair[number] = score > NEGATIVE_INFINITY ? exp2f(score - greatest[half]) : 0.0f;
                    state.weight[half] += pair[number];
                }
                weights[at / 2][at % 2 * 2 + half] = pack_f16(pair[0], pair[1]);
            }
        }

        arrive(values_of(warp), narrow_values, from);
#pragma unroll
        for (int page = 0; page < PAGES; ++page) {
            const uint16_t* values = values_of(SPLIT ? warp : page);
#pragma unroll
            for (int column = 0; column < DIM; column += 16) {
                unsigned value[4];
                ldmatrix_x4_trans(value, values + lane % 16 * STRIDE<DIM> + column + lane / 16 * 8);
                mma_f16(state.sums[column / 8], weights[page], value[0], value[1]);
                mma_f16(state.sums[column / 8 + 1], weights[page], value[2], value[3]);
            }
        }
        meet();
        if (from + STEP < part_end) {
            fetch(values_of(warp), narrow_values, task.values, from + STEP);
        } else {
            cp_async_commit();
        }
    }
    cp_async_wait<0>();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        state.weight[half] += __shfl_xor_sync(ALL_LANES, state.weight[half], 1);
        state.weight[half] += __shfl_xor_sync(ALL_LANES, state.weight[half], 2);
    }

    if constexpr (!SPLIT) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const uint32_t at = warp_first + lane / 4 + half * 8;
            if (at < packed) {
                const uint64_t head = uint64_t(first_row + at / group) * task.heads + kv_head * group + at % group;
                const float inverse = 1.0f / state.weight[half];
#pragma unroll
                for (int column = 0; column < DIM / 8; ++column) {
                    store(task.out + head * DIM + column * 8 + lane % 4 * 2,
                          make_float2(state.sums[column][2 * half] * inverse, state.sums[column][2 * half + 1] * inverse));
                }
            }
        }
    } else {
        // The warps' results side by side, where their pages were.
        SHARED(float, greatest, WARPS * 16);
        SHARED(float, weight, WARPS * 16);
        static_assert(16 * DIM * 4 <= WARP_BYTES<DIM, STAGE>);
        float* sums = reinterpret_cast<float*>(keys_of(warp));
        __syncwarp();
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = lane / 4 + half * 8;
            if (lane % 4 == 0) {
                greatest[warp * 16 + row] = state.greatest[half];
                weight[warp * 16 + row] = state.weight[half];
            }
#pragma unroll
            for (int column = 0; column < DIM / 8; ++column) {
                store(sums + row * DIM + column * 8 + lane % 4 * 2,
                      make_float2(state.sums[column][2 * half], state.sums[column][2 * half + 1]));
            }
        }
        __syncthreads();
        for (uint32_t at = threadIdx.x; at < 16 * DIM; at += WARPS * 32) {
            const uint32_t row = at / DIM, column = at % DIM;
            if (row < packed) {
                float best = greatest[row];
#pragma unroll
                for (int other = 1; other < WARPS; ++other) {
                    best = fmaxf(best, greatest[other * 16 + row]);
                }
                float sum = 0, total = 0;
#pragma unroll
                for (int other = 0; other < WARPS; ++other) {
                    const float fade = exp2f(greatest[other * 16 + row] - best);
                    total += fade * weight[other * 16 + row];
                    sum += fade * reinterpret_cast<const float*>(keys_of(other))[row * DIM + column];
                }
                const uint64_t head = uint64_t(first_row + row / group) * task.heads + kv_head * group + row % group;
                if (task.splits == 1) {
                    task.out[head * DIM + column] = sum / total;
                } else {
                    float* to = task.partial + (head * task.splits + part) * (DIM + 2);
                    to[column] = sum;
                    if (column == 0) {
                        to[DIM] = best;
                        to[DIM + 1] = total;
                    }
                }
            }
        }
    }
}

// Blocks that a multiprocessor holds at least: what leaves room for a tile's sums in registers.
constexpr int decode_blocks(int dim) { return dim <= 128 ? 4 : 2; }
constexpr int prefill_blocks(int dim) { return dim <= 128 ? 3 : 2; }

#define ATTENTION(DIM, NAME, EIGHT_BITS)                                                                              \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, decode_blocks(DIM))                                      \
        attention_decode_##DIM##_##NAME(const uint16_t* queries, const uint8_t* keys, const uint8_t* values,          \
                                        const uint32_t* sequences, const uint32_t* pages, float* out, float* partial, \
                                        uint32_t heads, uint32_t kv_heads, float scale, float cap, uint32_t window,   \
                                        uint32_t splits) {                                                            \
        grid_dependency_wait();                                                                                       \
        const Task task{queries, keys, values, pages, out, partial, heads, kv_heads, scale, cap, window, splits};     \
        attend<DIM, EIGHT_BITS, true>(task, sequences);                                                               \
    }                                                                                                                 \
    EXPORT(attention_decode_##DIM##_##NAME)                                                                           \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, prefill_blocks(DIM))                                     \
        attention_prefill_##DIM##_##NAME(const uint16_t* queries, const uint8_t* keys, const uint8_t* values,         \
                                         const uint32_t* sequences, const uint32_t* pages, float* out,                \
                                         uint32_t heads, uint32_t kv_heads, float scale, float cap,                   \
                                         uint32_t window) {                                                           \
        grid_dependency_wait();                                                                                       \
        const Task task{queries, keys, values, pages, out, nullptr, heads, kv_heads, scale, cap, window, 1};          \
        attend<DIM, EIGHT_BITS, false>(task, sequences);                                                              \
    }                                                                                                                 \
    EXPORT(attention_prefill_##DIM##_##NAME)

ATTENTION(64, f16, false)
ATTENTION(80, f16, false)
ATTENTION(96, f16, false)
ATTENTION(128, f16, false)
ATTENTION(256, f16, false)
ATTENTION(64, q8_0, true)
ATTENTION(96, q8_0, true)
ATTENTION(128, q8_0, true)
ATTENTION(256, q8_0, true)

// Puts the parts of a decode together: out = sum of 2^(greatest - best) * part / the same of the weights.
//   partial f32 [rows][heads][splits][dim + 2]: sums, greatest score, weight; a part beyond the sequence is not read
// One block a row and head. Reads the parts once: a little beside the cache that made them.
extern "C" __global__ void __launch_bounds__(128)
    attention_merge(const float* partial, const uint32_t* sequences, float* out, uint32_t heads, uint32_t dim,
                    uint32_t window, uint32_t splits) {
    grid_dependency_wait();
    const uint32_t* sequence = sequences + blockIdx.z * SEQUENCE_WORDS;
    const uint32_t row = blockIdx.y, head = blockIdx.x, part_tokens = sequence[4];
    if (row < sequence[1]) {
        const uint32_t position = sequence[2] + row;
        const uint32_t first = window && position + 1 > window ? (position + 1 - window) / part_tokens : 0;
        const uint32_t parts = min(position / part_tokens + 1, splits);
        const float* from = partial + (uint64_t(sequence[0] + row) * heads + head) * splits * (dim + 2);
        float best = NEGATIVE_INFINITY;
        for (uint32_t part = first; part < parts; ++part) {
            best = fmaxf(best, from[part * (dim + 2) + dim]);
        }
        for (uint32_t column = threadIdx.x; column < dim; column += 128) {
            float sum = 0, total = 0;
            for (uint32_t part = first; part < parts; ++part) {
                const float* at = from + part * (dim + 2);
                const float fade = exp2f(at[dim] - best);
                sum += fade * at[column];
                total += fade * at[dim + 1];
            }
            out[(uint64_t(sequence[0] + row) * heads + head) * dim + column] = sum / total;
        }
    }
}
EXPORT(attention_merge)
