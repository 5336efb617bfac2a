//! In what two runs differ.

use std::collections::BTreeSet;

use programs::printing::short;
use serde_json::{Map, Value};

use crate::config::Config;

/// Settings in which two runs differ, apart from where they are kept and what they are called.
pub(super) fn differences(before: &Config, now: &Config) -> Vec<String> {
    let value = |config: &Config| {
        let mut value = serde_json::to_value(config).unwrap_or_default();
        if let Some(fields) = value.as_object_mut() {
            fields.remove("out");
            fields.remove("name");
            if let Some(Value::Object(training)) = fields.get_mut("training") {
                training.remove("keep_checkpoints");
            }
        }
        value
    };
    let mut found = Vec::new();
    compare("", &value(before), &value(now), &mut found);
    found
}

fn compare(path: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    let (Value::Object(a), Value::Object(b)) = (before, now) else {
        if before != now {
            let [before, now] = [before, now].map(|value| short(&value.to_string()));
            found.push(format!("{path} was {before} and is {now}"));
        }
        return;
    };
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for key in keys {
        let path = match path {
            "" => key.clone(),
            _ => format!("{path}.{key}"),
        };
        let side = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
        compare(&path, &side(a), &side(b), found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named() {
        let before = Config::default();
        let mut now = before.clone();
        now.out = "elsewhere".into();
        assert!(differences(&before, &now).is_empty());
        now.training.batch = 7;
        now.data.train_rows = Some(3);
        let found = differences(&before, &now);
        assert_eq!(
            found,
            [
                "data.train_rows was null and is 3",
                "training.batch was 32 and is 7"
            ]
        );
    }
}
