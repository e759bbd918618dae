//! The batches and depths of a benchmark: which of them one loaded model has room for. What has none is told with the
//! bytes that it wants, before a byte of the model is read. Does not load or measure.

use lockgate_engine::bench::Bench;
use lockgate_engine::gguf::Gguf;
use lockgate_engine::model::{CardChoice, KvFormat, LoadOptions, Model};

use crate::args::BenchArgs;
use crate::failure::Failure;

/// One batch at one depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) batch: usize,
    pub(super) depth: usize,
    /// Tokens of the tests; 0 leaves one out.
    pub(super) prefill: usize,
    pub(super) decode: usize,
}

impl Case {
    /// All of them, depth by depth, and then those that were given one by one. How fast a prompt is computed does not
    /// depend on how many come behind it, so that the first case alone has that test.
    pub(super) fn all(args: &BenchArgs) -> Vec<Self> {
        let pairs =
            args.depth.iter().flat_map(|depth| args.batch.iter().map(move |batch| (*depth, batch.get())));
        let pairs = pairs.chain(args.cases.iter().map(|(batch, depth)| (*depth, batch.get())));
        let case = |(number, (depth, batch))| Self {
            batch,
            depth,
            prefill: if number == 0 { args.prefill } else { 0 },
            decode: args.decode,
        };
        pairs.enumerate().map(case).filter(|case| case.prefill + case.decode > 0).collect()
    }

    /// Tokens of each of its sequences in the end.
    fn context(self) -> usize {
        self.depth.saturating_add(self.prefill.max(self.decode))
    }

    /// Blocks of the cache that it takes.
    pub(super) fn blocks(self) -> usize {
        Bench::blocks(self.batch, self.context())
    }
}

/// What a model is loaded for.
pub(super) struct Fitting {
    pub(super) options: LoadOptions,
    /// What it has room for.
    pub(super) cases: Vec<Case>,
    /// What it has no room for, and why.
    pub(super) refused: Vec<(Case, String)>,
}

impl Fitting {
    /// Finds out what fits: the deepest cases give way where a model that is loaded for them does not fit at all, and
    /// then whatever wants more of the cache than there is.
    ///
    /// # Errors
    /// The model cannot be computed there, however much room a card had.
    pub(super) fn find(
        gguf: &Gguf,
        choice: Option<&CardChoice>,
        kv: KvFormat,
        mut cases: Vec<Case>,
    ) -> Result<Self, Failure> {
        let mut refused = Vec::new();
        loop {
            let options = options(kv, &cases);
            match Model::inspect_on(gguf, &options, choice) {
                Ok((_, plan)) => {
                    let room = plan.cache_blocks as usize;
                    let (fitting, others) = cases.into_iter().partition(|case| case.blocks() <= room);
                    let too_large = |case: Case| Ok((case, wanted(gguf, choice, kv, case)?));
                    let others: Vec<Case> = others;
                    let others = others.into_iter().map(too_large).collect::<Result<Vec<_>, Failure>>()?;
                    refused.extend(others);
                    return Ok(Self { options, cases: fitting, refused });
                }
                Err(error) => {
                    let deepest = cases.iter().map(|case| case.context()).max().unwrap_or_default();
                    if choice.is_none() && cases.iter().all(|case| case.context() == deepest) {
                        return Err(error.into());
                    }
                    let (deep, others): (Vec<Case>, Vec<Case>) =
                        cases.into_iter().partition(|case| case.context() == deepest);
                    for case in deep {
                        let problem = match choice {
                            Some(_) => wanted(gguf, choice, kv, case)?,
                            None => error.problem.to_string(),
                        };
                        refused.push((case, problem));
                    }
                    cases = others;
                    if cases.is_empty() {
                        return Ok(Self { options, cases, refused });
                    }
                }
            }
        }
    }
}

/// What a model must be loaded with for all of them.
fn options(kv: KvFormat, cases: &[Case]) -> LoadOptions {
    let most = |of: fn(&Case) -> usize| cases.iter().map(of).max().unwrap_or_default();
    let (context, batch) = (most(|case| case.context()), most(|case| case.batch));
    LoadOptions {
        context: Some(context),
        // As many blocks as the case that takes the most.
        sequences: most(|case| case.blocks()).div_ceil(Bench::blocks(1, context).max(1)),
        step_tokens: LoadOptions::default().step_tokens.max(batch),
        batch,
        kv,
        ..LoadOptions::default()
    }
}

/// The bytes that a case wants and does not get, in words.
fn wanted(gguf: &Gguf, choice: Option<&CardChoice>, kv: KvFormat, case: Case) -> Result<String, Failure> {
    // Planned as if there were no end of memory.
    let endless = choice.map(|choice| CardChoice { free_bytes: u64::MAX, ..choice.clone() });
    let (_, plan) = Model::inspect_on(gguf, &options(kv, &[case]), endless.as_ref())?;
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Ok(match (plan.card, choice) {
        (Some(card), Some(choice)) => format!(
            "wants {} MiB on the card ({} of them for the cache), where {} MiB are free",
            mib(card.total_bytes()),
            mib(card.cache_bytes),
            mib(choice.free_bytes)
        ),
        _ => format!("wants {} MiB", mib(plan.total_bytes())),
    })
}
