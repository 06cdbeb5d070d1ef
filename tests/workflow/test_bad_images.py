"""A run with a bad image: refused by name, or finished without it; what was made is kept either way."""

import pytest

from helpers.small_project import TABLE, make_project, planned, snakemake

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose image "spare" is cut off, beside images that are good."""
    table = TABLE + "spare\t../raw/spare.ome.tif\t../raw/spare_truth\ttest\ttwo\n"
    folder = make_project(tmp_path_factory.mktemp("bad") / "project", table=table)
    path = folder / "raw" / "spare.ome.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return folder


def test_a_bad_image_is_refused_by_name_and_can_then_be_set_aside(project):
    refused = snakemake(project, "--cores", "2", check=False)
    assert refused.returncode == 1
    assert "raw/spare.ome.tif" in refused.stdout
    assert (project / "results/images/one/train.ome.zarr").is_dir()
    good = project / "results/images/.two.part/val.ome.zarr"
    made = good.stat().st_mtime_ns

    settings = (project / "config/config.yaml").read_text()
    (project / "config/config.yaml").write_text(settings + "ingest: {on_bad_image: skipped}\n")
    assert planned(project)["ingest"] == 1, "the other batch is not read again"
    snakemake(project, "--cores", "2")
    assert (project / "results/images/two/val.ome.zarr").stat().st_mtime_ns == made
    metrics = (project / "results/metrics.tsv").read_text()
    assert "test\t" in metrics
    assert "spare" not in metrics
    page = (project / "results/report.html").read_text()
    assert "raw/spare.ome.tif" in page
    assert planned(project) == {}
