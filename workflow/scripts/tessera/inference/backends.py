"""Engines: TensorFlow or OpenVINO with one trained network, compiled once.

An engine takes normalized pixels and returns probabilities as they are stored. Rounding and transposing are part of the
compiled graph, because on a CPU every pass over the pixels outside of it takes a core from the network. Models that
were trained elsewhere only run in OpenVINO, which knows layers and runs no programs.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.common.constants import OPENVINO_SUFFIX, SAVED_MODEL_FOLDER, SIZE_DIVISOR, WEIGHTS_H5
from tessera.common.errors import InputError
from tessera.common.types import StrPath


class OpenVINOEngine:
    """A SavedModel, or the file that `convert` made of it, on the CPU.

    Args:
        settings: content of model.json.
        path: file of the converted model, or folder of the SavedModel.
        precision: "float32" or "bfloat16".
        threads: number of CPU cores; None: all.

    Raises:
        InputError: the model cannot be read, or does not match its model.json.
    """

    name, device = "openvino", "cpu"

    def __init__(
        self, settings: dict[str, Any], path: StrPath, *, precision: str = "float32", threads: int | None = None
    ) -> None:
        import openvino

        self.settings, self.precision = settings, precision
        types = {"float32": "f32", "bfloat16": "bf16"}
        if precision not in types:
            raise InputError(f"predict.precision: openvino has no {precision} on the CPU; set it to bfloat16 or auto")
        hints: dict[str, Any] = {"INFERENCE_PRECISION_HINT": types[precision], "PERFORMANCE_HINT": "LATENCY"}
        hints |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
        graph = _quantized(openvino, _read(openvino, path, settings))
        self._request = openvino.Core().compile_model(graph, "CPU", hints).create_infer_request()
        self._try(path)

    def predict(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Run the network.

        Args:
            pixels: (n, y, x, c), normalized; y and x are multiples of 32.

        Returns:
            Probabilities (n, outputs, y, x), 255 = 1, only valid until the next call.

        Raises:
            MemoryError: there is not enough memory for so many pixels.
        """
        try:
            probabilities: NDArray[np.uint8] = self._request.infer([pixels], share_inputs=True, share_outputs=True)[0]
            return probabilities
        except RuntimeError as error:
            if "alloc" not in str(error).lower():
                raise
            # After this failure, OpenVINO fails again for the last successful size, until it has run another size.
            self._request.infer([np.zeros((1, SIZE_DIVISOR, 2 * SIZE_DIVISOR, pixels.shape[3]), np.float32)])
            raise MemoryError(str(error).strip().splitlines()[-1]) from error

    def _try(self, path: StrPath) -> None:
        """Reject a model whose output has another size than its input, or is not a probability."""
        side, outputs = 2 * SIZE_DIVISOR, len(self.settings["outputs"])
        output = self.predict(np.zeros((1, side, side, len(self.settings["channels"])), np.float32))
        if output.shape != (1, outputs, side, side):
            height, width = output.shape[2:]
            raise InputError(
                f"{path}: {side} x {side} pixels give {height} x {width} outputs; the network must have one output per "
                "pixel"
            )
        sums = output.sum(1, dtype=int)
        if np.abs(sums - 255).max() > outputs:
            raise InputError(
                f"{path}: its outputs sum to {sums.min() / 255:.2f} to {sums.max() / 255:.2f} in a pixel, not to 1; "
                "export it with a softmax at its end"
            )


