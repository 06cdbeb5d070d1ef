"""What an outdated product waits for: all that is before it and may run, but not many times many."""

import json

import pytest

from tessera.planning.rerun_planner import Products

IMAGES = [f"image{number}" for number in range(40)]
EVERYTHING = [("ingest", image) for image in IMAGES] + [("train", "net"), ("choose", "best"), ("predict", "image0")]


def outputs(rule, key):
    return [f"results/provenance/{rule}/{key}.json", f"results/{rule}/{key}"]


def upstream(rule, key):
    before = {"train": EVERYTHING[:40], "choose": [("train", "net")], "predict": [("ingest", key), ("choose", "best")]}
    return before.get(rule, [])


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A function that gives the Products of images that a network learns from, where all but `lost` were made."""
    monkeypatch.chdir(tmp_path)

    def make(changed=(), lost=()):
        for product in EVERYTHING:
            for path in [] if product in lost else map(tmp_path.joinpath, outputs(*product)):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps("as it was"))
        return Products(
            lambda *product: "new" if product in changed else "as it was",
            upstream,
            outputs,
            wanted=["predict"],
            gathering=["choose"],
        )

    return make


def records(*products):
    return sorted(outputs(*product)[0] for product in products)


def test_what_is_up_to_date_waits_for_nothing(plan):
    assert [plan().rerun_if(*product) for product in EVERYTHING] == [[]] * len(EVERYTHING)


def test_what_is_first_made_does_not_name_all_that_its_network_learnt_from(plan):
    products = plan(changed=EVERYTHING)
    *waits, newer = products.rerun_if("predict", "image0")
    assert waits == records(("ingest", "image0"), ("choose", "best"))
    assert not newer.startswith("results/")
    assert len(products.rerun_if("choose", "best")) == 42


def test_what_was_removed_is_waited_for_by_what_reads_it_alone(plan):
    products = plan(changed=[("predict", "image0")], lost=[("ingest", "image0"), ("choose", "best")])
    assert len(products.rerun_if("predict", "image0")) == 1  # the file that is newer than all
    assert products.rerun_if("choose", "best") == records(("train", "net"), *EVERYTHING[1:40])


def test_what_has_another_recipe_waits_for_what_runs_behind_a_network_that_stays(plan):
    products = plan(changed=[("predict", "image0"), ("ingest", "image7")])
    *waits, _ = products.rerun_if("predict", "image0")
    assert waits == records(("ingest", "image0"), ("choose", "best"), ("ingest", "image7"))
