//! The device's random state by epoch: in a process of its own, for the state is the process's.

use burn::data::dataloader::DataLoader;
use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Distribution, Tensor};
use finetune::data::{BucketLoader, Length};

#[derive(Clone)]
struct Item;

impl Length for Item {
    fn length(&self) -> usize {
        1
    }
}

struct Count;

impl Batcher<Item, usize> for Count {
    fn batch(&self, items: Vec<Item>, _device: &Device) -> usize {
        items.len()
    }
}

/// What is drawn after the start of an epoch.
fn draw(loader: &BucketLoader<Item, usize>) -> Vec<f32> {
    let count: usize = loader.iter().map(Result::unwrap).sum();
    assert_eq!(count, 8);
    let drawn = Tensor::<1>::random([4], Distribution::Default, &Device::flex());
    drawn.into_data().try_to_vec().unwrap()
}

#[test]
fn an_epoch_reseeds_the_device_and_a_fixed_order_does_not() {
    let loader = |epoch| {
        let loader = BucketLoader::new(Count, vec![Item; 8], 4, 5);
        loader.resume_after(epoch).on_device(Device::flex())
    };
    let unbroken = loader(0);
    let (first, second) = (draw(&unbroken), draw(&unbroken));
    assert_ne!(first, second);
    assert_eq!(draw(&loader(1)), second);

    let fixed = BucketLoader::by_length(Count, vec![Item; 8], 4).on_device(Device::flex());
    assert_ne!(draw(&fixed), draw(&fixed));
}
