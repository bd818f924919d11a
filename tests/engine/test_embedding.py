import copy
import gc
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from random_network import random_network
from tiny import flat_encoder, tiny_encoder
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models.resnet import BasicBlock

from sksimclr._engine import embedding
from sksimclr._engine.embedding import default_batch_size, embed
from sksimclr._images.images import FileImages, Images, as_images
from sksimclr._images.read_ahead import read_ahead
from sksimclr._networks import folding
from sksimclr._networks.encoders import make_encoder
from sksimclr._networks.first_layer import set_channels
from sksimclr._networks.folding import inference_copy
from sksimclr._networks.readout import AllStages, MeanOverMirrors

CPU = torch.device("cpu")


def trained(network):
    """Give batch normalisation statistics and weights as training leaves them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in network.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.reset_parameters()  # the same in every run
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                nn.init.uniform_(layer.running_mean, -0.5, 0.5)
                nn.init.uniform_(layer.running_var, 0.5, 2.0)
                if layer.affine:
                    nn.init.uniform_(layer.weight, 0.5, 1.5)
                    nn.init.uniform_(layer.bias, -0.2, 0.2)
    return network.eval()


def grey_resnet18():
    """Return a ResNet18 for grey images, without its last layer."""
    network = random_network("resnet18")
    network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    network.fc = nn.Identity()
    return network


def run_plain(network, pixels):
    """Run a network as a few lines of torch would."""
    with torch.no_grad():
        return network.eval()(torch.as_tensor(pixels)).numpy()


def run_copy(network, pixels):
    """Run the copy that `embed` uses."""
    pixels = torch.as_tensor(pixels)
    fast = inference_copy(network, tuple(pixels.shape), CPU)
    with torch.inference_mode():
        return fast(pixels.contiguous(memory_format=torch.channels_last)).numpy()


def assert_close(got, expected):
    """Within 1e-5 of the length of each embedding, and of most of their numbers."""
    lengths = np.linalg.norm(expected, axis=1)
    assert (np.linalg.norm(got - expected, axis=1) <= 1e-5 * lengths).all()
    assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * expected.std())


class Operations(TorchDispatchMode):
    """Count the operations of torch by name."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Note the name."""
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def n_batch_norms(network, pixels):
    """Return how many batch normalisations the copy of a network still runs."""
    fast = inference_copy(network, tuple(pixels.shape), CPU)
    with Operations() as operations, torch.inference_mode():
        fast(pixels)
    return operations.names.count("aten::batch_norm")


# Networks made fast


@pytest.mark.parametrize("can_pack", [False, True])
def test_all_batch_norms_of_resnet18_vanish(can_pack, monkeypatch):
    """All twenty, with and without packed weights; the result is that of the module."""
    monkeypatch.setattr(folding, "_CAN_PACK", can_pack and folding._CAN_PACK)
    network = grey_resnet18()
    pixels = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert_close(run_copy(network, pixels), run_plain(network, pixels))
    assert n_batch_norms(network, pixels) == 0
    with Operations() as operations, torch.inference_mode():
        network(pixels)
    assert operations.names.count("aten::batch_norm") == 20


@pytest.mark.parametrize(
    ("name", "n_left"),
    [
        ("mobilenet_v3_small", 0),
        ("shufflenet_v2_x0_5", 0),
        ("densenet121", 62),  # those that come before their convolution
    ],
)
def test_other_networks_of_torchvision(name, n_left):
    """Depthwise and grouped convolutions, and results that are read more than once."""
    network = random_network(name)
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert_close(run_copy(network, pixels), run_plain(network, pixels))
    assert n_batch_norms(network, pixels) == n_left


@pytest.mark.skipif(not folding._CAN_PACK, reason="not on this processor")
def test_resnet18_is_twenty_convolutions_and_a_mean():
    """ReLU and the sums of blocks run inside them, max pooling is that of oneDNN."""
    network = grey_resnet18()
    pixels = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    fast = inference_copy(network, tuple(pixels.shape), CPU)
    with Operations() as operations, torch.inference_mode():
        fast(pixels)
    names = [name.removesuffix("_").rpartition("::")[2] for name in operations.names]
    assert names.count("_convolution_pointwise_.binary") == 8
    assert names.count("_convolution_pointwise") == 12
    assert not {"relu", "add.Tensor", "max_pool2d_with_indices"}.intersection(names)


