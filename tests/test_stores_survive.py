"""Stores survive: kills at any moment, full disks, readers beside the writer, and growing large."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_tools import assert_holds, child, crops_of, fill, names, one_line, rows_of

import spatterlib as sp
from spatterlib.errors import StoreError
from spatterlib.stores import hdf5, hdf5_journal
from spatterlib.stores.hdf5_layout import found
from spatterlib.stores.opening import create_store, find_store

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


class TestReaderBesideWriter:
    def test_it_sees_what_is_committed_and_no_more(self, path: Path) -> None:
        with create_store(path) as writer, sp.open_store(path) as reader:
            assert_holds(reader, 0)
            fill(writer, 0, 10)
            assert_holds(reader, 0)
            writer.flush()
            assert_holds(reader, 10)
            writer.set_column("label", ["a"] * 10)  # type: ignore[arg-type]
            assert reader.column("label").tolist() == ["a"] * 10
            for start in range(10, 30_000, 2999):
                fill(writer, start, 2999)
                writer.flush()
                assert_holds(reader, start + 2999)
            writer.set_attrs({"complete": True})
            assert reader.attrs == {"complete": True}

    def test_commits_while_it_looks_up_places_make_it_look_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The header is so long that it is read in two pieces; between them a writer commits, seven times."""
        padding = "x" * 10_000
        with create_store(tmp_path / "s.h5", attrs={"padding": padding, "step": 0}) as writer:
            fill(writer, 0, 10)
            writer.flush()
            steps = iter(range(1, 8))

            def found_meanwhile(h5: Any, read: Any) -> Any:
                def read_then_commit(offset: int, count: int) -> Any:
                    data = read(offset, count)
                    if h5.mode == "r" and count == 8192 and (step := next(steps, None)):
                        fill(writer, 10 * step, 10)
                        writer.set_attrs({"step": step})
                    return data

                return found(h5, read_then_commit)

            monkeypatch.setattr("spatterlib.stores.hdf5.found", found_meanwhile)
            with sp.open_store(tmp_path / "s.h5") as reader:
                header = reader._medium.header()  # type: ignore[attr-defined]
                assert header["rows"] == 10 * (header["attrs"]["step"] + 1)
                assert_holds(reader, 80)

    def test_a_look_that_began_before_a_commit_and_ended_behind_it_is_taken_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The reader finds the counter of the new commit and the places of the old one; then the commit ends."""
        store, (counted, looked) = tmp_path / "s.h5", (threading.Event(), threading.Event())
        apply = hdf5_journal._apply

        def counter_first(descriptor: int, pages: dict[int, bytearray]) -> None:
            first = next(iter(pages))
            apply(descriptor, {first: pages[first]})
            counted.set()
            assert looked.wait(10)
            apply(descriptor, pages)

        with create_store(store) as writer, sp.open_store(store) as reader:
            fill(writer, 0, 3000)
            writer.set_column("label", ["first label"] * 3000)  # type: ignore[arg-type]
            replace = threading.Thread(target=writer.set_column, args=("label", ["another label"] * 3000))

            def found_meanwhile(h5: Any, read: Any) -> Any:
                if threading.current_thread() is replace or replace.ident:
                    return found(h5, read)
                monkeypatch.setattr(hdf5_journal, "_apply", counter_first)
                replace.start()
                assert counted.wait(10)
                try:
                    return found(h5, read)
                finally:  # HDF5 may find it torn by itself
                    looked.set()
                    replace.join()

            monkeypatch.setattr(hdf5, "found", found_meanwhile)
            assert set(reader.column("label")) == {"another label"}

    def test_a_column_replaced_while_it_is_read_is_read_again(self, path: Path) -> None:
        with create_store(path) as writer:
            fill(writer, 0, 5000)
            writer.set_column("label", ["first"] * 5000)  # type: ignore[arg-type]
            with sp.open_store(path) as reader:
                medium: Any = reader._medium  # type: ignore[attr-defined]
                # The second does not fit into the place of the first, which becomes free; the third does.
                fetch, values = medium.fetch, iter(["much longer text", "x"])

                def replace_then_fetch(array: str, ranges: Any) -> Any:
                    for value in values:
                        writer.set_column("label", [value] * 5000)  # type: ignore[arg-type]
                    return fetch(array, ranges)

                medium.fetch = replace_then_fetch
                assert set(reader.column("label")) == {"x"}

    def test_in_the_middle_of_a_commit_it_reads_the_old_or_knows_that_it_must_wait(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A reader looks before, and in the middle of, each write of a commit that reuses freed places."""

        def wait(path: str, _: int) -> None:
            if Path(f"{path}.journal").exists():
                raise StoreError("the reader waits")

        looks = []
        with create_store(tmp_path / "s.h5") as writer:
            fill(writer, 0, 3000)
            writer.set_column("label", ["first label"] * 3000)  # type: ignore[arg-type]
            monkeypatch.setattr("spatterlib.stores.hdf5._wait_for_writer", wait)
            with sp.open_store(tmp_path / "s.h5") as reader:

                def look() -> None:
                    try:
                        looks.append({str(value) for value in reader.column("label")})
                    except StoreError as error:
                        looks.append({str(error)})

                look_at_every_write(look, monkeypatch)
                for label in ("1", "twenty", "x" * 11, "y" * 11, "z" * 5):
                    writer.set_column("label", [label] * 3000)  # type: ignore[arg-type]
        assert {len(values) for values in looks} == {1}
        assert {"first label"} in looks
        assert {"the reader waits"} in looks

    def test_it_never_sees_a_row_in_part(self, path: Path) -> None:
        look_beside_a_writer(path, 3.0)

    @pytest.mark.torture
    def test_it_never_sees_a_row_in_part_for_ten_minutes(self, path: Path) -> None:
        look_beside_a_writer(path, 600.0)


