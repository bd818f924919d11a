"""Displays of images, embeddings and training, in scikit-learn's style.

Each stores what it shows; ``from_estimator`` and ``from_predictions`` compute that and
plot it. Colours are those of Okabe and Ito, which the colour-blind can tell apart, and
sizes fit a column or a page of a journal. Matplotlib is imported by the first plot:
``pip install "sksimclr[plot]"``.
"""

from sksimclr.plotting._augmentation import AugmentationDisplay
from sksimclr.plotting._embedding import EmbeddingDisplay
from sksimclr.plotting._image_grid import ImageGridDisplay
from sksimclr.plotting._keogram import KeogramDisplay
from sksimclr.plotting._learning_curve import LearningCurveDisplay
from sksimclr.plotting._occurrence import OccurrenceDisplay
from sksimclr.plotting._silhouette import SilhouetteDisplay

__all__ = [
    "AugmentationDisplay",
    "EmbeddingDisplay",
    "ImageGridDisplay",
    "KeogramDisplay",
    "LearningCurveDisplay",
    "OccurrenceDisplay",
    "SilhouetteDisplay",
]