def no_change(network):
    """Leave a network as it is."""


def with_other_activation(network):
    """Let the blocks end in something else."""
    for layer in network.modules():
        if hasattr(layer, "relu"):
            layer.relu = nn.ELU()


def with_own_forward(network):
    """Give a block another forward."""
    block = network.layer2[0]
    block.forward = lambda maps: block.downsample(maps)


def with_more_on_the_way(network):
    """Put more into what goes past a block, and into its way."""
    network.layer2[0].downsample.append(nn.Tanh())
    network.layer3[1].downsample = nn.Hardtanh()
    network.layer4[0].bn2 = nn.Identity()


def with_other_pooling(network):
    """Pool with indices in mind, or at edges."""
    network.maxpool = nn.MaxPool2d(3, 2, 1, dilation=1, ceil_mode=True)


def with_small_pooling(network):
    """Pool without padding."""
    network.maxpool = nn.MaxPool2d(2)
    network.relu.inplace = False


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "squeezenet1_1"])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_blocks_of_networks_are_the_same(name, n_channels):
    """Of two kinds, and a network without blocks."""
    network = set_channels(random_network(name), n_channels)
    pixels = torch.rand(
        2, n_channels, 37, 37, generator=torch.Generator().manual_seed(0)
    )
    assert_close(run_copy(network, pixels), run_plain(network, pixels))


@pytest.mark.parametrize(
    "change",
    [
        no_change,
        with_other_activation,
        with_own_forward,
        with_more_on_the_way,
        with_other_pooling,
        with_small_pooling,
    ],
)
@pytest.mark.parametrize("can_pack", [False, True])
def test_blocks_that_were_changed_are_the_same(change, can_pack, monkeypatch):
    """What is not as torchvision makes it is not fused."""
    monkeypatch.setattr(folding, "_CAN_PACK", can_pack and folding._CAN_PACK)
    network = grey_resnet18()
    change(network)
    pixels = torch.rand(2, 1, 45, 45, generator=torch.Generator().manual_seed(0))
    assert_close(run_copy(network, pixels), run_plain(network, pixels))


class AroundBlock(nn.Module):
    """A block of a ResNet, which a function puts to use."""

    def __init__(self, use):
        super().__init__()
        self.pool, self.block = nn.MaxPool2d(2), BasicBlock(4, 4)
        self.use = use

    def forward(self, images):
        """Return rows of numbers."""
        return self.use(self, images).flatten(1)


def block_alone(network, images):
    """Let nothing else see what the block is given."""
    return network.block(network.pool(images))


def block_of_other_memory_format(network, images):
    """Give it channels that come first in memory."""
    maps = network.pool(images).contiguous(memory_format=torch.contiguous_format)
    return network.block(maps)


def block_of_the_images(network, images):
    """Give it what the network is given."""
    return network.block(images)


def block_beside(network, images):
    """Read what it is given once more, afterwards."""
    maps = network.pool(images)
    return network.block(maps) + maps.sin()


def block_beside_a_view(network, images):
    """Read it through a view that was made before."""
    maps = network.pool(images)
    view = maps.flatten(2)
    return network.block(maps).flatten(2) * view


def block_of_a_part(network, images):
    """Give it a part of what others read."""
    maps = network.pool(images)
    return network.block(maps[:, :, 1:]) + maps[:, :, 1:]


def block_then_return(network, images):
    """Return what it is given."""
    maps = network.pool(images)
    return torch.cat([network.block(maps), maps], 1)


