"""A run with a bad image stops and names the file, or skips the image. Finished images are kept either way."""

import shutil

import pytest

from helpers.small_project import TABLE, planned, snakemake

pytestmark = pytest.mark.slow


@pytest.fixture
def project(finished, tmp_path):
    """A finished project without its images, to which the test image "spare" is added, whose file is truncated."""
    folder = shutil.copytree(finished, tmp_path / "project", symlinks=True)
    shutil.rmtree(folder / "results" / "images")
    table = TABLE + "spare\t../raw/spare.ome.tif\t../raw/spare_truth\ttest\ttwo\n"
    (folder / "config" / "images.tsv").write_text(table)
    path = folder / "raw" / "spare.ome.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return folder


def test_bad_image_fails_the_run_by_name_and_can_then_be_skipped(project):
    failed = snakemake(project, "--cores", "2", check=False)
    assert failed.returncode == 1
    assert "raw/spare.ome.tif" in failed.stdout
    assert (project / "results/images/one/train.ome.zarr").is_dir()
    good = project / "results/images/.two.part/val.ome.zarr"
    written = good.stat().st_mtime_ns

    settings = (project / "config/config.yaml").read_text()
    (project / "config/config.yaml").write_text(settings + "ingest: {on_bad_image: skip}\n")
    assert planned(project)["ingest"] == 1, "only the batch of the bad image"
    snakemake(project, "--cores", "2")
    assert (project / "results/images/two/val.ome.zarr").stat().st_mtime_ns == written
    metrics = (project / "results/metrics.tsv").read_text()
    assert "test\t" in metrics
    assert "spare" not in metrics
    page = (project / "results/report.html").read_text()
    assert "raw/spare.ome.tif" in page
    assert planned(project) == {}
