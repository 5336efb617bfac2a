//! What changed between versions of PEFT in how a configuration is understood.

/// Which number of a module's name is its layer index.
///
/// In `encoder.block.0.layer.1.SelfAttention.q` it is 1 by the older rule and 0 by the newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LayerRule {
    /// PEFT below 0.20: the last number; a name cannot begin with the pattern.
    Last,
    /// PEFT 0.20: the first number; a name cannot begin with the pattern.
    First,
    /// PEFT from 0.21: the first number; a name may begin with the pattern.
    FirstFromStart,
}

impl LayerRule {
    /// The rule of the version that wrote the configuration, which decided what was adapted. Files
    /// have named their version since 0.18.
    pub(crate) fn of(version: Option<&str>) -> Self {
        match version.and_then(major_minor) {
            None => Self::Last,
            Some(version) if version < (0, 20) => Self::Last,
            Some(version) if version < (0, 21) => Self::First,
            Some(_) => Self::FirstFromStart,
        }
    }

    /// The expression that finds the index, as its group `idx`, in a name that it matches from the
    /// start.
    pub(crate) fn expression(self, pattern: Option<&str>) -> String {
        const ANY: &str = "[^.]*";
        match (self, pattern) {
            (Self::Last, pattern) => format!(r".*\.{}\.(?P<idx>\d+)\.", pattern.unwrap_or(ANY)),
            (Self::FirstFromStart, Some(pattern)) => {
                format!(r"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\.")
            }
            (_, pattern) => format!(r".*?\.{}\.(?P<idx>\d+)\.", pattern.unwrap_or(ANY)),
        }
    }
}

fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_follows_the_version() {
        for (version, rule) in [
            (None, LayerRule::Last),
            (Some("0.18.1"), LayerRule::Last),
            (Some("0.19.2.dev0@abc"), LayerRule::Last),
            (Some("0.20.0"), LayerRule::First),
            (Some("0.21.2"), LayerRule::FirstFromStart),
            (Some("1.0.0"), LayerRule::FirstFromStart),
            (Some("UNKNOWN"), LayerRule::Last),
        ] {
            assert_eq!(LayerRule::of(version), rule, "{version:?}");
        }
    }
}