def look_beside_a_writer(path: Path, seconds: float) -> None:
    """A writer commits as fast as it can, and replaces a column all the time."""
    code = """
    import time
    store, end, count = create_store(sys.argv[1]), time.monotonic() + float(sys.argv[2]), 0
    store.set_column("count", np.zeros(0, np.int64))
    print("ready", flush=True)
    while time.monotonic() < end:
        fill(store, count, 97, 2000)
        count += 97
        store.flush()
        values = np.full(count, count)
        store.set_column("count", values.astype(str) if count % 2 else values)
    store.close()
    """
    command = child(code, path, seconds)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        with sp.open_store(path) as reader:
            seen, looks = 0, 0
            while writer.poll() is None:
                column, count = reader.column("count"), len(reader)
                assert seen <= len(column) <= count
                if len(column):
                    known = set(column.astype(str)) - {"", "-1"}
                    assert len(known) <= 1
                newest = range(max(0, count - 50), count)
                assert reader.encoded(newest) == crops_of(newest.start, len(newest), 2000)
                table = reader.table
                np.testing.assert_array_equal(table[newest.start : count], rows_of(newest.start, len(newest)))
                seen, looks = count, looks + 1
        assert writer.returncode == 0
    assert looks > 2
    assert seen > 0


KILLED = """
import os, signal, threading, time
from pathlib import Path
path, delay = Path(sys.argv[1]), float(sys.argv[2])
store = sp.open_store(path, "a") if path.exists() else create_store(path)
count = len(store)
print(count, flush=True)
threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
while True:
    fill(store, count, 211, 1500)
    count += 211
    store.flush()
    print(count, flush=True)
    if count % 5 == 0:
        store.set_column("count", [str(count)] * count)
"""


def kill_again_and_again(path: Path, kills: int, seed: int) -> None:
    chance, before = random.Random(seed), 0
    for _ in range(kills):
        done = subprocess.run(child(KILLED, path, chance.uniform(0, 0.4)), capture_output=True, text=True, timeout=120)
        assert done.returncode == -signal.SIGKILL, done.stderr
        told = [int(line) for line in done.stdout.splitlines()]
        if not path.exists():
            continue
        with sp.open_store(path) as store:
            count = len(store)
            # All that was flushed, and at most the batch that was under way.
            assert max(told, default=before) <= count <= max(told, default=before) + 211
            assert_holds(store, count, 1500)
            if "count" in store.columns:
                known = set(store.column("count")) - {""}
                assert len(known) == 1
        before = count


