//! Records of optimizers, and configurations as text.

use burn::config::Config;
use burn::module::Module;
use burn::optim::momentum::MomentumConfig;
use burn::store::ModuleRecord;
use burn_ief::Error;
use burn_ief::methods::AnyConfig;
use burn_ief::optim::NaturalRecord;
use burn_ief::prelude::*;

use super::all::all;
use super::device;
use super::two_layers::{Net, batch, linear, weights};

fn train(mut net: Net, optim: &mut NaturalOptimizer, seeds: std::ops::Range<usize>) -> Net {
    for seed in seeds {
        let stepped = optim.step_closure(0.2, net, |net| net.loss(batch(9, seed, &device())));
        net = stepped.unwrap();
    }
    net
}

/// Moments, state and the number of the step (drawn labels) all count.
#[test]
fn a_loop_continues_from_its_record_bit_for_bit() {
    for mut config in all() {
        config.step_mut().momentum = Some(MomentumConfig::new());
        let net = Net::new(3, &device());
        let unbroken = train(net.clone(), &mut config.init(&net), 0..6);

        let mut optim = config.init(&net);
        let half = train(net, &mut optim, 0..3);
        let bytes = optim.to_record().into_bytes().unwrap();
        let model = half.clone().into_record().into_bytes().unwrap();

        let model = ModuleRecord::from_bytes(model).unwrap();
        let restored = Net::new(3, &device()).load_record(model);
        let record = NaturalRecord::from_bytes(&bytes).unwrap();
        let mut optim = config.init(&restored).load_record(record).unwrap();
        assert_eq!(optim.steps(), 3, "{config}");
        let resumed = train(restored, &mut optim, 3..6);
        assert_eq!(weights(&resumed), weights(&unbroken), "{config}");

        let forgetful = train(half.clone(), &mut config.init(&half), 3..6);
        assert_ne!(weights(&forgetful), weights(&unbroken), "{config}");
    }
}

/// Choosing the method when the program is compiled or when it runs makes no difference to records.
#[test]
fn a_record_fits_the_method_chosen_either_way() {
    fn check<C>(config: C)
    where
        C: MethodConfig + InitOptimizer + Into<AnyConfig> + Clone,
    {
        let any: AnyConfig = config.clone().into();
        let net = Net::new(3, &device());
        let mut chosen = any.init(&net);
        let half = train(net, &mut chosen, 0..2);
        let record =
            || NaturalRecord::from_bytes(&chosen.to_record().into_bytes().unwrap()).unwrap();

        let mut typed = config.init(&half).load_record(record()).unwrap();
        let back = any.init(&half).load_record(typed.to_record()).unwrap();
        assert_eq!(back.steps(), 2, "{any}");
        let step = |net: &Net| net.loss(batch(9, 7, &device()));
        let with_typed = typed.step_closure(0.2, half.clone(), step).unwrap();
        let mut back = back;
        let with_any = back.step_closure(0.2, half, step).unwrap();
        assert_eq!(weights(&with_typed), weights(&with_any), "{any}");
    }
    check(IefConfig::new());
    check(EfConfig::new());
    check(SfConfig::new());
    check(NgdConfig::new().with_classes(3));
    check(IekfacConfig::new());
    check(EkfacConfig::new());
    check(KfacConfig::new());
}

#[test]
fn records_that_do_not_fit_are_refused() {
    let net = Net::new(3, &device());
    let mut wide = Net::new(3, &device());
    wide.last = linear(4, 2, 2, &device());
    let refused = |config: &AnyConfig, record: NaturalRecord, what: &str| {
        let error = config.init(&net).load_record(record).err();
        let typed = matches!(error, Some(Error::Record { .. }));
        assert!(typed, "{config}, {what}: {error:?}");
    };
    for (own, config) in all().iter().enumerate() {
        let mut optim = config.init(&net);
        train(net.clone(), &mut optim, 0..1);
        let other = config.init(&wide).to_record();
        refused(config, other, "another model");
        // Another method, or the same one with another metric.
        for (other, foreign) in all().iter().enumerate() {
            if other != own {
                refused(config, foreign.init(&net).to_record(), foreign.name());
            }
        }
        let bytes = optim.to_record().into_bytes().unwrap();
        for bad in [&bytes[..0], &bytes[1..], &bytes[..bytes.len() - 1]] {
            let error = NaturalRecord::from_bytes(bad).err();
            assert!(matches!(error, Some(Error::Record { .. })), "{config}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        let error = NaturalRecord::from_bytes(&longer).err();
        assert!(matches!(error, Some(Error::Record { .. })), "{config}");
    }
}

#[test]
fn configurations_survive_their_text() {
    for mut config in all() {
        config.step_mut().weight_decay = 0.25;
        if let Some(solve) = config.solve_mut() {
            solve.trust_region = Some(TrustRegion::total(0.5));
            solve.damping = Some(Damping::absolute(0.125).on(DampedMatrix::Gram));
        }
        if let Some(factors) = config.factors_mut() {
            factors.kl_clip = Some(0.0);
        }
        let text = serde_json::to_string(&config).unwrap();
        let tag = format!("\"method\":\"{}\"", config.name());
        assert!(text.contains(&tag), "{text}");
        let read: AnyConfig = serde_json::from_str(&text).unwrap();
        assert_eq!(format!("{read:?}"), format!("{config:?}"));
        let named: AnyConfig = config.to_string().parse().unwrap();
        assert_eq!(named.name(), config.name());
        assert_eq!(named.title(), config.title());

        let name = format!("burn-ief-{config}-{}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        config.save(&path).unwrap();
        let loaded = AnyConfig::load(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(format!("{loaded:?}"), format!("{config:?}"));
    }
    match "IEF".parse::<AnyConfig>() {
        Err(Error::UnknownName {
            expected, found, ..
        }) => {
            assert_eq!(found, "IEF");
            assert_eq!(expected, AnyConfig::NAMES.join(", "));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_method_refuses_step_options_that_are_out_of_range() {
    for config in all() {
        let bad: [fn(&mut StepOptions); 3] = [
            |step| step.weight_decay = -1.0,
            |step| step.normalize = Some(f64::NAN),
            |step| step.momentum = Some(MomentumConfig::new().with_momentum(1.0)),
        ];
        for (change, field) in bad.iter().zip(["weight_decay", "normalize", "momentum"]) {
            let mut config = config.clone();
            change(config.step_mut());
            match config.try_build() {
                Err(Error::Config { field: found, .. }) => assert_eq!(found, field, "{config}"),
                other => panic!("{config}, {field}: {other:?}"),
            }
        }
    }
}
