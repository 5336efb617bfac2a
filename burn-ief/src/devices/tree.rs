//! How values go from one device to many.

/// The sends of a value from the first of `count` places to all others, in their order. Each place that has the
/// value sends it on, so that the first sends it ⌈log₂ `count`⌉ times and not `count` − 1 times.
pub(super) fn sends(count: usize) -> Vec<(usize, usize)> {
    let mut sends = Vec::with_capacity(count.saturating_sub(1));
    let mut have = 1;
    while have < count {
        // In a round every place that has the value sends it to one that does not.
        let new = have.min(count - have);
        sends.extend((0..new).map(|place| (place, have + place)));
        have += new;
    }
    sends
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_get_the_value_once_from_a_place_that_has_it(count in 0..200usize) {
            let mut have = vec![false; count];
            if let Some(first) = have.first_mut() {
                *first = true;
            }
            for (from, to) in sends(count) {
                prop_assert!(have[from] && !have[to]);
                have[to] = true;
            }
            prop_assert!(have.iter().all(|&has| has));
            let rounds = count.max(1).next_power_of_two().trailing_zeros() as usize;
            for place in 0..count {
                let own = sends(count).iter().filter(|(from, _)| *from == place).count();
                prop_assert!(own <= rounds);
                prop_assert!(place > 0 || own == rounds);
            }
        }
    }
}
