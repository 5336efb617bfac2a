//! Interleaved timings.

use std::time::{Duration, Instant};

use crate::method::Step;

/// Rounds before the clock counts: kernels are compiled, allocations and caches settle.
const WARM_UP: usize = 2;
/// Rounds in which every method takes part, however slow.
const LEAST: usize = 3;

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Timed rounds.
    pub rounds: usize,
    /// Timed total after which a method sits out.
    pub budget: Duration,
}

/// Time the steps in turn, round after round, every other round backwards, so that none always
/// follows the same neighbour.
///
/// Slow ones leave after their budget; the times of the others then come mostly from rounds
/// without them.
pub fn interleave(steps: &mut [Box<dyn Step + '_>], effort: Effort) -> Vec<Vec<Duration>> {
    for _ in 0..WARM_UP {
        steps.iter_mut().for_each(|step| step.step());
    }
    let mut times = vec![Vec::new(); steps.len()];
    let mut order: Vec<usize> = (0..steps.len()).collect();
    for round in 0..effort.rounds.max(LEAST) {
        for &at in &order {
            let spent: Duration = times[at].iter().sum();
            if round >= LEAST && (spent > effort.budget || round >= effort.rounds) {
                continue;
            }
            let clock = Instant::now();
            steps[at].step();
            times[at].push(clock.elapsed());
        }
        order.reverse();
    }
    times
}

/// The middle of the values, or the mean of the two in the middle; `None` if there are none.
pub fn median(times: &[Duration]) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn ms(times: &[u64]) -> Vec<Duration> {
        times.iter().map(|&t| Duration::from_millis(t)).collect()
    }

    #[test]
    fn the_median_does_not_need_order() {
        assert_eq!(median(&ms(&[9, 1, 5])), Some(Duration::from_millis(5)));
        assert_eq!(median(&ms(&[8, 1, 2, 4])), Some(Duration::from_millis(3)));
        assert_eq!(median(&[]), None);
    }

    struct Logged(Rc<RefCell<String>>, char, Duration);

    impl Step for Logged {
        fn step(&mut self) {
            self.0.borrow_mut().push(self.1);
            std::thread::sleep(self.2);
        }
    }

    #[test]
    fn rounds_alternate_and_slow_steps_leave() {
        let log = Rc::new(RefCell::new(String::new()));
        let step = |name, time| -> Box<dyn Step> { Box::new(Logged(log.clone(), name, time)) };
        let slow = Duration::from_millis(20);
        let mut steps = [step('a', Duration::ZERO), step('b', slow)];
        let budget = Duration::from_millis(10);
        let times = interleave(&mut steps, Effort { rounds: 5, budget });
        assert_eq!(
            *log.borrow(),
            ["ab", "ab", "ab", "ba", "ab", "a", "a"].concat()
        );
        assert_eq!((times[0].len(), times[1].len()), (5, 3));
        assert!(times[1].iter().all(|&time| time >= slow));
    }

    #[test]
    fn three_rounds_are_the_least() {
        let log = Rc::new(RefCell::new(String::new()));
        let mut steps: [Box<dyn Step>; 1] = [Box::new(Logged(log, 'a', Duration::ZERO))];
        let effort = Effort {
            rounds: 1,
            budget: Duration::from_secs(1),
        };
        assert_eq!(interleave(&mut steps, effort)[0].len(), 3);
    }
}
