//! Layers over images, signals and volumes.

use burn::nn::activation::{PRelu, PReluConfig};
use burn::nn::conv::{
    Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, Conv3d, Conv3dConfig, ConvTranspose1d,
    ConvTranspose1dConfig, ConvTranspose2d, ConvTranspose2dConfig, ConvTranspose3d,
    ConvTranspose3dConfig, DeformConv2dConfig,
};
use burn::nn::{
    BatchNorm, BatchNormConfig, GroupNorm, GroupNormConfig, InstanceNorm, InstanceNormConfig,
    PaddingConfig1d, PaddingConfig2d, PaddingConfig3d,
};
use burn::tensor::Device;
use burn_ief::nn::{DeformConvInput, ForwardRecorded, freeze_statistics};

use super::Size;
use super::entry::{Entry, half_square, normal};

/// Convolutions keep the size of their input or double it; kernels have 3 (4 for doubling) entries per axis.
pub fn entries(size: Size, device: &Device) -> Vec<Entry> {
    let m = size.batch;
    let (c, o) = (size.of(32), size.of(64));
    let (line, side, edge) = (size.of(256), size.of(32).max(4), size.of(16).max(4));
    let image = [m, c, side, side];
    // Volumes have fewer channels.
    let (v, w) = (size.of(16), size.of(32));
    let mut entries = vec![
        Entry::of_tensor(
            "Conv1d",
            [m, c, line],
            Conv1dConfig::new(c, o, 3)
                .with_padding(PaddingConfig1d::Same)
                .init(device),
            device,
            Conv1d::forward,
        ),
        Entry::of_tensor(
            "Conv2d",
            image,
            Conv2dConfig::new([c, o], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device),
            device,
            Conv2d::forward,
        ),
        Entry::of_tensor(
            "Conv3d",
            [m, v, edge, edge, edge],
            Conv3dConfig::new([v, w], [3, 3, 3])
                .with_padding(PaddingConfig3d::Same)
                .init(device),
            device,
            Conv3d::forward,
        ),
        Entry::of_tensor(
            "ConvTranspose1d",
            [m, o, line / 2],
            ConvTranspose1dConfig::new([o, c], 4)
                .with_stride(2)
                .with_padding(1)
                .init(device),
            device,
            ConvTranspose1d::forward,
        ),
        Entry::of_tensor(
            "ConvTranspose2d",
            [m, o, side / 2, side / 2],
            ConvTranspose2dConfig::new([o, c], [4, 4])
                .with_stride([2, 2])
                .with_padding([1, 1])
                .init(device),
            device,
            ConvTranspose2d::forward,
        ),
        Entry::of_tensor(
            "ConvTranspose3d",
            [m, w, edge / 2, edge / 2, edge / 2],
            ConvTranspose3dConfig::new([w, v], [4, 4, 4])
                .with_stride([2, 2, 2])
                .with_padding([1, 1, 1])
                .init(device),
            device,
            ConvTranspose3d::forward,
        ),
    ];
    entries.push(deformable([m, v, edge, edge], w, device));
    entries.extend([
        Entry::of_tensor(
            "GroupNorm",
            image,
            GroupNormConfig::new(c.min(8), c).init(device),
            device,
            GroupNorm::forward,
        ),
        Entry::of_tensor(
            "InstanceNorm",
            image,
            InstanceNormConfig::new(c).init(device),
            device,
            InstanceNorm::forward,
        ),
        Entry::of_tensor(
            "BatchNorm",
            image,
            freeze_statistics(BatchNormConfig::new(c).init(device)),
            device,
            BatchNorm::forward,
        ),
        Entry::of_tensor(
            "PRelu",
            image,
            PReluConfig::new().with_num_parameters(c).init(device),
            device,
            PRelu::forward,
        ),
    ]);
    entries
}

/// Offsets within half a pixel, which have gradients, and no mask.
fn deformable(image: [usize; 4], outputs: usize, device: &Device) -> Entry {
    let [m, channels, rows, columns] = image;
    let conv = DeformConv2dConfig::new([channels, outputs], [3, 3])
        .with_padding(PaddingConfig2d::Same)
        .init(device);
    let x = normal(image, device).require_grad();
    let offset = normal([m, 18, rows, columns], device).clamp(-0.5, 0.5);
    let offset = offset.detach().require_grad();
    Entry::new(
        "DeformConv2d",
        image.to_vec(),
        conv,
        device,
        move |conv, recorded| {
            let (x, offset) = (x.clone(), offset.clone());
            half_square(if recorded {
                conv.forward_recorded(DeformConvInput::new(x, offset))
            } else {
                conv.forward(x, offset, None)
            })
        },
    )
}
