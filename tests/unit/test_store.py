"""Cells on disk, parts, artifacts, and the lock of a run folder."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from benchwright.artifacts import ArtifactStore
from benchwright.digests import FileDigests
from benchwright.errors import RunError
from benchwright.job import Part, rng
from benchwright.parts import finished_parts, join, write_part
from benchwright.runfolder import opened
from benchwright.store import read_cells, write_atomically


def test_parts_join_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("00000010", "00000000", "00000005"):
        part = Part(name, items=[{"item": name}, {"item": "s" + name, "skipped": "too long"}], warnings=["w"])
        part.record(name, "m", 1.0, T=3)
        part.skip("no target")
        write_part(tmp_path, part, {"wall_s": 1.0, "peak_rss_mb": float(name)})
    joined = join(tmp_path)
    assert [r["item"] for r in joined.records] == ["00000000", "00000005", "00000010"]
    assert joined.records[0] == {"item": "00000000", "metric": "m", "value": 1.0, "at": {"T": 3}}
    assert joined.cost == {"wall_s": 3.0, "peak_rss_mb": 10.0}
    assert dict(joined.skipped) == {"no target": 3, "too long": 3}
    assert joined.warnings == ["w"]


def test_a_value_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    part = Part("0", records=[{"item": "a", "metric": "m", "value": float("nan")}])
    with pytest.raises(ValueError, match="JSON"):
        write_part(tmp_path, part, {})
    assert finished_parts(tmp_path) == {}


def test_the_state_of_a_sequential_cell_is_kept(tmp_path: Path) -> None:
    keys = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_part(tmp_path, Part("1", state={"keys": keys}), {})
    (state,) = finished_parts(tmp_path).values()
    assert state is not None
    np.testing.assert_array_equal(state["keys"], keys)
    assert state["keys"].dtype == np.float32


def test_an_unfinished_write_is_not_seen(tmp_path: Path) -> None:
    (tmp_path / ".1.json.99.tmp").write_text("{", encoding="utf-8")
    (tmp_path / ".1.npz").write_bytes(b"x")
    assert finished_parts(tmp_path) == {}
    write_atomically(tmp_path / "a", "old")
    write_atomically(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "new"


def test_artifacts_are_built_once_for_each_key(tmp_path: Path) -> None:
    store, built = ArtifactStore(tmp_path), []

    def build(value: object) -> object:
        built.append(value)
        return value

    assert store.get("k", {"weights": "a"}, lambda: build([1, 2.5])) == [1, 2.5]
    assert store.get("k", {"weights": "a"}, lambda: build("again")) == [1, 2.5]
    assert store.get("k", {"weights": "edited"}, lambda: build("other")) == "other"
    assert built == [[1, 2.5], "other"]


def test_arrays_come_back_bit_for_bit_and_damage_is_noticed(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    value = {"c": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)}
    for _ in range(2):
        np.testing.assert_array_equal(store.get("cov", {"n": 1}, lambda: value)["c"], value["c"])
    (file,) = tmp_path.rglob("value.npz")
    file.write_bytes(file.read_bytes()[:-9] + b"corrupted")
    np.testing.assert_array_equal(store.get("cov", {"n": 1}, lambda: value)["c"], value["c"])
    np.testing.assert_array_equal(store.get("cov", {"n": 1}, dict)["c"], value["c"])


def test_what_is_unfinished_outlives_a_kill_and_is_removed_when_it_is_stored(tmp_path: Path) -> None:
    store, key = ArtifactStore(tmp_path), {"epochs": 9}
    (store.scratch("network", key) / "epoch").write_text("3", encoding="utf-8")
    assert (store.scratch("network", key) / "epoch").read_text(encoding="utf-8") == "3"
    assert not list(store.scratch("network", {"epochs": 8}).iterdir())
    store.get("network", key, lambda: [1])
    assert not list(store.scratch("network", key).iterdir())


def test_a_whole_artifact_is_not_replaced_by_another_process_s(tmp_path: Path) -> None:
    """Two processes make the same one: the first stays, and both read it."""
    store = ArtifactStore(tmp_path)

    def build() -> list[int]:
        ArtifactStore(tmp_path).get("k", {}, lambda: [1])  # the other one was faster
        return [2]

    assert store.get("k", {}, build) == [1]


def test_linked_folders_are_part_of_a_folder_s_digest(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").mkdir()
    (tmp_path / "far" / "a.png").write_bytes(b"1")
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far", target_is_directory=True)
    (tmp_path / "near" / "round").symlink_to(tmp_path / "near", target_is_directory=True)
    first = FileDigests(tmp_path / "digests.json").of(tmp_path / "near")
    (tmp_path / "far" / "a.png").write_bytes(b"22")
    assert FileDigests(tmp_path / "digests.json").of(tmp_path / "near") != first


def test_pruning_removes_the_least_recently_used(tmp_path: Path) -> None:
    import os

    store = ArtifactStore(tmp_path)
    for i in range(3):
        store.get("k", {"i": i}, lambda: "x" * 1000)
    folders = sorted(tmp_path.glob("k/*"))
    for age, folder in enumerate(folders):
        os.utime(folder, (1e9 + age, 1e9 + age))
    assert store.prune(max_bytes=store.size() - 1, max_age_s=1e12) == 1
    assert sorted(tmp_path.glob("k/*")) == folders[1:]
    assert store.prune(max_age_s=60) == 2


def test_digests_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("a", encoding="utf-8")
    digests = FileDigests.load(tmp_path / "cache")
    first = digests.of(file)
    digests.save()
    again = FileDigests.load(tmp_path / "cache")
    assert again.of(file) == first
    assert not again.changed
    file.write_text("bc", encoding="utf-8")
    assert again.of(file) != first


def test_draws_depend_on_seed_stream_and_item_only() -> None:
    one = rng(0, "noise", "a").normal(size=3)
    rng(0, "noise", "b").normal(size=3)
    np.testing.assert_array_equal(rng(0, "noise", "a").normal(size=3), one)
    others = [rng(1, "noise", "a"), rng(0, "other", "a"), rng(0, "noise", "b")]
    assert all(not np.array_equal(g.normal(size=3), one) for g in others)


def _hold(folder: Path, ready: object, done: object) -> None:
    with opened(folder):
        ready.set()  # type: ignore[attr-defined]
        done.wait(20)  # type: ignore[attr-defined]


def test_a_second_run_in_one_folder_says_so(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready, done))
    process.start()
    try:
        assert ready.wait(20)
        with pytest.raises(RunError, match=rf"process {process.pid} on .* is running in it"), opened(tmp_path):
            pass
    finally:
        done.set()
        process.join()
    with opened(tmp_path):
        pass


def test_damaged_and_newer_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        read_cells(tmp_path)
    (tmp_path / "cells" / "a").mkdir(parents=True)
    cell = tmp_path / "cells" / "a" / "cell.json"
    cell.write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"cell\.json: cannot be read"):
        read_cells(tmp_path)
    cell.write_text(json.dumps({"format": 99}), encoding="utf-8")
    with pytest.raises(RunError, match="format 99; this version reads format 1"):
        read_cells(tmp_path)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="a file is in the way"), opened(tmp_path / "f"):
        pass
