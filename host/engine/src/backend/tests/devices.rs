//! Which device takes a model, and what is said where one cannot: every refusal, by machines that do not exist.

use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use lockgate_emulator::{Emulator, Probe, Recorder, Schedule};
use lockgate_kernels::cuda::cards::{CardInfo, Cards, OpenCard};
use lockgate_kernels::cuda::driver::{Driver, DriverError};
use lockgate_kernels::cuda::memory::Device as Card;
use lockgate_kernels::cuda::planes::PlaneFormat;
use lockgate_kernels::cuda::tuning::EightBitProducts;

use super::*;
use crate::backend::{DeviceError, LoadError, Loss};
use crate::model::{GpuLayers, LoadProblem};

/// A machine with some cards, the first of which can be opened.
struct Machine {
    cards: Result<Vec<CardInfo>, DriverError>,
    probe: Arc<Probe>,
    free_bytes: u64,
    loss: Loss,
    products: EightBitProducts,
}

impl Cards for Machine {
    fn list(&self) -> Result<Vec<CardInfo>, DriverError> {
        self.cards.clone()
    }

    fn open(&self, number: usize, _: Option<&Path>) -> Result<OpenCard, DriverError> {
        let cards = self.list()?;
        let missing = || DriverError::Unavailable(format!("there is no card {number}"));
        let info = cards.get(number).ok_or_else(missing)?.clone();
        info.check()?;
        let device = Card::new(self.probe.clone()).with_eight_bit_products(self.products.clone());
        Ok(OpenCard { info, device, free_bytes: self.free_bytes })
    }
}

fn card() -> CardInfo {
    CardInfo {
        name: "a card".to_owned(),
        capability: (9, 0),
        driver_version: 13_000,
        memory_bytes: 1 << 30,
        multiprocessors: 4,
    }
}

impl Machine {
    /// One whose card computes.
    fn good() -> Self {
        Self::of(Ok(vec![card()]), Arc::new(Emulator::new(Schedule::InOrder)))
    }

    /// One whose card must not be used.
    fn with(cards: Result<Vec<CardInfo>, DriverError>) -> Self {
        Self::of(cards, Arc::new(Recorder::new()))
    }

    fn of(cards: Result<Vec<CardInfo>, DriverError>, driver: Arc<dyn Driver>) -> Self {
        let (loss, products) = (Loss::default(), EightBitProducts::default());
        Self { cards, probe: Arc::new(Probe::new(driver)), free_bytes: 1 << 30, loss, products }
    }

    fn load(&self, gguf: &Arc<Gguf>, device: Device) -> Result<LocalModel, LoadError> {
        self.load_layers(gguf, device, GpuLayers::Auto)
    }

    fn load_layers(
        &self,
        gguf: &Arc<Gguf>,
        device: Device,
        gpu_layers: GpuLayers,
    ) -> Result<LocalModel, LoadError> {
        let few = std::num::NonZeroUsize::new(2).expect("two");
        let many = std::num::NonZeroUsize::new(16).expect("sixteen");
        let options = ModelOptions {
            device,
            gpu_layers,
            context_tokens: std::num::NonZeroUsize::new(64),
            running_max: few,
            step_tokens_max: many,
            loss: self.loss.clone(),
            ..options()
        };
        LocalModel::from_gguf_with(gguf, &options, self, &|_| {})
    }

    /// Loads with the choice left open, sees that the processor takes the model and the card is left alone, and
    /// returns what is said to one who insists on the card.
    fn refusal(&self, gguf: &Arc<Gguf>) -> String {
        let model = self.load(gguf, Device::Auto).expect("the processor takes it");
        assert_eq!(answer(&model, "hello", greedy(3)), answer(&load(gguf, &options()), "hello", greedy(3)));
        assert_eq!(self.probe.counts().launches, 0);
        let error = self.load(gguf, Device::Cuda(0)).expect_err("the card cannot");
        if let LoadError::Device(DeviceError { device, .. }) = &error {
            assert_eq!(*device, Device::Cuda(0));
            assert!(error.to_string().contains("device cuda:0: "), "{error}");
            assert!(error.to_string().contains("device = \"auto\" or \"cpu\""), "{error}");
        }
        error.to_string()
    }
}

