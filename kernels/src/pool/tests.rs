use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Tasks, ThreadPool};

fn pool(threads: usize) -> ThreadPool {
    ThreadPool::new(NonZeroUsize::new(threads).expect("at least one thread"))
}

/// How often each thread's body ran in one run.
fn counts(pool: &ThreadPool) -> Vec<usize> {
    let counts: Vec<AtomicUsize> = (0..pool.threads()).map(|_| AtomicUsize::new(0)).collect();
    pool.run(&|thread| {
        counts[thread].fetch_add(1, Ordering::Relaxed);
    });
    counts.into_iter().map(AtomicUsize::into_inner).collect()
}

#[test]
fn every_thread_runs_the_body_once() {
    for threads in [1, 2, 3, 8] {
        let pool = pool(threads);
        for _ in 0..200 {
            assert_eq!(counts(&pool), vec![1; threads]);
        }
    }
}

#[test]
fn a_parked_pool_wakes_up() {
    let pool = pool(3);
    for _ in 0..5 {
        // Long past the spinning, so that workers are parked; in the body, so that the caller parks as well.
        std::thread::sleep(Duration::from_millis(5));
        let done = AtomicUsize::new(0);
        pool.run(&|thread| {
            if thread != 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 3);
    }
}

#[test]
fn runs_that_begin_or_end_while_a_thread_parks_are_not_lost() {
    // The pauses sweep over the moment at which a waiting thread gives up spinning, on both sides of a run.
    let pool = pool(2);
    let pause = |microseconds: usize| {
        let until = Instant::now() + Duration::from_micros(microseconds as u64);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    };
    let done = AtomicUsize::new(0);
    for microseconds in (40..90).cycle().take(400) {
        pause(microseconds);
        pool.run(&|thread| {
            if thread == 1 {
                pause(microseconds);
            }
            done.fetch_add(1, Ordering::Relaxed);
        });
    }
    assert_eq!(done.into_inner(), 800);
}

#[test]
fn the_caller_is_thread_zero_and_sees_the_writes() {
    let pool = pool(2);
    let caller = std::thread::current().id();
    let mut seen = vec![None; 2];
    let slots = crate::disjoint::DisjointMut::new(&mut seen);
    pool.run(&|thread| {
        // SAFETY: each thread takes its own slot.
        unsafe { slots.part(thread..thread + 1)[0] = Some(std::thread::current().id()) };
    });
    assert_eq!(seen[0], Some(caller));
    assert!(seen[1].is_some_and(|id| id != caller));
}

#[test]
fn a_panic_reaches_the_caller_after_all_are_done_and_the_pool_lives_on() {
    let pool = pool(3);
    for panicking in 0..3 {
        let done = AtomicUsize::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.run(&|thread| {
                if thread == panicking {
                    std::panic::resume_unwind(Box::new(format!("from {thread}")));
                }
                std::thread::sleep(Duration::from_millis(1));
                done.fetch_add(1, Ordering::Relaxed);
            });
        }));
        let payload = result.expect_err("the panic is propagated");
        assert_eq!(payload.downcast_ref::<String>(), Some(&format!("from {panicking}")));
        assert_eq!(done.into_inner(), 2);
        assert_eq!(counts(&pool), vec![1; 3]);
    }
}

#[test]
fn concurrent_callers_take_turns() {
    let pool = pool(2);
    let busy = AtomicUsize::new(0);
    let runs = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    pool.run(&|_| {
                        assert!(busy.fetch_add(1, Ordering::SeqCst) < 2, "two runs at once");
                        runs.fetch_add(1, Ordering::SeqCst);
                        busy.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            });
        }
    });
    assert_eq!(runs.into_inner(), 4 * 50 * 2);
}

#[test]
fn a_nested_run_does_every_part_on_the_spot() {
    let (outer, other) = (pool(2), pool(3));
    let parts = AtomicUsize::new(0);
    outer.run(&|_| {
        outer.run(&|_| {
            parts.fetch_add(1, Ordering::Relaxed);
        });
        other.run(&|_| {
            parts.fetch_add(100, Ordering::Relaxed);
        });
    });
    assert_eq!(parts.into_inner(), 2 * (2 + 300));
}

#[test]
fn each_task_is_done_once() {
    for (threads, tasks) in [(1, 5), (2, 0), (2, 1), (3, 1000)] {
        let pool = pool(threads);
        let done: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        pool.for_each(tasks, &|thread, task| {
            assert!(thread < threads);
            done[task].fetch_add(1, Ordering::Relaxed);
        });
        assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }
}

#[test]
fn an_empty_queue_stays_empty() {
    let tasks = Tasks::new(2);
    assert_eq!((tasks.take(), tasks.take(), tasks.take(), tasks.take()), (Some(0), Some(1), None, None));
}

#[test]
fn runs_of_rows_cover_everything_once() {
    for (threads, rows, width, rows_min) in
        [(1, 7, 3, 1), (2, 100, 3, 1), (2, 100, 1, 64), (3, 1000, 2, 7), (2, 0, 5, 1)]
    {
        let mut out = vec![0; rows * width];
        pool(threads).for_rows(&mut out, width, rows_min, &|first, part| {
            assert!(part.len().is_multiple_of(width));
            for (index, element) in part.iter_mut().enumerate() {
                *element += first * width + index + 1;
            }
        });
        assert!(out.iter().enumerate().all(|(index, &element)| element == index + 1));
    }
}
