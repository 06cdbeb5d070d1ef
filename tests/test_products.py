"""What an outdated product waits for: all that is before it and may run, but not many times many."""

import json

import pytest

from workflow.rules.products import Products

IMAGES = [f"image{number}" for number in range(40)]
EVERYTHING = [("ingest", image) for image in IMAGES] + [("train", "net"), ("choose", "best"), ("predict", "image0")]


def outputs(rule, key):
    return [f"results/recipes/{rule}/{key}.json", f"results/{rule}/{key}"]


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
        return Products(lambda *product: "new" if product in changed else "as it was", upstream, outputs, ["choose"])

    return make


def records(*products):
    return sorted(outputs(*product)[0] for product in products)


def test_what_is_up_to_date_waits_for_nothing(plan):
    assert [plan().renewed(*product) for product in EVERYTHING] == [[]] * len(EVERYTHING)


def test_what_is_first_made_does_not_name_all_that_its_network_learnt_from(plan):
    products = plan(lost=EVERYTHING)
    assert products.renewed("predict", "image0") == records(("ingest", "image0"), ("choose", "best"))
    assert len(products.renewed("choose", "best")) == 41


def test_what_has_another_recipe_waits_for_what_may_run_behind_a_network_that_stays(plan):
    lost = [("train", "net"), ("ingest", "image7")]
    *waits, newer = plan(changed=[("predict", "image0")], lost=lost).renewed("predict", "image0")
    assert waits == records(("ingest", "image0"), ("choose", "best"), *lost)
    assert not newer.startswith("results/")