/// A model that has kernels on a card.
fn wide() -> Arc<Gguf> {
    let shape = Shape { head_dim: 64, context: 512, ..SHAPE };
    Arc::new(random_model(&shape, Mix::pure(TensorType::Q8_0), 7, &metadata()).expect("a valid shape"))
}

#[test]
fn without_a_card_of_use_the_processor_computes() {
    let gguf = wide();
    let no_driver = || DriverError::Unavailable("libcuda.so.1 is not on this machine".to_owned());
    let old_driver = CardInfo { driver_version: 12_040, ..card() };
    let old_card = CardInfo { capability: (7, 5), ..card() };
    for (cards, said) in [
        (Err(no_driver()), "libcuda.so.1 is not on this machine"),
        (Ok(vec![]), "there is no card 0"),
        (Ok(vec![old_driver]), "supports CUDA 12.4; the kernels need 13.0"),
        (Ok(vec![old_card]), "has compute capability 7.5; the kernels need 8.0"),
    ] {
        let error = Machine::with(cards).refusal(&gguf);
        assert!(error.contains(said), "{error}");
    }
    // The processor is asked for: nobody looks for cards.
    let model = Machine::with(Err(no_driver())).load(&gguf, Device::Cpu).expect("no card is needed");
    assert!(!answer(&model, "hello", greedy(3)).is_empty());
}

#[test]
fn a_card_without_room_or_kernels_is_passed_over() {
    let small = Machine { free_bytes: 1 << 20, ..Machine::with(Ok(vec![card()])) };
    let error = small.refusal(&wide());
    assert!(
        error.contains("layers need") && error.contains("free") && error.contains("gpu_layers"),
        "{error}"
    );
    // Heads of 32.
    let error = Machine::with(Ok(vec![card()])).refusal(&gguf(TensorType::Q8_0, 512));
    assert!(error.contains("heads of 32 on a card"), "{error}");
    // It has room when it is asked, and none when it is loaded.
    let failing = Machine::with(Ok(vec![card()]));
    failing.probe.lose_after(0);
    let error = failing.refusal(&wide());
    assert!(error.contains("the device was lost"), "{error}");
}

/// Whichever kernel of a model is broken, the card is found out before it has any of the model.
#[test]
fn a_card_that_computes_something_else_is_not_trusted() {
    let gguf = wide();
    let good = Machine::good();
    good.load(&gguf, Device::Cuda(0)).expect("it computes");
    let kernels = good.probe.kernels();
    for kernel in ["adjust_logits", "sample", "restore_logits", "log_probability", "remember"] {
        assert!(kernels.contains(&kernel), "{kernels:?}");
    }
    let expected = answer(&load(&gguf, &options()), "hello", greedy(3));
    for kernel in kernels {
        let machine = Machine::good();
        machine.probe.break_kernel(kernel);
        let Err(error) = machine.load(&gguf, Device::Cuda(0)) else { panic!("{kernel} was not missed") };
        let error = error.to_string();
        assert!(error.contains("device cuda:0: ") && error.contains("trial of "), "{kernel}: {error}");
        assert!(error.contains("something else than the processor"), "{kernel}: {error}");
        let model = machine.load(&gguf, Device::Auto).expect("the processor takes it");
        assert_eq!(answer(&model, "hello", greedy(3)), expected, "{kernel}");
    }
}

/// Which kernel multiplies many rows is the card's choice: the one that it takes is tried.
#[test]
fn products_in_eight_bits_are_tried_where_they_are_used() {
    let gguf = wide();
    let machine = || Machine { products: EightBitProducts::of(&PlaneFormat::ALL), ..Machine::good() };
    let good = machine();
    good.load(&gguf, Device::Cuda(0)).expect("it computes");
    assert!(
        good.probe.kernels().contains(&"gemm_planes_s8") && !good.probe.kernels().contains(&"gemm_planes")
    );
    let broken = machine();
    broken.probe.break_kernel("gemm_planes_s8");
    let error = broken.load(&gguf, Device::Cuda(0)).expect_err("it is missed").to_string();
    assert!(error.contains("something else than the processor"), "{error}");
}

