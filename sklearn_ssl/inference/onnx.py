"""Export of fitted encoders to ONNX."""

import contextlib
import copy
import io
import logging
import warnings
from pathlib import Path

import torch
from torch import nn

from sklearn_ssl._runtime.isolation import isolated
from sklearn_ssl.persistence.file_format import replaced

# An ONNX file has at most 2**31 bytes, including more than the weights.
LARGEST = 2 * 10**9
OUTPUT = "embedding"


class ScaledEncoder(nn.Module):
    """Scale samples from the range of X, then embed them."""

    def __init__(self, spec, scale, encoder):
        super().__init__()
        self.spec, self.scale, self.encoder = spec, scale, encoder

    def forward(self, X):
        """Return the embedding, (n, d), of X in the layout of exported models."""
        return self.encoder(self.scale(self.spec.exported(X)))


def write_onnx(estimator, path):
    """Write the encoder of a fitted estimator to an ONNX file."""
    try:
        import onnxscript  # noqa: F401  (itself imports onnx)
    except ImportError as error:
        raise ImportError(
            'to_onnx requires the packages onnx and onnxscript: pip install "sklearn-ssl[onnx]".'
        ) from error
    size = sum(tensor.nbytes for tensor in estimator._network().state_dict().values())
    if size > LARGEST:
        raise ValueError(
            f"The weights of the encoder take {size / 1e9:.3g} GB, but an ONNX file is limited to "
            f"{LARGEST / 1e9:.3g} GB. Choose a smaller backbone, or an earlier layer."
        )
    cpu, spec = torch.device("cpu"), estimator._spec
    with isolated(cpu):
        # Contiguous: with channels last, as after training, the exporter adds slow transpositions
        # around each pooling.
        encoder = copy.deepcopy(estimator._network()).to(memory_format=torch.contiguous_format)
        module = ScaledEncoder(spec, estimator._scaling.on(cpu), encoder).eval()
        program = _traced(module, *spec.export_samples(), estimator.backbone_)
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # lines of code, with the paths of their files
        for value in node.outputs:  # torch.nn.Embedding has the name of the output
            if value.name == OUTPUT and value not in program.model.graph.outputs:
                value.name = f"{OUTPUT}_"
    program.model.metadata_props.update(estimator._scaling.described())
    with replaced(path) as part:
        Path(part).write_bytes(program.model_proto.SerializeToString())


def _traced(module, samples, free, backbone):
    """Return a module as ONNX program; ``free`` are names and largest sizes of its first axes."""
    reason = (
        "torch cannot trace its forward, which may depend on values or on the number of samples"
    )
    try:
        with _quiet():
            sizes = [torch.export.Dim(name, max=largest) for name, largest in free.items()]
            sizes = dict(enumerate(sizes))
            program = torch.export.export(module, (samples,), dynamic_shapes={"X": sizes})
            reason = "it has an operation that torch cannot export to ONNX"
            return torch.onnx.export(
                program,
                input_names=["X"],
                output_names=[OUTPUT],
                dynamic_shapes={"X": dict(enumerate(free))},  # named again, or it would be "s29"
                verbose=False,
                dynamo=True,
            )
    except Exception as error:
        name = getattr(backbone, "__name__", type(backbone).__name__)
        name = repr(backbone) if isinstance(backbone, str) else name
        raise ValueError(f"backbone={name} cannot be exported to ONNX: {reason}.") from error


@contextlib.contextmanager
def _quiet():
    """Silence warnings and output of torch during export."""
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        log.setLevel(level)