@pytest.mark.skipif(not folding._CAN_PACK, reason="not on this processor")
@pytest.mark.parametrize(
    ("use", "is_in_place"),
    [
        (block_alone, True),
        (block_of_other_memory_format, True),
        (block_of_the_images, False),
        (block_beside, False),
        (block_beside_a_view, False),
        (block_of_a_part, False),
        (block_then_return, False),
    ],
)
def test_what_others_read_is_not_overwritten(use, is_in_place):
    """A block has its sum in the memory of what it is given only if that is its own."""
    network = trained(AroundBlock(use))
    pixels = torch.rand(3, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    before = pixels.clone()
    assert_close(run_copy(network, pixels), run_plain(network, pixels))
    assert torch.equal(pixels, before)
    fast = inference_copy(network, tuple(pixels.shape), CPU)
    with Operations() as operations, torch.inference_mode():
        fast(pixels)
    suffix = "_" if is_in_place else ""
    assert f"mkldnn::_convolution_pointwise{suffix}.binary" in operations.names


@pytest.mark.parametrize("wrap", [AllStages, lambda network: network])
def test_stages_and_mirrors_of_a_network_are_the_same(wrap):
    """They see maps and images that blocks were given."""
    network = MeanOverMirrors(wrap(trained(grey_resnet18())), "flips")
    pixels = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert_close(run_copy(network, pixels), run_plain(network, pixels))


@pytest.mark.skipif(not folding._CAN_PACK, reason="not on this processor")
def test_first_layers_in_parts_have_the_same_bits(monkeypatch):
    """Of any number of images, the last ones maybe fewer."""
    network = trained(grey_resnet18())
    pixels = torch.rand(7, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    expected = run_copy(network, pixels)
    for n_together in (1, 2, 3, 100):
        n_bytes = n_together * 4 * 64 * 20 * 20  # of maps
        monkeypatch.setattr(folding, "_FIRST_BYTES", n_bytes)
        assert_array_equal(run_copy(network, pixels), expected)


class Block(nn.Module):
    """A convolution and batch normalisation, which a function puts to use."""

    def __init__(self, use, norm=None, **params):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, **{"kernel_size": 3, "padding": 1} | params)
        self.norm = norm or nn.BatchNorm2d(2)
        self.dropout = nn.Dropout(0.5)
        self.use = use
        self.cache = None

    def forward(self, images):
        """Return rows of numbers."""
        return self.dropout(self.use(self, images)).flatten(1)


def as_usual(block, images):
    """Put one after the other."""
    return block.norm(block.conv(images))


def by_attributes(block, images):
    """Read attributes of both layers."""
    assert isinstance(block.norm, nn.BatchNorm2d)
    scale = block.conv.weight.shape[0] + block.norm.num_features + block.norm.eps
    return as_usual(block, images.to(block.conv.weight.dtype)) * scale


def with_cache(block, images):
    """Keep a tensor from the first call for the next ones."""
    if block.cache is None:
        block.cache = torch.linspace(0, 1, images.shape[-1], device=images.device)
    return as_usual(block, images) + block.cache


def read_twice(block, images):
    """Read the result of the convolution beside batch normalisation."""
    features = block.conv(images)
    return block.norm(features) + features.relu()


def read_through_a_view(block, images):
    """Read it through a view."""
    features = block.conv(images)
    view = features.flatten(1)
    return block.norm(features).flatten(1) * view


def changed(block, images):
    """Change it in place first."""
    return block.norm(block.conv(images).relu_())


def read_before_relu(block, images):
    """Read what goes into a ReLU as well."""
    features = as_usual(block, images)
    return features.sigmoid() + block.relu(features)


def read_after_relu(block, images):
    """Read what comes out of a ReLU twice, beside pooling."""
    features = block.relu(as_usual(block, images))
    return block.pool(features).mean((2, 3)) + features.mean((2, 3))


def view_before_relu(block, images):
    """Keep a view of what goes into a ReLU that changes it."""
    features = as_usual(block, images)
    view = features[:, :1]
    return block.relu(features) + view


def pooled(block, images):
    """Pool behind a ReLU."""
    return block.pool(block.relu(as_usual(block, images)))


def relu_called_twice(block, images):
    """Call one ReLU on two things."""
    return block.relu(block.relu(as_usual(block, images)) - 0.01)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("pool", [nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, 1)])
