"""
Resuming a run that was killed
==============================

Long runs meet power cuts, time limits and full memories. With ``checkpoint_dir``, the
same ``fit`` goes on where it was, and ends with the same bits as a run that was never
stopped. Here a training process is really killed, to see whether that is true.
"""

# %%
# A script that trains
# --------------------
# What one would run on a cluster: frames, an estimator with a ``checkpoint_dir``, one
# call of ``fit``. It knows nothing of being started a second time.
from pathlib import Path
from tempfile import mkdtemp

TRAIN = """
import json, sys
from pathlib import Path

import numpy as np
from torch import nn
from sksimclr import AuroraPreprocessor, SimCLRTransformer
from sksimclr.datasets import make_aurora


def small_encoder(n_channels):
    return nn.Sequential(
        *(nn.Conv2d(n_channels, 32, 5, stride=4), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, stride=2), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


checkpoints, result = map(Path, sys.argv[1:])
frames = make_aurora(192, size=48, random_state=0).images
images = AuroraPreprocessor().fit_transform(frames)
simclr = SimCLRTransformer(
    small_encoder,
    image_size=32,
    batch_size=32,
    lr=1e-3,
    max_epochs=12,
    checkpoint_dir=checkpoints,
    random_state=0,
).fit(images)
np.save(result.with_suffix(".npy"), simclr.transform(images))
result.with_suffix(".json").write_text(json.dumps(simclr.history_))
"""

folder = Path(mkdtemp())
(folder / "train.py").write_text(TRAIN)

# %%
# Three processes
# ---------------
# One that nobody disturbs; one that is killed as soon as there is a checkpoint of its
# fifth epoch, without a chance to clean up (SIGKILL); and the same command as that once
# more.
import subprocess
import sys
import time


def start(run):
    """Start the script in a process of its own."""
    command = [sys.executable, "train.py", f"checkpoints of {run}", run]
    return subprocess.Popen(command, cwd=folder)


def saved_epochs(run):
    """Return the epochs of the checkpoints in the folder of a run."""
    names = sorted(path.name for path in folder.glob(f"checkpoints of {run}/*.ckpt"))
    return [int(name[:6]) for name in names]


undisturbed = start("undisturbed")
assert undisturbed.wait() == 0

victim = start("killed")
while victim.poll() is None and max(saved_epochs("killed"), default=0) < 5:
    time.sleep(0.002)
victim.kill()
print(f"killed: exit status {victim.wait()}, result: {list(folder.glob('killed.*'))}")
last_saved = max(saved_epochs("killed"))
assert start("killed").wait() == 0
print(f"its newest checkpoint is of epoch {last_saved}; the second start went on there")

# %%
# The same bits
# -------------
# The embeddings of both runs are compared to the last bit, and so are their losses. The
# first epochs of the second history were written by the process that was killed.
import json

import numpy as np

embeddings, losses = {}, {}
for run in ("undisturbed", "killed"):
    embeddings[run] = np.load(folder / f"{run}.npy")
    history = json.loads((folder / f"{run}.json").read_text())
    losses[run] = np.array([row["loss"] for row in history])
for name, values in {"embeddings": embeddings, "losses": losses}.items():
    same = np.array_equal(values["undisturbed"], values["killed"])
    print(f"{name} of both runs are equal to the bit: {same}")

# %%
# What may differ the second time, and what may not, is in the
# :doc:`user guide </user_guide/long_runs>`.
import matplotlib.pyplot as plt

epochs = np.arange(1, len(history) + 1)
saved = epochs <= last_saved
figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
ax.plot(epochs, losses["undisturbed"], color="0.7", lw=6, label="never stopped")
killed, again = (epochs[saved], losses["killed"][saved]), losses["killed"][~saved]
ax.plot(*killed, "X", ms=9, color="#D55E00", label="until it was killed")
ax.plot(epochs[~saved], again, "o", ms=7, color="#0072B2", label="started again")
ax.axvline(last_saved + 0.5, color="0.3", ls=":")
ax.annotate(" SIGKILL", (last_saved + 0.5, losses["killed"].max()), va="top")
ax.set(xlabel="epoch", ylabel="NT-Xent loss", xticks=epochs)
ax.set_title(f"Killed after epoch {last_saved}, and the same run in the end")
ax.legend()
plt.show()
