"""What a step and an embedding should cost on a GPU, by counting. Nothing is measured.

Run as ``python tests/benchmarks/cost_model.py``. Operations are counted by torch's
FlopCounterMode; bytes are those that each layer must read and write when layers are not
fused: convolutions 6 times the size of their output in a step (forward: input and
output; backward: two gradients, input, and the gradient again for the weights), batch
normalisation 8 times, ReLU 5, pooling 4, and additions 6. The time is their sum, at a
part of the peak of an H100 SXM that networks of this kind are known to reach:
operations at 50 % of 989 TFLOP/s (bfloat16, dense), bytes at 80 % of 3.35 TB/s; or the
time to launch the kernels, if that is longer. The last column is what a step must keep
for its backward pass.
"""

import argparse

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sksimclr._networks.encoders import make_encoder
from sksimclr._networks.thin_stem import thin_stem

PEAK_FLOPS, PEAK_BYTES = 0.5 * 989e12, 0.8 * 3.35e12  # per second
PASSES = {nn.Conv2d: 6, nn.BatchNorm2d: 8, nn.ReLU: 5, nn.MaxPool2d: 4}
FORWARD_PASSES = {nn.Conv2d: 2, nn.ReLU: 2, nn.MaxPool2d: 2}  # batch norm is folded
ADDITIONS = 6  # of the eight residual blocks, each as large as the block's output
N_KERNELS = 700  # launched in a step: forward, backward, views, fused Adam
SECONDS_PER_LAUNCH = 5e-6


def kept_values(encoder, image):
    """Return how many values the backward pass of an image needs."""
    kept = {}
    weights = {weight.data_ptr() for weight in encoder.parameters()}

    def keep(tensor):
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, thin_stem(encoder):
        out = encoder.train()(image)
    return sum(kept.values()) / len(out)


def count(name, size):
    """Return operations and values of a forward pass, and operations with backward.

    Values are a list of (type of layer, number of values in its output), and how many
    the backward pass needs.
    """
    encoder = make_encoder(name, n_channels=1, image_size=size, stem="imagenet")
    values = []
    for module in encoder.modules():
        if type(module) in PASSES:
            module.register_forward_hook(
                lambda layer, _, out: values.append((type(layer), out.numel()))
            )
        elif type(module).__name__ in ("BasicBlock", "Bottleneck"):
            module.register_forward_hook(
                lambda layer, _, out: values.append(("add", out.numel()))
            )
    image = torch.zeros(1, 1, size, size)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        encoder.eval()(image)
    seen = list(values)
    with FlopCounterMode(display=False) as step:
        encoder(image).sum().backward()
    kept = kept_values(encoder, torch.zeros(4, 1, size, size))
    return forward.get_total_flops(), step.get_total_flops(), seen, kept


def expected(name, size, batch_size):
    """Return what is expected of an encoder, by the name of the quantity."""
    n_views = 2 * batch_size
    forward, both, values, kept = count(name, size)
    passes = {**PASSES, "add": ADDITIONS}
    n_bytes = 2 * sum(passes[kind] * n for kind, n in values)
    operations = n_views * both / PEAK_FLOPS
    memory = n_views * n_bytes / PEAK_BYTES
    launches = N_KERNELS * SECONDS_PER_LAUNCH
    # float32 on tensor cores (TF32) has half the rate of bfloat16
    passes = {**FORWARD_PASSES, nn.BatchNorm2d: 0, "add": 3}
    n_bytes_forward = 4 * sum(passes[kind] * n for kind, n in values)
    embedding = 2 * forward / PEAK_FLOPS + n_bytes_forward / PEAK_BYTES
    return {
        "gigaflops": both / 1e9,
        "megabytes": n_bytes / 1e6,
        "milliseconds": (1e3 * operations, 1e3 * memory, 1e3 * launches),
        "images_per_second": batch_size / max(operations + memory, launches),
        "embedded_per_second": 1 / embedding,
        "gigabytes": 2 * n_views * kept / 1e9,
    }


def main():
    """Print a row for each encoder and image size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    print(f"H100 SXM, bfloat16 training, float32 embedding, N = {options.batch_size}")
    print(
        "encoder    px  GFLOP/view  MB/view  step: ms for operations, bytes, launches"
        "  images/s  embedding, images/s  GB"
    )
    for name in ("resnet18", "resnet50"):
        for size in (64, 128, 224):
            found = expected(name, size, options.batch_size)
            operations, memory, launches = found["milliseconds"]
            print(
                f"{name:9} {size:4} {found['gigaflops']:11.2f} "
                f"{found['megabytes']:8.1f} {operations:24.2f} {memory:6.2f} "
                f"{launches:9.2f} {found['images_per_second']:9.0f} "
                f"{found['embedded_per_second']:20.0f} {found['gigabytes']:4.1f}"
            )


if __name__ == "__main__":
    main()
