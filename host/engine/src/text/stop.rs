//! Stop strings in a stream of bytes: one Knuth–Morris–Pratt automaton a string, so each byte is looked at once
//! and a match is found however the text was cut into tokens.

/// The automata of all stop strings of one answer.
#[derive(Clone, Debug)]
pub(super) struct StopMatcher {
    stops: Vec<Stop>,
}

#[derive(Clone, Debug)]
struct Stop {
    bytes: Vec<u8>,
    /// For each prefix of `bytes`, by its length: the length of its longest proper border.
    borders: Vec<usize>,
    /// Bytes of the string that the text ends with.
    matched: usize,
}

impl StopMatcher {
    pub(super) fn new<'a>(stops: impl IntoIterator<Item = &'a str>) -> Self {
        Self { stops: stops.into_iter().filter(|stop| !stop.is_empty()).map(Stop::new).collect() }
    }

    /// Takes the next byte. When stop strings end with it: the length of the longest of them.
    pub(super) fn push(&mut self, byte: u8) -> Option<usize> {
        self.stops.iter_mut().filter_map(|stop| stop.push(byte)).max()
    }

    /// How many of the last bytes may be the start of a stop string.
    pub(super) fn pending(&self) -> usize {
        self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0)
    }
}

impl Stop {
    fn new(stop: &str) -> Self {
        let bytes = stop.as_bytes().to_vec();
        let mut borders = vec![0, 0];
        let mut border = 0;
        for place in 1..bytes.len() {
            while border > 0 && bytes[place] != bytes[border] {
                border = borders[border];
            }
            if bytes[place] == bytes[border] {
                border += 1;
            }
            borders.push(border);
        }
        Self { bytes, borders, matched: 0 }
    }

    fn push(&mut self, byte: u8) -> Option<usize> {
        while self.matched > 0 && self.bytes[self.matched] != byte {
            self.matched = self.borders[self.matched];
        }
        if self.bytes[self.matched] == byte {
            self.matched += 1;
        }
        if self.matched < self.bytes.len() {
            return None;
        }
        self.matched = self.borders[self.matched];
        Some(self.bytes.len())
    }
}
