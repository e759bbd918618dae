// From logits to a token without a sort, by the engine's rules: temperature, then top-k, then top-p of what is left, then
// min-p, then one draw; ties go to the smaller token; a NaN is impossible.
//
//   logits f32 [rows][vocabulary]
//   draws [blocks]        which row, how many of its logits count, and how it is drawn; temperature 0 takes the greatest, the
//                         first of equal ones
//   chosen u32x2 [blocks] the token, all ones where every logit is impossible; the bits of its log-probability
//   next u32 [rows]       the token once more, at its row: what the next step begins with; may be absent
//   sample                writes the tokens
//   log_probability       writes the natural log-probabilities that are wanted, of tokens that are there
//
// One block a draw. A token's weight is 2^40 * e^((logit - greatest) / temperature) as a whole number, so that sums have one
// value in whatever order threads add them. Tokens are ordered by a key of 32 bits (the logit's bits, turned so that
// the greatest comes first), and a place in that order is found eight bits at a time: 256 counters and masses in shared
// memory, one pass over the logits for each digit. That finds the key at which top-k's count or top-p's mass is reached,
// and, once it is known what is kept, the token at which the draw is. Tokens with equal keys are ordered by a last pass
// over those alone. Where neither top-k nor top-p narrows the choice, the engine draws in the order of tokens, and so
// does this.
//
// The exponential is the engine's own, operation for operation, so that weights have the same bits before they are rounded
// to whole numbers. From equal logits the engine draws the same token unless the draw, or the border of top-p, is within
// rounding of the border between two tokens: 2^-41 of the greatest weight a token of the vocabulary, and as much as a sum
// in double precision is off by; or, where top-p alone narrows the choice, two logits that differ have equal weights, which
// the engine orders by their tokens.
//
// Bytes to move: 4 a token and pass; up to 13 passes, all but the first from the second cache.
#include "warp.cuh"

constexpr int THREADS = 512;
constexpr int WARPS = THREADS / 32;
constexpr uint32_t NOTHING = 0xffffffffu;
// Weights are counted in 2^-40 of the greatest.
constexpr float UNIT = 1099511627776.0f;
constexpr float GREATEST = 3.402823466e38f;

struct Draw {
    // In [0, 1).
    double point;
    uint32_t row, tokens, top_k;
    float temperature, top_p, min_p;
    uint32_t wants_log_probability, unused;
};

// Smaller for greater logits; impossible ones come last.
__device__ __forceinline__ uint32_t key_of(float logit) {
    // Adding zero makes the two zeros one.
    const uint32_t bits = __float_as_uint(fminf(logit, GREATEST) + 0.0f);
    return bits >> 31 ? bits : ~(bits | 0x80000000u);
}

__device__ __forceinline__ float logit_of(uint32_t key) {
    return __uint_as_float(key >> 31 ? key : ~key & 0x7fffffffu);
}

struct Best {
    float value;
    uint32_t token;
};

__device__ __forceinline__ bool comes_before(const Best& left, const Best& right) {
    return left.value > right.value || (left.value == right.value && left.token < right.token);
}

// The greatest logit of the row and its first token, in every thread.
__device__ __forceinline__ Best find_best(const float* logits, uint32_t vocabulary, float* values, uint32_t* tokens) {
    Best best{-__uint_as_float(0x7f800000u), NOTHING};
    for (uint32_t token = threadIdx.x; token < vocabulary; token += THREADS) {
        const float value = fminf(logits[token], GREATEST);
        // fminf gives the other of two where one is NaN: look at the logit itself.
        if (logits[token] == logits[token] && comes_before(Best{value, token}, best) && value > best.value) {
            best = Best{value, token};
        }
    }
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) {
        const Best other{__shfl_xor_sync(ALL_LANES, best.value, bits), __shfl_xor_sync(ALL_LANES, best.token, bits)};
        if (comes_before(other, best)) {
            best = other;
        }
    }
    if (threadIdx.x % 32 == 0) {
        values[threadIdx.x / 32] = best.value;
        tokens[threadIdx.x / 32] = best.token;
    }
    __syncthreads();
    for (int warp = 0; warp < WARPS; ++warp) {
        const Best other{values[warp], tokens[warp]};
        if (comes_before(other, best)) {
            best = other;
        }
    }
    __syncthreads();
    return best;
}

