use super::*;
use crate::formats::{dequantize_row, quantize_row};
use crate::test_support::{bits, numbers};

#[test]
fn packed_rows_are_the_stored_rows_bit_for_bit() {
    for format in PlaneFormat::ALL {
        let stored_format = format.stored();
        for (rows, blocks) in [(1, 1), (3, 2), (5, 3)] {
            let cols = blocks * format.block_len();
            let row_bytes = stored_format.row_bytes(cols).expect("whole blocks");
            let values = numbers(rows as u64 * 7, rows * cols);
            let mut stored = vec![0; rows * row_bytes];
            for (row, out) in values.chunks(cols).zip(stored.chunks_mut(row_bytes)) {
                quantize_row(stored_format, row, out);
            }
            let planes = pack(format, rows, cols, &stored);
            assert_eq!(Some(planes.len()), bytes(format, rows, cols));
            for (row, stored) in stored.chunks(row_bytes).enumerate() {
                let (mut expected, mut got) = (vec![0.0; cols], vec![0.0; cols]);
                dequantize_row(stored_format, stored, &mut expected);
                unpack_row(format, rows, cols, &planes, row, &mut got);
                assert_eq!(bits(&expected), bits(&got), "{format:?}, row {row} of {rows} x {cols}");
            }
        }
    }
}

/// More blocks than one thread takes, with borders inside of rows.
#[test]
fn threads_pack_what_one_would() {
    for (format, rows, cols) in [(PlaneFormat::Q8_0, 1031, 1056), (PlaneFormat::Q6K, 521, 32 * 768)] {
        let stored_format = format.stored();
        let row_bytes = stored_format.row_bytes(cols).expect("whole blocks");
        let mut row_of_numbers = numbers(3, cols);
        let mut stored = vec![0; rows * row_bytes];
        for (row, out) in stored.chunks_mut(row_bytes).enumerate() {
            row_of_numbers.rotate_left(1 + row % 7);
            quantize_row(stored_format, &row_of_numbers, out);
        }
        let planes = pack(format, rows, cols, &stored);
        for (row, stored) in stored.chunks(row_bytes).enumerate() {
            let (mut expected, mut got) = (vec![0.0; cols], vec![0.0; cols]);
            dequantize_row(stored_format, stored, &mut expected);
            unpack_row(format, rows, cols, &planes, row, &mut got);
            assert_eq!(bits(&expected), bits(&got), "{format:?}, row {row}");
        }
    }
}

#[test]
fn any_bytes_pack_to_what_they_mean() {
    // Every bit of a block in turn: no bit is lost, none lands elsewhere.
    for format in PlaneFormat::ALL {
        let stored_format = format.stored();
        let cols = format.block_len();
        for bit in 0..format.block_bytes() * 8 {
            let mut stored: Vec<u8> =
                (0..format.block_bytes()).map(|index| (index * 37 + 5) as u8 & 0x3b).collect();
            stored[bit / 8] ^= 1 << (bit % 8);
            let (mut expected, mut got) = (vec![0.0; cols], vec![0.0; cols]);
            dequantize_row(stored_format, &stored, &mut expected);
            unpack_row(format, 1, cols, &pack(format, 1, cols, &stored), 0, &mut got);
            let same = expected.iter().zip(&got).all(|(a, b)| a == b || a.is_nan() && b.is_nan());
            assert!(same, "{format:?}, bit {bit}");
        }
    }
}

#[test]
fn mxfp4_has_the_values_of_its_standard() {
    // Codes 0 to 15 twice, at 2^0.
    let mut stored = vec![127_u8];
    stored.extend((0..16_u8).map(|code| code | code << 4));
    let planes = pack(PlaneFormat::Mxfp4, 1, 32, &stored);
    let mut got = vec![0.0; 32];
    unpack_row(PlaneFormat::Mxfp4, 1, 32, &planes, 0, &mut got);
    let values = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];
    assert_eq!(got[..16], values);
    assert_eq!(got[16..], values);
}

#[test]
fn sizes_that_make_no_sense_have_no_bytes() {
    assert_eq!(bytes(PlaneFormat::Q4K, 1, 128), None);
    assert_eq!(bytes(PlaneFormat::Q4_0, 0, 32), None);
    assert_eq!(bytes(PlaneFormat::Q8_0, usize::MAX / 2, 64), None);
    // 4.5 bits a weight, and what rounds the planes up.
    assert_eq!(bytes(PlaneFormat::Q4K, 4096, 4096), Some(4096 * 4096 * 9 / 16));
}
