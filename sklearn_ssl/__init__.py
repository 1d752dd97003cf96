"""Self-supervised learning on images, texts and tabular data with scikit-learn estimators."""

from sklearn_ssl.data import Images, Table, Text
from sklearn_ssl.data.folders import image_paths
from sklearn_ssl.evaluation.comparison import Comparison, compare
from sklearn_ssl.evaluation.fine_tuning import FineTuneClassifier
from sklearn_ssl.evaluation.model_selection import SemiSupervisedSplit
from sklearn_ssl.evaluation.probes import KNNProbe, LinearProbe
from sklearn_ssl.inference.device import Device
from sklearn_ssl.methods.baselines.encoder import EncoderTransformer
from sklearn_ssl.methods.baselines.patch_kmeans import PatchKMeansTransformer
from sklearn_ssl.methods.clustering.deepcluster import DeepClusterEstimator
from sklearn_ssl.methods.clustering.deepcluster_v2 import DeepClusterV2Estimator
from sklearn_ssl.methods.clustering.ipcl import IPCLEstimator
from sklearn_ssl.methods.clustering.scan import SCANEstimator
from sklearn_ssl.methods.clustering.smog import SMoGTransformer
from sklearn_ssl.methods.clustering.swav import SwAVTransformer
from sklearn_ssl.methods.contrastive.all4one import All4OneTransformer
from sklearn_ssl.methods.contrastive.dcl import DCLTransformer
from sklearn_ssl.methods.contrastive.exemplar import ExemplarTransformer
from sklearn_ssl.methods.contrastive.hypersphere import HypersphereTransformer
from sklearn_ssl.methods.contrastive.moco import MoCoTransformer
from sklearn_ssl.methods.contrastive.nnclr import NNCLRTransformer
from sklearn_ssl.methods.contrastive.ressl import ReSSLTransformer
from sklearn_ssl.methods.contrastive.simclr import SimCLRTransformer
from sklearn_ssl.methods.contrastive.supcon import SupConTransformer
from sklearn_ssl.methods.distillation.data2vec import Data2VecTransformer
from sklearn_ssl.methods.distillation.dino import DINOTransformer
from sklearn_ssl.methods.distillation.distillation import DistillationTransformer
from sklearn_ssl.methods.distillation.ibot import IBOTTransformer
from sklearn_ssl.methods.distillation.ijepa import IJEPATransformer
from sklearn_ssl.methods.distillation.msn import MSNTransformer
from sklearn_ssl.methods.generative.colorization import ColorizationTransformer
from sklearn_ssl.methods.generative.inpainting import InpaintingTransformer
from sklearn_ssl.methods.generative.mae import MAETransformer
from sklearn_ssl.methods.generative.simmim import SimMIMTransformer
from sklearn_ssl.methods.generative.split_brain import SplitBrainTransformer
from sklearn_ssl.methods.generative.super_resolution import SuperResolutionTransformer
from sklearn_ssl.methods.generative.vime import VIMETransformer
from sklearn_ssl.methods.non_contrastive.barlow_twins import BarlowTwinsTransformer
from sklearn_ssl.methods.non_contrastive.byol import BYOLTransformer
from sklearn_ssl.methods.non_contrastive.emp_ssl import EMPSSLTransformer
from sklearn_ssl.methods.non_contrastive.frossl import FroSSLTransformer
from sklearn_ssl.methods.non_contrastive.lejepa import LeJEPATransformer
from sklearn_ssl.methods.non_contrastive.mmcr import MMCRTransformer
from sklearn_ssl.methods.non_contrastive.simsiam import SimSiamTransformer
from sklearn_ssl.methods.non_contrastive.tico import TiCoTransformer
from sklearn_ssl.methods.non_contrastive.vicreg import VICRegTransformer
from sklearn_ssl.methods.non_contrastive.visreg import VISRegTransformer
from sklearn_ssl.methods.non_contrastive.wmse import WMSETransformer
from sklearn_ssl.methods.predictive.jigsaw import JigsawTransformer
from sklearn_ssl.methods.predictive.relative_patch import RelativePatchTransformer
from sklearn_ssl.methods.predictive.rotation import RotationTransformer
from sklearn_ssl.methods.sequence.bert import BERTTransformer
from sklearn_ssl.persistence.fit_cache import FitCache
from sklearn_ssl.persistence.save_load import load

__version__ = "0.1.0"

__all__ = [
    "All4OneTransformer",
    "BERTTransformer",
    "BYOLTransformer",
    "BarlowTwinsTransformer",
    "ColorizationTransformer",
    "Comparison",
    "DCLTransformer",
    "DINOTransformer",
    "Data2VecTransformer",
    "DeepClusterEstimator",
    "DeepClusterV2Estimator",
    "Device",
    "DistillationTransformer",
    "EMPSSLTransformer",
    "EncoderTransformer",
    "ExemplarTransformer",
    "FineTuneClassifier",
    "FitCache",
    "FroSSLTransformer",
    "HypersphereTransformer",
    "IBOTTransformer",
    "IJEPATransformer",
    "IPCLEstimator",
    "Images",
    "InpaintingTransformer",
    "JigsawTransformer",
    "KNNProbe",
    "LeJEPATransformer",
    "LinearProbe",
    "MAETransformer",
    "MMCRTransformer",
    "MSNTransformer",
    "MoCoTransformer",
    "NNCLRTransformer",
    "PatchKMeansTransformer",
    "ReSSLTransformer",
    "RelativePatchTransformer",
    "RotationTransformer",
    "SCANEstimator",
    "SMoGTransformer",
    "SemiSupervisedSplit",
    "SimCLRTransformer",
    "SimMIMTransformer",
    "SimSiamTransformer",
    "SplitBrainTransformer",
    "SupConTransformer",
    "SuperResolutionTransformer",
    "SwAVTransformer",
    "Table",
    "Text",
    "TiCoTransformer",
    "VICRegTransformer",
    "VIMETransformer",
    "VISRegTransformer",
    "WMSETransformer",
    "compare",
    "image_paths",
    "load",
]
