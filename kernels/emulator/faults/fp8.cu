// Conversions from and to 8 bits, one number a thread: for the test of these alone.
#include <cuda_fp8.h>

extern "C" __global__ void narrow_floats(const float* in, uint8_t* out, unsigned count, unsigned kind, unsigned saturate) {
    const unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) {
        out[at] = __nv_cvt_float_to_fp8(in[at], __nv_saturation_t(saturate), __nv_fp8_interpretation_t(kind));
        const float2 pair = make_float2(in[at], in[count - 1 - at]);
        const unsigned both = __nv_cvt_float2_to_fp8x2(pair, __nv_saturation_t(saturate), __nv_fp8_interpretation_t(kind));
        out[count + at] = uint8_t(both);
        out[2 * count + at] = uint8_t(both >> 8);
    }
}
EXPORT(narrow_floats)

extern "C" __global__ void narrow_halves(const uint16_t* in, uint8_t* out, unsigned count, unsigned kind, unsigned saturate) {
    const unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) {
        out[at] = __nv_cvt_halfraw_to_fp8(__half_raw{in[at]}, __nv_saturation_t(saturate), __nv_fp8_interpretation_t(kind));
    }
}
EXPORT(narrow_halves)

extern "C" __global__ void widen(const uint8_t* in, uint16_t* out, unsigned count, unsigned kind) {
    const unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) {
        out[at] = __nv_cvt_fp8_to_halfraw(in[at], __nv_fp8_interpretation_t(kind)).x;
        const unsigned pair = in[at] | unsigned(in[count - 1 - at]) << 8;
        const __half2_raw both = __nv_cvt_fp8x2_to_halfraw2(__nv_fp8x2_storage_t(pair), __nv_fp8_interpretation_t(kind));
        out[count + at] = both.x;
        out[2 * count + at] = both.y;
    }
}
EXPORT(widen)
