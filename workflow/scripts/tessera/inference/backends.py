"""Engines: what runs a trained network, TensorFlow or OpenVINO, in a precision that was checked.

An engine is given normalized pixels, and answers with probabilities as they are stored, rounded and turned within the
compiled graph, since on a CPU every pass over the pixels outside of it takes a core from the network.
"""

import importlib.util
from pathlib import Path

import numpy as np

from tessera.common.constants import CONVERTED, DIVISOR, SAVED_MODEL, WEIGHTS
from tessera.common.errors import InputError


class OpenVINOEngine:
    """A model's SavedModel, or what `convert` made of it, on the CPU.

    Args:
        settings: content of model.json.
        path: file of the converted model, or folder of the SavedModel.
        precision: float32 or bfloat16.
        threads: CPU cores to use; None for all.

    Raises:
        InputError: the model cannot be read, or does not fit its model.json.
    """

    name, device = "openvino", "cpu"

    def __init__(self, settings, path, *, precision="float32", threads=None):
        import openvino

        self.settings, self.precision = settings, precision
        if precision not in (known := {"float32": "f32", "bfloat16": "bf16"}):
            raise InputError(f"predict.precision: openvino has no {precision} on the CPU; set it to bfloat16 or auto")
        hints = {"INFERENCE_PRECISION_HINT": known[precision]}
        hints |= {"PERFORMANCE_HINT": "LATENCY"} | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
        graph = _quantised(openvino, _read(openvino, path, settings))
        self._request = openvino.Core().compile_model(graph, "CPU", hints).create_infer_request()
        self._try(path)

    def predict(self, pixels):
        """Probabilities uint8 (n, outputs, y, x), 255 = 1, of normalized `pixels` float32 (n, y, x, c).

        y and x are multiples of 32. The answer is only valid until the next call.

        Raises:
            MemoryError: there is not enough memory for so many pixels.
        """
        try:
            return self._request.infer([pixels], share_inputs=True, share_outputs=True)[0]
        except RuntimeError as error:
            if "alloc" not in str(error).lower():
                raise
            # OpenVINO would fail again at the size that it was asked about before, until it is asked about another.
            self._request.infer([np.zeros((1, DIVISOR, 2 * DIVISOR, pixels.shape[3]), np.float32)])
            raise MemoryError(str(error).strip().splitlines()[-1]) from error

    def _try(self, path):
        """Refuse a model that answers in another size, or with numbers that are no probabilities."""
        side, outputs = 2 * DIVISOR, len(self.settings["outputs"])
        answer = self.predict(np.zeros((1, side, side, len(self.settings["channels"])), np.float32))
        if answer.shape != (1, outputs, side, side):
            _, _, *answered = answer.shape
            raise InputError(f"{path}: answers {side} x {side} pixels by {answered}; it must give one answer per pixel")
        sums = answer.sum(1, dtype=int)
        if np.abs(sums - 255).max() > outputs:
            raise InputError(
                f"{path}: its outputs sum to {sums.min() / 255:.2f} to {sums.max() / 255:.2f} in a pixel, not to 1; "
                "export it with a softmax at its end"
            )


class TensorFlowEngine:
    """A model built anew from its model.json and weights, on a GPU where TensorFlow was given one, else on the CPU.

    Args:
        settings: content of model.json.
        folder: of the model.
        precision: float32, bfloat16 or float16.
        device: cpu or gpu, for the record; `tessera.networks.devices.choose_device` settles it.
    """

    name = "tensorflow"

    def __init__(self, settings, folder, *, precision="float32", device="cpu"):
        from tessera.networks.build import load_network
        from tessera.networks.tensorflow_setup import tf

        self.settings, self.precision, self.device = settings, precision, device
        self._exhausted = tf.errors.ResourceExhaustedError
        model = load_network(folder, precision)

        def forward(pixels):
            probabilities = tf.cast(model(pixels, training=False), tf.float32)
            return tf.transpose(tf.cast(tf.round(255 * probabilities), tf.uint8), (0, 3, 1, 2))

        signature = [tf.TensorSpec((None, None, None, model.input_shape[-1]), tf.float32)]
        self._forward = tf.function(forward, input_signature=signature).get_concrete_function()
        self._constant = tf.constant

    def predict(self, pixels):
        """As `OpenVINOEngine.predict`."""
        try:
            return self._forward(self._constant(pixels)).numpy()
        except self._exhausted as error:
            raise MemoryError(str(error).splitlines()[0]) from error


