"""A store against plain lists, through every call, reopening and kill: a Hypothesis state machine."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from spatterlib.errors import RowError
from spatterlib.testing.laws import must, shortened
from spatterlib.testing.scenes import crops_of, frames_of, rows_of
from spatterlib.types import DETECTION, Store, StoreKind

__all__ = ["machine_of"]

_LATER: dict[type, Any] = {str: "", float: np.nan, int: -1, bool: False}


@dataclass(frozen=True)
class _State:
    """What a store should hold; rows and frames are known by their number."""

    rows: int = 0
    frames: int = 0
    further: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    attrs: dict[str, Any] = field(default_factory=dict)

    def appended(self, rows: int, frames: int) -> _State:
        further = {name: (*values, *[_LATER[type(values[0])]] * rows) for name, values in self.further.items()}
        return replace(self, rows=self.rows + rows, frames=self.frames + frames, further=further)

    def problem(self, store: Store) -> str:
        """What the store holds instead, or an empty string."""
        counts = len(store), len(store.frame_log)
        if counts != (self.rows, self.frames):
            return f"it holds {counts} rows and frames instead of {(self.rows, self.frames)}"
        if not np.array_equal(store.table, rows_of(0, self.rows)):
            return "its table is not as it was appended"
        if not np.array_equal(store.frame_log, frames_of(0, self.frames)):
            return "its frame log is not as it was appended"
        if store.encoded(range(self.rows)) != crops_of(0, self.rows):
            return "its crops are not as they were appended"
        if store.attrs != self.attrs:
            return f"its attrs are {shortened(store.attrs)} instead of {shortened(self.attrs)}"
        return self._columns_problem(store)

    def _columns_problem(self, store: Store) -> str:
        if store.columns != (*(DETECTION.names or ()), *self.further):
            return f"its columns are {store.columns}, and the further ones should be {tuple(self.further)}"
        for name, values in self.further.items():
            found = store.column(name)
            if not np.array_equal(found, np.array(values), equal_nan=found.dtype.kind == "f"):
                return f"its column {name} is {shortened(found.tolist())} instead of {shortened(values)}"
        return ""


class _Machine(RuleBasedStateMachine):
    """`states` are all that the store went through since its last flush; a reader may see any one of them."""

    kind: type[StoreKind]

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.copies = 0
        self.folder = self.root / "0"
        self.folder.mkdir()
        self.store: Store = self.kind.create(self.path)
        self.states, self.writable = [_State()], True

    @property
    def path(self) -> str:
        return str(self.folder / f"store{self.kind.suffixes[0]}")

    @property
    def now(self) -> _State:
        return self.states[-1]

    @precondition(lambda self: self.writable)
    @rule(rows=st.integers(0, 30), frames=st.integers(0, 20))
    def append(self, rows: int, frames: int) -> None:
        begin, first = self.now.rows, self.now.frames
        self.store.append(rows_of(begin, rows), crops_of(begin, rows), frames_of(first, frames))
        self.states.append(self.now.appended(rows, frames))

    @precondition(lambda self: self.writable)
    @rule()
    def flush(self) -> None:
        self.store.flush()
        self.states = [self.now]

    @precondition(lambda self: self.writable and self.now.rows)
    @rule(name=st.sampled_from(["label", "p"]), value=st.sampled_from(["ä", "longer", 1.5, 7, True]))
    def set_column(self, name: str, value: Any) -> None:
        values = (value,) * self.now.rows
        self.store.set_column(name, np.array(values))
        self.states.append(replace(self.now, further={**self.now.further, name: values}))

    @precondition(lambda self: self.writable)
    @rule(key=st.text(max_size=3), value=st.none() | st.text(max_size=5) | st.lists(st.integers(), max_size=3))
    def set_attrs(self, key: str, value: Any) -> None:
        self.store.set_attrs({key: value})
        self.states.append(replace(self.now, attrs={**self.now.attrs, key: value}))

    @rule(mode=st.sampled_from("ra"))
    def reopen(self, mode: str) -> None:
        self.store.close()
        self.store, self.writable, self.states = self.kind.open(self.path, mode), mode == "a", [self.now]

    @rule(mode=st.sampled_from("ra"))
    def kill(self, mode: str) -> None:
        """What is on disk now is what a killed process leaves."""
        before, self.copies = self.folder, self.copies + 1
        self.folder = self.root / str(self.copies)
        shutil.copytree(before, self.folder)
        self.store.close()
        shutil.rmtree(before)
        self.store, self.writable = self.kind.open(self.path, mode), mode == "a"
        self.states = [self._seen(self.store)]

    def _seen(self, store: Store) -> _State:
        """The state that a store shows which may be behind."""
        problems = []
        for state in reversed(self.states):
            problems.append(state.problem(store))
            if not problems[-1]:
                return state
        must(False, f"what is on disk was never the whole store: {problems[-1]}")
        return self.now

    @precondition(lambda self: self.now.rows)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        rows = data.draw(st.lists(st.integers(0, self.now.rows - 1), max_size=20))
        must(self.store.encoded(rows) == [crops_of(row, 1)[0] for row in rows], f"rows {rows} are other crops")

    @rule(row=st.integers())
    def read_outside(self, row: int) -> None:
        if 0 <= row < self.now.rows:
            return
        try:
            self.store.encoded([row])
        except RowError:
            return
        must(False, f"row {row} of {self.now.rows} was not refused with RowError")

    @rule()
    def look(self) -> None:
        must(not (problem := self.now.problem(self.store)), problem)

    @invariant()
    def others_see_one_of_its_states(self) -> None:
        if hasattr(self, "store"):
            with self.kind.open(self.path) as reader:
                self._seen(reader)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            shutil.rmtree(self.root)


def machine_of(kind: type[StoreKind]) -> type[RuleBasedStateMachine]:
    """The state machine for stores of one kind."""
    return type(f"Machine{kind.__name__}", (_Machine,), {"kind": kind})