/// Nor is the vendor's library trusted before it has multiplied.
#[test]
fn a_library_that_multiplies_wrongly_is_found_out() {
    let shape = Shape { head_dim: 64, context: 512, ..SHAPE };
    let gguf = random_model(&shape, Mix::pure(TensorType::BF16), 7, &metadata()).expect("a valid shape");
    let gguf = Arc::new(gguf);
    let machine = || {
        let emulator = Emulator::new(Schedule::InOrder).with_library();
        Machine::of(Ok(vec![card()]), Arc::new(emulator))
    };
    let good = machine();
    good.load(&gguf, Device::Cuda(0)).expect("it computes");
    assert!(good.probe.kernels().contains(&"multiply"));
    let broken = machine();
    broken.probe.break_kernel("multiply");
    let error = broken.load(&gguf, Device::Cuda(0)).expect_err("it is missed").to_string();
    assert!(error.contains("something else than the processor"), "{error}");
}

#[test]
fn the_first_card_of_use_computes_what_the_operator_gives_it() {
    let gguf = wide();
    let machine = Machine::good();
    let old = CardInfo { capability: (7, 0), ..card() };
    for (cards, device, layers) in [
        (vec![card()], Device::Cuda(0), GpuLayers::Auto),
        (vec![old.clone(), card()], Device::Auto, GpuLayers::Count(1)),
    ] {
        let machine = Machine {
            cards: Ok(cards),
            probe: machine.probe.clone(),
            loss: Loss::default(),
            products: EightBitProducts::default(),
            ..machine
        };
        let before = machine.probe.counts().launches;
        let model = machine.load_layers(&gguf, device, layers).expect("it fits");
        assert_eq!(answer(&model, "hello", greedy(3)).chars().count(), 3);
        assert!(machine.probe.counts().launches > before);
    }
    let machine = Machine { cards: Ok(vec![card(), old]), probe: machine.probe.clone(), ..machine };
    let error = machine.load(&gguf, Device::Cuda(1)).expect_err("it is old").to_string();
    assert!(error.contains("device cuda:1") && error.contains("7.0"), "{error}");
    let error = machine.load(&gguf, Device::Cuda(2)).expect_err("there are two").to_string();
    assert!(error.contains("there is no card 2"), "{error}");
    assert!(matches!(
        Machine { free_bytes: 0, ..machine }.load(&gguf, Device::Cuda(0)),
        Err(LoadError::Model(error)) if matches!(error.problem, LoadProblem::CardMemory { .. })
    ));
}

#[test]
fn a_card_that_is_lost_fails_what_ran_and_the_processor_goes_on() {
    let gguf = wide();
    let expected = answer(&load(&gguf, &options()), "hello", greedy(8));
    for device in [Device::Auto, Device::Cuda(0)] {
        let machine = Machine::good();
        let model = machine.load(&gguf, device).expect("it fits");
        assert_eq!(answer(&model, "hello", greedy(2)).chars().count(), 2);
        machine.probe.lose_after(30);
        let error = ask(&model, request("hello", greedy(8))).expect_err("the card is gone").to_string();
        assert!(error.contains("the card failed") && error.contains("the device was lost"), "{error}");
        // The owner of the process hears of it where there is nothing to go on with.
        let told = Pin::new(&mut machine.loss.clone()).poll(&mut Context::from_waker(Waker::noop()));
        match device {
            Device::Auto => assert_eq!(told, Poll::Pending),
            _ => assert!(matches!(told, Poll::Ready(line) if line.contains("the card is lost (")), "told"),
        }
        let launches = machine.probe.counts().launches;
        let next = ask(&model, request("hello", greedy(8)));
        match device {
            Device::Auto => assert_eq!(next.expect("the processor answers").text, expected),
            _ => {
                let error = next.expect_err("nothing else was allowed").to_string();
                assert!(error.contains("the card is lost") && error.contains("auto"), "{error}");
            }
        }
        assert_eq!(machine.probe.counts().launches, launches);
    }
}