@pytest.mark.parametrize(
    "use",
    [pooled, read_before_relu, read_after_relu, view_before_relu, relu_called_twice],
)
def test_relu_and_pooling_that_others_see(use, inplace, pool):
    """They are left where their input or result is read otherwise."""
    block = Block(use)
    block.relu, block.pool = nn.ReLU(inplace), pool
    pixels = torch.rand(8, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    assert_close(run_copy(trained(block), pixels), run_plain(block, pixels))


def called_twice(block, images):
    """Call both layers twice."""
    return as_usual(block, as_usual(block, images))


def convolution_called_twice(block, images):
    """Call the convolution once more without batch normalisation."""
    return as_usual(block, images) + block.conv(images + 1)


def weight_read(block, images):
    """Use the weight of the convolution for something else too."""
    return F.conv2d(as_usual(block, images), block.conv.weight, padding=1)


def statistics_read(block, images):
    """Use the statistics of batch normalisation for something else too."""
    return as_usual(block, images) - block.norm.running_mean[:, None, None]


def statistics_set(block, images):
    """Set the statistics in each forward."""
    features = block.conv(images)
    block.norm.running_mean.copy_(images.mean(dim=(0, 2, 3)))
    return block.norm(features)


def branching(block, images):
    """Go ways that depend on the values of the images."""
    features = block.conv(images)
    return block.norm(features) if images.mean() > 0.5 else features


def by_keyword(block, images):
    """Call the layers with keywords."""
    return block.norm(input=block.conv(input=images))


def in_bfloat16(block, images):
    """Compute in less precision, from a product of matrices on."""
    identity = torch.eye(images.shape[-1], device=images.device)
    with torch.autocast("cpu", torch.bfloat16):
        return block.norm(block.conv(images @ identity)).float()


class ByBatchStatistics(Block):
    """Has batch normalisation that is always in training mode."""

    def train(self, mode=True):
        """Leave it in that mode."""
        super().train(mode)
        self.norm.train()
        return self


class Tied(nn.Module):
    """Two convolutions with one weight, and batch normalisation under two names."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
        self.second.weight = self.first.weight
        self.norm = self.alias = nn.BatchNorm2d(2)

    def forward(self, images):
        """Call one with and one without batch normalisation."""
        return (self.alias(self.first(images)) - self.second(images)).flatten(1)


FOLDED = [
    Block(as_usual),
    Block(as_usual, nn.BatchNorm2d(2, affine=False), bias=False),
    Block(as_usual, padding_mode="circular", dilation=2),
    Block(as_usual, kernel_size=5, padding="same", groups=2),
    Block(by_attributes),
    Block(with_cache),
    tiny_encoder(2),
    flat_encoder(2),
    Tied(),
]
LEFT = [
    Block(read_twice),
    Block(read_through_a_view),
    Block(changed),
    Block(convolution_called_twice),
    Block(weight_read),
    Block(statistics_read),
    Block(statistics_set),
    Block(branching),
    Block(by_keyword),
    ByBatchStatistics(as_usual),
    # lines: the second dimension are not the columns that the layer makes
    nn.Sequential(nn.Flatten(2), nn.Linear(64, 2), nn.BatchNorm1d(2), nn.Flatten()),
]


@pytest.mark.parametrize(
    ("network", "n_left"),
    [(network, 0) for network in FOLDED]
    + [(network, 1) for network in LEFT]
    + [(Block(called_twice), 2)],
    ids=lambda x: getattr(x, "use", type(x)).__name__,
)
def test_what_is_folded_and_that_nothing_changes(network, n_left):
    """In networks of all kinds; the batch norms that are left are counted."""
    trained(network)
    pixels = torch.rand(8, 2, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.2
    state = copy.deepcopy(network.state_dict())
    got = run_copy(network, pixels)
    assert n_batch_norms(network, pixels) == n_left
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name])
    assert_close(got, run_plain(network, pixels))


def test_parametrized_layers_are_the_same():
    """Their weights are computed in each forward."""
    block = Block(as_usual)
    nn.utils.parametrizations.weight_norm(block.conv)
    pixels = torch.rand(8, 2, 8, 8)
    assert n_batch_norms(trained(block), pixels) == 1
    assert_close(run_copy(block, pixels), run_plain(block, pixels))


@pytest.mark.parametrize("can_pack", [False, True])
def test_the_network_is_not_changed(can_pack, monkeypatch):
    """Neither its tensors, their memory format, nor its mode."""
    monkeypatch.setattr(folding, "_CAN_PACK", can_pack and folding._CAN_PACK)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 2, 3), Block(as_usual))
    trained(network).train()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    strides = [p.stride() for p in network.parameters()]
    attributes = [sorted(vars(layer)) for layer in network.modules()]
    run_copy(network, torch.rand(2, 2, 32, 32))
    assert network.training and all(m.training for m in network.modules())
    assert [p.stride() for p in network.parameters()] == strides
    assert all(p.requires_grad for p in network.parameters())
    assert [sorted(vars(layer)) for layer in network.modules()] == attributes
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_autocast_in_a_network_is_no_error():
    """Its convolutions may be more exact than it asks for."""
    network = trained(Block(in_bfloat16))
    pixels = torch.rand(8, 2, 8, 8)
    assert_allclose(run_copy(network, pixels), run_plain(network, pixels), atol=0.05)


def test_hooks_go_on_running():
    """They see what they saw before, and only in forwards of images."""
    network, seen = trained(tiny_encoder(2)), []
    network[0].register_forward_hook(lambda m, args, result: seen.append(result))
    network[1].register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    pixels = torch.rand(4, 2, 8, 8)
    expected = run_plain(network, pixels)
    assert_close(run_copy(network, pixels), expected)
    assert len(seen) == 2
    assert_allclose(seen[1].numpy(), seen[0].numpy(), rtol=1e-5, atol=1e-6)


def test_networks_in_other_threads_are_left_alone():
    """They run, and train, while a copy is made."""
    stop, errors = threading.Event(), []

    def train():
        network = tiny_encoder(1)
        while not stop.is_set():
            try:
                network(torch.rand(4, 1, 8, 8)).sum().backward()
            except Exception as error:
                errors.append(error)
                return

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(20):
            inference_copy(tiny_encoder(1), (4, 1, 8, 8), CPU)
    finally:
        stop.set()
        thread.join()
    assert not errors


def test_efficientnet_lite_is_the_same():
    """A network of another package, whose convolutions are its own."""
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    network = trained(lite.EfficientNet.from_name("efficientnet-lite0"))
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert_close(run_copy(network, pixels), run_plain(network, pixels))


# Embeddings


def embed_array(network, X, **params):
    """Embed an array or files with sensible defaults."""
    images = X if isinstance(X, Images) else as_images(X)
    defaults = {"image_size": 8, "device": CPU}
    return embed(network, images, **(defaults | params))


def test_embeddings_equal_the_plain_module(rng):
    """Within 1e-5, for a ResNet18 with batch norms as after training."""
    network = grey_resnet18()
    X = rng.random((11, 48, 48), np.float32)
    got = embed_array(network, X, image_size=48, batch_size=4)
    assert got.dtype == np.float32
    assert_close(got, run_plain(network, X[:, None]))


@pytest.mark.parametrize("image_size", [32, 64])
def test_an_embedding_is_the_same_to_the_bit_whatever_its_batch(image_size, rng):
    """Alone, among others, in any order, at any place."""
    network = grey_resnet18()
    params = {"image_size": image_size}
    X = rng.random((37, 40, 40), np.float32)
    together = embed_array(network, X, **params)
    order = rng.permutation(37)
    assert_array_equal(embed_array(network, X[order], **params), together[order])
    assert_array_equal(embed_array(network, X[5:6], **params), together[5:6])
    assert_array_equal(embed_array(network, X[3:36], **params), together[3:36])


@pytest.mark.parametrize("n_images", [1, 7, 8, 9, 32, 33, 100])
def test_all_images_are_embedded_in_order(n_images, rng):
    """Whatever their number and that of a batch."""
    network = trained(tiny_encoder(1))
    X = rng.random((n_images, 8, 8), np.float32)
    expected = run_plain(network, X[:, None])
    for batch_size in (1, 3, 8, None):
        assert_close(embed_array(network, X, batch_size=batch_size), expected)


def test_batch_size_suits_the_size_of_the_images():
    """A power of two on a CPU, more in a slim ResNet; one for all on a GPU."""
    slim = make_encoder("resnet18", n_channels=1, image_size=64, stem="auto", width=16)
    expected = {
        tiny_encoder(1): [64, 64, 16, 8, 8],
        grey_resnet18(): [64, 64, 16, 8, 8],
        AllStages(slim): [256, 256, 64, 16, 8],
    }
    for encoder, sizes in expected.items():
        for image_size, size in zip((1, 64, 128, 224, 5000), sizes, strict=True):
            assert default_batch_size(image_size, CPU, encoder) == size
            assert default_batch_size(image_size, torch.device("cuda"), encoder) == 256


class SmallMemory(nn.Module):
    """Fails as a GPU does with more images than fit."""

    def __init__(self, n_fitting):
        super().__init__()
        self.network = tiny_encoder(1)
        self.n_fitting = n_fitting
        self.sizes = []

    def forward(self, images):
        """Embed a few images."""
        if images.device.type != "meta":
            self.sizes.append(len(images))
        if len(images) > self.n_fitting:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.network(images)

    def __deepcopy__(self, memo):
        """Stay the same object, so that the test sees what was noted."""
        return self


@pytest.mark.parametrize(
    ("batch_size", "n_fitting", "sizes"),
    [
        (16, 4, [16, 8, 4, 4, 4, 4, 4, 4]),  # 16 and 5 images
        (10, 3, [10, 5, *[2] * 5, *[2] * 5, 2]),
        (16, 16, [16, 16]),
        (2, 1, [2, *[1] * 21]),
    ],
)
def test_batches_are_halved_when_a_gpu_runs_out_of_memory(
    batch_size, n_fitting, sizes, rng
):
    """And stay so; no image is left out or embedded twice."""
    network = SmallMemory(n_fitting)
    trained(network)
    X = rng.random((21, 8, 8), np.float32)
    got = embed_array(network, X, batch_size=batch_size)
    assert network.sizes == sizes
    assert_close(got, run_plain(network.network, X[:, None]))


def test_error_when_not_even_one_image_fits(rng):
    """It says what to do, and keeps the cause."""
    X = rng.random((5, 8, 8), np.float32)
    message = "no memory for the network and one image of 8 x 8.*smaller image_size"
    with pytest.raises(torch.OutOfMemoryError, match=message) as caught:
        embed_array(SmallMemory(0), X)
    assert "CUDA out of memory" in str(caught.value.__cause__)
    with pytest.raises(MemoryError):
        embed_array(OutOfMainMemory(), X)


class OutOfMainMemory(nn.Module):
    """Fails as NumPy does."""

    n_calls = 0

    def forward(self, images):
        """Fail."""
        assert self.n_calls == 0
        OutOfMainMemory.n_calls += images.device.type != "meta"
        raise MemoryError


# Memory and threads


class Lazy:
    """An array that is made where it is sliced, as from a file."""

    dtype, ndim = np.dtype(np.uint8), 3

    def __init__(self, n_images, side=8):
        self.shape = (n_images, side, side)
        self.threads = set()

    def __len__(self):
        return self.shape[0]

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("read whole")

    def __getitem__(self, rows):
        self.threads.add(threading.current_thread().name)
        return np.full((len(range(len(self))[rows]), *self.shape[1:]), 7, np.uint8)


def peak_of_embedding(network, n_images):
    """Return the most bytes of NumPy that lived at a time, less the result's."""
    images = as_images(Lazy(n_images, 64))
    tracemalloc.start()
    try:
        out = embed_array(network, images, batch_size=16)
        return tracemalloc.get_traced_memory()[1] - out.nbytes
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_images():
    """Beyond the result: 100 batches need no more than ten."""
    network = trained(tiny_encoder(1))
    peak_of_embedding(network, 32)
    few, many = (peak_of_embedding(network, n) for n in (160, 1600))
    assert many < few + 2 * 16 * 64**2  # two batches


class Sizes(TorchDispatchMode):
    """Note the bytes of the largest result of torch, and of all that live at once."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Note the size of the result."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.device.type == "cpu":
            self.most = max(self.most, result.nbytes)
        return result


@pytest.mark.parametrize("n_images", [1, 3, 20])
def test_large_frames_are_resized_one_after_the_other(n_images, monkeypatch):
    """No batch of them is ever held: neither as read nor as numbers."""
    lazy, read = Lazy(n_images, 1500), []
    get = Lazy.__getitem__
    monkeypatch.setattr(
        Lazy, "__getitem__", lambda self, rows: read.append(rows) or get(self, rows)
    )
    frame = 4 * 1500**2
    with Sizes() as sizes:
        out = embed_array(trained(tiny_encoder(1)), as_images(lazy))
    assert len(out) == n_images and (out == out[0]).all()
    assert frame <= sizes.most <= 1 << 25
    numbers = [range(n_images)[rows] for rows in read]
    assert [k for rows in numbers for k in rows] == list(range(n_images))
    assert max(map(len, numbers)) * frame <= 1 << 25


@pytest.mark.parametrize("shape", [(64, 64), (70, 90), (51, 37, 3), (9, 9, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_blocks_of_any_size_give_the_same_bits(shape, dtype, rng, monkeypatch):
    """Frames that are resized alone, and together with others."""
    X = (rng.random((21, *shape)) * 255).astype(dtype)
    network = trained(tiny_encoder(shape[2] if len(shape) == 3 else 1))
    expected = embed_array(network, X, image_size=24, batch_size=8)
    for n_together in (1, 2, 3, 7):
        n_bytes = n_together * 4 * X[0].size
        monkeypatch.setattr(embedding, "_BLOCK_BYTES", n_bytes)
        got = embed_array(network, X, image_size=24, batch_size=8)
        assert_array_equal(got, expected)


class Watched(Images):
    """Images that say who reads what, and how many batches are alive."""

    def __init__(self, n_images=40, n_readers=3, side=4):
        super().__init__(n_images, (side, side), np.uint8)
        self.n_readers = n_readers
        self.lock = threading.Lock()
        self.numbers, self.threads = [], set()
        self.n_reading = self.most_reading = 0
        self.delay = 0.0

    def read(self, rows):
        """Return images that are filled with their numbers."""
        numbers = np.arange(len(self))[rows]
        with self.lock:
            self.numbers += numbers.tolist()
            self.threads.add(threading.current_thread())
            self.n_reading += 1
            self.most_reading = max(self.n_reading, self.most_reading)
        time.sleep(self.delay)
        with self.lock:
            self.n_reading -= 1
        return np.broadcast_to(
            numbers[:, None, None], (len(numbers), *self.image_shape)
        ).astype(np.uint8)


def readers():
    """Return the threads that read."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("sksimclr-reader")]


@pytest.mark.parametrize("n_readers", [0, 1, 2, 3, 7])
def test_batches_are_read_in_order(n_readers):
    """Slices and lists of rows, empty, short and repeated ones too."""
    images = Watched(n_readers=n_readers)
    rows = [slice(0, 8), [5, 3, 3], np.array([39]), [], slice(30, 40), [1] * 20]
    batches = list(read_ahead(images, iter(rows)))
    assert len(batches) == 6
    for batch, numbers in zip(batches, rows, strict=True):
        assert batch.shape[1:] == (1, 4, 4) and batch.dtype == np.uint8
        assert_array_equal(batch[:, 0, 0, 0], np.arange(40)[numbers])
    assert not readers()
    here = threading.current_thread() in images.threads
    assert here == (n_readers == 0)


def test_how_many_threads_images_stand(tmp_path, rng):
    """None in memory, one for what is sliced lazily, a few for files."""
    X = rng.integers(0, 256, (4, 8, 8), dtype=np.uint8)
    assert as_images(X).n_readers == as_images(X.reshape(4, 64)).n_readers == 0
    memory_map = np.memmap(tmp_path / "m", np.uint8, "w+", shape=X.shape)
    assert as_images(memory_map).n_readers == as_images(Lazy(4)).n_readers == 1
    Image.fromarray(X[0]).save(tmp_path / "0.png")
    assert 2 <= as_images([tmp_path / "0.png"]).n_readers <= 4


def test_lazy_arrays_are_read_by_one_thread_that_is_not_the_callers():
    """HDF5 does not stand two at a time."""
    lazy = Lazy(100)
    embed_array(trained(tiny_encoder(1)), as_images(lazy))
    assert (
        len(lazy.threads) == 1 and threading.current_thread().name not in lazy.threads
    )


def test_reading_runs_ahead_but_not_away():
    """While a batch is worked on, the two after it are read, and no more."""
    images = Watched()
    batches = read_ahead(images, images.blocks(4))
    for k in range(8):
        next(batches)
        deadline = time.monotonic() + 10
        while len(images.numbers) < 4 * (k + 3) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)
        assert sorted(images.numbers) == list(range(4 * (k + 3)))
    batches.close()


