import pytest

from preprocessing.images.dicom.series_words import Kind, is_dynamic, is_static, kind_of, phase_of


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
        ("dyn +C", None, True, None),
        ("ax 3d dyn phase 4", None, False, 4),
        ("Ph3/Ax Vibrant", 3, True, None),
        ("representation", None, False, None),
        ("", None, False, None),
        ("---", None, False, None),
        ("POST 60 SECONDS", None, True, None),
        ("AX POST 1.5 MIN", None, True, None),
        ("AX POST 1:30", None, True, None),
        ("AX T1 POST 120", None, True, None),
        ("post 20200101", None, True, None),
        ("Ph1000000000/dyn", None, False, None),
        ("post ²", None, True, None),
        ("dyn ①", None, False, None),
        ("post " + "9" * 5000, None, True, None),
        ("T1 vor KM", 0, False, None),
        ("T1 nach KM 2", 2, True, None),
        ("T1 SANS GADO", 0, False, None),
        ("avant injection", 0, False, None),
        ("après injection 1", 1, True, None),
        ("SIN CONTRASTE", 0, False, None),
        ("AX T1 C-", 0, False, None),
        ("AX T1 C+ 2", 2, True, None),
        ("pre-op dyn", None, False, None),
        ("dyn post-tx", None, False, None),
        ("60 second dyn", None, False, None),
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
        ("(Ph1/Vibrant) - (Vibrant)", (), Kind.SUBTRACTION),
        ("Ph2-Ph1 dyn", (), Kind.SUBTRACTION),
        ("dyn post 2 - pre", (), Kind.SUBTRACTION),
        ("dyn in phase 1", (), Kind.ACQUIRED),
        ("dyn_reg", (), Kind.MOTION_CORRECTED),
        ("", (), Kind.ACQUIRED),
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


@pytest.mark.parametrize(
    "name",
    ["AX VIBRANT ASSET POST 1", "t1_fl3d_dynaCAD_pre", "dyn non fs post 1", "dyn non fat sat"],
)
def test_how_a_dynamic_series_was_acquired_makes_it_no_static_one(name):
    assert is_dynamic(name)
    assert not is_static(name)


@pytest.mark.parametrize("name", ["ASSET cal", "shim", "Ax 3D T1 NON FS", "silicone", "t2 dyn"])
def test_the_same_words_alone_do(name):
    assert is_static(name)
