"""ONNX: graphs written node by node with the package onnx, and run by onnxruntime."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ferlib.errors import FerlibError, need
from ferlib.runtime.cpu import threads

# Every version of onnx writes these, and onnxruntime reads them from 1.12 on. Opset 16 brought the
# sampler that spatial transformers need.
OPSET, IR_VERSION = 17, 8


class Nodes:
    """The nodes of an ONNX graph, in their order. A node is known by the name of its output.

    `prefix` is what names begin with that are not given, so that graphs can be put together.
    """

    def __init__(self, prefix: str = "") -> None:
        need("onnx", "onnx", "writing an ONNX graph")
        self._prefix = prefix
        self.nodes: list[Any] = []
        self.arrays: list[Any] = []

    def node(self, kind: str, *inputs: str, name: str = "", **how: Any) -> str:
        """Add an operator of that kind, with its attributes; the name of its output."""
        name = name or f"{self._prefix}{kind}{len(self.nodes)}"
        return self.several(kind, inputs, [name], **how)[0]

    def several(
        self, kind: str, inputs: Sequence[str], names: Sequence[str], **how: Any
    ) -> Sequence[str]:
        """The same for an operator with several outputs, which get these names."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, names, name=names[0], **how))
        return names

    def array(self, value: np.ndarray, name: str = "") -> str:
        """Add what does not change; its name."""
        from onnx import numpy_helper

        name = name or f"{self._prefix}array{len(self.arrays)}"
        self.arrays.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def integers(self, *values: int) -> str:
        """`array` of whole numbers, such as a shape."""
        return self.array(np.array(values, np.int64))

    def model(
        self,
        given: Mapping[str, tuple[type, Sequence]],
        told: Mapping[str, Sequence],
        metadata: Mapping[str, str] | None = None,
    ) -> Any:
        """The onnx.ModelProto, checked. `given` and `told` are the inputs with their types and
        shapes, and the outputs, float32, with theirs; a text in a shape stands for any number."""
        from onnx import TensorProto, checker, helper

        kinds: dict = {np.float32: TensorProto.FLOAT, np.uint8: TensorProto.UINT8}
        value = helper.make_tensor_value_info
        inputs = [value(name, kinds[kind], shape) for name, (kind, shape) in given.items()]
        outputs = [value(name, TensorProto.FLOAT, shape) for name, shape in told.items()]
        graph = helper.make_graph(self.nodes, "ferlib", inputs, outputs, self.arrays)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="ferlib"
        )
        helper.set_model_props(model, dict(metadata or {}))
        checker.check_model(model)
        return model


class Model:
    """A graph in onnxruntime, on the processor. Threads may share one.

    What onnxruntime raises on bytes that are no graph is of many kinds.
    """

    def __init__(self, model: bytes):
        need("onnxruntime", "onnx", "this engine")
        self._session: Callable[[int], Any] = cache(lambda count: _session(model, count))
        first = self._session(threads())  # what does not load is told now
        self.metadata: dict[str, str] = first.get_modelmeta().custom_metadata_map

    @classmethod
    def read(cls, file: str | Path) -> "Model":
        """That of an .onnx file; FerlibError where it is missing, damaged, or something else."""
        need("onnxruntime", "onnx", f"{file}")
        try:
            code = Path(file).read_bytes()
        except OSError as error:
            raise FerlibError(f"cannot read {file}: {error.strerror}", "weights_missing") from None
        try:
            return cls(code)
        except Exception:  # onnxruntime's own, or a ValueError, by what is wrong
            # A graph begins with the version of its format: field 1, a number.
            wrong = "is damaged or cut short" if code[:1] == b"\x08" else "is no ONNX file"
            raise FerlibError(
                f"{file} {wrong}: make it again with `ferlib export`", "weights_invalid"
            ) from None

    def __call__(self, **given: np.ndarray) -> list[np.ndarray]:
        """The outputs for these inputs, by name."""
        return self._session(threads()).run(None, given)


def _session(model: bytes, count: int) -> Any:
    """In so many threads."""
    # Versions from 1.29 on report their use over the network unless they are told not to.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count
    options.enable_mem_pattern = False  # it would be kept for each size of picture
    # Threads that wait must not take the processor from other work, such as a second worker.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
