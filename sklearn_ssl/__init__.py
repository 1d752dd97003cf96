"""Self-supervised learning as scikit-learn estimators."""

from sklearn_ssl.comparison import Comparison, compare
from sklearn_ssl.data import Images
from sklearn_ssl.fine_tuning import FineTuneClassifier
from sklearn_ssl.folders import image_paths
from sklearn_ssl.loading import load
from sklearn_ssl.methods.colorization import ColorizationTransformer
from sklearn_ssl.methods.deepcluster import DeepClusterEstimator
from sklearn_ssl.methods.dino import DINOTransformer
from sklearn_ssl.methods.emp_ssl import EMPSSLTransformer
from sklearn_ssl.methods.encoder import EncoderTransformer
from sklearn_ssl.methods.exemplar import ExemplarTransformer
from sklearn_ssl.methods.inpainting import InpaintingTransformer
from sklearn_ssl.methods.jigsaw import JigsawTransformer
from sklearn_ssl.methods.mae import MAETransformer
from sklearn_ssl.methods.patch_kmeans import PatchKMeansTransformer
from sklearn_ssl.methods.relative_patch import RelativePatchTransformer
from sklearn_ssl.methods.rotation import RotationTransformer
from sklearn_ssl.methods.simclr import SimCLRTransformer
from sklearn_ssl.methods.super_resolution import SuperResolutionTransformer
from sklearn_ssl.probes import KNNProbe, LinearProbe

__version__ = "0.1.0"

__all__ = [
    "ColorizationTransformer",
    "Comparison",
    "DINOTransformer",
    "DeepClusterEstimator",
    "EMPSSLTransformer",
    "EncoderTransformer",
    "ExemplarTransformer",
    "FineTuneClassifier",
    "Images",
    "InpaintingTransformer",
    "JigsawTransformer",
    "KNNProbe",
    "LinearProbe",
    "MAETransformer",
    "PatchKMeansTransformer",
    "RelativePatchTransformer",
    "RotationTransformer",
    "SimCLRTransformer",
    "SuperResolutionTransformer",
    "compare",
    "image_paths",
    "load",
]
