"""Order and arguments of the examples in the gallery, for conf.py."""

import os

ORDER = [
    "plot_tutorial.py",
    "plot_paper_pipeline.py",
    "plot_paper_table.py",
    "plot_nights_and_leakage.py",
    "plot_few_labels.py",
    "plot_embedding_map.py",
    "plot_alike_frames.py",
    "plot_suggest.py",
    "plot_clusters.py",
    "plot_aurora_samples.py",
    "plot_preprocessing.py",
    "plot_views.py",
    "plot_grid_search.py",
    "plot_monitoring.py",
    "plot_resume.py",
    "plot_pretrained_weights.py",
    "plot_fine_tuning.py",
    "plot_folder_of_files.py",
    "plot_keogram.py",
    "plot_occurrence.py",
    "plot_digits.py",
]


class InOrder:
    """Sort examples as `ORDER` lists them."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, name):
        """Return the place of an example."""
        return ORDER.index(name)


def arguments(gallery_conf, script_vars):
    """Return what each example finds in ``sys.argv``."""
    return ["--quick"] if os.environ.get("SKSIMCLR_GALLERY") == "quick" else []
