"""`make check-gpu`: what it measures, and what it says if there is no GPU."""

import pytest

from tessera.training.device_check import explain_missing_gpu, format_table, measure_device


@pytest.mark.slow
def test_cpu_is_measured():
    measured = measure_device("cpu", patch_size_px=32, measured_s=0.1)
    assert measured["name"].startswith("CPU (")
    assert measured["precision"] == "float32"
    assert measured["training"] > 0
    assert measured["prediction"] > 0
    assert measured["memory_mb"] > 100


def test_missing_driver_is_explained():
    assert "there is no NVIDIA driver" in explain_missing_gpu(None, built_with_cuda=True)


def test_build_without_cuda_is_explained():
    text = explain_missing_gpu("GPU 0: NVIDIA L40S", built_with_cuda=False)
    assert "the driver does:\nGPU 0: NVIDIA L40S\n" in text
    assert "run `make setup GPU=1`" in text


def test_old_driver_is_explained():
    assert "the driver may be too old" in explain_missing_gpu("GPU 0: NVIDIA K80", built_with_cuda=True)


def test_table_has_a_column_for_each_device():
    cpu = {"name": "CPU (2 cores)", "precision": "float32", "training": 4.25, "prediction": 0.5, "memory_mb": 2000.0}
    gpu = {"name": "L40S", "precision": "bfloat16", "training": 400.0, "prediction": 80.0, "memory_mb": 3000.4}
    lines = format_table([cpu, gpu]).splitlines()
    assert lines[0].split() == ["CPU", "(2", "cores)", "L40S"]
    assert lines[2].split()[-2:] == ["4.2", "400.0"]
    assert len({len(line) for line in lines}) == 1
    assert lines[4].split() == ["memory,", "MiB", "2,000", "3,000"]
