// Warp operations, matrix products, atomics and half precision.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "machine.hpp"

namespace emulator {

uint64_t shuffle(const char* what, uint32_t mask, uint64_t value, uint32_t source, Line at) {
    if (source > 31 || !(mask >> source & 1)) {
        fail(std::string(what) + " at " + text(at) + " asks lane " + std::to_string(source) + ", which is not there");
    }
    return meet(what, mask, value, false, at)[source];
}

void warp_barrier(uint32_t mask, Line at) { meet("__syncwarp", mask, 0, true, at); }

uint32_t ballot(uint32_t mask, bool vote, Line at) {
    const uint64_t* values = meet("a vote", mask, vote, false, at);
    uint32_t result = 0;
    for (int lane = 0; lane < 32; ++lane) {
        result |= (mask >> lane & 1) && values[lane] ? 1u << lane : 0;
    }
    return result;
}

uint32_t reduce_add(uint32_t mask, uint32_t value, Line at) {
    const uint64_t* values = meet("__reduce_add_sync", mask, value, false, at);
    uint32_t result = 0;
    for (int lane = 0; lane < 32; ++lane) {
        result += mask >> lane & 1 ? uint32_t(values[lane]) : 0;
    }
    return result;
}

uint32_t reduce_max(uint32_t mask, uint32_t value, Line at) {
    const uint64_t* values = meet("__reduce_max_sync", mask, value, false, at);
    uint32_t result = 0;
    for (int lane = 0; lane < 32; ++lane) {
        const uint32_t other = mask >> lane & 1 ? uint32_t(values[lane]) : 0;
        result = other > result ? other : result;
    }
    return result;
}

// Atomics are ordered among themselves; that they meet plain accesses is not checked.
namespace {
template <class T>
void judge_atomic(T* at) {
    if (reinterpret_cast<uintptr_t>(at) % sizeof(T)) {
        fail("touches a misaligned atomic");
    }
    for (const Shared& shared : *view.shared) {
        const uintptr_t offset = reinterpret_cast<uintptr_t>(at) - reinterpret_cast<uintptr_t>(shared.start);
        if (offset < shared.bytes) {
            return;
        }
    }
    access(at, sizeof(T), true);
}
}  // namespace

uint32_t atomic_add(uint32_t* at, uint32_t value) {
    judge_atomic(at);
    const uint32_t before = *at;
    *at = before + value;
    return before;
}
uint64_t atomic_add(uint64_t* at, uint64_t value) {
    judge_atomic(at);
    const uint64_t before = *at;
    *at = before + value;
    return before;
}
uint32_t atomic_max(uint32_t* at, uint32_t value) {
    judge_atomic(at);
    const uint32_t before = *at;
    *at = before > value ? before : value;
    return before;
}

namespace {

struct MmaLanes {
    void* d;
    const void* a;
    const void* b;
};

struct MatrixLanes {
    const void* row;
    bool transposed;
    uint32_t* out;
};

float bf16_to_f32(uint16_t bits) {
    const uint32_t wide = uint32_t(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
}

uint32_t bits_of(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// Fragments as the PTX manual lays them out: lane = 4 * group + place.
template <class Element, int K, class Sum, class Value>
void mma(uint64_t* lanes, Value value) {
    constexpr int PER_REGISTER = 4 / sizeof(Element);
    Sum a[16][K], b[K][8];
    for (int lane = 0; lane < 32; ++lane) {
        const MmaLanes& own = *reinterpret_cast<const MmaLanes*>(lanes[lane]);
        const auto fragment_a = static_cast<const Element*>(own.a);
        const auto fragment_b = static_cast<const Element*>(own.b);
        const int group = lane / 4, place = lane % 4;
        for (int number = 0; number < 4; ++number) {
            for (int element = 0; element < PER_REGISTER; ++element) {
                const int row = group + number % 2 * 8;
                const int column = place * PER_REGISTER + element + number / 2 * (K / 2);
                a[row][column] = value(fragment_a[number * PER_REGISTER + element]);
            }
        }
        for (int number = 0; number < 2; ++number) {
            for (int element = 0; element < PER_REGISTER; ++element) {
                b[place * PER_REGISTER + element + number * (K / 2)][group] =
                    value(fragment_b[number * PER_REGISTER + element]);
            }
        }
    }
    for (int lane = 0; lane < 32; ++lane) {
        const MmaLanes& own = *reinterpret_cast<const MmaLanes*>(lanes[lane]);
        using Result = std::conditional_t<std::is_same_v<Sum, int>, int, float>;
        auto d = static_cast<Result*>(own.d);
        for (int number = 0; number < 4; ++number) {
            const int row = lane / 4 + number / 2 * 8, column = lane % 4 * 2 + number % 2;
            Sum sum = static_cast<Sum>(d[number]);
            for (int k = 0; k < K; ++k) {
                sum += a[row][k] * b[k][column];
            }
            d[number] = static_cast<Result>(sum);
        }
    }
}

void meet_for_mma(const char* what, void* d, const void* a, const void* b, Line at,
                  void (*complete)(uint64_t*, uint32_t)) {
    MmaLanes lanes{d, a, b};
    meet(what, 0xffffffffu, reinterpret_cast<uint64_t>(&lanes), false, at, complete);
}

void load_all_matrices(uint64_t* lanes, uint32_t) {
    uint16_t matrices[4][8][8];
    for (int lane = 0; lane < 32; ++lane) {
        std::memcpy(matrices[lane / 8][lane % 8], reinterpret_cast<const MatrixLanes*>(lanes[lane])->row, 16);
    }
    for (int lane = 0; lane < 32; ++lane) {
        const MatrixLanes& own = *reinterpret_cast<const MatrixLanes*>(lanes[lane]);
        for (int number = 0; number < 4; ++number) {
            const auto& matrix = matrices[number];
            const int row = lane / 4, column = lane % 4 * 2;
            const unsigned low = own.transposed ? matrix[column][row] : matrix[row][column];
            const unsigned high = own.transposed ? matrix[column + 1][row] : matrix[row][column + 1];
            own.out[number] = low | high << 16;
        }
    }
}

}  // namespace

void mma_f16(float* d, const uint32_t* a, const uint32_t* b, Line at) {
    meet_for_mma("mma.sync f16", d, a, b, at, [](uint64_t* lanes, uint32_t) {
        mma<uint16_t, 16, double>(lanes, [](uint16_t bits) { return double(f16_to_f32(bits)); });
    });
}

void mma_bf16(float* d, const uint32_t* a, const uint32_t* b, Line at) {
    meet_for_mma("mma.sync bf16", d, a, b, at, [](uint64_t* lanes, uint32_t) {
        mma<uint16_t, 16, double>(lanes, [](uint16_t bits) { return double(bf16_to_f32(bits)); });
    });
}

void mma_s8(int* d, const uint32_t* a, const uint32_t* b, Line at) {
    meet_for_mma("mma.sync s8", d, a, b, at, [](uint64_t* lanes, uint32_t) {
        mma<int8_t, 32, int>(lanes, [](int8_t value) { return int(value); });
    });
}

void load_matrices(uint32_t* out, const void* row, bool transposed, Line at) {
    if (reinterpret_cast<uintptr_t>(row) % 16) {
        fail("gives ldmatrix a misaligned row at " + text(at));
    }
    access(row, 16, false);
    MatrixLanes lanes{row, transposed, out};
    meet(transposed ? "ldmatrix.trans" : "ldmatrix", 0xffffffffu, reinterpret_cast<uint64_t>(&lanes), false, at,
         load_all_matrices);
}

float f16_to_f32(uint16_t bits) {
    const uint32_t sign = uint32_t(bits & 0x8000) << 16, exponent = bits >> 10 & 31, mantissa = bits & 0x3ff;
    if (exponent == 0) {
        const float value = std::ldexp(float(mantissa), -24);
        return sign ? -value : value;
    }
    const uint32_t wide = exponent == 31 ? 255 : exponent + 112;
    const uint32_t whole = sign | wide << 23 | mantissa << 13;
    float value;
    std::memcpy(&value, &whole, sizeof value);
    return value;
}

// To nearest, halves to even; beyond the range is infinity.
uint16_t f32_to_f16(float value) {
    const uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
        return uint16_t(sign | 0x7fff);
    }
    if (magnitude >= 0x477ff000) {
        return uint16_t(sign | 0x7c00);
    }
    if (magnitude < 0x38800000) {
        // Subnormal: as many units of 2^-24, rounded by the machine.
        return uint16_t(sign | uint32_t(std::nearbyint(std::fabs(value) * 16777216.0f)));
    }
    const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return uint16_t(sign | ((rounded - 0x38000000) >> 13));
}

uint16_t f32_to_bf16(float value) {
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffff) > 0x7f800000) {
        return 0x7fff;
    }
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// What tells the two kinds of numbers in 8 bits apart: bits of the mantissa, the exponent's bias, the greatest number.
struct Kind {
    int mantissa_bits, bias;
    uint8_t greatest, beyond;
};
static constexpr Kind E4M3{3, 7, 0x7e, 0x7f}, E5M2{2, 15, 0x7b, 0x7c};

uint8_t f32_to_f8(float value, bool e5m2, bool saturate) {
    const Kind& kind = e5m2 ? E5M2 : E4M3;
    if (std::isnan(value)) {
        return 0x7f;
    }
    const float magnitude = std::fabs(value);
    // Numbers of one exponent are as many steps apart as the mantissa counts, and so are the smallest from zero: the code
    // counts steps from there, over all exponents.
    int code = 0x7f;
    if (magnitude <= 65536.0f) {
        const int least = 1 - kind.bias;
        const int exponent = magnitude == 0 ? least : std::max(std::ilogb(magnitude), least);
        const float steps = std::nearbyint(std::ldexp(magnitude, kind.mantissa_bits - exponent));
        code = (exponent - least) * (1 << kind.mantissa_bits) + int(steps);
    }
    if (code > kind.greatest) {
        code = saturate ? kind.greatest : kind.beyond;
    }
    return uint8_t(code | (std::signbit(value) ? 0x80 : 0));
}

uint16_t f8_to_f16(uint8_t bits, bool e5m2) {
    const int code = bits & 0x7f;
    if (e5m2 ? code > E5M2.beyond : code == E4M3.beyond) {
        return 0x7fff;
    }
    if (e5m2) {
        // Half precision without its last bits.
        return uint16_t(bits << 8);
    }
    const int exponent = std::max(code >> E4M3.mantissa_bits, 1), whole = 1 << E4M3.mantissa_bits;
    const int mantissa = code % whole + (code >= whole ? whole : 0);
    const float value = std::ldexp(float(mantissa), exponent - E4M3.bias - E4M3.mantissa_bits);
    return f32_to_f16(bits & 0x80 ? -value : value);
}

}  // namespace emulator
