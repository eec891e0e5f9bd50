"""Names to things: catalogues, decorators, import paths, files; a wrong name is answered with the nearest right one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pyro_models.catalogue import STORIES
from pyro_models.errors import ModelsError, UnknownName
from pyro_models.registry import Registry


@pytest.fixture
def shapes() -> Registry:
    registry = Registry("shape", "nobody.registers.here")
    registry.add("ordered", "collections:OrderedDict", "a dictionary")
    return registry


def test_a_catalogue_line_is_imported_only_when_asked_for(shapes):
    shapes.add("broken", "no.such.module:Thing", "never imported")
    assert shapes.names() == ["broken", "ordered"]
    assert shapes.get("ordered").__name__ == "OrderedDict"
    assert shapes.summary("ordered") == "a dictionary"


def test_the_decorator_registers_and_refuses_a_name_that_is_taken(shapes):
    @shapes.register("circle", "round")
    class Circle:
        pass

    assert shapes.get("circle") is Circle
    assert shapes.name_of(Circle) == "circle"
    with pytest.raises(ModelsError, match="the shape name 'circle' is taken"):
        shapes.register("circle")(dict)


def test_an_unknown_name_is_answered_with_the_nearest(shapes):
    with pytest.raises(UnknownName, match=r"no shape is called 'orderd'; did you mean 'ordered'\? Known: ordered"):
        shapes.get("orderd")


def test_module_path_and_file_path(shapes, tmp_path):
    (tmp_path / "mine.py").write_text("class Square:\n    pass\n")
    assert shapes.get(f"{tmp_path}/mine.py:Square").__name__ == "Square"
    assert shapes.get(f"{tmp_path}/mine.py:Square") is shapes.get(f"{tmp_path}/mine.py:Square")
    assert shapes.get("collections:Counter").__name__ == "Counter"
    with pytest.raises(UnknownName, match="did you mean 'Square'"):
        shapes.get(f"{tmp_path}/mine.py:Sqare")
    with pytest.raises(UnknownName, match="there is no file"):
        shapes.get("nowhere.py:Square")
    with pytest.raises(UnknownName, match="Python cannot find"):
        shapes.get("no_such_module_at_all:Square")


def test_an_error_inside_a_users_module_is_not_hidden(shapes, tmp_path):
    (tmp_path / "bad.py").write_text("import a_module_that_is_missing\n")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_missing"):
        shapes.get(f"{tmp_path}/bad.py:Square")


def test_every_catalogued_story_can_be_imported_and_says_what_it_is():
    for name in STORIES:
        story = STORIES.get(name)
        assert story.__doc__
        assert STORIES.summary(name)
        assert STORIES.name_of(story) == name


def test_entry_points_are_read(shapes, monkeypatch):
    class Point:
        name, value = "hexagon", "collections:deque"

    monkeypatch.setattr("pyro_models.registry.entry_points", lambda group: [Point] if group == shapes.group else [])
    assert shapes.get("hexagon").__name__ == "deque"


def test_help_imports_no_torch_and_is_quick():
    code = "import sys, time; t = time.time()\nfrom pyro_models.__main__ import parser\nparser()\n"
    code += "assert 'torch' not in sys.modules, 'torch'\nassert 'pandas' not in sys.modules, 'pandas'\n"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
