import pytest

from preprocessing.series_words import Kind, is_dynamic, is_static, kind_of, phase_of


@pytest.mark.parametrize(
    ("name", "number", "is_post", "count"),
    [
        ("ax dyn pre", 0, False, None),
        ("dyn_post_2", 2, True, None),
        ("DynPost2", 2, True, None),
        ("dyn post 60 sec", None, True, None),
        ("dyn post 3 min", None, True, None),
        ("2nd ax dyn", 2, True, None),
        ("1 post dyn", 1, True, None),
        ("pre/post dyn", None, False, None),
        ("t1_fl3d_tra_dyn", None, False, None),
        ("dyn w/o contrast", 0, False, None),
        ("dyn +C", None, False, None),
        ("ax 3d dyn phase 4", None, False, 4),
        ("Ph3/Ax Vibrant", 3, True, None),
        ("representation", None, False, None),
    ],
)
def test_phase_of_a_name(name, number, is_post, count):
    found = phase_of(name)
    assert (found.number, found.is_post, found.count) == (number, is_post, count)


@pytest.mark.parametrize(
    ("name", "image_type", "kind"),
    [
        ("dyn", ("ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"), Kind.ACQUIRED),
        ("dyn", ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"), Kind.ACQUIRED),
        ("dyn", ("DERIVED", "PRIMARY", "M", "SUB"), Kind.SUBTRACTION),
        ("dyn", ("DERIVED", "PRIMARY", "MPR", "DIS2D_MOCO"), Kind.REFORMAT),
        ("dyn", ("DERIVED", "PRIMARY", "M", "DIS2D_MOCO"), Kind.MOTION_CORRECTED),
        ("dyn", ("DERIVED", "SECONDARY", "PROJECTION IMAGE"), Kind.PROJECTION),
        ("dyn", ("DERIVED", "PRIMARY", "W", "W", "DERIVED"), Kind.WATER),
        ("dyn", ("ORIGINAL", "PRIMARY", "M", "IN_PHASE"), Kind.IN_PHASE),
        ("dyn", ("ORIGINAL", "PRIMARY", "M", "OPP_PHASE"), Kind.OPPOSED),
        ("dyn", ("ORIGINAL", "PRIMARY", "P", "ND"), Kind.NOT_MAGNITUDE),
        ("dyn", ("DERIVED", "SECONDARY"), Kind.SECONDARY),
        ("dyn", ("DERIVED", "PRIMARY", "M"), Kind.DERIVED),
        ("dyn_SUB", ("ORIGINAL", "PRIMARY", "M"), Kind.SUBTRACTION),
        ("dyn fat sat", (), Kind.ACQUIRED),
        ("dyn FatSat", (), Kind.ACQUIRED),
        ("dyn water excitation", (), Kind.ACQUIRED),
        ("WATER: dyn", (), Kind.WATER),
        ("t1_dixon_dyn_F", (), Kind.FAT),
        ("dyn_MoCo", (), Kind.MOTION_CORRECTED),
        ("substance dyn", (), Kind.ACQUIRED),
        ("dyn map study", (), Kind.MAP),
    ],
)
def test_kind_of_a_series(name, image_type, kind):
    assert kind_of(name, image_type) is kind


def test_moco_is_read_with_and_without_capitals():
    assert kind_of("dynMOCO", ()) is Kind.MOTION_CORRECTED


@pytest.mark.parametrize(
    "name", ["ax t2 fs", "T2w dyn", "dwi", "localizer", "DIFFUSION", "non fat sat"]
)
def test_static_names(name):
    assert is_static(name)
    assert not is_dynamic(name)


@pytest.mark.parametrize(
    "name",
    ["dyn", "DYNAMIC", "dynamisch", "Vibrant", "multi phase", "MultiPhase", "Ph1/x", "2nd pass"],
)
def test_dynamic_names(name):
    assert is_dynamic(name)
