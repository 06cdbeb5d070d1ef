"""Every kind of change runs the jobs that depend on it, and no other: the exact set for each."""

import os
import re
import shutil

import pytest
import yaml

from helpers.dry_run import dry_run
from helpers.expected_jobs import APPLYING, CHANGED_SETTINGS, EVALUATING, SWEEPING, TRAINING, predicting, segmenting
from helpers.small_project import SETTINGS, SWEPT_TABLE, TABLE, planned, snakemake
from tessera.planning.steps import STEPS

pytestmark = pytest.mark.slow


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished project, timestamps and all."""
    return shutil.copytree(finished, tmp_path / "project", symlinks=True)


@pytest.fixture
def folds(swept, tmp_path):
    """A copy of the finished project of two variants in two folds."""
    return shutil.copytree(swept, tmp_path / "project", symlinks=True)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def set_table(project, table):
    (project / "config" / "images.tsv").write_text(table)


def set_setting(project, section, key, value):
    path = project / "config" / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    settings.setdefault(section, {})[key] = value
    path.write_text(yaml.safe_dump(settings))


def test_second_run_has_nothing_to_do(project):
    assert "Nothing to be done" in snakemake(project, "--cores", "2").stdout


def test_moved_project_reruns_nothing(project):
    assert planned(project) == {}


def test_run_for_another_folder_explains_its_reruns_and_remembers_digests_there(project, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(project, data, ignore=shutil.ignore_patterns("workflow", "profiles", ".snakemake"))
    shutil.rmtree(project / "results")
    shutil.rmtree(project / ".snakemake")
    set_setting(data, "segment", "min_area_px", 20)
    assert (
        "segment (2 batches): segment.min_area_px auto -> 20"
        in snakemake(project, "-n", "--directory", str(data)).stdout
    )
    assert (data / ".snakemake" / "tessera" / "raw_files.json").is_file()
    assert not (project / ".snakemake").exists()


@pytest.mark.parametrize(("section", "key", "value", "jobs"), CHANGED_SETTINGS)
def test_setting_reruns_its_rule_and_those_after_it(project, section, key, value, jobs):
    set_setting(project, section, key, value)
    assert planned(project) == jobs


def test_every_section_of_the_steps_has_a_changed_setting():
    sections = {setting for step in STEPS.values() for setting in step.settings if "." not in setting}
    assert sections <= {section for section, *_ in CHANGED_SETTINGS}


def test_schema_default_written_out_reruns_nothing(project):
    set_setting(project, "segment", "foreground_threshold", "auto")
    assert planned(project) == {}


def test_comment_and_a_docstring_rerun_nothing(project):
    for script in sorted((project / "workflow" / "scripts").rglob("*.py")):
        script.write_text(script.read_text().replace('"""', '"""Edited. ', 1) + "\n# a comment\n")
    assert planned(project) == {}


def test_reworded_errors_and_type_hints_rerun_nothing(project):
    for script in sorted((project / "workflow" / "scripts").rglob("*.py")):
        text = re.sub(r'(raise \w+\(\s*f?")', r"\1Reworded: ", script.read_text())
        script.write_text(re.sub(r"\) -> None:$", ") -> object:", text, flags=re.MULTILINE))
    assert planned(project) == {}


def test_edited_script_reruns_its_rule_and_those_after_it(project):
    edit(project / "workflow" / "scripts" / "segment.py", "def segment(", "EDITED = 1\n\n\ndef segment(")
    assert planned(project) == segmenting(2)


def test_edited_module_reruns_the_rules_whose_scripts_import_it(project):
    module = project / "workflow" / "scripts" / "tessera" / "evaluation" / "seam_check.py"
    module.write_text(module.read_text() + "\nEDITED = 1\n")
    assert planned(project) == EVALUATING


def test_edited_segmentation_trains_nothing(project):
    module = project / "workflow" / "scripts" / "tessera" / "segmentation" / "seeded_growth.py"
    module.write_text(module.read_text() + "\nEDITED = 1\n")
    assert "train" not in planned(project)


def test_fresh_clone_beside_the_results_reruns_nothing(project):
    for path in [project / "Snakefile", *(project / "workflow").rglob("*"), *(project / "profiles").rglob("*")]:
        os.utime(path)
    assert planned(project) == {}


def test_touched_tree_reruns_nothing(project):
    for path in project.rglob("*"):
        if ".snakemake" not in path.parts:
            os.utime(path)
    assert planned(project) == {}


def test_reordered_rows_rerun_nothing(project):
    header, *rows = TABLE.splitlines()
    set_table(project, "\n".join([header, *reversed(rows)]) + "\n")
    assert planned(project) == {}


def test_removed_row_without_truth_reruns_its_batch_alone(project):
    set_table(project, "\n".join(line for line in TABLE.splitlines() if not line.startswith("plain")) + "\n")
    assert planned(project) == {"ingest": 1} | predicting(1)


@pytest.mark.parametrize("batch", ["one", "two"])
def test_added_image_without_truth_does_not_train_whatever_batch_it_joins(project, batch):
    set_table(project, TABLE + f"spare\t../raw/spare.ome.tif\t\t\t{batch}\n")
    assert planned(project) == {"ingest": 1} | predicting(1)


@pytest.mark.parametrize("batch", ["one", "two"])
def test_added_test_image_does_not_train_whatever_batch_it_joins(project, batch):
    set_table(project, TABLE + f"spare\t../raw/spare.ome.tif\t../raw/spare_truth\ttest\t{batch}\n")
    assert planned(project) == {"ingest": 1, "ingest_truth": 1, "split": 1} | predicting(1)


def test_added_training_image_trains(project):
    set_table(project, TABLE + "spare\t../raw/spare.ome.tif\t../raw/spare_truth\ttrain\tone\n")
    assert planned(project) == {"ingest": 1, "ingest_truth": 1, "split": 1} | TRAINING


def test_image_that_changes_batch_without_training_does_not_train(project):
    set_table(project, TABLE.replace("plain\t../raw/plain.ome.tif\t\t\tone", "plain\t../raw/plain.ome.tif\t\t\ttwo"))
    assert planned(project) == {"ingest": 2} | predicting(2)


def test_training_image_that_changes_batch_does_not_train(project):
    set_table(project, TABLE.replace("\ttrain\tone", "\ttrain\ttwo"))
    assert planned(project) == {"ingest": 2, "ingest_truth": 1} | predicting(2)


def test_changed_raw_file_of_a_plain_image_reruns_its_batch(project):
    shutil.copy(project / "raw" / "spare.ome.tif", project / "raw" / "plain.ome.tif")
    assert planned(project) == {"ingest": 1} | predicting(1)


def test_changed_raw_file_of_a_training_image_trains(project):
    shutil.copy(project / "raw" / "spare.ome.tif", project / "raw" / "train.ome.tif")
    assert planned(project) == {"ingest": 1, "ingest_truth": 1, "split": 1} | TRAINING


def test_changed_annotation_of_a_training_image_trains(project):
    masks = sorted((project / "raw" / "train_truth").glob("*.tif"))
    shutil.copy(masks[0], masks[1])
    assert planned(project) == {"ingest_truth": 1} | TRAINING


def test_changed_annotation_of_a_test_image_scores_alone(project):
    masks = sorted((project / "raw" / "test_truth").glob("*.tif"))
    shutil.copy(masks[0], masks[1])
    assert planned(project) == {"ingest_truth": 1, "evaluate": 1, "report": 1}


@pytest.mark.parametrize(
    ("output", "jobs"),
    [
        ("results/labels/one", {"segment": 1}),
        ("results/tracked/one.parquet", {"track": 1}),
        ("results/objects/two.parquet", {"segment": 1}),
        ("results/metrics.tsv", {"report": 1}),
        ("results/report.html", {"report": 1}),
    ],
)
def test_deleted_result_is_made_again_without_results_made_from_it(project, output, jobs):
    path = project / output
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert planned(project) == jobs


def test_changes_in_several_places_run_all_that_depends_on_each(project):
    set_table(project, TABLE + "spare\t../raw/spare.ome.tif\t\t\tone\n")
    set_setting(project, "train", "epochs", 3)
    assert planned(project) == {"ingest": 1, "train": 1} | APPLYING
    set_setting(project, "train", "epochs", SETTINGS["train"]["epochs"])
    shutil.rmtree(project / "results" / "labels" / "two")
    set_setting(project, "report", "title", "Another")
    assert planned(project) == {"ingest": 1} | predicting(1) | {"segment": 2}


def test_one_run_makes_all_changes_and_lists_orphans_of_removed_batches(project):
    set_table(project, TABLE.replace("\ttwo\n", "\ttwo-again\n"))
    set_setting(project, "segment", "min_area_px", 8)
    output = snakemake(project, "--cores", "2").stdout
    left = next(line for line in output.splitlines() if "Left over from batches" in line)
    assert " results/labels/two " in left
    assert " results/predictions/.two.regions " in left
    assert "two-again" not in left
    assert planned(project) == {}


def test_results_without_the_metadata_of_snakemake_rerun_only_what_changed(project):
    shutil.rmtree(project / ".snakemake")
    assert planned(project) == {}
    set_setting(project, "segment", "min_area_px", 8)
    assert planned(project) == segmenting(2)


def test_record_that_was_cut_off_reruns_its_job(project):
    (project / "results" / "provenance" / "select_model.json").write_text("")
    assert planned(project)["select_model"] == 1


@pytest.mark.parametrize(("section", "key", "value"), [("train", "device", "cpu"), ("predict", "batch_tiles", 1)])
def test_settings_that_decide_how_a_job_runs_rerun_nothing(project, section, key, value):
    set_setting(project, section, key, value)
    assert planned(project) == {}


def test_deleted_intermediate_results_rerun_nothing_until_a_job_reads_them(project):
    for name in ("predictions", "patches"):
        shutil.rmtree(project / "results" / name)
    assert planned(project) == {}
    set_setting(project, "report", "title", "Another")
    assert planned(project) == {"report": 1}
    set_setting(project, "evaluate", "iou_thresholds", [0.5])
    assert planned(project) == {"predict": 2} | EVALUATING


def test_deleted_images_are_made_again_alone_if_the_report_reads_them(project):
    shutil.rmtree(project / "results" / "images")
    assert planned(project) == {}
    set_setting(project, "report", "title", "Another")
    assert planned(project) == {"ingest": 2, "report": 1}  # it lists the warnings about images


def test_deleted_patches_are_made_again_for_a_forced_training(project):
    shutil.rmtree(project / "results" / "patches")
    assert planned(project, "--forcerun", "train")["augment"] == 1


def test_same_files_by_other_paths_rerun_nothing(project):
    os.rename(project / "raw", project / "elsewhere")
    set_table(project, TABLE.replace("../raw/", f"{project}/elsewhere/"))
    assert planned(project) == {}


def test_no_job_requests_more_than_a_day_however_large_its_batch(project):
    os.truncate(project / "raw" / "plain.ome.tif", 10**12)
    for arguments in ([], ["--set-resources", "segment:runtime=9"]):
        output = dry_run(project, *arguments)
        times = [int(minutes) for minutes in re.findall(r"runtime=(\d+)", output)]
        assert max(times) == 1440
    assert 9 in times


def test_target_of_no_batch_is_refused_by_name(project):
    output = snakemake(project, "--dry-run", "results/labels/typo", check=False)
    assert output.returncode != 0
    assert "has no batch called typo; it has " in output.stdout


def test_deleted_explanation_is_made_again_when_the_report_is(project):
    shutil.rmtree(project / "results" / "explanation")
    assert planned(project) == {}
    set_setting(project, "report", "title", "Another")
    assert planned(project) == {"explain": 1, "report": 1}


def test_variants_in_folds_rerun_nothing_by_themselves(folds):
    assert planned(folds) == {}


def test_added_variant_trains_alone(folds):
    set_setting(folds, "sweep", "learning_rate", [0.01, 0.02, 0.03])
    assert planned(folds) == {"train": 2} | SWEEPING


def test_removed_variant_trains_nothing(folds):
    set_setting(folds, "sweep", "learning_rate", [0.03])
    assert planned(folds) == SWEEPING


def test_order_and_the_names_of_values_that_stay_the_same_rerun_nothing(folds):
    set_setting(folds, "sweep", "learning_rate", ["3e-2", 0.01])
    assert planned(folds) == {}
    set_setting(folds, "sweep", "learning_rate", {"0.01": 0.01, "0.03": 0.03})
    assert planned(folds) == {}


def test_setting_that_the_sweep_overrides_reruns_nothing(folds):
    set_setting(folds, "train", "learning_rate", 0.5)
    assert planned(folds) == {}


def test_setting_that_all_variants_share_trains_all(folds):
    set_setting(folds, "train", "epochs", 3)
    assert planned(folds) == {"train": 4} | SWEEPING


def test_named_value_that_changes_trains_its_variant_alone(folds):
    set_setting(folds, "sweep", "learning_rate", {"0.01": 0.01, "0.03": 0.04})
    assert planned(folds) == {"train": 2} | SWEEPING


def test_another_number_of_folds_trains_those_whose_images_differ(folds):
    # One of the two folds validates on one image of the three, and stays.
    set_setting(folds, "split", "folds", 3)
    assert planned(folds) == {"split": 1, "augment": 2, "train": 4} | SWEEPING


def test_image_without_truth_trains_no_fold(folds):
    set_table(folds, SWEPT_TABLE + "more\t../raw/spare.ome.tif\t\t\tone\n")
    assert planned(folds) == {"ingest": 1} | predicting(1)


def test_changed_annotation_trains_every_fold_since_it_trains_or_validates_in_each(folds):
    masks = sorted((folds / "raw" / "val_truth").glob("*.tif"))
    shutil.copy(masks[0], masks[1])
    assert planned(folds) == {"ingest_truth": 1, "augment": 2, "train": 4} | SWEEPING


def test_deleted_model_is_trained_again_alone(folds):
    shutil.rmtree(folds / "results" / "models" / "learning_rate~0.01_fold2")
    set_setting(folds, "report", "title", "Another")
    assert planned(folds)["train"] == 1
