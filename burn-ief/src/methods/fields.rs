//! Reading a configuration of which some fields are left out.

use burn::config::Config;
use serde_json::{Map, Value};

/// The fields of a configuration that was written down, not necessarily all of them.
#[derive(serde::Deserialize)]
pub(super) struct Fields {
    method: String,
    #[serde(flatten)]
    given: Map<String, Value>,
}

/// Groups of options, of which single fields may be left out too.
const GROUPS: [&str; 3] = ["solve", "step", "factors"];

impl Fields {
    /// The name of the method.
    pub(super) fn method(&self) -> &str {
        &self.method
    }

    /// These fields over those of a configuration.
    pub(super) fn over<C: Config>(self, defaults: &C) -> Result<C, String> {
        let refuse = |error: serde_json::Error| format!("`{}`: {error}", self.method);
        let mut all = serde_json::to_value(defaults).map_err(refuse)?;
        for (field, value) in &self.given {
            match (value, all.get_mut(field)) {
                (Value::Object(options), Some(Value::Object(group)))
                    if GROUPS.contains(&field.as_str()) =>
                {
                    group.extend(options.clone());
                }
                _ => all[field] = value.clone(),
            }
        }
        let config: C = serde_json::from_value(all).map_err(refuse)?;
        let known = serde_json::to_value(&config).map_err(refuse)?;
        refuse_unknown("", &Value::Object(self.given), &known)?;
        Ok(config)
    }
}

/// Burn's configurations ignore fields that they do not know; a typing error must not pass.
fn refuse_unknown(path: &str, found: &Value, known: &Value) -> Result<(), String> {
    let (Value::Object(found), Value::Object(known)) = (found, known) else {
        return Ok(());
    };
    for (name, value) in found {
        match known.get(name) {
            Some(known) => refuse_unknown(&format!("{path}{name}."), value, known)?,
            None => {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                return Err(format!(
                    "unknown field `{path}{name}`, expected one of `{}`",
                    names.join("`, `")
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::methods::AnyConfig;

    fn read(json: &str) -> Result<AnyConfig, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read_again() {
        for name in AnyConfig::NAMES {
            let config: AnyConfig = name.parse().unwrap();
            let json = serde_json::to_string(&config).unwrap();
            assert_eq!(serde_json::to_string(&read(&json).unwrap()).unwrap(), json);
        }
    }

    #[test]
    fn fields_that_are_left_out_keep_their_defaults() {
        let json = r#"{"method": "sf", "solve": {"damping": {"amount": {"absolute": 0.5}, "on": "gram"}}, "step": {"weight_decay": 0.1}}"#;
        let mut config = read(json).unwrap();
        let defaults = serde_json::to_string(&"sf".parse::<AnyConfig>().unwrap()).unwrap();
        assert_eq!(config.step_mut().weight_decay, 0.1);
        config.step_mut().weight_decay = 0.0;
        let damping = crate::solve::Damping::absolute(0.5).on(crate::solve::DampedMatrix::Gram);
        let solve = config.solve_mut().unwrap();
        assert_eq!(solve.damping, Some(damping));
        solve.damping = None;
        assert_eq!(serde_json::to_string(&config).unwrap(), defaults);
    }

    #[test]
    fn a_field_that_is_not_known_is_refused() {
        let error = read(r#"{"method": "ief", "solve": {"momentun": 0.5}}"#).unwrap_err();
        assert!(
            error.contains(
                "unknown field `solve.momentun`, expected one of `damping`, `trust_region`"
            ),
            "{error}"
        );
        let error = read(r#"{"method": "kfac", "solve": {}}"#).unwrap_err();
        assert!(error.contains("unknown field `solve`"), "{error}");
        let json =
            r#"{"method": "ief", "solve": {"damping": {"amount": {"relative": 1.0}, "at": 1}}}"#;
        assert!(read(json).unwrap_err().contains("`at`"));
        let error = read(r#"{"method": "ief", "step": {"weight_decay": "much"}}"#).unwrap_err();
        assert!(error.contains("`ief`"), "{error}");
        let error = read(r#"{"method": "adam"}"#).unwrap_err();
        assert!(
            error.contains("unknown method: expected one of ief"),
            "{error}"
        );
        assert!(read(r#"{"solve": {}}"#).unwrap_err().contains("method"));
    }
}