def convert(folder, path):
    """Write the SavedModel of a model's folder as OpenVINO's own file (.xml, with a .bin beside it) at `path`.

    Raises:
        InputError: OpenVINO cannot read it.
    """
    import openvino

    openvino.save_model(_load(openvino, Path(folder) / SAVED_MODEL), path, compress_to_fp16=False)


def is_installed(engine):
    """Whether the package of an engine is there."""
    return importlib.util.find_spec(engine) is not None


def choose_engine(engine, device, *, threads=None):
    """The engine and the device that a job computes with.

    Args:
        engine: auto, tensorflow or openvino.
        device: auto, cpu or gpu.
        threads: CPU cores to use; None for all.

    Returns:
        (engine, device): OpenVINO on a CPU where it is installed, for it is quicker there; TensorFlow on a GPU.

    Raises:
        InputError: an engine that is not installed or cannot use the device, or a GPU that is not there.
    """
    if engine == "openvino":
        if device == "gpu":
            raise InputError(
                "predict.engine: openvino computes on the CPU; set predict.device to cpu, or engine to auto"
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


def reduced_precision(engine, device):
    """The precision below float32 in which an engine is quicker on this machine, or None."""
    if engine == "openvino":
        import openvino

        return "bfloat16" if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else None
    return "float16" if device == "gpu" else None


def load_engine(engine, device, settings, folder, *, converted=None, precision="float32", threads=None):
    """The engine of one model.

    Args:
        engine, device: as `choose_engine` gives them.
        settings: content of model.json.
        folder: of the model.
        converted: folder of converted models, {model}.xml each; the SavedModel is read where there is none.
        precision: float32, bfloat16 or float16.
        threads: CPU cores to use; None for all.
    """
    if engine == "openvino":
        path = Path(converted or "", f"{Path(folder).name}{CONVERTED}")
        path = path if path.is_file() else Path(folder) / SAVED_MODEL
        return OpenVINOEngine(settings, path, precision=precision, threads=threads)
    if not (Path(folder) / WEIGHTS).is_file():
        raise InputError(
            f"{folder}: has no {WEIGHTS}, and TensorFlow is not given a SavedModel of others, which may hold any "
            "program; set predict.engine to openvino, which knows the layers of networks alone"
        )
    return TensorFlowEngine(settings, folder, precision=precision, device=device)


def _may_have_gpu():
    """Whether there is a sign of a GPU that TensorFlow could use; to look for certain, it has to be loaded."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/kfd").exists()


def _load(openvino, path):
    try:
        return openvino.Core().read_model(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"{path}: OpenVINO cannot read this model ({reason}); train or export it again") from error


def _read(openvino, path, settings):
    """The graph at `path`, whose input and output are those that model.json tells of."""
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
            f"{path}: takes and gives {' and '.join(map(str, shapes))}, model.json has {inputs} channels and {outputs} "
            "outputs; it must take (n, y, x, channels) of any n, y and x and give (n, y, x, outputs)"
        )
    return graph


def _quantised(openvino, graph):
    """The graph with probabilities as whole numbers to 255, the outputs before y and x."""
    from openvino import opset13 as ops

    probabilities = graph.get_results()[0].input_value(0)
    scaled = ops.round(ops.multiply(probabilities, ops.constant(np.float32(255))), "half_to_even")
    turned = ops.transpose(ops.convert(scaled, "u8"), ops.constant(np.array([0, 3, 1, 2])))
    return openvino.Model([ops.result(turned)], graph.get_parameters(), "tessera")
