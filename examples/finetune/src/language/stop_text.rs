//! Texts that end an answer.

/// Holds back what may be the beginning of a stop text, so that no part of one is given out.
#[derive(Debug, Clone)]
pub(super) struct StopText {
    stops: Vec<String>,
    held: String,
}

/// What a piece of an answer came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// What can be given out.
    pub text: String,
    /// Whether a stop text was found; it and what comes after it are dropped.
    pub stopped: bool,
}

impl StopText {
    /// Empty texts are left out: they would end every answer.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty());
        Self {
            stops: stops.cloned().collect(),
            held: String::new(),
        }
    }

    /// The next piece. Of several stop texts in it the one that begins first counts.
    pub fn push(&mut self, piece: &str) -> Passed {
        self.held += piece;
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop));
        if let Some(start) = found.min() {
            let text = self.held[..start].to_string();
            self.held.clear();
            return Passed {
                text,
                stopped: true,
            };
        }
        let mut starts = self.held.char_indices().map(|(start, _)| start);
        let may_begin = |start: &usize| {
            let rest = &self.held[*start..];
            self.stops.iter().any(|stop| stop.starts_with(rest))
        };
        let keep = starts.find(may_begin).unwrap_or(self.held.len());
        let rest = self.held.split_off(keep);
        Passed {
            text: std::mem::replace(&mut self.held, rest),
            stopped: false,
        }
    }

    /// What was held back, when the answer has ended.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn through(pieces: &[&str], stops: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        let mut filter = StopText::new(&stops);
        let mut all = String::new();
        for piece in pieces {
            let passed = filter.push(piece);
            all += &passed.text;
            if passed.stopped {
                return (all, true);
            }
        }
        (all + &filter.finish(), false)
    }

    #[test]
    fn a_stop_text_over_two_pieces_is_found() {
        let pieces = ["The quick br", "own", " f", "ox jumps"];
        assert_eq!(
            through(&pieces, &["own fox"]),
            ("The quick br".into(), true)
        );
        assert_eq!(
            through(&pieces, &["own foxes"]),
            ("The quick brown fox jumps".into(), false)
        );
        assert_eq!(through(&pieces, &["jumps", "quick"]), ("The ".into(), true));
        assert_eq!(
            through(&pieces, &[""]),
            ("The quick brown fox jumps".into(), false)
        );
    }

    #[test]
    fn a_beginning_is_held_back_and_released() {
        let mut filter = StopText::new(&["</s>".to_string(), "aab".to_string()]);
        assert_eq!(filter.push("x</").text, "x");
        assert_eq!(filter.push("p>").text, "</p>");
        assert_eq!(filter.push("aa").text, "");
        assert_eq!(filter.push("a").text, "a");
        let passed = filter.push("b");
        assert_eq!((passed.text.as_str(), passed.stopped), ("", true));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn pieces_do_not_matter(
            text in "[abé😀]{0,24}",
            stops in prop::collection::vec("[abé😀]{1,3}", 0..3),
            cuts in prop::collection::vec(0usize..24, 0..6),
        ) {
            let letters: Vec<char> = text.chars().collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(letters.len())).collect();
            cuts.extend([0, letters.len()]);
            cuts.sort_unstable();
            let pieces: Vec<String> = cuts.windows(2).map(|cut| letters[cut[0]..cut[1]].iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (found, stopped) = through(&pieces, &stops);
            // By letters, the stop text that is complete first ends the answer.
            let mut expected = (text.clone(), false);
            for end in text.char_indices().map(|(start, letter)| start + letter.len_utf8()) {
                let starts = stops.iter().filter_map(|stop| text[..end].find(stop));
                if let Some(start) = starts.min() {
                    expected = (text[..start].to_string(), true);
                    break;
                }
            }
            prop_assert_eq!(stopped, expected.1);
            // A larger piece may hold a second stop text that begins earlier.
            prop_assert!(expected.0.starts_with(&found));
            if pieces.iter().all(|piece| piece.chars().count() <= 1) || !stopped {
                prop_assert_eq!(found, expected.0);
            }
        }
    }
}
