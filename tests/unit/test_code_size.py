"""The counts of code, on a small package whose counts are known by hand."""

from __future__ import annotations

from benchmarks.code_size import (
    body_lines,
    code_lines,
    import_graph,
    num_headings,
    num_long_paragraphs,
    package_cycles,
    strong_components,
)

FILES = {
    "cluster/__init__.py": "",
    "preprocessing/__init__.py": "",
    "radiotrain/__init__.py": "",
    "radiotrain/a/__init__.py": "",
    "radiotrain/b/__init__.py": "",
    # A cycle of modules by a lazy import and one for types alone.
    "radiotrain/a/one.py": (
        '"""One."""\n\nfrom typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n'
        "    from radiotrain.a.two import second\n\n\n"
        'def first() -> int:\n    """Return one.\n\n    Always.\n    """\n    # A comment.\n    return 1\n'
    ),
    "radiotrain/a/two.py": (
        "def second() -> int:\n    from radiotrain.a import one\n\n    return one.first()\n"
    ),
    # A cycle of packages, of no modules.
    "radiotrain/a/three.py": "from radiotrain.b.four import X\n",
    "radiotrain/b/four.py": "X = 1\n",
    "radiotrain/b/five.py": "import radiotrain.a.two\n",
}


def test_counts_of_a_small_package(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    graph = import_graph(tmp_path)
    assert len(graph) == len(FILES)
    assert strong_components(graph) == [["radiotrain.a.one", "radiotrain.a.two"]]
    assert package_cycles(graph) == [["radiotrain.a", "radiotrain.b"]]
    one = tmp_path / "radiotrain/a/one.py"
    # Two imports, the if, the def and the return.
    assert code_lines(one) == 5
    # The comment before it belongs to no statement.
    assert body_lines(one) == [(2, "one.first")]


def test_documentation_is_counted_outside_code_blocks():
    text = (
        "# Title\n\n" + "line\n" * 6 + "\n```\n# no heading\n```\n\n| a |\n|---|\n" + "line\n" * 5
    )
    assert (num_headings(text), num_long_paragraphs(text)) == (1, 1)