class TensorFlowEngine:
    """A model that is built from its model.json and weights, on a GPU if TensorFlow has one, else on the CPU.

    Args:
        settings: content of model.json.
        folder: of the model.
        precision: "float32", "bfloat16" or "float16".
        device: "cpu" or "gpu", as `tessera.networks.devices.choose_device` decided; only kept.
    """

    name = "tensorflow"

    def __init__(
        self, settings: dict[str, Any], folder: StrPath, *, precision: str = "float32", device: str = "cpu"
    ) -> None:
        from tessera.networks.build import load_network
        from tessera.networks.tensorflow_setup import tf

        self.settings, self.precision, self.device = settings, precision, device
        self._exhausted = tf.errors.ResourceExhaustedError
        model = load_network(folder, precision)

        def forward(pixels: Any) -> Any:
            probabilities = tf.cast(model(pixels, training=False), tf.float32)
            return tf.transpose(tf.cast(tf.round(255 * probabilities), tf.uint8), (0, 3, 1, 2))

        signature = [tf.TensorSpec((None, None, None, model.input_shape[-1]), tf.float32)]
        self._forward = tf.function(forward, input_signature=signature).get_concrete_function()
        self._constant = tf.constant

    def predict(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """See `OpenVINOEngine.predict`."""
        try:
            probabilities: NDArray[np.uint8] = self._forward(self._constant(pixels)).numpy()
            return probabilities
        except self._exhausted as error:
            raise MemoryError(str(error).splitlines()[0]) from error


def convert(folder: StrPath, path: StrPath) -> None:
    """Convert the SavedModel of a model folder to a file of OpenVINO at `path` (.xml, with a .bin beside it).

    Raises:
        InputError: OpenVINO cannot read it.
    """
    import openvino

    openvino.save_model(_load(openvino, Path(folder) / SAVED_MODEL_FOLDER), path, compress_to_fp16=False)


def is_installed(engine: str) -> bool:
    """Return whether the package of an engine is installed."""
    return importlib.util.find_spec(engine) is not None


def choose_engine(engine: str, device: str, *, threads: int | None = None) -> tuple[str, str]:
    """Choose the engine and the device of a job.

    Args:
        engine: "auto", "tensorflow" or "openvino".
        device: "auto", "cpu" or "gpu".
        threads: number of CPU cores; None: all.

    Returns:
        (engine, device): TensorFlow on a GPU; on a CPU OpenVINO, which is faster there, if it is installed.

    Raises:
        InputError: the engine is not installed or cannot use the device, or there is no GPU.
    """
    if engine == "openvino":
        if device == "gpu":
            raise InputError(
                "predict.engine: openvino runs on the CPU only; set predict.device to cpu, or engine to auto"
            )
        if not is_installed("openvino"):
            raise InputError("predict.engine: openvino is not installed; install it, or set predict.engine to auto")
        return "openvino", "cpu"
    if (
        engine == "auto"
        and is_installed("openvino")
        and (device == "cpu" or (device == "auto" and not _may_have_gpu()))
    ):
        return "openvino", "cpu"
    from tessera.networks.devices import choose_device

    device = choose_device(device, threads)
    if engine == "auto" and device == "cpu" and is_installed("openvino"):
        return "openvino", "cpu"
    return "tensorflow", device


def reduced_precision(engine: str, device: str) -> str | None:
    """Return the precision below float32 in which an engine is faster on this machine, or None."""
    if engine == "openvino":
        import openvino

        return "bfloat16" if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else None
    return "float16" if device == "gpu" else None


def load_engine(
    engine: str,
    device: str,
    settings: dict[str, Any],
    folder: StrPath,
    *,
    converted: StrPath | None = None,
    precision: str = "float32",
    threads: int | None = None,
) -> OpenVINOEngine | TensorFlowEngine:
    """Load a model into an engine.

    Args:
        engine: from `choose_engine`.
        device: from `choose_engine`.
        settings: content of model.json.
        folder: of the model.
        converted: folder of converted models, {model}.xml each; a model that is not there is read as SavedModel.
        precision: "float32", "bfloat16" or "float16".
        threads: number of CPU cores; None: all.

    Raises:
        InputError: the model cannot be read, or cannot run in this engine.
    """
    if engine == "openvino":
        path = Path(converted or "", f"{Path(folder).name}{OPENVINO_SUFFIX}")
        path = path if path.is_file() else Path(folder) / SAVED_MODEL_FOLDER
        return OpenVINOEngine(settings, path, precision=precision, threads=threads)
    if not (Path(folder) / WEIGHTS_H5).is_file():
        raise InputError(
            f"{folder}: has no {WEIGHTS_H5}. A SavedModel from elsewhere may contain any program, so TensorFlow does "
            "not load it; set predict.engine to openvino, which only knows layers"
        )
    return TensorFlowEngine(settings, folder, precision=precision, device=device)


def _may_have_gpu() -> bool:
    """Whether there are signs of a GPU for TensorFlow; only loading TensorFlow makes it certain."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/kfd").exists()


def _load(openvino: Any, path: StrPath) -> Any:
    try:
        return openvino.Core().read_model(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"{path}: OpenVINO cannot read this model ({reason}); train or export it again") from error


def _read(openvino: Any, path: StrPath, settings: dict[str, Any]) -> Any:
    """Read the graph at `path`, and check that its input and output match model.json."""
    graph = _load(openvino, path)
    inputs, outputs = len(settings["channels"]), len(settings["outputs"])
    shapes = [port.partial_shape for port in (*graph.inputs, *graph.outputs)]
    fits = len(shapes) == 2 and all(shape.rank == 4 for shape in shapes)
    fits = fits and [shape[3].get_max_length() for shape in shapes] == [inputs, outputs]
    try:
        graph.reshape([-1, -1, -1, inputs])
    except RuntimeError:
        fits = False
    if not fits:
        raise InputError(
            f"{path}: has input and output {' and '.join(map(str, shapes))}, but model.json has {inputs} channels and "
            f"{outputs} outputs; the network must map (n, y, x, channels) of any n, y and x to (n, y, x, outputs)"
        )
    return graph


def _quantized(openvino: Any, graph: Any) -> Any:
    """The graph with probabilities as integers from 0 to 255 and the outputs before y and x."""
    from openvino import opset13 as ops

    probabilities = graph.get_results()[0].input_value(0)
    scaled = ops.round(ops.multiply(probabilities, ops.constant(np.float32(255))), "half_to_even")
    transposed = ops.transpose(ops.convert(scaled, "u8"), ops.constant(np.array([0, 3, 1, 2])))
    return openvino.Model([ops.result(transposed)], graph.get_parameters(), "tessera")
