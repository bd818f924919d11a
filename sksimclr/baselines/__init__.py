"""What SimCLR must beat: frozen ImageNet features, and fine-tuned networks."""

from sksimclr.baselines._fine_tuned import FineTunedClassifier
from sksimclr.baselines._pretrained import PretrainedTransformer

__all__ = ["FineTunedClassifier", "PretrainedTransformer"]
