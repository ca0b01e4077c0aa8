"""One loss a file: tensors in, a scalar out."""

from exrep_hf.losses.adversarial import AdversarialLoss
from exrep_hf.losses.crd import CRDLoss
from exrep_hf.losses.dist import DISTLoss
from exrep_hf.losses.dkd import DKDLoss
from exrep_hf.losses.feature import FeatureLoss
from exrep_hf.losses.kd import KDLoss
from exrep_hf.losses.term import Term

__all__ = ["AdversarialLoss", "CRDLoss", "DISTLoss", "DKDLoss", "FeatureLoss", "KDLoss", "Term"]
