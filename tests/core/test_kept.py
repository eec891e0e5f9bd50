"""Finished seeds of an experiment survive a kill."""

from __future__ import annotations

import json

import pytest

from evaluation.experiments import EXPERIMENTS
from evaluation.kept import KeptSeeds
from evaluation.reproduce import Outcome, columns, reproduce
from pyro_models.errors import MetricError


class Killed(Exception):
    """Stands for what ends a process in the middle."""


@pytest.fixture
def halting(monkeypatch):
    """An experiment that is killed at seed 2 once, and the seeds that it ran."""
    ran: list[int] = []

    @EXPERIMENTS.register("halting", "for this test")
    def halting(setting):
        def one(seed: int) -> dict[str, float]:
            ran.append(seed)
            if seed == 2 and ran.count(2) == 1:
                raise Killed
            return {"value": seed / 3}

        rows, seconds = setting.each_seed(one)
        return Outcome(columns(rows), "none", 1, seconds)

    yield ran
    del EXPERIMENTS._entries["halting"]


def test_a_second_call_goes_on_with_the_seed_that_was_killed(halting, tmp_path):
    with pytest.raises(Killed):
        reproduce("halting", [0, 1, 2, 3], out=tmp_path)
    assert not (tmp_path / "halting.json").exists()
    path, _ = reproduce("halting", [0, 1, 2, 3], out=tmp_path)
    assert halting == [0, 1, 2, 2, 3]
    assert json.loads(path.read_text())["metrics"]["value"]["values"] == [0, 1 / 3, 2 / 3, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["halting.json"]


def test_seeds_may_be_run_by_several_processes(halting, tmp_path):
    halting.append(2)  # nobody is killed
    for part in ([3, 0], [1]):
        kept, words = reproduce("halting", part, out=tmp_path, rows_only=True)
        assert kept == tmp_path / "halting.unfinished"
        assert str(part[0]) in words
    assert sorted(file.name for file in kept.iterdir()) == ["0.json", "1.json", "3.json"]
    assert not (tmp_path / "halting.json").exists()
    path, _ = reproduce("halting", [0, 1, 3], out=tmp_path)
    assert halting == [2, 3, 0, 1]
    assert json.loads(path.read_text())["metrics"]["value"]["values"] == [0, 1 / 3, 1]
    assert not kept.exists()


def test_what_is_no_number_is_not_written_down(monkeypatch, tmp_path):
    def failing(setting):
        rows, seconds = setting.each_seed(lambda seed: {"value": float("nan") if seed == 1 else 0.5})
        return Outcome(columns(rows), "none", 1, seconds)

    monkeypatch.setattr(EXPERIMENTS, "get", lambda name: failing)
    with pytest.raises(MetricError, match=r"value of seed 1 is nan.*name the others by --seeds"):
        reproduce("failing", [0, 1], out=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["failing.unfinished"]
    path, _ = reproduce("failing", [0], out=tmp_path)
    assert json.loads(path.read_text())["metrics"]["value"]["values"] == [0.5]


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"stamp": {"commit": "another"}, "row": {}, "seconds": 1}', '{"stamp": {"commit": "this"}}']
)
def test_rows_of_another_making_are_not_taken_up(content, tmp_path):
    (tmp_path / "0.json").write_text(content)
    rows, seconds = KeptSeeds(tmp_path, {"commit": "this"}).each([0], lambda seed: {"value": 5})
    assert rows == [{"value": 5}]
    assert len(seconds) == 1
