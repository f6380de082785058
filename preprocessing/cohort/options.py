"""What a user says of tables that name columns or results otherwise: ``--column`` and ``--label``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.cohort.labels import parse_told
from preprocessing.cohort.tables import Table, Wanted, find_column, normalised, read_table
from preprocessing.common.errors import InputError, nearest_hint
from preprocessing.common.redaction import shown_cell


@dataclass(frozen=True)
class TableOptions:
    """How tables are to be read.

    Parameters
    ----------
    columns
        Our name of a column to the table's.
    labels
        Target to what words of its column mean: 0, 1 or -1 (missing).
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @classmethod
    def parse(cls, columns: Iterable[str] = (), labels: Iterable[str] = ()) -> TableOptions:
        """Read ``--column OURS=THEIRS`` and ``--label TARGET:WORD=VALUE``, each of several.

        Raises
        ------
        InputError
            If one is not of that form, or two say different things.
        """
        named: dict[str, str] = {}
        for text in columns:
            ours, equals, theirs = (part.strip() for part in text.partition("="))
            if not (ours and equals and theirs):
                raise InputError(
                    f"--column is {text!r}, expected OURS=THEIRS, e.g. patient_id=ID: our name of the"
                    " column, then the table's"
                )
            if named.get(ours, theirs) != theirs:
                raise InputError(f"--column names two columns for {ours!r}: leave one out")
            named[ours] = theirs
        words: dict[str, dict[str, int]] = {}
        for text in labels:
            target, word, label = parse_told(text)
            if words.setdefault(target, {}).setdefault(word, label) != label:
                raise InputError(f"--label says two things of {target}:{word}: leave one out")
        return cls(named, words)

    def with_known_columns(
        self, own_name: Callable[[str], str | None], examples: Sequence[str]
    ) -> TableOptions:
        """Return the options with our names as the layout spells them.

        Raises
        ------
        InputError
            If the layout has no such column.
        """
        columns = {}
        for ours, theirs in self.columns.items():
            name = own_name(ours)
            if name is None:
                raise InputError(
                    f"--column {ours}={theirs}: the cohort has no use for a column"
                    f" {ours!r}{nearest_hint(ours, examples)}, expected one of {', '.join(examples)}"
                )
            columns[name] = theirs
        return replace(self, columns=columns)

    def with_known_targets(self, targets: Sequence[str]) -> TableOptions:
        """Return the options with targets as the cohort spells them.

        Raises
        ------
        InputError
            If the cohort has no such target.
        """
        labels: dict[str, Mapping[str, int]] = {}
        for given, words in self.labels.items():
            name = given.removeprefix("target_")
            found = [t for t in targets if normalised(t) == normalised(name)]
            if len(found) != 1:
                raise InputError(
                    f"--label {given}:…: the cohort has no target {given!r}"
                    f"{nearest_hint(given, targets)}, expected one of {', '.join(targets)}"
                )
            labels[found[0]] = {**labels.get(found[0], {}), **words}
        return replace(self, labels=labels)

    def read(
        self, path: Path, key: str, wanted: Wanted, *, own_names: Mapping[str, str] | None = None
    ) -> Table:
        """Read a table, with its columns called by our names.

        Parameters
        ----------
        own_names
            Our name to the layout's, of a layout of several tables: a column that the user names
            may then be in another one of them; see `refuse_unused`.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        own = own_names or {}
        table = self._read(path, key, wanted, own)
        columns, notes = list(table.columns), list(table.notes)
        # All are found in the table's own header first: two columns may be exchanged.
        places: dict[str, int] = {}
        for ours, name in self.columns.items():
            exact = [i for i, column in enumerate(columns) if column == " ".join(name.split())]
            index = exact[0] if len(exact) == 1 else find_column(name, table.columns, table.title)
            if index is not None:
                places[ours] = index
            elif own_names is None:
                raise InputError(
                    f"--column {ours}={name}: {wanted.what} {table.title} has no column"
                    f" {name!r}{nearest_hint(name, [c for c in table.columns if c])}"
                )
        for ours, index in places.items():
            called = own.get(ours, ours)
            for i, column in enumerate(table.columns):
                if i not in places.values() and normalised(column) == normalised(called):
                    columns[i] = ""
                    name = self.columns[ours]
                    notes.append(f"column {column!r} is left out: {name!r} is read in its place")
            columns[index] = called
        renamed = list(places)
        return replace(table, columns=tuple(columns), notes=tuple(notes), renamed=tuple(renamed))

    def _read(self, path: Path, key: str, wanted: Wanted, own: Mapping[str, str]) -> Table:
        theirs = self.columns.get(key)
        if theirs is None:
            return read_table(path, own.get(key, key), wanted)
        try:
            return read_table(path, theirs, wanted)
        except InputError:
            if not own:
                raise
            return read_table(path, own.get(key, key), wanted)

    def refuse_unused(self, tables: Sequence[Table]) -> None:
        """Refuse a column that none of a layout's tables has.

        Raises
        ------
        InputError
            If there is one.
        """
        for ours, theirs in self.columns.items():
            if not any(ours in table.renamed for table in tables):
                names = [c for table in tables for c in table.columns if c]
                raise InputError(
                    f"--column {ours}={theirs}: no table of the cohort has a column"
                    f" {theirs!r}{nearest_hint(theirs, names)}"
                )

    def to_json(self) -> dict[str, Any]:
        """Return what the store keeps of it; empty where nothing was said."""
        said: dict[str, Any] = {}
        if self.columns:
            said["columns"] = dict(sorted(self.columns.items()))
        if self.labels:
            said["labels"] = {
                target: [
                    [shown_cell(word), "missing" if label == MISSING_LABEL else label]
                    for word, label in sorted(words.items())
                ]
                for target, words in sorted(self.labels.items())
            }
        return said


NOTHING_SAID = TableOptions()
