"""MONAI's sliding window over the same architecture in torch, from an image store to a store of probabilities."""

import time
from contextlib import nullcontext

import numpy as np
import torch
import zarr
from monai.inferers import sliding_window_inference
from monai.networks.nets import FlexibleUNet
from tasks import CORES, answer


def build(dtype):
    """Unet/resnet18 as segmentation-models has it: decoder of 256 to 16 filters, no convolution before the skips."""
    torch.manual_seed(0)
    network = FlexibleUNet(
        1, 3, "resnet18", decoder_channels=(256, 128, 64, 32, 16), spatial_dims=2, pretrained=False, pre_conv=None
    )
    return network.eval().to(memory_format=torch.channels_last, dtype=dtype)


def run(image, output, window, roi, batch, precision, mode="constant"):
    """Predict level 0 of `image` in windows of `roi` pixels, after a warm-up: {"seconds"} from store to store.

    Args:
        window: contrast limits (low, high), which become 0 and 1.
        precision: float32, autocast (MONAI's way to bfloat16) or bfloat16 (the weights too).
    """
    torch.set_num_threads(CORES)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    network = build(dtype)

    def forward(tiles):
        return network(tiles.to(dtype=dtype, memory_format=torch.channels_last)).softmax(1)

    autocast = torch.autocast("cpu", torch.bfloat16) if precision == "autocast" else nullcontext()
    with torch.inference_mode(), autocast:
        forward(torch.zeros(batch, 1, roi, roi))
        started = time.monotonic()
        pixels = torch.from_numpy(zarr.open_array(f"{image}/0", mode="r")[0, 0, 0].astype(np.float32))
        pixels = ((pixels - window[0]) / (window[1] - window[0])).clamp_(-1, 3)[None, None]
        found = sliding_window_inference(pixels, roi, batch, forward, overlap=0.25, mode=mode)[0]
        probabilities = (found * 255).round_().to(torch.uint8).numpy()
        made = zarr.create_array(output, shape=probabilities.shape, chunks=(1, 512, 512), dtype="u1", overwrite=True)
        made[:] = probabilities
    return {"seconds": time.monotonic() - started}


if __name__ == "__main__":
    answer(run)
