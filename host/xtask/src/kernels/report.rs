//! What the assembler says about each kernel (`-Xptxas -v`): registers that were spilled, and local memory, which is
//! global memory in disguise. Neither is expected of any kernel.

/// A line for each kernel and architecture that has one or the other.
pub(super) fn problems(text: &str) -> Vec<String> {
    let mut kernel = "";
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function ") {
            kernel = rest;
        } else if line.contains("bytes stack frame") && !line.trim_start().starts_with("0 bytes stack frame")
        {
            found.push(format!("{}: {}", kernel.trim_matches(['\'', ' ']), line.trim()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::problems;

    #[test]
    fn spills_and_frames_are_told_with_their_kernel() {
        let text = "ptxas info    : Compiling entry function 'one' for 'sm_80'\n\
            ptxas info    : Function properties for one\n    \
            0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
            ptxas info    : Compiling entry function 'two' for 'sm_90a'\n\
            ptxas info    : Function properties for two\n    \
            8 bytes stack frame, 8 bytes spill stores, 8 bytes spill loads\n\
            ptxas info    : Used 64 registers\n";
        let found = problems(text);
        assert_eq!(
            found,
            ["two' for 'sm_90a: 8 bytes stack frame, 8 bytes spill stores, 8 bytes spill loads"]
        );
        assert_eq!(problems(""), Vec::<String>::new());
    }
}