// Counters of one digit, and what one thread found for all.
struct Tally {
    uint32_t* counts;
    unsigned long long* masses;
    uint32_t* numbers;
    unsigned long long* sums;
};

struct Row {
    const float* logits;
    uint32_t vocabulary;
    float best, scale;
    // Tokens with less of the greatest weight count as impossible.
    float floor;
};

// e^x for x <= 0, 0 below -87 and for NaN: the operations of the engine's sampler, none of them contracted.
__device__ __forceinline__ float exp_nonpositive(float x) {
    // Adding and subtracting 1.5 * 2^23 rounds to an integer, which the sum's low bits hold.
    constexpr float ROUND = 12582912.0f;
    // The natural logarithm of 2 in two parts.
    constexpr float LN_2_HIGH = 355.0f / 512.0f, LN_2_LOW = -2.1219444e-4f;
    const float bounded = x > -87.0f ? x : -87.0f;
    const float clamped = bounded < 0.0f ? bounded : 0.0f;
    const float rounded = __fadd_rn(__fmul_rn(clamped, 1.44269504088896340736f), ROUND);
    const float whole = __fadd_rn(rounded, -ROUND);
    const float high = __fadd_rn(clamped, -__fmul_rn(whole, LN_2_HIGH));
    const float rest = __fadd_rn(high, -__fmul_rn(whole, LN_2_LOW));
    constexpr float SERIES[] = {1.0f / 720.0f, 1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f, 0.5f, 1.0f, 1.0f};
    float sum = 1.0f / 5040.0f;
#pragma unroll
    for (int term = 0; term < 7; ++term) {
        sum = __fadd_rn(__fmul_rn(sum, rest), SERIES[term]);
    }
    const uint32_t exponent = __float_as_uint(rounded) - __float_as_uint(ROUND) + 127u;
    return x > -87.0f ? __fmul_rn(sum, __uint_as_float(exponent << 23)) : 0.0f;
}

__device__ __forceinline__ unsigned long long weight_of(const Row& row, float logit) {
    const float distance = (fminf(logit, GREATEST) - row.best) * row.scale;
    const float weight = logit == logit ? exp_nonpositive(distance) : 0.0f;
    return weight < row.floor ? 0ull : __float2ull_rn(weight * UNIT);
}

// A key in the order of keys: how many tokens have it, and the count and mass of those before.
struct Place {
    uint32_t key;
    uint32_t equal;
    uint32_t count;
    unsigned long long mass;
};

// The first key at which more than `count` tokens or more than `mass` are reached, among tokens that weigh something and
// whose key is at most `last`; the last of their keys where neither is.
__device__ Place descend(const Row& row, const Tally& tally, uint32_t count, unsigned long long mass, uint32_t last) {
    Place place{0, 0, 0, 0};
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int digit = threadIdx.x; digit < 256; digit += THREADS) {
            tally.counts[digit] = 0;
            tally.masses[digit] = 0;
        }
        __syncthreads();
        const uint32_t above = shift == 24 ? 0 : ~0u << (shift + 8);
        for (uint32_t token = threadIdx.x; token < row.vocabulary; token += THREADS) {
            const float logit = row.logits[token];
            const uint32_t key = key_of(logit);
            if ((key & above) == place.key && key <= last) {
                const unsigned long long weight = weight_of(row, logit);
                if (weight > 0) {
                    atomicAdd(tally.counts + (key >> shift & 255), 1u);
                    atomicAdd(tally.masses + (key >> shift & 255), weight);
                }
            }
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            Place found = place;
            uint32_t before = place.count;
            unsigned long long before_mass = place.mass;
            for (uint32_t digit = 0; digit < 256; ++digit) {
                const uint32_t here = tally.counts[digit];
                if (here > 0) {
                    found = Place{place.key | digit << shift, here, before, before_mass};
                    before += here;
                    before_mass += tally.masses[digit];
                    if (before > count || before_mass > mass) {
                        break;
                    }
                }
            }
            tally.numbers[0] = found.key;
            tally.numbers[1] = found.equal;
            tally.numbers[2] = found.count;
            tally.sums[0] = found.mass;
        }
        __syncthreads();
        place = Place{tally.numbers[0], tally.numbers[1], tally.numbers[2], tally.sums[0]};
    }
    return place;
}

