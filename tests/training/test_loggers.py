"""Loggers: what TensorBoard and Weights & Biases show of a training, and that they do not change it."""

import io
import json
import logging
import random
import socketserver
import struct
import sys
import threading

import numpy as np
import pytest
import wandb
from matplotlib.colors import to_rgb
from PIL import Image
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from helpers.store_batches import place_discs
from tessera.common.errors import InputError
from tessera.networks.tensorflow_setup import keras, tf
from tessera.settings.sections import TrainSettings
from tessera.training.data_loader import PatchSet
from tessera.training.loggers import ProgressCallback, choose_patches, load_wandb, make_logger_callback
from tessera.training.patch_overlays import COLORS, display_rgb, draw_comparison, overlay_classes

OUTPUTS = ["background", "cell", "rim"]
SETTINGS = TrainSettings(backbone="resnet18", losses={"dice": 1.0})


def patches(number=7, side=32):
    """Return patches with a disc each, except the first; a corner of the last one is unknown."""
    targets = np.stack([place_discs((side, side), [(4 * i, 16)] if i else [], 6) for i in range(number)]).astype("u1")
    images = (0.2 + 0.6 * targets)[..., None].astype("float16")
    targets[-1, :8, :8] = 255
    return PatchSet(images, targets)


def network(seed=0):
    keras.utils.set_random_seed(seed)
    made = keras.Sequential([keras.layers.Input((None, None, 1)), keras.layers.Conv2D(3, 3, padding="same")])
    made.add(keras.layers.Softmax())
    made.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(ignore_class=255))
    return made


def make_callback(network, folder, every, wandb="off"):
    settings = SETTINGS.model_copy(update={"log_images_every": every, "wandb_mode": wandb})
    return make_logger_callback(network, patches(), OUTPUTS, settings, folder=folder, name="fold1")


def fit(folder, *, first=0, epochs=3, every=2, wandb_mode="off", made=None, shown=None):
    """Train from epoch `first` on, as one run of the process does, and return the history."""
    images, targets = patches()
    made = made or network()
    if shown is None:
        shown = [make_callback(made, folder, every, wandb_mode)]
    over = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: setattr(made, "stop_training", epoch == 3))
    data = {"x": images, "y": targets, "batch_size": 4, "validation_data": (images, targets)}
    return made.fit(**data, initial_epoch=first, epochs=epochs, callbacks=[over, *shown], verbose=0).history


def read_events(folder):
    """Return what TensorBoard's server reads, {tag: [(step, value), ...]}."""
    accumulator = EventAccumulator(str(folder), tensor_size_guidance={"images": 0, "scalars": 0, "text": 0})
    accumulator.Reload()
    return {
        tag: [(event.step, tf.make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)]
        for tag in accumulator.Tags()["tensors"]
    }


def steps(events):
    return {tag: [step for step, _ in values] for tag, values in events.items()}


def event_files(folder):
    return sorted(folder.glob("events.out.tfevents.*"))


def test_tensorboard_has_scalars_of_each_epoch_and_images_of_every_second(tmp_path):
    history = fit(tmp_path / "fold1", epochs=4)
    events = read_events(tmp_path / "fold1")
    expected = {tag: [1, 2, 3, 4] for tag in ("loss/loss", "loss/val_loss", "run/lr", "run/seconds")}
    expected |= {f"patches/{index}": [2, 4] for index in range(1, 7)}
    assert steps(events) == expected | {"settings": [0]}
    assert [float(value) for _, value in events["loss/val_loss"]] == pytest.approx(history["val_loss"])
    assert float(events["run/lr"][0][1]) == pytest.approx(0.01)
    assert b"| losses | {'dice': 1.0} |" in events["settings"][0][1].item()
    width, height, encoded = events["patches/3"][0][1]
    picture = Image.open(io.BytesIO(encoded))
    assert picture.size == (int(width), int(height))
    images, targets = patches()
    # Three panels of 256 pixels with 6 between them.
    assert picture.width == 3 * 256 + 2 * 6
    drawn = np.asarray(draw_comparison(images[3], targets[3], targets[3], OUTPUTS))
    assert np.array_equal(np.asarray(picture)[:, :518], drawn[:, :518])


def test_tensorboard_of_a_killed_training_has_no_epoch_twice(tmp_path):
    fit(tmp_path / "fold1", epochs=3, every=1)
    for path in event_files(tmp_path / "fold1"):
        # The names of files differ by the second in which they begin.
        path.rename(str(path).replace("tfevents.", "tfevents.0"))
    cut_off = max(event_files(tmp_path / "fold1"), key=lambda path: path.stat().st_size)
    cut_off.write_bytes(cut_off.read_bytes()[:-10])
    fit(tmp_path / "fold1", first=1, epochs=4, every=1)
    logged = steps(read_events(tmp_path / "fold1"))
    assert logged.pop("settings") == [0]
    assert set(map(tuple, logged.values())) == {(1, 2, 3, 4)}