class TestKills:
    @pytest.mark.slow
    @pytest.mark.parametrize("seed", [1])
    def test_sigkill_at_random_moments(self, path: Path, seed: int) -> None:
        kill_again_and_again(path, 8, seed)
        with sp.open_store(path, "a") as store:
            count = len(store)
            assert count > 0
            fill(store, count, 50, 1500)
            assert_holds(store, count + 50, 1500)

    @pytest.mark.torture
    def test_sigkill_at_a_hundred_random_moments(self, path: Path) -> None:
        kill_again_and_again(path, 100, 2)

    def test_a_kill_before_every_single_write(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The folder is copied before, and in the middle of, all that changes it: each copy is a killed store."""
        (tmp_path / "live").mkdir()
        live = tmp_path / "live" / path.name
        taking = Copies(tmp_path / "live", tmp_path / "copies", monkeypatch)
        with create_store(live, attrs={"step": 0}) as store:
            fill(store, 0, 30)
            store.set_column("label", ["a"] * 30)  # type: ignore[arg-type]
            taking.on = True
            fill(store, 30, 30)
            store.flush()
            store.set_column("label", ["longer"] * 60)  # type: ignore[arg-type]
            store.set_attrs({"step": 1})
            taking.on = False
        assert taking.count > 20
        steps = set()
        for number, copy in enumerate(taking.taken()):
            with sp.open_store(copy / path.name) as store:
                steps.add(state := (len(store), *sorted(set(store.column("label"))), store.attrs["step"]))
                assert_holds(store, state[0])
            if number % 5:
                continue
            with sp.open_store(copy / path.name, "a") as store:
                fill(store, state[0], 10)
                store.set_column("label", ["b"] * (state[0] + 10))  # type: ignore[arg-type]
            with sp.open_store(copy / path.name) as store:
                assert_holds(store, state[0] + 10)
            left = [name for name in names(copy) if name != path.name]
            assert left == []
            assert not list(copy.rglob("*.unfinished"))
        # The last step has nothing behind it that would be copied once more.
        assert steps - {(60, "longer", 1)} == {(30, "a", 0), (60, "", "a", 0), (60, "longer", 0)}

    def test_a_kill_while_it_is_created_or_replaced(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "live").mkdir()
        live = tmp_path / "live" / path.name
        taking = Copies(tmp_path / "live", tmp_path / "copies", monkeypatch)
        taking.on = True
        create_store(live).close()
        taking.on = False
        with sp.open_store(live, "a") as store:
            fill(store, 0, 50)
        created = taking.count
        taking.on = True
        create_store(live, overwrite=True).close()
        taking.on = False
        lengths = []
        for copy in taking.taken():
            there = (copy / path.name).exists() and find_store(copy / path.name) is not None
            if int(copy.name) >= created:
                assert there
            if there:
                with sp.open_store(copy / path.name) as store:
                    lengths.append(len(store))
                    assert_holds(store, len(store))
            with create_store(copy / path.name, overwrite=True) as store:
                fill(store, 0, 5)
            with sp.open_store(copy / path.name) as store:
                assert_holds(store, 5)
        assert 50 in lengths

    def test_a_journal_of_another_file_is_left_aside(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            with create_store(tmp_path / name / "s.h5") as store:
                fill(store, 0, 100)
        taking = Copies(tmp_path / "a", tmp_path / "copies", monkeypatch)
        with sp.open_store(tmp_path / "a" / "s.h5", "a") as store:
            taking.on = True
            fill(store, 100, 100)
            store.flush()
            taking.on = False
        [*_, journal] = sorted((tmp_path / "copies").rglob("*.journal"))
        shutil.copy(journal, tmp_path / "b" / "s.h5.journal")
        with sp.open_store(tmp_path / "b" / "s.h5") as store:
            assert_holds(store, 100)
        # It may be all that is left of the last commit of a file that was moved.
        assert names(tmp_path / "b") == ["s.h5", "s.h5.journal"]
        with pytest.raises(StoreError, match=r"s\.h5\.journal is in the way"):
            sp.open_store(tmp_path / "b" / "s.h5", "a")

    @pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.99])
    def test_a_journal_that_is_not_whole_never_happened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
    ) -> None:
        (tmp_path / "live").mkdir()
        with create_store(tmp_path / "live" / "s.h5") as store:
            fill(store, 0, 100)
        taking = Copies(tmp_path / "live", tmp_path / "copies", monkeypatch)
        with sp.open_store(tmp_path / "live" / "s.h5", "a") as store:
            taking.on = True
            fill(store, 100, 100)
            store.flush()
            taking.on = False
        journal = next(copy / "s.h5.journal" for copy in taking.taken() if (copy / "s.h5.journal").exists())
        whole = journal.read_bytes()
        begin = int(share * len(whole))
        for damaged in (whole[:begin], whole[:begin] + b"\xff" * 40 + whole[begin + 40 :]):
            copy = shutil.copy(journal.parent / "s.h5", tmp_path / "damaged.h5")
            (tmp_path / "damaged.h5.journal").write_bytes(damaged)
            with sp.open_store(copy) as store:
                assert_holds(store, 100)
        with sp.open_store(journal.parent / "s.h5") as store:
            assert_holds(store, 200)


def look_at_every_write(look: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `look` called before, and in the middle of, each write to an open file."""
    pwrite = os.pwrite

    def half(descriptor: int, data: Any, offset: int) -> int:
        look()
        view = memoryview(data)
        pwrite(descriptor, view[: len(view) // 2], offset)
        look()
        return pwrite(descriptor, view, offset)

    monkeypatch.setattr(os, "pwrite", half)


class Copies:
    """Copies a folder before everything that the store's code does to its files, and in the middle of each write."""

    def __init__(self, folder: Path, copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.copies = folder, copies
        copies.mkdir()
        self.on, self.count = False, 0
        fsync, replace, unlink = os.fsync, Path.replace, Path.unlink

        def taken(do: Any) -> Any:
            def instead(*arguments: Any, **options: Any) -> Any:
                self.take()
                return do(*arguments, **options)

            return instead

        look_at_every_write(self.take, monkeypatch)
        monkeypatch.setattr(os, "fsync", taken(fsync))
        monkeypatch.setattr(Path, "replace", taken(replace))
        monkeypatch.setattr(Path, "unlink", taken(unlink))

    def taken(self) -> list[Path]:
        """The copies, in the order in which they were taken."""
        return sorted(self.copies.iterdir())

    def take(self) -> None:
        if self.on:
            self.on = False
            shutil.copytree(self.folder, self.copies / f"{self.count:05}")
            self.count += 1
            self.on = True


FULL = """
import resource
from spatterlib.errors import StoreError
path, limit = sys.argv[1], int(sys.argv[2])
store = create_store(path, attrs={"state": "running"})
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
count = 0
try:
    while count < 100_000:
        fill(store, count, 500, 1500)
        store.flush()
        count += 500
except StoreError as error:
    assert "\\n" not in str(error), error
    assert "cannot be written: " in str(error) and path in str(error), error
    assert_holds(store, count, 1500)
    store.set_attrs({"state": "failed"})
    store.close()
    print(count)
"""


class TestDiskFull:
    @pytest.mark.parametrize("limit", [200_000, 1_000_000, 3_333_333])
    def test_a_file_that_may_not_grow(self, path: Path, limit: int) -> None:
        self.check(path, limit)

    def test_a_full_file_system(self, path: Path) -> None:
        folder = path.parent / "small"
        folder.mkdir()
        if (
            os.geteuid()
            or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], check=False).returncode
        ):
            pytest.skip("mounting a small file system is not allowed here")
        try:
            self.check(folder / path.name, 0)
        finally:
            subprocess.run(["umount", folder], check=True)

    def check(self, path: Path, limit: int) -> None:
        done = subprocess.run(child(FULL, path, limit), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout, "it never became full"
        with sp.open_store(path) as store:
            assert_holds(store, int(done.stdout), 1500)
            assert store.attrs == {"state": "failed"}
        assert not [*path.parent.rglob("*.unfinished"), *path.parent.rglob("*.journal")]


def test_an_error_in_the_middle_leaves_the_store_usable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write in turn fails once: the commit counts wholly or not at all, and the next one works."""
    pwrite, fsync, failing = os.pwrite, os.fsync, [-1]

    def faulty(do: Any) -> Any:
        def instead(*arguments: Any) -> Any:
            failing[0] -= 1
            if failing[0] == 0:
                raise OSError(28, "No space left on device")
            return do(*arguments)

        return instead

    monkeypatch.setattr(os, "pwrite", faulty(pwrite))
    monkeypatch.setattr(os, "fsync", faulty(fsync))
    failures, said = 0, set()
    with create_store(path) as store:
        fill(store, 0, 100)
        store.flush()
        count = 100
        for number in range(1, 200):
            failing[0] = number
            fill(store, count, 100)
            try:
                store.flush()
            except StoreError as error:
                failures += 1
                said.add(one_line(error))
            still = failing[0] > 0
            failing[0] = -1
            after = len(store)
            assert after in (count, count + 100)
            with sp.open_store(path) as reader:
                assert len(reader) == after
            count = after
            assert_holds(store, count)
            if still:
                break
    assert failures > 5
    assert all("No space left" in text for text in said)
    with sp.open_store(path) as store:
        assert_holds(store, count)


class TestCost:
    def test_memory_does_not_grow_with_the_store(self, path: Path) -> None:
        code = """
        import os, resource
        os.fsync = lambda descriptor: None
        store, peaks = create_store(sys.argv[1]), []
        for start in range(0, 60_000, 1000):
            fill(store, start, 1000, 3000)
            store.flush()
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        print((peaks[-1] - peaks[15]) / 1024)
        """
        done = subprocess.run(child(code, path), capture_output=True, text=True, check=True, timeout=120)
        assert float(done.stdout) < 25

    @pytest.mark.torture
    def test_a_million_rows(self, path: Path) -> None:
        with create_store(path) as store:
            crops = [bytes([number % 251]) * (1 + number % 600) for number in range(10_000)]
            for start in range(0, 1_000_000, 10_000):
                store.append(rows_of(start, 10_000), crops)
        start = time.perf_counter()  # type: ignore[assignment]
        with sp.open_store(path) as store:
            rows = np.flatnonzero(store.column("area") > 1000)
            chosen = np.random.default_rng(0).choice(rows, 1000)
            found = store.encoded(chosen)  # type: ignore[arg-type]
        assert time.perf_counter() - start < 1
        assert found == [crops[row % 10_000] for row in chosen]


MUTATED = """
import os, random, resource, shutil, signal
from spatterlib.errors import SpatterlibError
base, count, chance = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
with create_store(base) as store:
    fill(store, 0, 300)
    store.set_column("label", ["a", "bb", "c"] * 100)
sp.open_store(base).table

def mutate(path):
    shutil.copytree(base, path) if base.is_dir() else shutil.copy(base, path)
    file = path if path.is_file() else chance.choice(sorted(file for file in path.rglob("*") if file.is_file()))
    data = bytearray(file.read_bytes())
    telling = [place for place, value in enumerate(data) if value]
    for _ in range(chance.choice([1, 2, 5, 30])):
        place = chance.choice(telling) if chance.random() < 0.7 else chance.randrange(len(data))
        data[place] = chance.choice([0, 255, chance.randrange(256), data[place] ^ 1])
    file.write_bytes(data[: chance.randrange(len(data)) if chance.random() < 0.1 else len(data)])

def use(path):
    with sp.open_store(path) as store:
        store.table, store.frame_log, store.encoded(range(len(store))), store.attrs
        [store.column(name) for name in store.columns]
    with sp.open_store(path, "a") as store:
        fill(store, len(store), 5)

for number in range(count):
    path = base.with_name(f"{number}{base.suffix}")
    mutate(path)
    if os.fork() == 0:
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
        signal.alarm(20)
        try:
            use(path)
        except SpatterlibError as error:
            assert "\\n" not in str(error), error
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
"""


def use_mutated_stores(path: Path, count: int, seed: int) -> None:
    """Each in a process of its own with limits: a result or a clean error, no crash, no hang, no memory beyond them."""
    done = subprocess.run(child(MUTATED, path, count, seed), capture_output=True, text=True, check=True, timeout=3000)
    codes = done.stdout.split()
    assert len(codes) == count, done.stderr
    assert set(codes) == {"0", "1"}, done.stderr


def test_mutated_stores_give_a_result_or_a_clean_error(path: Path) -> None:
    use_mutated_stores(path, 40, 3)


@pytest.mark.torture
def test_a_thousand_mutated_stores(path: Path) -> None:
    use_mutated_stores(path, 1000, 4)
