use super::{ALIGNMENT_BYTES, Buffer, HUGE_BYTES, view, view_mut};

#[test]
fn buffers_are_zeroed_aligned_and_writable_at_every_size() {
    let bytes = [0, 1, 3, 64, 65, 4096, HUGE_BYTES - 1, HUGE_BYTES, HUGE_BYTES + 1, 3 * HUGE_BYTES + 5];
    for length in bytes {
        let mut buffer = Buffer::<u8>::zeroed(length).expect("memory for a test");
        assert_eq!(buffer.len(), length);
        assert!(buffer.iter().all(|&byte| byte == 0));
        if length > 0 {
            assert!(buffer.as_ptr().addr().is_multiple_of(ALIGNMENT_BYTES));
            assert!(length < HUGE_BYTES || buffer.as_ptr().addr().is_multiple_of(HUGE_BYTES));
        }
        buffer.fill(7);
        assert!(buffer.iter().all(|&byte| byte == 7));
    }
}

#[test]
fn impossible_sizes_are_errors() {
    for length in [usize::MAX, usize::MAX / 4, isize::MAX as usize / 4, 1 << 60] {
        let error = Buffer::<f32>::zeroed(length).expect_err("no machine has this much");
        assert_eq!((error.elements, error.element_bytes), (length, 4));
    }
}

#[test]
fn views_need_alignment_and_a_whole_number_of_elements() {
    let mut buffer = Buffer::<u8>::zeroed(64).expect("memory for a test");
    view_mut::<u8, u32>(&mut buffer[..8]).expect("aligned")[1] = 0x0403_0201;
    assert_eq!(buffer[4..8], 0x0403_0201_u32.to_ne_bytes());
    assert_eq!(view::<u8, u16>(&buffer[4..8]).map(<[u16]>::len), Some(2));
    assert!(view::<u8, u32>(&buffer[1..9]).is_none(), "misaligned");
    assert!(view::<u8, u32>(&buffer[..7]).is_none(), "ragged");
    assert!(view_mut::<u8, u64>(&mut buffer[4..12]).is_none(), "misaligned");
    assert_eq!(view::<u8, f32>(&buffer[..0]).map(<[f32]>::len), Some(0));
    assert_eq!(view::<f32, u8>(&[1.0]).map(<[u8]>::len), Some(4));
}
