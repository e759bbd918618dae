//! What the library is told, by one in its place (`fake.c`) that is made with this machine's C compiler and computes
//! products by plain loops. It is loaded as the real one is, by name, in a process of its own: beside other tests this
//! machine would have a library all of a sudden.

use std::ffi::{CStr, c_char, c_int};
use std::path::{Path, PathBuf};
use std::process::Command;

use half::bf16;

use super::*;
use crate::cuda::driver::Address;

/// Set in the process that has the library.
const WITHIN: &str = "LOCKGATE_TEST_LIBRARY";

#[test]
fn the_library_is_called_as_it_is_documented_and_gets_all_of_it_back() {
    if std::env::var_os(WITHIN).is_some() {
        return within();
    }
    let folder = std::env::temp_dir().join(format!("lockgate-cublaslt-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let library = build(&folder);
    std::os::unix::fs::symlink(&library, folder.join("libcuda.so")).expect("the same by another name");
    let mut test = Command::new(std::env::current_exe().expect("this program"));
    let name = "the_library_is_called_as_it_is_documented_and_gets_all_of_it_back";
    test.args(["--exact", &format!("{}::{name}", module_path!().split_once("::").expect("a module").1)]);
    let output = test.env(WITHIN, "1").env("LD_LIBRARY_PATH", &folder).output().expect("it runs");
    let _ = std::fs::remove_dir_all(&folder);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("1 passed"), "{told}");
}

fn build(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cuda/card/library/fake.c");
    let library = folder.join("libcublasLt.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]);
    let output = compiler.arg(&library).arg(source).output().expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

/// What the library in its place tells of itself.
struct Fake;

impl Fake {
    fn number(name: &'static str) -> c_int {
        // SAFETY: `fake.c` has such functions of that type.
        unsafe { sys::culib().get::<unsafe extern "C" fn() -> c_int>(name.as_bytes()).expect(name)() }
    }

    fn pointer(name: &'static str) -> *mut c_void {
        // SAFETY: as above.
        unsafe { sys::culib().get::<unsafe extern "C" fn() -> *mut c_void>(name.as_bytes()).expect(name)() }
    }

    fn set(name: &'static str, value: c_int) {
        // SAFETY: as above.
        unsafe { sys::culib().get::<unsafe extern "C" fn(c_int)>(name.as_bytes()).expect(name)(value) }
    }

    /// The first thing that was not as documented.
    fn complaint() -> String {
        let text = Self::pointer("fake_complaint").cast::<c_char>();
        // SAFETY: it is a string of the library's own.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }
}

/// A product's operands, small whole numbers that no rounding touches, and what comes of them.
struct Operands {
    x: Vec<bf16>,
    weights: Vec<bf16>,
    out: Vec<f32>,
    shape: Shape,
}

impl Operands {
    fn new(shape @ (rows, outputs, columns): Shape) -> Operands {
        let numbers = |count: usize, salt: usize| -> Vec<bf16> {
            (0..count).map(|at| bf16::from_f32(((at * 7 + salt) % 11) as f32 - 5.0)).collect()
        };
        let (x, weights) = (numbers(rows * columns, 3), numbers(outputs * columns, 1));
        Operands { x, weights, out: (0..rows * outputs).map(|at| at as f32).collect(), shape }
    }

    fn multiply(&mut self, library: &mut Library, add: bool) -> Result<bool, DriverError> {
        let (rows, outputs, columns) = self.shape;
        let at = |address: *const c_void| Address(address as u64);
        let product = Product {
            x: at(self.x.as_ptr().cast()),
            weights: at(self.weights.as_ptr().cast()),
            out: at(self.out.as_mut_ptr().cast()),
            rows,
            outputs,
            columns,
            add,
        };
        library.multiply(&product, STREAM as CUstream)
    }

    fn expected(&self, before: &[f32]) -> Vec<f32> {
        let (_, outputs, columns) = self.shape;
        let dot = |row: &[bf16], weights: &[bf16]| -> f32 {
            row.iter().zip(weights).map(|(x, weight)| x.to_f32() * weight.to_f32()).sum()
        };
        let rows = self.x.chunks(columns).zip(before.chunks(outputs));
        rows.flat_map(|(x, before)| {
            let products = self.weights.chunks(columns).map(move |weights| dot(x, weights));
            products.zip(before).map(|(product, before)| product + before)
        })
        .collect()
    }
}

/// A stream that is only handed on.
const STREAM: usize = 0x5EED_0000;

fn within() {
    let live = || Fake::number("fake_live");
    assert!(is_there());
    // Opening it: whatever fails, nothing is left.
    let mut library = None;
    for call in 0.. {
        Fake::set("fake_fail_at", call);
        match Library::open() {
            Ok(opened) => {
                library = opened;
                break;
            }
            Err(error) => {
                let expected = if call == 0 { "CUBLAS_STATUS_INTERNAL_ERROR" } else { "33554432 bytes" };
                assert!(error.to_string().contains(expected), "{error}");
                assert_eq!(live(), 0, "after call {call}");
            }
        }
        assert!(call < 2, "a handle and its memory");
    }
    let mut library = library.expect("it is there");
    let opened = live();
    assert_eq!(opened, 2, "a handle and its memory");

    // Shapes that tell rows from outputs from columns; each is planned once.
    for (number, shape) in [(1, 1, 8), (3, 5, 16), (33, 2, 8), (2, 33, 24)].into_iter().enumerate() {
        let mut operands = Operands::new(shape);
        for (add, planned) in [(false, true), (true, false)] {
            Fake::set("fake_fail_at", -1);
            // Where it is not added to, the output is no number before.
            let before = if add { operands.out.clone() } else { vec![0.0; operands.out.len()] };
            if !add {
                operands.out.fill(f32::NAN);
            }
            assert_eq!(operands.multiply(&mut library, add), Ok(true), "{}", Fake::complaint());
            assert_eq!(operands.out, operands.expected(&before), "{shape:?}, added: {add}");
            assert_eq!(Fake::pointer("fake_stream") as usize, STREAM);
            assert_eq!(Fake::number("fake_calls") > 1, planned, "{shape:?}");
        }
        // A description and three layouts each.
        assert_eq!(live(), opened + 4 * (number as c_int + 1));
    }

    // A shape that it does not multiply is asked for once, and leaves nothing.
    let (mut other, kept) = (Operands::new((7, 7, 8)), live());
    Fake::set("fake_unsupported", 1);
    assert_eq!(other.multiply(&mut library, false), Ok(false));
    assert_eq!(live(), kept);
    Fake::set("fake_unsupported", 0);
    Fake::set("fake_fail_at", -1);
    assert_eq!((other.multiply(&mut library, false), Fake::number("fake_calls")), (Ok(false), 0));

    // Each call fails once: the shape is asked for anew the next time, and what was made by then is gone. One that only
    // gives something back is no reason to fail.
    let mut failed = 0;
    for call in 0.. {
        let before = live();
        let mut operands = Operands::new((2, 4, 8 * (call as usize + 1)));
        Fake::set("fake_fail_at", call);
        let done = operands.multiply(&mut library, false);
        if Fake::number("fake_calls") <= call {
            assert_eq!(done, Ok(true), "nothing failed");
            break;
        }
        match done {
            Ok(done) => assert!(done && live() == before + 4, "call {call}"),
            Err(error) => {
                failed += 1;
                assert!(error.to_string().contains("INTERNAL_ERROR"), "{error}");
                let planned = call + 1 == Fake::number("fake_calls") && live() == before + 4;
                assert!(planned || live() == before, "call {call}: {} are left", live() - before);
                Fake::set("fake_fail_at", -1);
                assert_eq!(operands.multiply(&mut library, false), Ok(true), "{}", Fake::complaint());
            }
        }
    }
    // A description, three layouts, which is turned, a preference and its size, the question, the product.
    assert_eq!(failed, 9);

    let space = Fake::pointer("fake_workspace");
    assert!(!space.is_null());
    drop(library);
    assert_eq!((live(), Fake::complaint().as_str()), (0, ""));
}
