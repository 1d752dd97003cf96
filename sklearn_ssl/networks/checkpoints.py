"""Checkpoints: read weights from files, and match their names to a network."""

import math
import os
import re
import zipfile
from collections import Counter
from dataclasses import dataclass, field

import torch
from safetensors import safe_open

from sklearn_ssl.persistence.file_format import read_estimator

# If a file contains several networks, use the one that its authors evaluate: teachers and averaged
# weights of DINO and timm first, momentum encoders of MoCo and BYOL last.
FIRST, LAST = {"teacher", "ema"}, {"student", "k", "momentum", "target"}
# Patterns of other libraries' names, and torchvision's names.
WRAPPED = ((r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.", ""),)
DENSENET = ((r"\b(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2."),)
VISION_TRANSFORMER = (  # timm, DINO and MAE
    (r"\bcls_token$", "class_token"),
    (r"\bpos_embed$", "encoder.pos_embedding"),
    (r"\bpatch_embed\.proj\.", "conv_proj."),
    (r"\bblocks\.(\d+)\.", r"encoder.layers.encoder_layer_\1."),
    (r"\bnorm([12])\.", r"ln_\1."),
    (r"\battn\.qkv\.", "self_attention.in_proj_"),
    (r"\battn\.proj\.", "self_attention.out_proj."),
    (r"\bmlp\.(?:fc1|linear_1)\.", "mlp.0."),
    (r"\bmlp\.(?:fc2|linear_2)\.", "mlp.3."),
    (r"(^|\.)norm\.(weight|bias)$", r"\1encoder.ln.\2"),
)
HINT = (
    "Pass a file of weights, as written by torch.save(network.state_dict(), path) or safetensors."
)
MANY = 4  # names in an error


@dataclass
class Checkpoint:
    """Tensors of a file; names of nested dicts are joined by dots."""

    path: object
    tensors: dict
    saved: dict = field(default_factory=dict)  # class and fitted attributes of an estimator

    def match(self, model, classifier=None):
        """Find the weights of a model, whose ``classifier`` may be missing or different."""
        return Match(self, model, classifier)


class Match:
    """The weights of a model in a checkpoint, under any prefix."""

    def __init__(self, checkpoint, model, classifier):
        self.checkpoint, self.model = checkpoint, model
        own = model.state_dict()
        # Only used by batch norms without momentum, and missing in old files.
        counters = {name for name in own if name.endswith("num_batches_tracked")}

        def is_classifier(name):
            return classifier is not None and name.startswith(f"{classifier}.")

        self.needed = [k for k in own if k not in counters and not is_classifier(k)]
        tensors = {_renamed(name, model): value for name, value in checkpoint.tensors.items()}
        self.tensors = tensors
        self.prefix = _prefix(tensors, {k: own[k].shape for k in self.needed}, checkpoint.path)
        under = {
            name.removeprefix(self.prefix): value
            for name, value in tensors.items()
            if name.startswith(self.prefix)
        }
        _resize_positions(under, own)
        self.state = {k: v for k, v in under.items() if k in own and v.shape == own[k].shape}
        self.missing = [k for k in self.needed if k not in under]
        self.misshapen = {
            k: (tuple(under[k].shape), tuple(own[k].shape))
            for k in self.needed
            if k in under and k not in self.state
        }
        beside = [k for k in under if k not in own]
        parts = {name.split(".")[0] for name in self.needed}
        # Weights of a deeper network; heads and training state have other names.
        self.deeper = [k for k in beside if k.split(".")[0] in parts and not is_classifier(k)]
        self.n_fit = len(self.needed) - len(self.missing) - len(self.misshapen)
        self.fits = not (self.missing or self.misshapen or self.deeper)
        self.is_exact = self.fits and not beside

    def load(self):
        """Load the weights into the model; raise if they do not fit."""
        if not self.fits:
            raise ValueError(self._misfit())
        broken = [k for k, v in self.state.items() if not v.isfinite().all()]
        if broken:
            raise ValueError(
                f"weights={str(self.checkpoint.path)!r} contain NaN or infinite values, in "
                f"{len(broken)} tensors such as {broken[0]!r}. Their training diverged, or the "
                "file is damaged: use an earlier checkpoint."
            )
        self.model.load_state_dict(self.model.state_dict() | self.state)

    def constants(self):
        """Return the channel means and standard deviations of an encoder of this package."""
        place, backbone, _ = self.prefix.rpartition("backbone.")
        found = [self.tensors.get(f"{place}{name}") for name in ("mean", "std")]
        if not backbone or any(v is None or v.ndim != 3 or v.shape[1:] != (1, 1) for v in found):
            return None
        return tuple(v.flatten().tolist() for v in found)

    def _misfit(self):
        names = self.checkpoint.tensors
        text = (
            f"weights={str(self.checkpoint.path)!r} do not fit the backbone: {self.n_fit} of "
            f"{len(self.needed)} tensors fit"
        )
        if not self.n_fit:
            text += (
                f". The file contains {len(names)} tensors, named {_some(names)}; the backbone "
                f"expects {_some(self.needed)}"
            )
        else:
            text += f", under the prefix {self.prefix!r}" if self.prefix else ""
            if self.missing:
                text += f". Missing ({len(self.missing)}): {_some(self.missing)}"
            if self.misshapen:
                shapes = [f"{k} {a}, not {b}" for k, (a, b) in self.misshapen.items()]
                text += f". Of another shape ({len(shapes)}): {_some(shapes, quoted=False)}"
            if self.deeper:
                text += (
                    f". Of layers that the backbone does not have ({len(self.deeper)}): "
                    f"{_some(self.deeper)}"
                )
            if any("pos_embed" in k for k in self.misshapen):
                text += (
                    ". Position embeddings are those of another size of image or patch: choose the "
                    "backbone that they were trained for, and input=Images(size=...)"
                )
        if self.checkpoint.saved:
            saved = self.checkpoint.saved
            text += (
                f". The file was written by {saved['class']}.save, with backbone="
                f"{saved['fitted'].get('backbone_', 'of its own')!r}: read it with sklearn_ssl.load"
            )
        return f"{text}."


def read_checkpoint(path):
    """Read the tensors of a file written by torch.save, safetensors, or ``save``."""
    name = f"weights={os.fspath(path)!r}"
    if os.path.isdir(path):
        raise ValueError(f"{name} is a folder. Pass the file in it that contains the weights.")
    with open(path, "rb") as file:
        head = file.read(16)
    if not head:
        raise ValueError(f"{name} is an empty file.")
    if kind := _other_kind(path, head):
        raise ValueError(f"{name} is {kind}. {HINT}")
    try:
        if head[8:9] == b"{":  # safetensors
            with safe_open(path, framework="pt") as file:
                if "sklearn_ssl" not in (file.metadata() or {}):
                    return Checkpoint(path, {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
            return _saved(path)
        with open(path, "rb") as file:  # given a path, torch.load trusts the suffix
            found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        if held := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise ValueError(
                f"{name} contains Python objects ({held[1]}) besides tensors. Reading them could "
                "run code from the file, so it is refused. If you trust its author, write only the "
                "weights to another file: torch.save(torch.load(path, weights_only=False)["
                "'state_dict'], other_path), or another key."
            ) from error
        raise ValueError(
            f"{name} cannot be read: it is damaged, truncated, or not a file of weights. {HINT}"
        ) from error
    tensors = dict(_flat(found))
    if not tensors:
        holds = _some(found) if isinstance(found, dict) else f"a {type(found).__name__}"
        raise ValueError(f"{name} contains no named tensors, but {holds or 'nothing'}. {HINT}")
    return Checkpoint(path, tensors)


def _saved(path):
    """Return the encoder's weights of an estimator's file."""
    about = read_estimator(path)
    weights = about["weights"]
    own = any(name.startswith("encoder.") for name in weights)
    prefix = "encoder." if own else "teacher.encoder."  # if the teacher's encoder embeds
    tensors = {k: v for k, v in weights.items() if k.startswith(prefix)}
    return Checkpoint(path, dict(_flat(tensors)), about)


def _other_kind(path, head):
    """Return the kind of a file that cannot contain weights, else None."""
    if head.startswith(b"\x89HDF"):
        return "an HDF5 file, as Keras writes them"
    if head.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile:
            return None  # truncated
        if any("/code/" in name or name.endswith("constants.pkl") for name in names):
            return "a TorchScript program"
        return None if any(name.endswith("data.pkl") for name in names) else "a zip archive"
    if head[8:9] == b"{" or head.startswith(b"\x80"):  # safetensors, pickles
        return None
    if str(path).lower().endswith(".onnx"):
        return "an ONNX file"
    return "not a file of weights"


def _flat(value, name=""):
    """Yield the tensors of nested dicts with their names."""
    if isinstance(value, torch.Tensor):
        if name and value.layout is torch.strided and not value.is_nested:
            yield name, value.detach()
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))


def _renamed(name, model):
    """Return torchvision's name of a tensor."""
    from torchvision.models import DenseNet, VisionTransformer

    rules = WRAPPED
    if isinstance(model, DenseNet):
        rules += DENSENET
    elif isinstance(model, VisionTransformer):
        rules += VISION_TRANSFORMER
    for pattern, new in rules:
        name = re.sub(pattern, new, name)
    return name


def _prefix(tensors, shapes, path):
    """Return the prefix under which most of a network's tensors are found."""
    n_fit, n_named = Counter(), Counter()
    for name, tensor in tensors.items():
        parts = name.split(".")
        for i in range(len(parts)):
            key = ".".join(parts[i:])
            if key in shapes:
                prefix = name.removesuffix(key)
                n_named[prefix] += 1
                n_fit[prefix] += tensor.shape == shapes[key]

    def order(prefix):
        words = set(re.split(r"[._]", prefix))
        preferred = bool(words & LAST) - bool(words & FIRST)
        return -n_fit[prefix], -n_named[prefix], preferred

    best, *others = sorted(n_named, key=order) or [""]
    for other in others:
        if order(other) == order(best) and not all(
            torch.equal(tensors[best + k], tensors[other + k])
            for k in shapes
            if best + k in tensors and other + k in tensors
        ):
            raise ValueError(
                f"weights={str(path)!r} contain several networks that fit the backbone, under "
                f"{best!r} and {other!r}. Write one of them to a separate file."
            )
    return best


def _resize_positions(tensors, own):
    """Interpolate torchvision's position embeddings, in place, to those of another image size."""
    name = "encoder.pos_embedding"
    if name not in own or name not in tensors or tensors[name].ndim != 3:
        return
    from torchvision.models.vision_transformer import interpolate_embeddings

    given, side = tensors[name].shape[1] - 1, math.isqrt(own[name].shape[1] - 1)
    if tensors[name].shape[0] == 1 and given > 0 and math.isqrt(given) ** 2 == given:
        interpolate_embeddings(side, 1, tensors)


def _some(names, quoted=True):
    """Return the first names as text."""
    names = [repr(name) if quoted else name for name in names]
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(names[:MANY]) + more


def find_checkpoint(weights, names=()):
    """Read weights from a file; ``names`` are the backbone's pretrained weights, for the error."""
    if not os.path.exists(weights):
        have = f"of this backbone, {', '.join(map(repr, names))}" if names else ""
        raise ValueError(
            f"weights={os.fspath(weights)!r} is neither a file nor the name of pretrained weights "
            + (have or "of this backbone. Only torchvision's models have such names")
            + "."
        )
    return read_checkpoint(weights)
