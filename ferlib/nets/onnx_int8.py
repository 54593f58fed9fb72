"""Eight-bit whole numbers in an ONNX graph, by onnxruntime's own quantiser.

The graph gets pairs of nodes that round each layer's numbers (QDQ), which any runtime understands,
and weights of a quarter of the size. Ranges are the smallest and largest numbers that some pictures
give. As in `nets.int8` the first convolution, which sees the picture, and the last layer, which
gives the logits, stay float32.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ferlib.data.images import Crops, check_several, prepare, spread
from ferlib.errors import FerlibError, need
from ferlib.nets.answer import BATCH
from ferlib.nets.info import Info
from ferlib.nets.onnx_graph import DATA, KEY
from ferlib.runtime.onnx import IR_VERSION, OPSET

CALIBRATED_ON = 512  # pictures: with 2,048 ranges are wider, and no more answers the same


def quantised(model: Any, info: Info, pictures: Crops) -> Any:
    """What `onnx_graph.model` gives -> an onnx.ModelProto that computes in int8.

    `pictures`: uint8 (N, H, W) or (N, H, W, 3) such as it will see. FerlibError without any.
    """
    check_several(pictures)
    if not len(pictures):
        raise FerlibError("no pictures to calibrate with: expected some hundred")
    need("ml_dtypes", "onnx", "onnxruntime's quantiser")
    import onnx
    from onnxruntime import quantization

    some = spread(pictures, CALIBRATED_ON)
    batch = prepare(some, info.input_size, info.normalise, info.channels)
    kinds = quantization.QuantType
    how = {
        "per_channel": True,
        # Where a processor adds products of eight bits in 16, weights of seven cannot overflow.
        "reduce_range": True,
        "activation_type": kinds.QUInt8,
        "weight_type": kinds.QInt8,
    }
    with tempfile.TemporaryDirectory() as folder:
        fused, rounded = _fused(model, folder), Path(folder, "rounded.onnx")
        ends = {"nodes_to_exclude": _ends(fused)}
        quantization.quantize_static(fused, rounded, _Batches(batch), **how, **ends)
        return _told(onnx.load(rounded), model)


class _Batches:
    """Prepared pictures as onnxruntime's quantiser asks for them."""

    def __init__(self, pictures: np.ndarray):
        self._parts = (pictures[at : at + BATCH] for at in range(0, len(pictures), BATCH))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, None after the last."""
        return next(({DATA: part} for part in self._parts), None)


def _fused(model: Any, folder: str) -> Path:
    """A file of the graph in which each BatchNorm is part of its convolution."""
    import onnx
    import onnxruntime

    file = Path(folder, "fused.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(file)
    options.log_severity_level = 3
    where = ["CPUExecutionProvider"]
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=where)
    fused = onnx.load(file)
    onnx.helper.set_model_props(fused, _PREPARED)
    onnx.save(fused, file)
    return file


_PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}  # or it advises to do what was done


def _ends(file: Path) -> list[str]:
    """The names of the first convolution and of the last dense layer."""
    import onnx

    nodes = onnx.load(file).graph.node
    convolutions, dense = ([n.name for n in nodes if n.op_type == op] for op in ("Conv", "Gemm"))
    return convolutions[:1] + dense[-1:]


def _told(made: Any, model: Any) -> Any:
    """Settled as ferlib's: its metadata, and no other sets of operators than the one in use."""
    import onnx

    about = {one.key: one.value for one in model.metadata_props} | {f"{KEY}.precision": "int8"}
    onnx.helper.set_model_props(made, about)
    del made.opset_import[:]
    made.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    made.ir_version, made.producer_name = IR_VERSION, "ferlib"
    onnx.checker.check_model(made)
    return made
