"""Values that a step estimates are certain before a run unless something that they are estimated from changed."""

import json

from tessera.data.image_sample import MAX_SAMPLED, sample_images, sample_position
from tessera.planning.image_values import find_certain, read_values

SHARED = {"settings": {"predict.rescale": True}, "code": {"a.py": "1"}, "models": ["m"]}
NAMES = [f"image{number:02}" for number in range(20)]


def record_of(groups, **changed):
    members = {image: [group, None, None] for image, group in groups.items()}
    return SHARED | {"members": members, "inputs": dict.fromkeys(groups, "pixels")} | changed


def write_values(path, *sets):
    listed = [
        {"images": images, "sampled": sample_images(images), "diameter_px": px, "other_px": None} for images, px in sets
    ]
    path.write_text(json.dumps({"sets": listed}))
    return str(path)


def test_all_values_are_certain_if_nothing_changed(tmp_path):
    path = write_values(tmp_path / "scales.json", (["a", "b"], 20.0))
    record = record_of({"a": "g", "b": "g", "alone": "g"})
    assert find_certain(path, record, record) == {"a": [20.0, None], "b": [20.0, None], "alone": None}


def test_no_value_is_certain_without_a_record_or_a_file_or_with_another_model(tmp_path):
    path = write_values(tmp_path / "scales.json", (["a", "b"], 20.0))
    record = record_of({"a": "g", "b": "g"})
    assert find_certain(path, None, record) == {}
    assert find_certain(str(tmp_path / "none.json"), record, record) == {}
    assert find_certain(path, record, record_of({"a": "g", "b": "g"}, models=["n"])) == {}


def test_an_added_image_leaves_other_groups_certain(tmp_path):
    path = write_values(tmp_path / "scales.json", (["a", "b"], 20.0), (["c", "d"], 30.0))
    old = record_of({"a": "g", "b": "g", "c": "h", "d": "h"})
    new = record_of({"a": "g", "b": "g", "c": "h", "d": "h", "new": "h"})
    assert find_certain(path, old, new) == {"a": [20.0, None], "b": [20.0, None]}


def test_an_added_image_leaves_a_large_set_certain_unless_it_is_sampled(tmp_path):
    *first, _last = sorted(NAMES, key=sample_position)
    path = write_values(tmp_path / "scales.json", (first, 20.0))
    assert len(sample_images(first)) == MAX_SAMPLED
    old = record_of(dict.fromkeys(first, "g"))
    assert find_certain(path, old, record_of(dict.fromkeys(NAMES, "g"))) == {key: [20.0, None] for key in first}
    others = NAMES.copy()
    others.remove(first[0])
    path = write_values(tmp_path / "scales.json", (others, 20.0))
    assert find_certain(path, record_of(dict.fromkeys(others, "g")), record_of(dict.fromkeys(NAMES, "g"))) == {}


def test_a_sampled_image_with_other_pixels_makes_its_set_uncertain(tmp_path):
    path = write_values(tmp_path / "scales.json", (NAMES, 20.0))
    groups, order = dict.fromkeys(NAMES, "g"), sorted(NAMES, key=sample_position)
    for image, is_certain in ((order[0], False), (order[-1], True)):
        inputs = dict.fromkeys(NAMES, "pixels") | {image: "other pixels"}
        certain = find_certain(path, record_of(groups), record_of(groups, inputs=inputs))
        assert certain == ({key: [20.0, None] for key in sorted(set(NAMES) - {image})} if is_certain else {})


def test_a_damaged_file_has_no_values(tmp_path):
    (tmp_path / "scales.json").write_text('{"sets": [')
    assert read_values(str(tmp_path / "scales.json")) == ([], {})
