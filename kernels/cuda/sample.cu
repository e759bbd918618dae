// From logits to a token without a sort, by the engine's rules: temperature, then top-k, then top-p of what is left, then
// min-p, then one draw; ties go to the smaller token; a NaN is impossible.
//
//   logits f32 [rows][vocabulary]
//   argmax        tokens[row] = the greatest, the first of equal ones; all ones where every logit is impossible
//   sample        temperatures, top_ps, min_ps f32, top_ks u32 [rows]; points f64 [rows], the draws in [0, 1); tokens as
//                 above
//   log_normaliser  out f32x2 [rows]: greatest logit, and the logarithm of the sum of e^(logit - greatest)
//
// One block a row. A token's weight is 2^40 * e^((logit - greatest) / temperature) as a whole number, so that sums have one
// value in whatever order threads add them. Tokens are ordered by a key of 32 bits (the logit's bits, turned so that
// the greatest comes first), and a place in that order is found eight bits at a time: 256 counters and masses in shared
// memory, one pass over the logits for each digit. That finds the key at which top-k's count or top-p's mass is reached,
// and, once it is known what is kept, the token at which the draw is. Tokens with equal keys are ordered by a last pass
// over those alone. Where neither top-k nor top-p narrows the choice, the engine draws in the order of tokens, and so
// does this.
//
// Bytes to move: 4 a token and pass; up to 13 passes, all but the first from the second cache.
#include "warp.cuh"

constexpr int THREADS = 512;
constexpr int WARPS = THREADS / 32;
constexpr uint32_t NOTHING = 0xffffffffu;
// Weights are counted in 2^-40 of the greatest.
constexpr float UNIT = 1099511627776.0f;

// Smaller for greater logits; impossible ones come last.
__device__ __forceinline__ uint32_t key_of(float logit) {
    // Adding zero makes the two zeros one.
    const uint32_t bits = __float_as_uint(fminf(logit, 3.402823466e38f) + 0.0f);
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
        const float value = fminf(logits[token], 3.402823466e38f);
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

extern "C" __global__ void __launch_bounds__(THREADS)
    argmax(const float* logits, uint32_t vocabulary, uint32_t* tokens) {
    grid_dependency_wait();
    SHARED(float, values, WARPS);
    SHARED(uint32_t, places, WARPS);
    const Best best = find_best(logits + uint64_t(blockIdx.x) * vocabulary, vocabulary, values, places);
    if (threadIdx.x == 0) {
        tokens[blockIdx.x] = best.token;
    }
    grid_dependency_launch();
}
EXPORT(argmax)

extern "C" __global__ void __launch_bounds__(THREADS)
    log_normaliser(const float* logits, uint32_t vocabulary, float2* out) {
    grid_dependency_wait();
    SHARED(float, values, WARPS);
    SHARED(uint32_t, places, WARPS);
    const float* row = logits + uint64_t(blockIdx.x) * vocabulary;
    const Best best = find_best(row, vocabulary, values, places);
    float sum = 0;
    for (uint32_t token = threadIdx.x; token < vocabulary; token += THREADS) {
        const float logit = row[token];
        sum += logit == logit ? expf(fminf(logit, 3.402823466e38f) - best.value) : 0.0f;
    }
    sum = block_sum<WARPS>(sum, values);
    if (threadIdx.x == 0) {
        store(out + blockIdx.x, make_float2(best.value, logf(sum)));
    }
    grid_dependency_launch();
}
EXPORT(log_normaliser)

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

__device__ __forceinline__ unsigned long long weight_of(const Row& row, float logit) {
    const float distance = (fminf(logit, 3.402823466e38f) - row.best) * row.scale;
    const float weight = logit == logit && distance > -87.0f ? expf(distance) : 0.0f;
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
    sample(const float* logits, uint32_t vocabulary, const float* temperatures, const uint32_t* top_ks,
           const float* top_ps, const float* min_ps, const double* points, uint32_t* tokens) {
    grid_dependency_wait();
    SHARED(float, values, WARPS);
    SHARED(uint32_t, places, WARPS);
    SHARED(uint32_t, counts, 256);
    SHARED(unsigned long long, masses, 256);
    SHARED(uint32_t, numbers, 3);
    SHARED(unsigned long long, sums, 1);
    const Tally tally{counts, masses, numbers, sums};
    const uint32_t at = blockIdx.x;
    const float temperature = temperatures[at], top_p = top_ps[at];
    const uint32_t top_k = top_ks[at];
    const float* own = logits + uint64_t(at) * vocabulary;
    const Best best = find_best(own, vocabulary, values, places);
    uint32_t token = best.token;
    if (token != NOTHING && temperature != 0 && top_k != 1) {
        // A tiny temperature must not turn 0 times it into a NaN.
        Row row{own, vocabulary, best.value, fminf(1.0f / temperature, 3.402823466e38f), 0.0f};
        const auto weigh = [&](float logit) { return weight_of(row, logit); };
        if (top_k >= vocabulary && top_p >= 1) {
            row.floor = min_ps[at];
            const unsigned long long target = static_cast<unsigned long long>(points[at] * double(total_of(row, tally, weigh)));
            token = first_beyond(row, tally, target, weigh);
        } else {
            // What is kept: all before a key, and the first `equal` of those that have it.
            constexpr unsigned long long ALL = ~0ull;
            uint32_t last = 0xffffffffu, equal = 0xffffffffu;
            unsigned long long total;
            if (top_k < vocabulary) {
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
            row.floor = min_ps[at];
            const unsigned long long mass =
                total_of(row, tally, [&](float logit) { return key_of(logit) < last ? weight_of(row, logit) : 0ull; }) +
                (equal == 0xffffffffu ? 0 : equal * weight_of(row, logit_of(last)));
            const unsigned long long target = static_cast<unsigned long long>(points[at] * double(mass));
            const Place place = descend(row, tally, NOTHING, target, last);
            const unsigned long long weight = weight_of(row, logit_of(place.key));
            const uint32_t allowed = place.key == last ? min(equal, place.equal) : place.equal;
            const unsigned long long rank = smaller((target - place.mass) / weight, allowed - 1);
            token = first_beyond(row, tally, rank, [&](float logit) { return key_of(logit) == place.key ? 1ull : 0ull; });
        }
    }
    if (threadIdx.x == 0) {
        tokens[at] = token;
    }
    grid_dependency_launch();
}
EXPORT(sample)
