"""One loss a file: tensors in, a scalar out."""

from exrep_hf.losses.adversarial import AdversarialLoss
from exrep_hf.losses.crd import CRDLoss
from exrep_hf.losses.feature import FeatureLoss
from exrep_hf.losses.kd import KDLoss

__all__ = ["AdversarialLoss", "CRDLoss", "FeatureLoss", "KDLoss"]
