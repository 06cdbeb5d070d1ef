"""Some of many are the first, the last, and those in even steps between."""

from tessera.common.even_sampling import evenly_spaced_indices


def test_indices_are_all_of_few_items_and_evenly_spaced_of_many():
    assert evenly_spaced_indices(5, 16) == [0, 1, 2, 3, 4]
    assert evenly_spaced_indices(1001, 11) == list(range(0, 1001, 100))
    assert evenly_spaced_indices(1, 16) == [0]
    assert evenly_spaced_indices(0, 16) == []
