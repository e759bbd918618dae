use super::*;
use proptest::prelude::*;

/// Hashes of the bits and the outer elements of what the `gguf` Python package (0.17) decodes from [`pattern`].
const DECODED: [(Format, u64, f32, f32); 11] = [
    (Format::Q8_0, 0x63dd_f9a7_8651_3b25, 0.007488966, 10.507324),
    (Format::Q4_0, 0x57f2_980b_6c59_6c25, -0.00022244453, 0.0042624474),
    (Format::Q4_1, 0xf855_65a5_9e9c_69e5, -0.048845053, 0.041353226),
    (Format::Q5_0, 0xa10d_24ec_f27a_2225, 0.0009639263, 0.12806702),
    (Format::Q5_1, 0x8b49_464f_100e_2527, -0.048029423, -0.29174113),
    (Format::Mxfp4, 0x1e00_96ed_733d_0825, 1.9807041e28, 1.1444092e-5),
    (Format::Q4K, 0x9dc8_ed96_8619_8d80, 1.3195765, -0.08129072),
    (Format::Q5K, 0x2c63_8b8d_f134_fd21, 1.3471596, 0.1709156),
    (Format::Q6K, 0xc416_622d_24de_451f, -2653.3828, -1006.4619),
    (Format::Bf16, 0x86b3_d73f_e599_0825, 5.172175e-36, -1.0482033e-20),
    (Format::F16, 0x530b_a19f_e4fc_e825, 7.414818e-05, -0.006126404),
];

/// Pseudo-random blocks whose half-precision scales are finite.
fn pattern(format: Format, blocks: usize) -> Vec<u8> {
    let mut state = 12345u64;
    let mut bytes: Vec<u8> = (0..blocks * format.block_bytes())
        .map(|_| {
            state = (state * 1_103_515_245 + 12345) & 0x7fff_ffff;
            (state >> 16) as u8
        })
        .collect();
    let halves: &[usize] = match format {
        Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => &[0, 2],
        Format::Q6K => &[208],
        _ => &[0],
    };
    for block in bytes.chunks_mut(format.block_bytes()) {
        for at in halves {
            block[at + 1] &= 0xbf;
        }
    }
    bytes
}

#[test]
fn decoding_equals_the_gguf_package() {
    for (format, hash, first, last) in DECODED {
        let blocks = if format.block_len() == 1 { 64 } else { 2 };
        let mut row = vec![0.0; blocks * format.block_len()];
        dequantize_row(format, &pattern(format, blocks), &mut row);
        let found = row.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, x| {
            (hash ^ u64::from(x.to_bits())).wrapping_mul(0x100_0000_01b3)
        });
        assert_eq!((row[0], row[row.len() - 1]), (first, last), "{}", format.name());
        assert_eq!(found, hash, "{}", format.name());
    }
}

#[test]
fn sizes_and_names() {
    for format in Format::ALL {
        assert_eq!(Format::from_name(format.name()), Some(format));
        assert_eq!(Format::from_name(&format.name().to_uppercase()), Some(format));
        assert_eq!(format.row_bytes(256), Some(256 / format.block_len() * format.block_bytes()));
        assert_eq!(format.row_bytes(0), Some(0));
        let odd = format.row_bytes(format.block_len() + 1);
        assert_eq!(odd.is_none(), format.block_len() > 1, "{}", format.name());
    }
    assert_eq!(Format::F32.row_bytes(usize::MAX), None);
    assert_eq!(Format::from_name("q4"), None);
}

/// The coarsest relative step of each format, for values spread over a block.
fn tolerance(format: Format) -> f32 {
    match format {
        Format::F32 => 0.0,
        Format::F16 => 1e-3,
        Format::Bf16 | Format::Q8_0 => 8e-3,
        Format::Q6K => 0.035,
        Format::Q5_0 | Format::Q5_1 | Format::Q5K => 0.07,
        Format::Q4_0 | Format::Q4_1 | Format::Q4K => 0.14,
        Format::Mxfp4 => 0.25,
    }
}

proptest! {
    #[test]
    fn a_stored_row_comes_back(seed in prop::collection::vec(-1.0f32..1.0, 512), scale in -2i32..8) {
        let row: Vec<f32> = seed.iter().map(|x| x * (scale as f32).exp2()).collect();
        for format in Format::ALL {
            let mut bytes = vec![0; format.row_bytes(row.len()).unwrap()];
            quantize_row(format, &row, &mut bytes);
            let mut back = vec![0.0; row.len()];
            dequantize_row(format, &bytes, &mut back);
            let bound = tolerance(format) * (scale as f32).exp2();
            for (x, back) in row.iter().zip(&back) {
                prop_assert!((x - back).abs() <= bound, "{}: {x} became {back}", format.name());
            }
        }
    }

    #[test]
    fn any_floats_and_any_bytes_are_taken(bits in prop::collection::vec(any::<u32>(), 256), bytes in prop::collection::vec(any::<u8>(), 1024)) {
        let row: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        for format in Format::ALL {
            let size = format.row_bytes(row.len()).unwrap();
            let mut stored = vec![0; size];
            quantize_row(format, &row, &mut stored);
            dequantize_row(format, &bytes[..size], &mut vec![0.0; row.len()]);
        }
    }
}
