//! Whether a card chooses the tokens that the sampler does, from the same logits.

use lockgate_kernels::cuda::driver::DriverError;
use lockgate_kernels::cuda::memory::Device;
use lockgate_kernels::cuda::sample::Draws;

use crate::processor::cuda::{choice, draw};
use crate::sampler::{Choice, NoLogit, Parameters, Sampler, Scratch};

/// Logits of a row: several for each thread, and no whole number of them.
const LOGITS: usize = 3001;
/// Those that count.
const TOKENS: usize = 2990;
/// Room for biases and tokens that were seen.
const ADJUSTMENTS: usize = 512;
/// How far a log-probability may be from the sampler's: both are rounded once, to single precision.
const LOGARITHM_DISTANCE_MAX: f32 = 1e-4;

/// Has the card choose by every rule that it knows.
///
/// # Errors
/// It fails, or chooses something else than the sampler.
pub(super) fn try_card(device: &Device) -> Result<(), DriverError> {
    let failed = |problem: String| DriverError::failed("trial of choices", problem);
    let mut samplers: Vec<Sampler> = rules().into_iter().map(sampler).collect();
    let logits: Vec<f32> = (0..samplers.len() * LOGITS).map(logit).collect();
    let mut there = device.upload(&logits)?;
    let mut draws = Draws::new(device, samplers.len(), ADJUSTMENTS)?;
    let mut scratch = Scratch::default();
    // The second time by what it remembers of the first.
    for _ in 0..2 {
        draws.clear();
        for (row, sampler) in samplers.iter().enumerate() {
            if !draws.add(&draw(row, &sampler.rules(TOKENS, true))) {
                return Err(failed(format!("there is no room for row {row}")));
            }
        }
        draws.upload()?;
        draws.draw(device, &mut there, LOGITS, None)?;
        let found: Vec<Result<Choice, NoLogit>> = draws.read()?.map(choice).collect();
        let rows = samplers.iter_mut().zip(logits.chunks_exact(LOGITS)).zip(found);
        for (row, ((sampler, logits), found)) in rows.enumerate() {
            let expected = sampler.rules(TOKENS, true).choose(logits, &mut scratch);
            if !alike(found, expected) {
                let problem = "the card computes something else than the processor";
                return Err(failed(format!("{problem}: from row {row} {found:?}, not {expected:?}")));
            }
            if let Ok(Choice { token, .. }) = expected {
                sampler.take(token);
            }
        }
    }
    Ok(())
}

fn alike(found: Result<Choice, NoLogit>, expected: Result<Choice, NoLogit>) -> bool {
    let (Ok(found), Ok(expected)) = (found, expected) else { return false };
    let logarithms = found.log_probability.zip(expected.log_probability);
    // NaN is not near.
    let near = |(found, expected): (f32, f32)| (found - expected).abs() <= LOGARITHM_DISTANCE_MAX;
    found.token == expected.token && logarithms.is_some_and(near)
}

/// A number between -8 and 8 that looks random and is the same each time.
fn logit(place: usize) -> f32 {
    let bits = (place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((bits >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 16.0
}

/// The likeliest token; draws from all, from the first of them in each way, and from what biases and penalties make of them.
fn rules() -> [Parameters; 8] {
    let greedy = Parameters::likeliest(TOKENS);
    let drawn = Parameters { temperature: 0.9, seed: 5, ..greedy.clone() };
    [
        greedy.clone(),
        drawn.clone(),
        Parameters { top_k: 40, ..drawn.clone() },
        Parameters { top_p: 0.7, ..drawn.clone() },
        Parameters { top_k: 200, top_p: 0.9, min_p: 0.3, temperature: 1.6, ..drawn.clone() },
        // Another token each time.
        Parameters { frequency_penalty: 2.0, presence_penalty: 2.0, ..greedy.clone() },
        Parameters { logit_bias: vec![(1234, 60.0)], repetition_penalty: 1.2, ..greedy },
        Parameters { presence_penalty: 1.0, frequency_penalty: -2.0, ..drawn },
    ]
}

/// A sampler that has chosen some tokens, one of them often.
fn sampler(parameters: Parameters) -> Sampler {
    let mut sampler = Sampler::new(parameters, 0, &[17, 1234]);
    [700, 1234, 700, 700, 700, 700, 700, 700].into_iter().for_each(|token| sampler.take(token));
    sampler
}