def test_new_training_removes_the_events_of_an_earlier_one(tmp_path):
    fit(tmp_path / "fold1", epochs=4)
    for path in event_files(tmp_path / "fold1"):
        path.rename(str(path).replace("tfevents.", "tfevents.0"))
    (tmp_path / "fold1" / "notes.txt").write_text("mine")
    fit(tmp_path / "fold1", epochs=1)
    assert steps(read_events(tmp_path / "fold1"))["loss/loss"] == [1]
    assert not list((tmp_path / "fold1").glob("*tfevents.0*"))
    assert (tmp_path / "fold1" / "notes.txt").exists()


def test_stages_of_a_training_share_one_log(tmp_path):
    made = network()
    shown = [make_callback(made, tmp_path / "fold1", 0)]
    fit(None, epochs=2, made=made, shown=shown)
    fit(None, first=2, epochs=4, made=made, shown=shown)
    assert len(list((tmp_path / "fold1").glob("*.v2"))) == 1
    logged = steps(read_events(tmp_path / "fold1"))
    assert logged["loss/loss"] == [1, 2, 3, 4]
    assert not any(tag.startswith("patches") for tag in logged)


def test_weights_do_not_depend_on_loggers(tmp_path):
    results = []
    for shown in ([], None):
        made = network()
        fit(tmp_path / "fold1", made=made, shown=shown, every=1)
        drawn = [random.random(), np.random.rand(), float(tf.random.uniform([]))]  # noqa: NPY002
        results.append([*drawn, *(weights.tolist() for weights in made.get_weights())])
    assert results[0] == results[1]


def test_failing_logger_is_disabled_and_the_training_continues(tmp_path, caplog):
    (tmp_path / "fold1").write_text("a file where a folder should be")
    history = fit(tmp_path / "fold1")
    assert len(history["loss"]) == 3
    assert caplog.text.count("TensorBoard is disabled for the rest of the training") == 1


def test_shown_patches_are_evenly_spaced_and_preferably_have_objects():
    targets = np.zeros((12, 4, 4), "u1")
    targets[:, 0, 0] = 255
    # None has objects: the middles of six equal parts.
    assert choose_patches(targets) == [1, 3, 5, 7, 9, 11]
    targets[[0, 4, 10], 2, 2] = 1
    # The others are 1, 2, 3, 5, 6, 7, 8, 9, 11, and the middles of three parts are added.
    assert choose_patches(targets) == [0, 2, 4, 6, 9, 10]
    targets[:, 2, 2] = 2
    assert choose_patches(targets) == [1, 3, 5, 7, 9, 11]
    assert choose_patches(targets[:2]) == [0, 1]


def test_overlay_fills_and_outlines_classes_and_hatches_unknown_pixels():
    classes = np.zeros((40, 40), "u1")
    classes[4:12, 4:12], classes[4:12, 20:28], classes[20:, :] = 1, 2, 255
    shown = overlay_classes(np.full((40, 40, 3), 0.5, "float32"), classes)
    for class_, column in ((1, 8), (2, 24)):
        assert shown[8, column] == pytest.approx(0.6 * 0.5 + 0.4 * np.array(to_rgb(COLORS[class_ - 1])))
        assert shown[4, column] == pytest.approx(to_rgb(COLORS[class_ - 1]))
    assert shown[2, 2] == pytest.approx(0.5)
    assert np.unique(shown[20:]) == pytest.approx([0.25, 0.35])


def test_three_channels_are_colors_and_others_show_their_maximum():
    pixels = np.array([[[0.2, 0.5, 1.5]]], "float16")
    assert display_rgb(pixels)[0, 0] == pytest.approx([0.2, 0.5, 1.0], abs=1e-3)
    assert display_rgb(pixels[..., :2])[0, 0] == pytest.approx([0.5, 0.5, 0.5], abs=1e-3)


def test_legend_has_every_class_with_names_of_any_length(tmp_path):
    names = ["background", *(f"class {number}" for number in range(20)), "ζ" * 100]
    classes = np.zeros((2048, 64), "u1")
    picture = np.asarray(draw_comparison(np.zeros((2048, 64, 1)), classes, classes, names))
    # Magnified 1 time, reduced to 512 pixels in height.
    legend = picture[20 + 512 :]
    for colour in COLORS:
        assert (np.abs(legend / 255 - to_rgb(colour)).max(-1) < 0.01).any()


def test_missing_wandb_is_an_error_with_the_command_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        InputError, match=r"train\.wandb_mode is offline, but .* -m pip install wandb.* train\.wandb_mode to off"
    ):
        make_callback(None, tmp_path, 1, "offline")


