"""The bare forward pass of a back end: static shape, pixels in memory, outputs discarded."""

import time
from pathlib import Path

import numpy as np
from tasks import CORES, answer


def run(model, engine, precision, side, batch, least_seconds):
    """Time the folder `model` on (batch, side, side, 1) after a warm-up: {"seconds", "computed_px"}."""
    pixels = np.random.default_rng(0).random((batch, side, side, 1), np.float32)
    forward = {"openvino": openvino_forward, "tensorflow": tensorflow_forward}[engine](model, precision, pixels)
    forward()
    started, computed = time.monotonic(), 0
    while (seconds := time.monotonic() - started) < least_seconds:
        forward()
        computed += pixels.size
    return {"seconds": seconds, "computed_px": computed}


def openvino_forward(model, precision, pixels):
    import openvino

    core = openvino.Core()
    graph = core.read_model(str(Path(model) / "saved_model"))
    graph.reshape(pixels.shape)
    hints = {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision]}
    hints |= {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": CORES}
    request = core.compile_model(graph, "CPU", hints).create_infer_request()
    return lambda: request.infer([pixels], share_inputs=True, share_outputs=True)


def tensorflow_forward(model, precision, pixels):
    from tessera.networks.build import load_network
    from tessera.networks.tensorflow_setup import tf

    network, resident = load_network(model, precision), tf.constant(pixels)
    signature = [tf.TensorSpec(pixels.shape, tf.float32)]
    forward = tf.function(lambda tiles: network(tiles, training=False), input_signature=signature)
    # Fetching one number waits for a GPU to have finished.
    return lambda: float(tf.cast(forward(resident)[0, 0, 0, 0], tf.float32))


if __name__ == "__main__":
    answer(run)
