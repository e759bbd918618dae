// Numbers in 8 bits, by the names of CUDA's header of this name, which kernels for cards get in its place. No kernel has
// such numbers yet. Always rounded to the nearest, halves to the even one.
#pragma once

#include "intrinsics.cuh"

using __nv_fp8_storage_t = uint8_t;
using __nv_fp8x2_storage_t = uint16_t;

// Beyond the greatest number: NaN or infinity, whichever the kind has, or that number.
enum __nv_saturation_t { __NV_NOSAT, __NV_SATFINITE };
// Four bits of exponent, no infinity and one NaN for each sign; or five, and all else as in half precision.
enum __nv_fp8_interpretation_t { __NV_E4M3, __NV_E5M2 };

struct __half_raw { uint16_t x; };
struct __half2_raw { uint16_t x, y; };

inline __nv_fp8_storage_t __nv_cvt_float_to_fp8(float x, __nv_saturation_t saturate, __nv_fp8_interpretation_t kind) {
    return emulator::f32_to_f8(x, kind == __NV_E5M2, saturate == __NV_SATFINITE);
}
inline __nv_fp8_storage_t __nv_cvt_halfraw_to_fp8(__half_raw x, __nv_saturation_t saturate,
                                                  __nv_fp8_interpretation_t kind) {
    return __nv_cvt_float_to_fp8(f16_to_f32(x.x), saturate, kind);
}
inline __half_raw __nv_cvt_fp8_to_halfraw(__nv_fp8_storage_t x, __nv_fp8_interpretation_t kind) {
    return {emulator::f8_to_f16(x, kind == __NV_E5M2)};
}

// Pairs; the first is in the lower bits.
inline __nv_fp8x2_storage_t __nv_cvt_float2_to_fp8x2(float2 x, __nv_saturation_t saturate,
                                                     __nv_fp8_interpretation_t kind) {
    const unsigned low = __nv_cvt_float_to_fp8(x.x, saturate, kind), high = __nv_cvt_float_to_fp8(x.y, saturate, kind);
    return static_cast<__nv_fp8x2_storage_t>(low | high << 8);
}
inline __half2_raw __nv_cvt_fp8x2_to_halfraw2(__nv_fp8x2_storage_t x, __nv_fp8_interpretation_t kind) {
    return {emulator::f8_to_f16(x & 0xff, kind == __NV_E5M2), emulator::f8_to_f16(x >> 8, kind == __NV_E5M2)};
}
