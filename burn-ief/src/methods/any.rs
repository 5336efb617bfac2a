//! All methods in one enum, for programs that choose at run time.

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

            /// With every option of the solve and the norm set, to what the method recommends where they were `None`:
            /// for records that must not change with a later release.
            ///
            /// ```
            /// use burn_ief::methods::AnyConfig;
            ///
            /// let mut config = "ief".parse::<AnyConfig>()?.resolved();
            /// assert_eq!(config.solve_mut().unwrap().momentum, Some(0.9));
            /// # Ok::<(), burn_ief::Error>(())
            /// ```
            pub fn resolved(mut self) -> Self {
                if let Some(recommended) = self.recommended() {
                    if let Some(solve) = self.solve_mut() {
                        solve.fill(&recommended);
                    }
                    let step = self.step_mut();
                    step.normalize = step.normalize.or(recommended.norm);
                }
                self
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
            type Err = crate::error::Error;

            fn from_str(name: &str) -> Result<Self, crate::error::Error> {
                match name {
                    $($name => Ok(Self::$variant($config::new())),)+
                    _ => Err(crate::error::Error::UnknownName {
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
                let fields = fields::Fields::deserialize(deserializer)?;
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

            fn recommended(&self) -> Option<Recommended> {
                match self {
                    $(Self::$variant(config) => config.recommended(),)+
                }
            }

            fn try_build(&self) -> Result<AnyMethod, crate::error::Error> {
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
            ) -> Result<AnyState, crate::error::Error> {
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
            ) -> Result<Option<crate::record::LabelDraw>, crate::error::Error> {
                match self {
                    $(Self::$variant(method) => method.labels_by_sample(step),)+
                }
            }

            fn measure(
                &self,
                batch: crate::jacobian::RecordedBatch,
                state: &AnyState,
                step: u64,
            ) -> Result<AnyShard, crate::error::Error> {
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
            ) -> Result<AnyJoined, crate::error::Error> {
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
            ) -> Result<MethodUpdate<AnyState>, crate::error::Error> {
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
pub(super) fn foreign(expected: &str, found: &str) -> crate::error::Error {
    crate::error::Error::ForeignState {
        state: "state",
        expected: format!("a state of `{expected}`"),
        found: format!("one of `{found}`"),
    }
}