def test_the_images_of_a_batch_are_read_by_several_threads():
    """At the same time."""
    images = Watched(n_readers=3)
    images.delay = 0.05
    list(read_ahead(images, [slice(0, 9)]))
    assert images.most_reading == 3 and len(images.threads) == 3


def test_reading_overlaps_with_the_network():
    """Together they take little more than the slower of the two."""
    images = Watched(n_images=80, n_readers=2)
    images.delay = 0.05

    class Slow(nn.Module):
        def forward(self, pixels):
            if pixels.device.type != "meta":
                time.sleep(0.05)
            return pixels[:, 0, 0]

    start = time.monotonic()
    embed_array(Slow(), images, image_size=4, batch_size=4)
    seconds = time.monotonic() - start
    assert 20 * 0.05 <= seconds < 0.75 * 20 * (0.05 + 0.05)


@pytest.mark.parametrize("n_readers", [0, 1, 3])
def test_errors_of_reading_come_in_their_turn(n_readers):
    """With their own type and message, after the batches before; threads end."""
    images = Watched(n_readers=n_readers)
    read = images.read

    def failing(rows):
        numbers = np.arange(40)[rows]
        if 17 in numbers or 25 in numbers:
            raise LookupError(f"image {min(n for n in numbers if n in (17, 25))}")
        return read(rows)

    images.read = failing
    got = []
    with pytest.raises(LookupError, match="image 17"):
        for batch in read_ahead(images, images.blocks(4)):
            got.append(batch)
    assert_array_equal(np.concatenate(got)[:, 0, 0, 0], np.arange(16))
    assert not readers()