// The sum of `weigh` over all tokens, in every thread.
template <class Weigh>
__device__ unsigned long long total_of(const Row& row, const Tally& tally, Weigh weigh) {
    __syncthreads();
    if (threadIdx.x == 0) {
        tally.sums[0] = 0;
    }
    __syncthreads();
    unsigned long long sum = 0;
    for (uint32_t token = threadIdx.x; token < row.vocabulary; token += THREADS) {
        sum += weigh(row.logits[token]);
    }
    atomicAdd(tally.sums, sum);
    __syncthreads();
    return tally.sums[0];
}

// In the order of tokens, the first at which the sum of `weigh` exceeds `target`; the last that weighs something where
// none does. Each warp sums a stretch of its own, then the warp in whose stretch it lies looks for it.
template <class Weigh>
__device__ uint32_t first_beyond(const Row& row, const Tally& tally, unsigned long long target, Weigh weigh) {
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t stretch = (row.vocabulary + WARPS * 32 - 1) / (WARPS * 32) * 32;
    const uint32_t begin = min(warp * stretch, row.vocabulary), end = min(begin + stretch, row.vocabulary);
    unsigned long long sum = 0;
    for (uint32_t token = begin + lane; token < end; token += 32) {
        sum += weigh(row.logits[token]);
    }
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) {
        sum += __shfl_xor_sync(ALL_LANES, sum, bits);
    }
    __syncthreads();
    if (lane == 0) {
        tally.masses[warp] = sum;
    }
    __syncthreads();
    // The stretch: the first that takes the sum beyond the target, or the last that weighs anything.
    uint32_t chosen = 0;
    unsigned long long before = 0, running = 0;
    for (uint32_t other = 0; other < WARPS; ++other) {
        if (tally.masses[other] > 0 && running <= target) {
            chosen = other;
            before = running;
        }
        running += tally.masses[other];
    }
    if (warp == chosen) {
        uint32_t found = NOTHING;
        bool done = false;
        for (uint32_t first = begin; first < end && !done; first += 32) {
            const uint32_t token = first + lane;
            const unsigned long long own = token < end ? weigh(row.logits[token]) : 0;
            unsigned long long until = own;
#pragma unroll
            for (int delta = 1; delta < 32; delta *= 2) {
                const unsigned long long other = __shfl_up_sync(ALL_LANES, until, delta);
                until += int(lane) >= delta ? other : 0;
            }
            const unsigned some = __ballot_sync(ALL_LANES, own > 0);
            const unsigned beyond = __ballot_sync(ALL_LANES, own > 0 && before + until > target);
            if (beyond) {
                found = first + __ffs(beyond) - 1;
                done = true;
            } else if (some) {
                found = first + 31 - __clz(some);
            }
            before += __shfl_sync(ALL_LANES, until, 31);
        }
        if (lane == 0) {
            tally.numbers[0] = found;
        }
    }
    __syncthreads();
    return tally.numbers[0];
}