def test_folder_called_wandb_is_not_taken_for_the_package(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.setitem(sys.modules, "wandb", None)
    del sys.modules["wandb"]
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(InputError, match="not installed"):
        load_wandb("online")


@pytest.fixture
def listener(monkeypatch):
    """A server that every connection to the internet would reach: the list of what was sent to it."""
    received = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            received.append(self.request.recv(1000))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield received
        server.shutdown()
        thread.join()


@pytest.fixture
def no_account(tmp_path, monkeypatch):
    """Weights & Biases without an account, its settings or its cache."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


def read_run(folder):
    """The records of the only offline run in `folder`, as messages of Weights & Biases itself.

    The file is a log as LevelDB writes it: after seven bytes of header come blocks of 32 KiB, and in them parts of
    records, each with checksum, length and kind (1: a whole record, 2 to 4: its first, middle and last part).
    """
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # waits until its process has written everything
    (path,) = folder.glob("offline-run-*/run-*.wandb")
    data, records, record, position = path.read_bytes(), [], b"", 7
    assert data.startswith(b":W&B")
    while position + 7 <= len(data):
        left = 2**15 - position % 2**15
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            records.append(Record.FromString(record))
            record = b""
    return path.parent, records


def read_history_records(records):
    """{step: {key: value}} of what was logged; a step may be in several records."""
    history = {}
    for record in records:
        if record.WhichOneof("record_type") == "history":
            row = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            history.setdefault(row["_step"], {}).update(row)
    return history


@pytest.mark.slow
def test_wandb_offline_run_has_scalars_settings_and_masks_and_sends_nothing(
    no_account, listener, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    history = fit("logs/tensorboard/fold1", epochs=4, every=4, wandb_mode="offline")
    assert {path.name for path in tmp_path.iterdir()} <= {"cache", "home", "logs"}
    run, records = read_run(tmp_path / "logs" / "wandb")
    assert listener == []
    rows = read_history_records(records)
    assert [rows[step]["val_loss"] for step in (1, 2, 3, 4)] == pytest.approx(history["val_loss"])
    assert [rows[step]["lr"] for step in (1, 2, 3, 4)] == pytest.approx([0.01] * 4)
    assert [step for step, row in rows.items() if any(key.startswith("patches") for key in row)] == [4]
    started = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (started.project, started.display_name) == ("tessera", "fold1")
    config = {item.key: json.loads(item.value_json) for item in started.config.update}
    assert config["losses"] == {"dice": 1.0}
    assert config["backbone"] == "resnet18"
    pictures = sorted((run / "files" / "media" / "images").glob("*.png"))
    assert [Image.open(path).size for path in pictures] == [(32, 32)] * 6
    masks = [np.asarray(Image.open(path)) for path in (run / "files" / "media" / "images" / "mask").glob("*.png")]
    targets = patches()[1]
    assert all(any(np.array_equal(mask, target) for mask in masks) for target in targets[1:])


@pytest.mark.slow
def test_wandb_without_connection_keeps_the_run_offline(no_account, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    history = fit("logs/tensorboard/fold1", epochs=4, every=0, wandb_mode="online")
    assert caplog.text.count("Weights & Biases is not available online") == 1
    rows = read_history_records(read_run(tmp_path / "logs" / "wandb")[1])
    assert [rows[step]["loss"] for step in (1, 2, 3, 4)] == pytest.approx(history["loss"])


def progress_lines(step_s, caplog, epochs=1):
    """Return what is logged in epochs of 64 steps of 4 patches, when a step takes `step_s`."""
    caplog.set_level(logging.INFO)
    now = [0.0]
    callback = ProgressCallback(batch_size=4, epochs=60, clock=lambda: now[0])
    callback.set_params({"steps": 64})
    callback.on_train_begin()
    for epoch in range(epochs):
        callback.on_epoch_begin(epoch)
        for step in range(64):
            # The first step of all takes half a minute more.
            now[0] += step_s + (30 if step == epoch == 0 else 0)
            callback.on_train_batch_end(step, {"loss": 0.53})
    return caplog.messages


def test_long_epoch_logs_its_progress_every_ten_seconds(caplog):
    lines = progress_lines(1.0, caplog, epochs=2)
    # One every 10 steps after the first of all, whose time does not count; in the second epoch from its start.
    done = [44, 84, 124, 164, 204, 244, 40, 80, 120, 160, 200, 240]
    assert [line.split()[2] for line in lines] == [f"{number}/256" for number in done]
    # 40 of 63 steps took 40 s, 23 remain.
    assert lines[3] == "epoch 1/60: 164/256 patches, 4 patches/s, 23 s left, loss 0.5300"


def test_short_epochs_log_no_progress(caplog):
    assert progress_lines(0.15, caplog, epochs=3) == []
