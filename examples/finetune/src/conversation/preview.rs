//! A sample as text in which a reader sees what is trained.

use super::place::Place;
use super::tokenized::Tokenized;

/// Around what is trained.
const MARKS: [&str; 2] = ["⟦", "⟧"];

/// The text with marks around what is trained, and how many tokens there are.
pub(super) fn preview(sample: &Tokenized, place: &Place, token: &dyn Fn(u32) -> String) -> String {
    let text = &sample.marked.text;
    let kept = &sample.ids[..sample.kept];
    let trained = sample.trained[..sample.kept]
        .iter()
        .filter(|trained| **trained)
        .count();
    let mut shown = format!(
        "{place}: {} tokens, {trained} trained (between {} and {})",
        kept.len(),
        MARKS[0],
        MARKS[1]
    );
    shown.push('\n');
    let (mut at, mut open) = (0, false);
    for ((id, offsets), trained) in kept.iter().zip(&sample.offsets).zip(&sample.trained) {
        let inside = !offsets.is_empty();
        if inside && offsets.start > at {
            // Space that no token has.
            shown += &text[at..offsets.start];
            at = offsets.start;
        }
        if *trained != open {
            shown += MARKS[usize::from(open)];
            open = *trained;
        }
        if !inside {
            shown += &token(*id);
        } else if offsets.end > at {
            shown += &text[at..offsets.end];
            at = offsets.end;
        }
    }
    if open {
        shown += MARKS[1];
    }
    if sample.kept < sample.ids.len() {
        shown += &format!(
            "\n({} more tokens were cut)",
            sample.ids.len() - sample.kept
        );
    }
    shown
}
