"""Images per second of `fit`, beside its network alone, and beside lightly's recipe."""

import itertools
import os
import statistics
import time
from contextlib import contextmanager
from importlib.util import find_spec

import cost_model
import numpy as np
import torch
from against_lightly import Frames
from skorch.callbacks import Callback
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torchvision.transforms import v2

from sksimclr import SimCLRTransformer
from sksimclr._engine import batches
from sksimclr._engine.losses import nt_xent
from sksimclr._networks.encoders import make_encoder, make_projection_head

HEADER = (
    *("encoder", "pixels", "precision", "alone", "``fit``", "ratio"),
    *("from host", "busy", "GB", "expected", "GB expected"),
)
TEXT = (
    "Training, images per second. *alone*: forward, backward and fused Adam of the "
    "network on views that lie on the GPU; *from host*: ``fit`` of images that do not; "
    "*busy*: the part of an epoch of ``fit`` in which a kernel runs; *GB*: the most "
    "memory of ``fit``; *expected*: by counting, ``tests/benchmarks/cost_model.py``, "
    "for an H100 in bfloat16."
)
LIGHTLY = (
    ("pixels", "workers", "lightly", "``fit``", "times"),
    "lightly's recipe with workers, and ``fit``: ResNet18 in bfloat16, images per "
    "second.",
)
EPOCHS = 5  # of `fit`: two to warm up, two that are timed, one that is profiled
_COMPILING = 60  # seconds that it may take


def frames(n_images, side):
    """Return grey noise."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n_images, side, side), dtype=np.uint8)


def synchronise():
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def rate(function, n_images, repeats=3):
    """Return the median of images per second of a function, after a warm-up."""
    seconds = []
    for _ in range(repeats + 1):
        synchronise()
        start = time.perf_counter()
        function()
        synchronise()
        seconds.append(time.perf_counter() - start)
    return n_images / statistics.median(seconds[1:])


class Busy(Callback):
    """Measure which part of the last epoch has a kernel on the GPU."""

    share = None

    def on_epoch_begin(self, net, **kwargs):
        """Begin to record."""
        if len(net.history) == EPOCHS and torch.cuda.is_available():
            synchronise()
            self._profile = profile(activities=[ProfilerActivity.CUDA])
            self._profile.start()
            self._start = time.perf_counter()

    def on_epoch_end(self, net, **kwargs):
        """Add up the kernels."""
        if len(net.history) == EPOCHS and torch.cuda.is_available():
            synchronise()
            seconds = time.perf_counter() - self._start
            self._profile.stop()
            kernels = self._profile.key_averages()
            kernel_seconds = sum(k.self_device_time_total for k in kernels) / 1e6
            self.share = kernel_seconds / seconds if kernel_seconds else None


@contextmanager
def read_from_host():
    """Let no image stay on the GPU."""
    before, batches._GPU_SHARE = batches._GPU_SHARE, 0
    try:
        yield
    finally:
        batches._GPU_SHARE = before


def rate_of_fit(images, scale, *, callbacks=None, **settings):
    """Return images per second of the median epoch after the first two."""
    simclr = SimCLRTransformer(
        max_epochs=EPOCHS,
        batch_size=scale.batch_size,
        stem="imagenet",
        random_state=0,
        callbacks=callbacks,
        **({"width": scale.width} | settings),
    ).fit(images)
    timed = simclr.history_[2 : EPOCHS - 1]
    return statistics.median(row["images_per_second"] for row in timed)


def make_step(name, size, scale, device, *, bfloat16):
    """Return a function that does a step of the network alone."""
    encoder = make_encoder(
        name, n_channels=1, image_size=size, stem="imagenet", width=scale.width
    )
    n_features = encoder(torch.zeros(2, 1, size, size)).shape[1]
    head = make_projection_head(n_features, 64)
    net = nn.Sequential(encoder, head).to(device).train()
    net = net.to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(net.parameters(), lr=3e-4, fused=device.type == "cuda")
    views = torch.rand(2 * scale.batch_size, 1, size, size, device=device)
    views = views.contiguous(memory_format=torch.channels_last)

    def step():
        adam.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            out = net(views)
        nt_xent(out.float(), 0.5).backward()
        adam.step()

    return step


def rows(scale, device, clock):
    """Yield a row for each encoder, size and precision that there is time for."""
    images = frames(scale.batch_size * scale.n_steps, scale.side)
    alone, left_out = {}, []
    for precision, name, size in itertools.product(
        ("bfloat16", "float32", "compiled"), scale.encoders, scale.sizes
    ):
        what = f"{name} at {size} px, {precision}"
        is_compiled = precision == "compiled"
        if is_compiled:
            kind, seconds = "bfloat16", _COMPILING
            if not scale.compiles or clock.left < seconds or (name, size) not in alone:
                left_out.append(what)
                continue
        else:
            kind = precision
            step = make_step(name, size, scale, device, bfloat16=kind == "bfloat16")
            step()
            of_a_step = scale.batch_size / rate(step, scale.batch_size, 3)
            seconds = 5 + of_a_step * scale.n_steps * (3 + 2 * EPOCHS)
            if clock.left < seconds:
                left_out.append(what)
                continue

            def steps(step=step):
                for _ in range(scale.n_steps):
                    step()

            n_images = scale.batch_size * scale.n_steps
            alone[name, size] = rate(steps, n_images, 2)
            del step, steps
        settings = {"encoder": name, "image_size": size, "precision": kind}
        settings["compile"] = is_compiled
        yield measured_row(images, scale, device, alone[name, size], settings)
    if left_out:
        yield f"Left out, for want of time or GPU: {'; '.join(left_out)}."


def measured_row(images, scale, device, alone, settings):
    """Return a row for settings of `fit`."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    busy = Busy()
    fit = rate_of_fit(images, scale, callbacks=[busy], **settings)
    gigabytes = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0
    host = "\\"
    if not settings["compile"]:
        with read_from_host():
            host = f"{rate_of_fit(images, scale, **settings):,.0f}"
    name, size = settings["encoder"], settings["image_size"]
    model = cost_model.expected(name, size, scale.batch_size)
    return [
        name,
        size,
        settings["precision"] + ", compiled" * settings["compile"],
        f"{alone:,.0f}",
        f"{fit:,.0f}",
        f"{fit / alone:.2f}",
        host,
        "\\" if busy.share is None else f"{busy.share:.0%}",
        f"{gigabytes:.2f}",
        f"{model['images_per_second']:,.0f}",
        f"{model['gigabytes']:.2f}",
    ]


