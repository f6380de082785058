"""Count the code: files, lines, import cycles, long bodies, documentation.

    python -m benchmarks.code_size

Imports under TYPE_CHECKING and inside functions count as imports. A line of code is one that is neither blank
nor comment nor docstring.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median, quantiles

PACKAGES = ("preprocessing", "radiotrain", "cluster")
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
_LONG_FILE, _LONG_PARAGRAPH, _NUM_LONGEST = 600, 5, 10

Graph = dict[str, set[str]]


def main() -> None:
    """Print the counts."""
    root = Path(__file__).parents[1]
    files = [path for top in PACKAGES for path in sorted((root / top).rglob("*.py"))]
    graph = import_graph(root)
    lines = {path: path.read_text("utf-8").count("\n") for path in files}
    print(f"product: {len(files)} files, {sum(map(code_lines, files))} lines of code")
    print(
        f"import cycles: {len(strong_components(graph))} of modules, {len(package_cycles(graph))} of packages"
    )
    importers = Counter(to for found in graph.values() for to in found)
    print(f"modules with exactly one importer: {sum(n == 1 for n in importers.values())}")
    print(f"files over {_LONG_FILE} lines: {sum(n > _LONG_FILE for n in lines.values())}")
    names = Counter((p.relative_to(root).parts[0], p.stem) for p in files if p.stem != "__init__")
    again = sorted(f"{top}: {name} ×{n}" for (top, name), n in names.items() if n > 1)
    print(f"base names used again in a package tree: {', '.join(again) or 'none'}")
    bodies = sorted(body for path in files for body in body_lines(path))
    sizes = [size for size, _ in bodies]
    print(
        f"function bodies: median {median(sizes):g}, p90 {quantiles(sizes, n=10)[-1]:g}, max {sizes[-1]}"
    )
    for size, name in bodies[: -_NUM_LONGEST - 1 : -1]:
        print(f"  {size} {name}")
    tests = sorted((root / "tests").rglob("*.py"))
    print(f"tests: {len(tests)} files, {sum(map(code_lines, tests))} lines of code")
    docs = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    texts = [path.read_text("utf-8") for path in docs]
    print(
        f"documentation: {len(docs)} files, {sum(t.count(chr(10)) for t in texts)} lines,"
        f" {sum(num_headings(t) for t in texts)} headings,"
        f" {sum(num_long_paragraphs(t) for t in texts)} paragraphs over {_LONG_PARAGRAPH} lines"
    )


def import_graph(root: Path) -> Graph:
    """Return which modules of the product each module imports.

    Parameters
    ----------
    root
        Folder of the packages.
    """
    paths = {
        module_name(p.relative_to(root)): p for top in PACKAGES for p in (root / top).rglob("*.py")
    }
    return {name: _imports(path, paths) - {name} for name, path in paths.items()}


def module_name(path: Path) -> str:
    """Return a module's dotted name from its path."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path, known: Mapping[str, Path]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found & known.keys()


def package_cycles(graph: Graph) -> list[list[str]]:
    """Return cycles among packages, at every depth of the tree.

    A package that imports from one inside it, or the other way, is no cycle.
    """
    cycles: list[list[str]] = []
    for depth in range(2, max((name.count(".") for name in graph), default=0) + 1):
        packages: Graph = defaultdict(set)
        for name, found in graph.items():
            here = _cut(name, depth)
            packages[here] |= {_cut(to, depth) for to in found}
        for here in packages:
            packages[here] = {to for to in packages[here] if not _contains(to, here)}
        cycles += [cycle for cycle in strong_components(packages) if cycle not in cycles]
    return cycles


def _cut(name: str, depth: int) -> str:
    return ".".join(name.split(".")[:depth])


def _contains(one: str, other: str) -> bool:
    return f"{other}.".startswith(f"{one}.") or f"{one}.".startswith(f"{other}.")


def strong_components(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the sets of more than one node that reach each other (Tarjan, SIAM J. Comput. 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for to in sorted(graph.get(node, ())):
            if to not in index:
                visit(to)
                low[node] = min(low[node], low[to])
            elif to in stack:
                low[node] = min(low[node], index[to])
        if low[node] == index[node]:
            cut = stack.index(node)
            component = sorted(stack[cut:])
            del stack[cut:]
            if len(component) > 1:
                found.append(component)

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def code_lines(path: Path) -> int:
    """Return how many lines of a file are code."""
    text = path.read_text("utf-8")
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstrings.update(_docstring_lines(node.body))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def _docstring_lines(body: list[ast.stmt]) -> range:
    first = body[0] if body else None
    is_docstring = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    if first is None or not is_docstring:
        return range(0)
    return range(first.lineno, (first.end_lineno or first.lineno) + 1)


def body_lines(path: Path) -> list[tuple[int, str]]:
    """Return the number of lines of each function's body without its docstring, and its name."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            last = node.end_lineno or node.lineno
            size = last - node.body[0].lineno + 1 - len(_docstring_lines(node.body))
            found.append((size, f"{path.stem}.{node.name}"))
    return found


def num_headings(text: str) -> int:
    """Return how many headings a Markdown text has, outside code blocks."""
    return sum(line.startswith("#") for line in _prose(text))


def num_long_paragraphs(text: str) -> int:
    """Return how many paragraphs of a Markdown text are longer than five lines; tables and lists are none."""
    runs = "\n".join("" if line[:1] in ("|", "#", "-") else line for line in _prose(text)).split(
        "\n\n"
    )
    return sum(len(run.strip().splitlines()) > _LONG_PARAGRAPH for run in runs)


def _prose(text: str) -> list[str]:
    lines, inside = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            lines.append(line)
    return lines


if __name__ == "__main__":
    main()
