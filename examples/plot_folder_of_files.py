"""
From a folder of files to a table
=================================

All-sky cameras leave folders full of files. Estimators of sksimclr take the list of
their paths, read them as they go, and name the one that is damaged. Here files become
embeddings, embeddings become clusters, and clusters a table with a row per file.
"""

# %%
# A folder
# --------
# Synthetic frames stand in for yours: 16-bit grey PNG files of three stations, five
# frames a night, named by time and station. pandas makes the tables (``pip install
# pandas``).
from pathlib import Path
from tempfile import mkdtemp

import pandas as pd
from PIL import Image

from sksimclr.datasets import make_aurora

folder = Path(mkdtemp())
data = make_aurora(450, size=64, random_state=0)
for k, frame in enumerate(data.images):
    night, station = divmod(data.groups[k], 3)
    time = pd.Timestamp("2014-03-10 06:00") + pd.Timedelta(
        days=night, minutes=k % 5 * 5
    )
    name = f"{time:%Y%m%d_%H%M}_{('gill', 'inuv', 'whit')[station]}.png"
    Image.fromarray(frame).save(folder / name)

# %%
# The paths are X
# ---------------
# From here on, it is the same for any folder. ``AuroraPreprocessor`` reads the files
# block by block and keeps what it makes of them, here a byte per pixel. Where images
# need no preprocessing, ``SimCLRTransformer`` takes the paths itself, and reads them
# batch by batch. Its encoder is a small one here, for speed; without ``encoder``, it is
# a ResNet18.
from sklearn.pipeline import make_pipeline
from torch import nn

from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.recipes import QUICK


def small_encoder(n_channels):
    """Return a network (n, C, H, W) -> (n, 128)."""
    layers = []
    for width in (32, 64, 128):
        layers += [
            nn.Conv2d(n_channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        n_channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


files = sorted(folder.glob("*.png"))
pipe = make_pipeline(
    AuroraPreprocessor(dtype="uint8"),
    SimCLRTransformer(
        small_encoder, **QUICK, image_size=32, max_epochs=10, random_state=0
    ),
).set_output(transform="pandas")
embeddings = pipe.fit_transform(files)
embeddings.index = [path.stem for path in files]
print(embeddings.iloc[:3, :2].round(3))

# %%
# A file that is damaged
# ----------------------
# Half a file, as a full disk leaves it. The error says which one it is.
damaged = folder / "20140310_0600_fsim.png"
damaged.write_bytes(files[0].read_bytes()[:2000])
try:
    pipe.transform([*files[:10], damaged])
except ValueError as error:
    print(str(error).replace(str(folder), "folder"))
damaged.unlink()

# %%
# A table with a row per file
# ---------------------------
# Clusters need no labels. Look at some frames of each before you give it a name.
from sklearn.cluster import KMeans
from sklearn.preprocessing import normalize

clusters = KMeans(6, n_init=10, random_state=0).fit_predict(normalize(embeddings))
names = pd.Series(embeddings.index).str.split("_", expand=True)
table = pd.DataFrame(
    {"night": pd.to_datetime(names[0]), "station": names[2], "cluster": clusters}
).set_index(embeddings.index)
table.to_csv(folder / "clusters.csv")
print(table.head(4))

# %%
# Some frames of every cluster, and a calendar: the first frame of each night.
import matplotlib.pyplot as plt
from matplotlib.colors import ListedColormap

from sksimclr.plotting import ImageGridDisplay

colors = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"]
figure, (upper, lower) = plt.subplots(
    2, figsize=(7.4, 6.5), height_ratios=[6, 1], layout="constrained"
)
grid = ImageGridDisplay.from_predictions(
    pipe[0].transform(files),
    clusters,
    target_names=[f"cluster {k}" for k in range(6)],
    random_state=0,
    ax=upper,
)
for label, color in zip(grid.ax_.get_yticklabels(), colors, strict=True):
    label.set(color=color, weight="bold")

calendar = table.groupby(["station", "night"])["cluster"].first().unstack()
style = {"cmap": ListedColormap(colors), "vmin": 0, "vmax": 5, "edgecolor": "w"}
lower.pcolormesh(calendar, **style)
lower.set_yticks([0.5, 1.5, 2.5], calendar.index)
nights = calendar.columns.strftime("%d %b")
lower.set_xticks([k + 0.5 for k in range(0, 30, 5)], nights[::5])
lower.tick_params(length=0)
lower.spines[:].set_visible(False)
lower.invert_yaxis()
plt.show()
