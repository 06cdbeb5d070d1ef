"""ImageNet weights are downloaded before training, from a server that the test starts."""

import http.server
import threading
from functools import partial

import numpy as np
import pytest

from download_weights import download_weights
from tessera.common.errors import InputError
from tessera.networks.architectures import create_backbone
from tessera.networks.pretrained_weights import load_pretrained_encoder

FILE = "mobilenet_1_0_224_tf_no_top.h5"


class Server(http.server.ThreadingHTTPServer):
    """Serves the files of a folder, and remembers what was requested."""

    def __init__(self, folder):
        self.requested = []
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.requested.append(self.path)
        super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder with the weights of a backbone."""
    folder = tmp_path_factory.mktemp("served")
    encoder = create_backbone("mobilenet", 3)
    encoder.save_weights(folder / FILE)
    return folder


@pytest.fixture
def server(served, tmp_path, monkeypatch):
    server = Server(served)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("TESSERA_WEIGHTS_MIRROR", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_weights_are_downloaded_once(server, served, tmp_path):
    download_weights("mobilenet", tmp_path / "weights" / "mobilenet")
    assert (tmp_path / "weights" / "mobilenet" / "models" / FILE).read_bytes() == (served / FILE).read_bytes()
    download_weights("mobilenet", tmp_path / "other" / "mobilenet")
    assert server.requested == [f"/{FILE}"]


def test_training_reads_downloaded_weights_without_internet(server, served, tmp_path, monkeypatch):
    download_weights("mobilenet", tmp_path / "weights" / "mobilenet")
    server.requested.clear()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "weights" / "mobilenet"))
    encoder = load_pretrained_encoder("imagenet", "mobilenet")
    expected = create_backbone("mobilenet", 3)
    expected.load_weights(served / FILE)
    layer = "conv_pw_11"
    assert np.array_equal(*(network.get_layer(layer).get_weights()[0] for network in (encoder, expected)))
    assert server.requested == []


def test_file_with_another_checksum_is_refused_and_not_kept(server, served, tmp_path):
    name = "resnet18_imagenet_1000_no_top.h5"
    (served / name).write_bytes((served / FILE).read_bytes())
    with pytest.raises(InputError, match=rf"could not be downloaded .*; download http://127\.\S+/{name} and save it"):
        download_weights("resnet18", tmp_path / "weights" / "resnet18")
    assert not (tmp_path / "weights" / "resnet18").exists()


def test_truncated_file_without_checksum_is_refused(server, served, tmp_path):
    whole = (served / FILE).read_bytes()
    (served / FILE).write_bytes(whole[:100_000])
    try:
        with pytest.raises(InputError, match=r"could not be downloaded .*cannot be read as a file of weights"):
            download_weights("mobilenet", tmp_path / "weights" / "mobilenet")
    finally:
        (served / FILE).write_bytes(whole)
    download_weights("mobilenet", tmp_path / "weights" / "mobilenet")


def test_file_that_the_server_lacks_is_named(server, tmp_path):
    with pytest.raises(InputError, match=r"could not be downloaded .*404"):
        download_weights("mobilenetv2", tmp_path / "weights" / "mobilenetv2")