def test_damaged_file_in_the_middle_is_named(tmp_path, rng):
    """The first of two, as if files were read one after the other."""
    paths = [tmp_path / f"{k:02}.png" for k in range(40)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    images = FileImages(paths)
    for k in (22, 30):
        paths[k].write_bytes(paths[k].read_bytes()[:-30])
    network = trained(tiny_encoder(1))
    with pytest.raises(ValueError, match="Cannot read .*22.png"):
        embed_array(network, images, batch_size=4)
    assert not readers()
    paths[22].unlink()
    with pytest.raises(FileNotFoundError, match="22.png"):
        embed_array(network, images, batch_size=4)
    assert not readers()


def test_files_and_arrays_give_the_same_bits(tmp_path, rng):
    """In whatever order threads end."""
    X = rng.integers(0, 256, (50, 8, 8), dtype=np.uint8)
    paths = [tmp_path / f"{k:02}.png" for k in range(50)]
    for path, image in zip(paths, X, strict=True):
        Image.fromarray(image).save(path)
    network = trained(tiny_encoder(1))
    expected = embed_array(network, X)
    assert_array_equal(embed_array(network, paths), expected)
    assert_array_equal(embed_array(network, as_images(paths), batch_size=32), expected)


@pytest.mark.parametrize("n_readers", [1, 3])
def test_threads_end_with_the_generator(n_readers):
    """After ``close()``, or when nobody has it any more; what waited is not read."""
    for end in ("close", "forget"):
        images = Watched(n_readers=n_readers)
        images.delay = 0.2
        batches = read_ahead(images, images.blocks(2 * n_readers))
        next(batches)
        assert readers()
        if end == "close":
            batches.close()
        del batches
        gc.collect()
        assert not readers()
        assert len(images.numbers) == 4 * n_readers


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_threads_end_when_the_network_is_interrupted(error):
    """Even while somebody looks at the traceback."""
    images = Watched()
    network = trained(tiny_encoder(1))
    network.register_forward_pre_hook(raising(error))
    with pytest.raises(error) as caught:
        embed_array(network, images, batch_size=2, image_size=4)
    assert not readers()
    assert len(images.numbers) < 40
    assert caught.tb is not None


def raising(error):
    """Return a hook that raises."""

    def hook(module, args):
        raise error

    return hook


def test_generator_that_is_never_started_has_no_threads():
    """Nor does it read."""
    images = Watched()
    batches = read_ahead(images, images.blocks(2))
    assert not readers() and not images.numbers
    batches.close()


_UNFINISHED = """
import sys, time
import numpy as np
from sksimclr._images.images import Images
from sksimclr._images.read_ahead import read_ahead

class Slow(Images):
    n_readers = 3
    def read(self, rows):
        time.sleep(0.05)
        return np.zeros((len(rows), 4, 4), np.uint8)

batches = read_ahead(Slow(40, (4, 4), np.uint8), [[0, 1, 2]] * 20)
next(batches)
"""


@pytest.mark.parametrize(
    ("end", "code"), [("", 0), ("sys.exit(3)", 3), ("raise KeyboardInterrupt", None)]
)
def test_interpreter_ends_with_threads_that_read(end, code):
    """A generator that is neither used up nor closed does not keep it."""
    command = [sys.executable, "-c", _UNFINISHED + end]
    done = subprocess.run(command, timeout=60, capture_output=True, text=True)
    if code is not None:
        assert (done.returncode, done.stderr) == (code, "")
    assert ("KeyboardInterrupt" in done.stderr) == (code is None)
    assert "Exception ignored" not in done.stderr
