//! What a guard holds back of a run, and what its verdicts let through.
//!
//! Pure. A run is a sequence of chunks of one kind (of one tool call) without another kind between them. Its
//! text lies here until a verdict of the guard's says what becomes of it, so that nothing which a failed or
//! stopping guard has not let through can get by.

use lockgate_api::{Event, HELD_BYTES_MAX, PolicyError, Verdict};

/// Which of an answer's strands a run belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strand {
    Text,
    Reasoning,
    /// The tool call of this number.
    Call(u32),
}

/// How a tool call begins. Goes on with the first of its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
}

/// A run that is under way.
#[derive(Debug)]
pub(crate) struct Run {
    choice: u32,
    strand: Strand,
    /// Of a tool call that has not gone on yet.
    head: Option<Head>,
    held: String,
}

/// What a verdict means.
#[derive(Debug, PartialEq)]
pub(crate) enum Settled {
    /// This goes on now, if anything.
    Goes(Option<Event>),
    /// The choice ends, for this reason.
    Stopped(String),
}

impl Run {
    pub(crate) fn new(choice: u32, strand: Strand) -> Self {
        Self { choice, strand, head: None, held: String::new() }
    }

    pub(crate) fn strand(&self) -> Strand {
        self.strand
    }

    /// Adds a chunk to what is undecided.
    pub(crate) fn push(&mut self, head: Option<Head>, text: &str) {
        self.head = self.head.take().or(head);
        self.held.push_str(text);
    }

    /// Does what the guard says about all that is undecided. `goes_on`: more of the run may come.
    ///
    /// # Errors
    /// A verdict that makes no sense, or more held back than a guard may.
    pub(crate) fn settle(&mut self, verdict: Verdict, goes_on: bool) -> Result<Settled, PolicyError> {
        let text = match verdict {
            Verdict::Pass | Verdict::Hold(0) => std::mem::take(&mut self.held),
            Verdict::Replace(text) => {
                self.held.clear();
                text
            }
            Verdict::Stop { reason } => {
                self.held.clear();
                return Ok(Settled::Stopped(reason));
            }
            Verdict::Hold(_) if !goes_on => {
                let problem = "it holds text back of a run that has ended".to_owned();
                return Err(PolicyError::InvalidAnswer { problem });
            }
            Verdict::Hold(bytes) => {
                let end = self.held.floor_char_boundary(self.held.len().saturating_sub(bytes));
                if self.held.len() - end > HELD_BYTES_MAX {
                    let limit = format!("text held back: {HELD_BYTES_MAX} bytes");
                    return Err(PolicyError::Limit { limit });
                }
                if end == 0 {
                    // A tool call whose arguments are held back has not begun.
                    return Ok(Settled::Goes(None));
                }
                self.held.drain(..end).collect()
            }
        };
        Ok(Settled::Goes(self.event(text)))
    }

    fn event(&mut self, text: String) -> Option<Event> {
        let choice = self.choice;
        match self.strand {
            Strand::Text => (!text.is_empty()).then_some(Event::Text { choice, text, logprobs: Vec::new() }),
            Strand::Reasoning => (!text.is_empty()).then_some(Event::Reasoning { choice, text }),
            Strand::Call(index) => {
                let head = self.head.take();
                if head.is_none() && text.is_empty() {
                    return None;
                }
                let Head { id, name } = head.unwrap_or_default();
                Some(Event::ToolCall { choice, index, id, name, arguments: text })
            }
        }
    }
}

#[cfg(test)]
mod tests;
