"""A square can lie in eight ways, and be turned back."""

import numpy as np

from tessera.data.dihedral import apply_dihedral, invert_dihedral


def test_eight_dihedral_elements_differ_and_have_inverses():
    square = np.arange(18).reshape(1, 3, 3, 2)
    turned = [apply_dihedral(square, way, (1, 2)) for way in range(8)]
    assert np.array_equal(turned[0], square)
    assert len({one.tobytes() for one in turned}) == 8
    for way, one in enumerate(turned):
        assert np.array_equal(invert_dihedral(one, way, (1, 2)), square)
    oblong = np.arange(6).reshape(2, 3)
    for way in range(8):
        assert np.array_equal(invert_dihedral(apply_dihedral(oblong, way), way), oblong)
