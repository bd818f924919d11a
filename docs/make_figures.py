"""Draw the figures of the user guide into a folder.

``python docs/make_figures.py docs/_generated``; the build of the documentation calls
`main`. Takes a minute on one core, most of it for training a small encoder.
"""

import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Circle, FancyBboxPatch
from sklearn.cluster import KMeans

from sksimclr import AuroraPreprocessor, SimCLRTransformer, plotting
from sksimclr.augmentations import make_view
from sksimclr.datasets import make_aurora
from sksimclr.recipes import QUICK

MEASURED = Path(__file__).parent / "measured" / "choices.csv"
EMBEDDINGS = MEASURED.with_name("embeddings.csv")
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.35"
DARK = "0.15"
SEED_OF_VIEWS = 5  # for which the crops of the schematic show something


def main(folder):
    """Draw all figures into `folder`, which is made if it does not exist."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawings = [
        how_simclr_works,
        temperature,
        choices,
        anytime,
        anytime_real,
        *displays(),
    ]
    for draw in drawings:
        figure = draw()
        path = folder / f"{draw.__name__}.png"
        figure.savefig(path, dpi=150, facecolor="white", bbox_inches="tight")
        plt.close(figure)


def how_simclr_works():
    """Draw two images on their way to the loss."""
    figure = plt.figure(figsize=(10, 4.6))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 10), ylim=(0, 4.6))
    axes.axis("off")
    images = _two_images()
    views = _views_of(images)
    heights = [3.55, 2.65, 1.55, 0.65]  # of the four views
    for k, (image, color) in enumerate(zip(images, (BLUE, ORANGE), strict=True)):
        middle = (heights[2 * k] + heights[2 * k + 1]) / 2
        _picture(axes, image, (0.65, middle), 1.0, color)
        for j in range(2):
            y = heights[2 * k + j]
            _arrow(axes, (1.2, middle), (1.85, y), color)
            _picture(axes, views[j][k], (2.3, y), 0.8, color)
            _arrow(axes, (2.75, y), (3.2, y), color)
            _embedding(axes, (4.78, y), color, seed=10 * k + j)
            _arrow(axes, (4.22, y), (4.62, y), color)
            _arrow(axes, (4.94, y), (5.34, y), color)
            _arrow(axes, (6.38, y), (6.8, y), color)
    _box(axes, (3.23, 0.25), 0.95, 3.7, "encoder\n\nResNet18", "0.92")
    _box(axes, (5.39, 0.25), 0.95, 3.7, "projection\nhead\n\n2 layers", "0.92")
    _sphere(axes, (8.4, 2.1), 1.25)
    headings = [
        (0.65, "images, no labels"),
        (2.3, "two random\nviews of each"),
        (3.7, "one network\nfor all views"),
        (4.78, "embeddings:\nthe result"),
        (5.86, "only in\ntraining"),
        (8.4, "projections on a sphere\nand the NT-Xent loss"),
    ]
    for x, text in headings:
        axes.text(x, 4.3, text, ha="center", va="center", size=10, color=DARK)
    return figure


def temperature():
    """Draw how hard a negative pushes, over its similarity."""
    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    similarity = np.linspace(-1, 1, 401)
    temperatures = (1.0, 0.5, 0.2, 0.1, 0.05)
    colors = plt.colormaps["viridis"](np.linspace(0.85, 0, len(temperatures)))
    for tau, color in zip(temperatures, colors, strict=True):
        push = np.exp((similarity - 1) / tau)
        axes.plot(similarity, push, color=color, lw=2, label=f"{tau:g}")
    axes.legend(title="temperature", frameon=False, loc="upper left")
    axes.set(
        xlabel="cosine similarity of a view and a negative",
        ylabel="how hard it pushes\n(1: a negative that coincides)",
        xlim=(-1, 1),
        ylim=(0, 1.02),
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def anytime():
    """Draw accuracy over CPU seconds of two recipes, for two read-outs."""
    rows = [row for row in _embeddings() if row["data"].startswith("aurora")]
    recipes = {
        "paper's recipe": (["untrained", "paper"], GREY),
        "QUICK": (["untrained, slim", "QUICK"], BLUE),
    }
    read_outs = {
        "last stage": ("last", "none"),
        "all stages, mirror images": ("stages", "flips"),
    }
    figure, axes = plt.subplots(
        1, 2, figsize=(9, 3.6), sharey=True, layout="constrained"
    )
    for ax, (title, read_out) in zip(axes, read_outs.items(), strict=True):
        for name, ((start, rest), color) in recipes.items():
            curves = np.array(
                [
                    _curve(rows, data, read_out, start, rest)
                    for data in sorted({row["data"] for row in rows})
                ]
            )
            for curve in curves:
                ax.plot(*curve.T, color=color, lw=0.7, alpha=0.4)
            ax.plot(*curves.mean(axis=0).T, "o-", color=color, label=name)
        ax.set(title=title, xlabel="CPU seconds")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("accuracy, held-out sequences, percent")
    axes[1].legend(frameon=False, loc="lower right")
    return figure


def anytime_real():
    """Draw scores over CPU minutes on two sets of real images."""
    rows = _embeddings()
    sets = {
        "fashion": ("Fashion-MNIST", "accuracy, percent", "horizontal"),
        "elpv": ("ELPV", "balanced accuracy, percent", "flips"),
    }
    levels = {
        "ImageNet, frozen": ("Lite0, frozen: stages", "--"),
        "untrained": ("untrained ResNet18: stages", "-."),
    }
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for ax, (data, (title, score, mirrors)) in zip(axes, sets.items(), strict=True):
        for features, mark in (("last", "s"), ("stages", "o")):
            for symmetry, line in (("none", "-"), (mirrors, ":")):
                read_out = (features, symmetry)
                curve = _curve(rows, data, read_out, "untrained, slim", "QUICK")
                name = f"{features}{'' if symmetry == 'none' else ', mirror images'}"
                seconds, scores = np.array(curve).T
                color = BLUE if features == "stages" else ORANGE
                ax.plot(seconds / 60, scores, mark + line, color=color, label=name)
        for system, (name, line) in levels.items():
            ((_, level),) = _curve(rows, data, ("stages", "none"), system)
            ax.axhline(level, color=GREY, ls=line, lw=0.9, zorder=0, label=name)
        ax.set(title=title, xlabel="CPU minutes of QUICK", ylabel=score)
        ax.spines[["top", "right"]].set_visible(False)
    axes[1].legend(frameon=False, loc="lower right", fontsize="small")
    return figure


def _embeddings():
    """Return the rows that tests/benchmarks/embeddings.py has printed."""
    with EMBEDDINGS.open(newline="") as file:
        return list(csv.DictReader(file))


def _curve(rows, data, read_out, start, rest=None):
    """Return (seconds, score) of a system, and of those whose name begins as `rest`."""
    found = [
        (float(row["seconds"]), float(row["score"]))
        for row in rows
        if row["data"] == data
        and (row["features"], row["symmetry"]) == read_out
        and (row["system"] == start or (rest and row["system"].startswith(rest)))
    ]
    return sorted(found)


def choices():
    """Draw what tests/benchmarks/choices.py has measured."""
    with MEASURED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    start = {row["draw"]: row for row in rows if row["change"] == "start"}
    panels = dict.fromkeys(row["change"] for row in rows if row["change"] != "start")
    names = {
        panel: list(dict.fromkeys(row["to"] for row in rows if row["change"] == panel))
        for panel in panels
    }
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(10, 3.4),
        sharey=True,
        layout="constrained",
        width_ratios=[1 + len(names[panel]) for panel in panels],
    )
    for ax, panel in zip(axes, panels, strict=True):
        for place, name in enumerate(names[panel]):
            gains = [
                float(row["accuracy"]) - float(start[row["draw"]]["accuracy"])
                for row in rows
                if (row["change"], row["to"]) == (panel, name)
            ]
            ax.plot([place] * len(gains), gains, "o", color=BLUE, alpha=0.5, ms=5)
            ax.plot(place, np.mean(gains), "_", color=ORANGE, ms=18, mew=3)
        ax.axhline(0, color=GREY, lw=1, zorder=0)
        turned = {"rotation": 30, "ha": "right"} if panel == "views" else {}
        ax.set_xticks(range(len(names[panel])), names[panel], **turned)
        ax.set_xlim(-0.6, len(names[panel]) - 0.4)
        ax.set_title(panel)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("points above the recipe")
    return figure


def displays():
    """Return functions that draw each display of `sksimclr.plotting`, by its name."""
    data = make_aurora(150, size=32, n_sequences=30, random_state=0)
    images = AuroraPreprocessor().fit_transform(data.images)
    simclr = SimCLRTransformer(
        **QUICK, image_size=32, stem="imagenet", max_epochs=6, random_state=0
    )
    embeddings = simclr.fit_transform(images)
    names = {"target_names": data.target_names}

    def image_grid():
        """Draw samples of the classes."""
        return plotting.ImageGridDisplay.from_predictions(
            images, data.target, n_images=8, random_state=0, **names
        ).figure_

    def learning_curve():
        """Draw the history."""
        return plotting.LearningCurveDisplay.from_estimator(simclr).figure_

    def embedding():
        """Draw a map of the embeddings."""
        return plotting.EmbeddingDisplay.from_predictions(
            embeddings, data.target, images=images, n_thumbnails=20, **names
        ).figure_

    def augmentation():
        """Draw views."""
        return plotting.AugmentationDisplay.from_estimator(
            simclr, images, n_images=3, random_state=1
        ).figure_

    def silhouette():
        """Draw the silhouette."""
        return plotting.SilhouetteDisplay.from_estimator(
            KMeans(n_init=3, random_state=0), embeddings, data.target
        ).figure_

    return [image_grid, learning_curve, embedding, augmentation, silhouette]


def _two_images():
    """Return an arc and a discrete form, preprocessed."""
    data = make_aurora(60, size=96, n_sequences=60, random_state=4)
    chosen = [np.flatnonzero(data.target == label)[0] for label in (0, 2)]
    return AuroraPreprocessor().fit_transform(data.images[chosen])


def _views_of(images):
    """Return two views of each image, by the augmentations of `QUICK`."""
    generator = torch.Generator().manual_seed(SEED_OF_VIEWS)
    batch = torch.from_numpy(images[:, np.newaxis])
    return [
        make_view(batch, QUICK["augmentations"], generator=generator, size=64)[:, 0]
        for _ in range(2)
    ]


def _picture(axes, image, center, side, color):
    """Put an image with a coloured frame on the axes."""
    x, y = center[0] - side / 2, center[1] - side / 2
    axes.imshow(
        image, cmap="gray", vmin=0, vmax=1, extent=(x, x + side, y, y + side), zorder=2
    )
    axes.add_patch(
        plt.Rectangle((x, y), side, side, fill=False, ec=color, lw=2.5, zorder=3)
    )
    axes.set(xlim=(0, 10), ylim=(0, 4.6), aspect="auto")


def _arrow(axes, start, end, color, style="-|>"):
    """Draw an arrow."""
    options = {"arrowstyle": style, "color": color, "lw": 1.6, "mutation_scale": 12}
    axes.annotate("", end, start, arrowprops=options, zorder=1)


def _box(axes, corner, width, height, text, color):
    """Draw a box with a text in it."""
    axes.add_patch(
        FancyBboxPatch(
            corner,
            width,
            height,
            "round,pad=0.02,rounding_size=0.08",
            fc=color,
            ec=GREY,
        )
    )
    x, y = corner[0] + width / 2, corner[1] + height / 2
    axes.text(x, y, text, ha="center", va="center", size=10.5, color=DARK)


def _embedding(axes, center, color, seed):
    """Draw an embedding as a column of cells."""
    n_cells, width, height = 8, 0.2, 0.085
    shades = np.random.RandomState(seed).uniform(0.15, 1, n_cells)
    for k, shade in enumerate(shades):
        corner = center[0] - width / 2, center[1] + (k - n_cells / 2) * height
        axes.add_patch(
            plt.Rectangle(corner, width, height, fc=color, alpha=shade, ec="white")
        )


def _sphere(axes, center, radius):
    """Draw four projections, which the loss pulls together and pushes apart."""
    axes.add_patch(Circle(center, radius, fill=False, ec="0.6", lw=1.5))
    angles = {BLUE: (62, 105), ORANGE: (-15, -62)}
    places = {
        color: [
            (
                center[0] + radius * np.cos(np.radians(angle)),
                center[1] + radius * np.sin(np.radians(angle)),
            )
            for angle in pair
        ]
        for color, pair in angles.items()
    }
    for color, (first, second) in places.items():
        _arrow(axes, _between(first, second, 0.1), _between(first, second, 0.5), color)
        _arrow(axes, _between(second, first, 0.1), _between(second, first, 0.5), color)
        axes.plot(*zip(first, second, strict=True), "o", ms=11, color=color, zorder=4)
    first, second = places[BLUE][0], places[ORANGE][0]
    _arrow(
        axes, _between(first, second, 0.1), _between(first, second, 0.9), GREY, "<|-|>"
    )
    axes.text(*_between(*places[BLUE], 0.5, -0.3), "pull", ha="center", color=BLUE)
    axes.text(*_between(*places[ORANGE], 0.5, 0.3), "pull", ha="center", color=ORANGE)
    axes.text(*_between(first, second, 0.5, 0.3), "push", ha="center", color=GREY)


def _between(first, second, part, aside=0.0):
    """Return a point between two, maybe beside the line between them."""
    first, second = np.array(first), np.array(second)
    along = second - first
    return first + part * along + aside * np.array([-along[1], along[0]])


if __name__ == "__main__":
    main(sys.argv[1])
