"""What runs a network: ONNX Runtime, or OpenVINO where it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gueststar.errors import MissingPartError, ModelError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["Runtime", "Session", "open_session"]

Runtime = Literal["onnxruntime", "openvino"]
Shape = tuple[int | str | None, ...]


class Session(Protocol):
    """A network that is ready: called with its inputs by name it gives its one output."""

    @property
    def inputs(self) -> Mapping[str, Shape]:
        """Shape of each input; what is not a number may be of any length."""
        ...

    def __call__(self, feeds: Mapping[str, NDArray[np.float32]], /) -> NDArray[np.float32]:
        """The output for inputs of one number of rows."""
        ...


class OnnxSession:
    """A network in ONNX Runtime, on the CPU."""

    def __init__(self, session: InferenceSession) -> None:
        self.session = session
        self.inputs: Mapping[str, Shape] = {item.name: tuple(item.shape) for item in session.get_inputs()}

    def __call__(self, feeds: Mapping[str, NDArray[np.float32]], /) -> NDArray[np.float32]:
        """The first output."""
        return np.asarray(self.session.run(None, dict(feeds))[0])


class OpenvinoSession:
    """A network in OpenVINO, on the CPU, in single precision."""

    def __init__(self, compiled: Any) -> None:
        self._request, self._output = compiled.create_infer_request(), compiled.output(0)
        self.inputs: Mapping[str, Shape] = {
            item.get_any_name(): tuple(_length(axis) for axis in item.get_partial_shape()) for item in compiled.inputs
        }

    def __call__(self, feeds: Mapping[str, NDArray[np.float32]], /) -> NDArray[np.float32]:
        """The first output; a copy, as the next call writes to the same memory."""
        return np.array(self._request.infer(dict(feeds), share_inputs=True)[self._output], np.float32)


def open_session(weights: bytes, *, name: str, threads: int = 1, runtime: Runtime = "onnxruntime") -> Session:
    """Make a network ready.

    Parameters
    ----------
    weights : bytes
        An ONNX file.
    name : str
        Of the model, for messages.
    threads : int
    runtime : {'onnxruntime', 'openvino'}

    Raises
    ------
    ModelError
        When the weights are no network.
    MissingPartError
        When the runtime is not installed.
    """
    return _openvino(weights, name, threads) if runtime == "openvino" else _onnxruntime(weights, name, threads)


def _onnxruntime(weights: bytes, name: str, threads: int) -> Session:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    except (state.InvalidProtobuf, state.InvalidGraph, state.Fail, state.NotImplemented, ValueError) as error:
        raise ModelError(f"model {name!r}: not a network that can be run: {error}", model=name) from error
    return OnnxSession(session)


def _openvino(weights: bytes, name: str, threads: int) -> Session:
    try:
        import openvino
    except ImportError:
        raise MissingPartError(
            "classify.runtime openvino: the package openvino is not installed; install it with "
            "pip install 'gueststar[fast]', or use the runtime onnxruntime",
            package="openvino",
        ) from None
    core = openvino.Core()
    try:
        network = core.read_model(weights)
        # Left alone it computes in bfloat16 where the processor can, with other scores.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        return OpenvinoSession(core.compile_model(network, "CPU", settings))
    except RuntimeError as error:
        raise ModelError(f"model {name!r}: not a network that OpenVINO can run: {error}", model=name) from error


def _length(axis: Any) -> int | None:
    return int(axis.get_length()) if axis.is_static else None
