//! The device's random state by epoch: in a process of its own, for the state is the process's.
use burn::data::dataloader::DataLoader;
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::InMemDataset;
use burn::tensor::{Device, Distribution, Tensor};
use burn_ief::train::EpochLoader;

struct Count;

impl Batcher<(), usize> for Count {
    fn batch(&self, items: Vec<()>, _device: &Device) -> usize {
        items.len()
    }
}

fn items() -> InMemDataset<()> {
    InMemDataset::new(vec![(); 8])
}

/// What is drawn after the start of an epoch.
fn draw(loader: &dyn DataLoader<usize>) -> Vec<f32> {
    let count: usize = loader.iter().map(Result::unwrap).sum();
    assert_eq!(count, loader.num_items());
    let drawn = Tensor::<1>::random([4], Distribution::Default, &Device::flex());
    drawn.into_data().try_to_vec().unwrap()
}

#[test]
fn an_epoch_reseeds_the_device_and_a_fixed_order_does_not() {
    for lengths in [None, Some(vec![1; 8])] {
        let loader = |epoch| {
            let loader = EpochLoader::new(Count, items(), 4, 5);
            let loader = match lengths.clone() {
                Some(lengths) => loader.with_lengths(lengths),
                None => loader,
            };
            loader.resume_after(epoch).on_device(Device::flex())
        };
        let unbroken = loader(0);
        let (first, second) = (draw(&unbroken), draw(&unbroken));
        assert_ne!(first, second);
        assert_eq!(draw(&loader(1)), second);
    }
    // Several devices draw different masks, whether they share batches or the data set.
    let loader = || EpochLoader::new(Count, items(), 4, 5).on_device(Device::flex());
    for whole in [loader(), loader().share_batches()] {
        let parts = [(0, 4), (4, 8)].map(|(start, end)| whole.slice(start, end));
        let [first, second] = parts.map(|part| draw(part.as_ref()));
        assert_ne!(first, second);
        // The first draws what one device draws.
        assert_eq!(first, draw(&loader()));
    }
    let fixed = EpochLoader::in_order(Count, items(), 4).on_device(Device::flex());
    assert_ne!(draw(&fixed), draw(&fixed));
}
