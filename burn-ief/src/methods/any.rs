//! All methods in one enum, for programs that choose at run time.

use burn::config::Config;
use serde_json::{Map, Value};

/// Access to the options that only some configurations have.
macro_rules! shared_options {
    (solve, solve, $config:expr) => {
        Some(&mut $config.solve)
    };
    (factors, factors, $config:expr) => {
        Some(&mut $config.factors)
    };
    ($wanted:ident, $has:ident, $config:expr) => {{
        let _ = $config;
        None
    }};
}

/// Define the enums over all registered methods.
macro_rules! methods {
    ($($variant:ident($name:literal, $title:literal, $config:ident, $options:ident),)+) => {
        /// The configuration of any method, by name.
        ///
        /// It parses from and prints as the names of the [table](self), and serialises with the name
        /// in the field `method`. Fields that are left out when it is read, at the top or in `solve`,
        /// `step` and `factors`, keep their defaults; a field that the method does not have is
        /// refused.
        ///
        /// ```
        /// use burn_ief::methods::AnyConfig;
        /// use burn_ief::prelude::*;
        ///
        /// let mut config: AnyConfig = "ief".parse()?;
        /// if let Some(solve) = config.solve_mut() {
        ///     solve.momentum = Some(0.5);
        /// }
        /// assert_eq!(config.to_string(), "ief");
        /// assert!(config.try_build().is_ok());
        /// assert!("adam".parse::<AnyConfig>().is_err());
        ///
        /// let read: AnyConfig =
        ///     serde_json::from_str(r#"{"method": "ief", "solve": {"momentum": 0.5}}"#).unwrap();
        /// assert_eq!(serde_json::to_string(&read).unwrap(), serde_json::to_string(&config).unwrap());
        /// # Ok::<(), burn_ief::Error>(())
        /// ```
        #[derive(Debug, Clone, serde::Serialize)]
        #[serde(tag = "method")]
        #[non_exhaustive]
        pub enum AnyConfig {
            $(
                #[doc = concat!("The configuration of ", $title, ".")]
                #[serde(rename = $name)]
                $variant($config),
            )+
        }

        impl AnyConfig {
            /// The names of all methods.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The name of the method, as users type it.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)+
                }
            }

            /// The name of the method in tables and pictures.
            pub fn title(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $title,)+
                }
            }

            /// What happens to the update.
            pub fn step_mut(&mut self) -> &mut StepOptions {
                match self {
                    $(Self::$variant(config) => &mut config.step,)+
                }
            }

            /// How the system is solved; `None` for the K-FAC family.
            pub fn solve_mut(&mut self) -> Option<&mut SolveOptions> {
                match self {
                    $(Self::$variant(config) => any::shared_options!(solve, $options, config),)+
                }
            }

            /// How factors are measured, averaged and inverted; `None` for exact methods.
            pub fn factors_mut(&mut self) -> Option<&mut FactorOptions> {
                match self {
                    $(Self::$variant(config) => any::shared_options!(factors, $options, config),)+
                }
            }
        }

        impl std::str::FromStr for AnyConfig {
            type Err = crate::Error;

            fn from_str(name: &str) -> Result<Self, crate::Error> {
                match name {
                    $($name => Ok(Self::$variant($config::new())),)+
                    _ => Err(crate::Error::UnknownName {
                        what: "method",
                        expected: Self::NAMES.join(", "),
                        found: name.into(),
                    }),
                }
            }
        }

        impl std::fmt::Display for AnyConfig {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for AnyConfig {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let fields = any::Fields::deserialize(deserializer)?;
                let config = match fields.method() {
                    $($name => fields.over(&$config::new()).map(Self::$variant),)+
                    name => {
                        let error = name.parse::<Self>().err();
                        return Err(serde::de::Error::custom(error.expect("an unknown name")));
                    }
                };
                config.map_err(serde::de::Error::custom)
            }
        }

        impl burn::config::Config for AnyConfig {}

        impl MethodConfig for AnyConfig {
            type Method = AnyMethod;

            fn try_build(&self) -> Result<AnyMethod, crate::Error> {
                Ok(match self {
                    $(Self::$variant(config) => AnyMethod::$variant(config.try_build()?),)+
                })
            }
        }

        $(
            impl From<$config> for AnyConfig {
                fn from(config: $config) -> Self {
                    Self::$variant(config)
                }
            }

            impl From<<$config as MethodConfig>::Method> for AnyMethod {
                fn from(method: <$config as MethodConfig>::Method) -> Self {
                    Self::$variant(method)
                }
            }
        )+

        /// Any method, for programs that choose at run time and for
        /// [`NaturalModel`](crate::train::NaturalModel).
        ///
        /// ```
        /// use burn_ief::methods::AnyMethod;
        /// use burn_ief::prelude::*;
        ///
        /// let method: AnyMethod = IefConfig::new().build().into();
        /// assert_eq!(method.name(), "ief");
        /// ```
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub enum AnyMethod {
            $(
                #[doc = concat!($title, ".")]
                $variant(<$config as MethodConfig>::Method),
            )+
        }

        impl AnyMethod {
            /// The name of the method, as users type it.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)+
                }
            }
        }

        /// The state of any method; records save it.
        #[derive(burn::module::Module, Debug)]
        #[non_exhaustive]
        pub enum AnyState {
            $(
                #[doc = concat!("The state of ", $title, ".")]
                $variant(<<$config as MethodConfig>::Method as Method>::State),
            )+
        }

        /// What any method keeps of one shard.
        #[derive(Debug)]
        #[non_exhaustive]
        pub enum AnyShard {
            $(
                #[doc = concat!("A shard of ", $title, ".")]
                $variant(<<$config as MethodConfig>::Method as Method>::Shard),
            )+
        }

        /// What any method makes of all shards of a step.
        #[derive(Debug)]
        #[non_exhaustive]
        pub enum AnyJoined {
            $(
                #[doc = concat!("The shards of ", $title, ".")]
                $variant(<<$config as MethodConfig>::Method as Method>::Joined),
            )+
        }

        impl AnyState {
            fn method(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)+
                }
            }
        }

        impl AnyShard {
            fn method(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)+
                }
            }
        }

        impl AnyJoined {
            fn method(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)+
                }
            }
        }

        impl Method for AnyMethod {
            type State = AnyState;
            type Shard = AnyShard;
            type Joined = AnyJoined;

            fn record_name(&self) -> String {
                self.name().into()
            }

            fn step_options(&self) -> &StepOptions {
                match self {
                    $(Self::$variant(method) => method.step_options(),)+
                }
            }

            fn new_state(&self, params: &[crate::params::ParamInfo]) -> AnyState {
                match self {
                    $(Self::$variant(method) => AnyState::$variant(method.new_state(params)),)+
                }
            }

            fn save_state(&self, state: AnyState) -> burn::store::ModuleRecord {
                match (self, state) {
                    $(
                        (Self::$variant(method), AnyState::$variant(state)) => {
                            method.save_state(state)
                        }
                    )+
                    (_, state) => burn::module::Module::into_record(state),
                }
            }

            fn load_state(
                &self,
                new: AnyState,
                record: burn::store::ModuleRecord,
            ) -> Result<AnyState, crate::Error> {
                match (self, new) {
                    $(
                        (Self::$variant(method), AnyState::$variant(new)) => {
                            method.load_state(new, record).map(AnyState::$variant)
                        }
                    )+
                    (_, new) => Err(any::foreign(self.name(), new.method())),
                }
            }

            fn start_shard(&self, step: u64, first_row: u64) -> crate::record::Tape {
                match self {
                    $(Self::$variant(method) => method.start_shard(step, first_row),)+
                }
            }

            fn shard_samples(&self, shard: &AnyShard) -> usize {
                match (self, shard) {
                    $(
                        (Self::$variant(method), AnyShard::$variant(shard)) => {
                            method.shard_samples(shard)
                        }
                    )+
                    _ => 0,
                }
            }

            fn labels_by_sample(
                &self,
                step: u64,
            ) -> Result<Option<crate::record::LabelDraw>, crate::Error> {
                match self {
                    $(Self::$variant(method) => method.labels_by_sample(step),)+
                }
            }

            fn measure(
                &self,
                batch: crate::jacobian::RecordedBatch,
                state: &AnyState,
                step: u64,
            ) -> Result<AnyShard, crate::Error> {
                match (self, state) {
                    $(
                        (Self::$variant(method), AnyState::$variant(state)) => {
                            method.measure(batch, state, step).map(AnyShard::$variant)
                        }
                    )+
                    _ => Err(any::foreign(self.name(), state.method())),
                }
            }

            fn join(
                &self,
                shards: Vec<AnyShard>,
                how: &Joining,
            ) -> Result<AnyJoined, crate::Error> {
                match self {
                    $(
                        Self::$variant(method) => {
                            let own = shards.into_iter().map(|shard| match shard {
                                AnyShard::$variant(shard) => Ok(shard),
                                other => Err(any::foreign($name, other.method())),
                            });
                            let own = own.collect::<Result<Vec<_>, _>>()?;
                            method.join(own, how).map(AnyJoined::$variant)
                        }
                    )+
                }
            }

            fn update(
                &self,
                state: AnyState,
                joined: AnyJoined,
                step: u64,
            ) -> Result<MethodUpdate<AnyState>, crate::Error> {
                match (self, state, joined) {
                    $(
                        (
                            Self::$variant(method),
                            AnyState::$variant(state),
                            AnyJoined::$variant(joined),
                        ) => {
                            let update = method.update(state, joined, step)?;
                            Ok(update.map_state(AnyState::$variant))
                        }
                    )+
                    (_, state, joined) => {
                        let found = if state.method() == self.name() {
                            joined.method()
                        } else {
                            state.method()
                        };
                        Err(any::foreign(self.name(), found))
                    }
                }
            }
        }
    };
}

pub(super) use {methods, shared_options};

/// The error for a state or a shard of another method.
pub(super) fn foreign(expected: &str, found: &str) -> crate::Error {
    crate::Error::ForeignState {
        state: "state",
        expected: format!("a state of `{expected}`"),
        found: format!("one of `{found}`"),
    }
}

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
        assert_eq!(solve.damping, damping);
        solve.damping = crate::solve::Damping::default();
        assert_eq!(serde_json::to_string(&config).unwrap(), defaults);
    }

    #[test]
    fn a_field_that_is_not_known_is_refused() {
        let error = read(r#"{"method": "ief", "solve": {"momentun": 0.5}}"#).unwrap_err();
        assert!(
            error.contains("unknown field `solve.momentun`, expected one of `trust_region`"),
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
