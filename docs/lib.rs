//! The code of the README and of the book, as doc tests.
//!
//! `cargo test --workspace` compiles and runs every Rust block of the pages below. The tests in
//! `tests/book` check that no page is missing here, that links lead somewhere, that blocks copied
//! from programs equal the programs, and that tables name what the code has.

macro_rules! pages {
    ($($name:ident: $path:literal,)*) => {
        /// The pages, relative to this package.
        pub const PAGES: &[&str] = &[$($path),*];

        $(
            // Only for doc tests: links between pages are no links between Rust items.
            #[cfg(doctest)]
            #[doc = include_str!($path)]
            mod $name {}
        )*
    };
}

pages! {
    readme: "../README.md",
    adamw: "src/adamw.md",
    adapters: "src/peft/adapters.md",
    batch_norm: "src/batch-norm.md",
    burn_examples: "src/burn-examples.md",
    conversations: "src/conversations.md",
    damping: "src/damping.md",
    devices: "src/devices.md",
    drawn_labels: "src/drawn-labels.md",
    experiments: "src/experiments.md",
    faults: "src/faults.md",
    figures: "src/figures.md",
    finetune: "src/finetune.md",
    fused: "src/fused.md",
    getting_started: "src/getting-started.md",
    glossary: "src/glossary.md",
    introduction: "src/introduction.md",
    kfac: "src/kfac.md",
    language_models: "src/language-models.md",
    layer_rule: "src/layer-rule.md",
    layers: "src/layers.md",
    learners: "src/learners.md",
    load: "src/peft/load.md",
    loss_scales: "src/loss-scales.md",
    mathematics: "src/mathematics.md",
    merging: "src/merging.md",
    methods: "src/methods.md",
    metric: "src/metric.md",
    momentum: "src/momentum.md",
    optimizers_compared: "src/optimizers-compared.md",
    own_model: "src/peft/own-model.md",
    peft_methods: "src/peft/methods.md",
    prompt_tuning: "src/peft/prompt-tuning.md",
    pruning: "src/pruning.md",
    quality: "src/quality.md",
    recording: "src/recording.md",
    recurrent: "src/recurrent.md",
    refused: "src/refused.md",
    save: "src/peft/save.md",
    serving: "src/serving.md",
    several_devices: "src/several-devices.md",
    task_labels: "src/tasks/several-labels.md",
    task_numbers: "src/tasks/numbers.md",
    task_tags: "src/tasks/tags.md",
    update_rule: "src/update-rule.md",
    upstream: "src/upstream.md",
    vocabulary: "src/vocabulary.md",
}
