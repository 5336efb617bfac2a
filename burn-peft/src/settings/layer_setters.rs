//! Setters of the fields that choose layers, for the configurations that have them.

/// Define the setters of these groups of fields: `target_modules`, `exclude_modules`, `layers`
/// (`layers_to_transform`, `layers_pattern`) and `patterns` (`rank_pattern`, `alpha_pattern`).
macro_rules! layer_setters {
    ($config:ident: $($group:ident),+ $(,)?) => {
        /// Setting which layers are adapted.
        impl $config {
            $($crate::settings::layer_setter!($group);)+
        }
    };
}

macro_rules! layer_setter {
    (target_modules) => {
        /// Set what is adapted.
        pub fn with_target_modules(self, modules: impl Into<$crate::settings::Modules>) -> Self {
            Self {
                target_modules: Some(modules.into()),
                ..self
            }
        }
    };
    (exclude_modules) => {
        /// Set what is not adapted.
        pub fn with_exclude_modules(self, modules: impl Into<$crate::settings::Modules>) -> Self {
            Self {
                exclude_modules: Some(modules.into()),
                ..self
            }
        }
    };
    (layers) => {
        /// Adapt these layers only.
        pub fn with_layers_to_transform(
            self,
            layers: impl Into<$crate::settings::OneOrMany<usize>>,
        ) -> Self {
            Self {
                layers_to_transform: Some(layers.into()),
                ..self
            }
        }

        /// Set the name of the list of layers.
        pub fn with_layers_pattern(self, name: impl Into<String>) -> Self {
            Self {
                layers_pattern: Some($crate::settings::OneOrMany(vec![name.into()])),
                ..self
            }
        }
    };
    (patterns) => {
        /// Set ranks by pattern.
        pub fn with_rank_pattern<K: Into<String>>(
            self,
            ranks: impl IntoIterator<Item = (K, usize)>,
        ) -> Self {
            let ranks = ranks.into_iter();
            Self {
                rank_pattern: ranks.map(|(key, rank)| (key.into(), rank)).collect(),
                ..self
            }
        }

        /// Set alphas by pattern.
        pub fn with_alpha_pattern<K: Into<String>>(
            self,
            alphas: impl IntoIterator<Item = (K, f64)>,
        ) -> Self {
            let alphas = alphas.into_iter();
            Self {
                alpha_pattern: alphas.map(|(key, alpha)| (key.into(), alpha)).collect(),
                ..self
            }
        }
    };
}

pub(crate) use {layer_setter, layer_setters};