def lightly_rows(scale, device, clock):
    """Yield what the recipe of lightly's documentation reaches with workers."""
    if find_spec("lightly") is None:
        yield "lightly is not installed: ``pip install lightly``."
        return
    images, n_workers = (
        frames(scale.batch_size * scale.n_steps, scale.side),
        max(0, os.cpu_count() - 2),
    )
    for size in scale.sizes:
        if clock.left < 15:
            yield f"{size} pixels: no time left."
            continue
        theirs = rate(lightly_epoch(images, size, scale, device, n_workers), 1, 2)
        theirs *= len(images)
        settings = {"image_size": size, "precision": "bfloat16"}
        ours = rate_of_fit(images, scale, **settings)
        yield [
            *(size, n_workers, f"{theirs:,.0f}", f"{ours:,.0f}"),
            f"{ours / theirs:.1f}",
        ]


def lightly_epoch(images, size, scale, device, n_workers):
    """Return a function that trains for an epoch by lightly's recipe."""
    from lightly.loss import NTXentLoss
    from lightly.transforms.multi_view_transform import MultiViewTransform

    crop = v2.RandomResizedCrop(size, antialias=True)
    as_floats = v2.ToDtype(torch.float32, scale=True)
    view = v2.Compose([crop, v2.RandomVerticalFlip(), v2.ToImage(), as_floats])
    loader = torch.utils.data.DataLoader(
        Frames(images, MultiViewTransform([view, view])),
        scale.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=n_workers,
        persistent_workers=n_workers > 0,
        pin_memory=device.type == "cuda",
    )
    encoder = make_encoder(
        "resnet18", n_channels=1, image_size=size, stem="imagenet", width=scale.width
    )
    head = make_projection_head(8 * scale.width, 64)
    net = nn.Sequential(encoder, head).to(device)
    criterion, adam = NTXentLoss(0.5), torch.optim.Adam(net.parameters(), lr=3e-4)

    def epoch():
        for views, _ in loader:
            first, second = (x.to(device, non_blocking=True) for x in views)
            with torch.autocast(device.type, torch.bfloat16):
                projections = net(first), net(second)
            loss = criterion(*(z.float() for z in projections))
            adam.zero_grad()
            loss.backward()
            adam.step()

    return epoch