__device__ __forceinline__ unsigned long long smaller(unsigned long long left, unsigned long long right) {
    return left < right ? left : right;
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    sample(const float* logits, uint32_t vocabulary, const Draw* draws, uint2* chosen, uint32_t* next) {
    grid_dependency_wait();
    SHARED(float, values, WARPS);
    SHARED(uint32_t, places, WARPS);
    SHARED(uint32_t, counts, 256);
    SHARED(unsigned long long, masses, 256);
    SHARED(uint32_t, numbers, 3);
    SHARED(unsigned long long, sums, 1);
    const Tally tally{counts, masses, numbers, sums};
    const Draw& draw = draws[blockIdx.x];
    const float temperature = draw.temperature, top_p = draw.top_p;
    const uint32_t top_k = draw.top_k, count = draw.tokens;
    const float* own = logits + uint64_t(draw.row) * vocabulary;
    const Best best = find_best(own, count, values, places);
    uint32_t token = best.token;
    if (token != NOTHING && temperature != 0 && top_k != 1) {
        // A tiny temperature must not turn 0 times it into a NaN.
        Row row{own, count, best.value, fminf(1.0f / temperature, GREATEST), 0.0f};
        const auto weigh = [&](float logit) { return weight_of(row, logit); };
        if (top_k >= count && top_p >= 1) {
            row.floor = draw.min_p;
            const unsigned long long target = static_cast<unsigned long long>(draw.point * double(total_of(row, tally, weigh)));
            token = first_beyond(row, tally, target, weigh);
        } else {
            // What is kept: all before a key, and the first `equal` of those that have it.
            constexpr unsigned long long ALL = ~0ull;
            uint32_t last = 0xffffffffu, equal = 0xffffffffu;
            unsigned long long total;
            if (top_k < count) {
                const Place place = descend(row, tally, top_k - 1, ALL, last);
                last = place.key;
                equal = min(place.equal, top_k - place.count);
                total = place.mass + equal * weight_of(row, logit_of(last));
            } else {
                total = total_of(row, tally, weigh);
            }
            if (top_p < 1) {
                // At least one token, whatever is wanted.
                const double wanted = double(top_p) * double(total);
                unsigned long long mass = static_cast<unsigned long long>(wanted);
                mass += double(mass) < wanted || mass == 0;
                const Place place = descend(row, tally, NOTHING, mass - 1, last);
                const unsigned long long weight = weight_of(row, logit_of(place.key));
                const uint32_t allowed = place.key == last ? min(equal, place.equal) : place.equal;
                const unsigned long long missing = mass > place.mass ? mass - place.mass : 1;
                equal = uint32_t(smaller((missing + weight - 1) / weight, allowed));
                last = place.key;
            }
            row.floor = draw.min_p;
            const unsigned long long mass =
                total_of(row, tally, [&](float logit) { return key_of(logit) < last ? weight_of(row, logit) : 0ull; }) +
                (equal == 0xffffffffu ? 0 : equal * weight_of(row, logit_of(last)));
            const unsigned long long target = static_cast<unsigned long long>(draw.point * double(mass));
            const Place place = descend(row, tally, NOTHING, target, last);
            const unsigned long long weight = weight_of(row, logit_of(place.key));
            const uint32_t allowed = place.key == last ? min(equal, place.equal) : place.equal;
            const unsigned long long rank = smaller((target - place.mass) / weight, allowed - 1);
            token = first_beyond(row, tally, rank, [&](float logit) { return key_of(logit) == place.key ? 1ull : 0ull; });
        }
    }
    if (threadIdx.x == 0) {
        chosen[blockIdx.x].x = token;
        if (next) {
            next[draw.row] = token;
        }
    }
}
EXPORT(sample)

extern "C" __global__ void __launch_bounds__(THREADS)
    log_probability(const float* logits, uint32_t vocabulary, const Draw* draws, uint2* chosen) {
    grid_dependency_wait();
    SHARED(float, values, WARPS);
    SHARED(uint32_t, places, WARPS);
    SHARED(unsigned long long, sums, 1);
    const Tally tally{nullptr, nullptr, nullptr, sums};
    const Draw& draw = draws[blockIdx.x];
    const uint32_t token = chosen[blockIdx.x].x;
    if (draw.wants_log_probability && token != NOTHING) {
        const float* own = logits + uint64_t(draw.row) * vocabulary;
        const Best best = find_best(own, draw.tokens, values, places);
        const Row row{own, draw.tokens, best.value, 1.0f, 0.0f};
        const unsigned long long total = total_of(row, tally, [&](float logit) { return weight_of(row, logit); });
        if (threadIdx.x == 0) {
            const double normaliser = double(best.value) + log(double(total) / double(UNIT));
            const double logarithm = double(own[token]) - normaliser;
            // Rounding must not report more than certainty; what is impossible is reported as the engine does.
            const double bounded = logarithm < 0.0 ? logarithm > -9999.0 ? logarithm : -9999.0 : 0.0;
            chosen[blockIdx.x].y = __float_as_uint(float(bounded));
        }
    }
}
EXPORT(log_probability)
