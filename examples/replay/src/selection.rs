//! Which results are asked for, and which there are.

use crate::case::Case;
use crate::error::Error;
use crate::kind::Kind;

/// The results that `--only` asks for; all by default.
///
/// ```
/// use replay::Selection;
///
/// let selection = Selection::parse("gram,ef")?;
/// assert!(selection.wants("gram_sampled") && selection.wants("ef.lam_1e-3.fc1.weight"));
/// assert!(!selection.wants("ief.lam_1e-3.fc1.weight"));
/// assert!(Selection::parse("gramm").is_err());
/// # Ok::<(), replay::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Selection {
    prefixes: Option<Vec<String>>,
}

/// Names of results, of any kind of case, and how names with endings start.
const EXACT: [&str; 10] = [
    "logits",
    "losses",
    "s",
    "gram",
    "gram_sampled",
    "grad",
    "grad_norms",
    "imbalance",
    "ngd",
    "fisher",
];
const STARTS: [&str; 15] = [
    "grad.",
    "gamma.",
    "fvp.Fv.",
    "ef.lam_",
    "ief.lam_",
    "sf.lam_",
    "ef_jd.lam_",
    "ief_jd.lam_",
    "ngd.lam_",
    "ekfac.lam_",
    "ekfac_bias.lam_",
    "iekfac.lam_",
    "iekfac_bias.lam_",
    "kfac.lam_",
    "kfac_bias.lam_",
];

/// What the command line may say, for messages.
const KNOWN: &str = "logits,losses,s,gram,grad,imbalance,ef,ief,sf,ef_jd,ief_jd,ngd,fisher,gamma,fvp,\
                     ekfac,iekfac,kfac";

impl Selection {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Results whose name starts with one of these prefixes, separated by commas.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownPrefix`] if no result of any kind of case has such a name.
    pub fn parse(prefixes: &str) -> Result<Self, Error> {
        let prefixes: Vec<String> = prefixes
            .split(',')
            .map(|prefix| prefix.trim().to_string())
            .filter(|prefix| !prefix.is_empty())
            .collect();
        let known = |prefix: &str| {
            EXACT.iter().any(|name| name.starts_with(prefix))
                || STARTS
                    .iter()
                    .any(|start| start.starts_with(prefix) || prefix.starts_with(start))
        };
        let unknown = if prefixes.is_empty() {
            Some(String::new())
        } else {
            prefixes.iter().find(|prefix| !known(prefix)).cloned()
        };
        match unknown {
            Some(prefix) => Err(Error::UnknownPrefix {
                prefix,
                known: KNOWN.into(),
            }),
            None => Ok(Self {
                prefixes: Some(prefixes),
            }),
        }
    }

    /// Whether a result of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        match &self.prefixes {
            Some(prefixes) => prefixes.iter().any(|prefix| name.starts_with(prefix)),
            None => true,
        }
    }

    /// Whether any result with one of the case's dampings is asked for: `<rule>.lam_<λ>`.
    pub fn wants_rule(&self, case: &Case, rule: &str) -> bool {
        names_of_rule(case, rule).any(|name| self.wants(&name))
    }

    /// Whether γ of any update is asked for.
    pub fn wants_gamma(&self, case: &Case) -> bool {
        let rules = ["gamma.ef", "gamma.ief", "gamma.sf", "gamma.ngd"];
        ["gamma.sgd", "gamma.ngd"]
            .iter()
            .any(|name| self.wants(name))
            || rules.iter().any(|rule| self.wants_rule(case, rule))
    }

    /// Refuse requests that leave nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NothingAsked`].
    pub fn check(&self, case: &Case) -> Result<(), Error> {
        if names(case).any(|name| self.wants(&name)) {
            Ok(())
        } else {
            Err(Error::NothingAsked {
                network: case.kind.describe(),
            })
        }
    }
}

/// Names of every result of a case.
fn names(case: &Case) -> impl Iterator<Item = String> {
    let mut names: Vec<String> = [
        "logits",
        "losses",
        "s",
        "gram",
        "gram_sampled",
        "grad_norms",
        "imbalance",
        "gamma.sgd",
    ]
    .map(str::to_string)
    .into();
    let rules: &[&str] = match case.kind {
        Kind::LeastSquares | Kind::Logistic => {
            names.extend(["grad", "ngd", "fisher", "gamma.ngd"].map(str::to_string));
            &[
                "ef",
                "ief",
                "sf",
                "ngd",
                "gamma.ef",
                "gamma.ief",
                "gamma.sf",
                "gamma.ngd",
            ]
        }
        Kind::Mlp => &[
            "ef",
            "ief",
            "sf",
            "ef_jd",
            "ief_jd",
            "gamma.ef",
            "gamma.ief",
            "gamma.sf",
            "ekfac",
            "iekfac",
            "kfac",
            "ekfac_bias",
            "iekfac_bias",
            "kfac_bias",
        ],
        Kind::Transformer | Kind::Cnn => &[
            "ef",
            "ief",
            "sf",
            "ef_jd",
            "ief_jd",
            "gamma.ef",
            "gamma.ief",
            "gamma.sf",
        ],
    };
    if !case.kind.is_grid() {
        names.extend(case.order.iter().map(|param| format!("grad.{param}")));
        // Only where the case brings a direction.
        if case.names().any(|name| name.starts_with("fvp.v.")) {
            names.extend(case.order.iter().map(|param| format!("fvp.Fv.{param}")));
        }
    }
    for rule in rules {
        names.extend(names_of_rule(case, rule));
    }
    names.into_iter()
}

/// Names of a rule's results, parameter by parameter where it has such.
fn names_of_rule(case: &Case, rule: &str) -> impl Iterator<Item = String> {
    let per_parameter = ["ef", "ief", "sf"].contains(&rule) && !case.kind.is_grid();
    let layers: Vec<String> = if rule.contains("kfac") {
        let weights = case.order.iter().filter_map(|p| p.strip_suffix(".weight"));
        weights.map(str::to_string).collect()
    } else {
        case.order.clone()
    };
    let split = per_parameter || rule.contains("kfac");
    let names = case.lambdas.iter().flat_map(|lambda| {
        let name = format!("{rule}.lam_{}", lambda.text);
        if split {
            layers.iter().map(|part| format!("{name}.{part}")).collect()
        } else {
            vec![name]
        }
    });
    names.collect::<Vec<_>>().into_iter()
}
