"""
The project itself: what is shipped, how it is built, and that its parts say the same.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import vnic
from vnic import _version, core

CORE = {"lane", "context", "steps", "virtio", "segment", "buffer", "chain", "packet", "typed", "large", "facts", "guard", "pool"}
CORE |= {"ledger", "asking", "binding", "wire", "completion", "backlog", "send", "replies", "lifecycle", "batch", "receive", "superframes"}
CORE |= {"indicate", "lookahead", "uring", "queue", "adapter", "waiting"}

TREE = Path(__file__).parents[2]
PROJECT = tomllib.loads((TREE / "pyproject.toml").read_text())
PACKAGES = [Path(package.replace(".", "/")) for package in PROJECT["tool"]["setuptools"]["packages"]]
MODULES = sorted(path.relative_to(TREE) for package in PACKAGES for path in (TREE / package).glob("*.py"))
UNIT = TREE / "packaging" / "vnic@.service"


def constant(path: Path, name: str) -> object:
    """The value that a file gives to a name, without running the file."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"{path} does not set {name}")


def build(tree: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the compile step of a copy of the project, up to where it may fail."""
    shutil.copy(TREE / "setup.py", tree)
    (tree / "pyproject.toml").write_text('[project]\nname = "copy"\nversion = "0"\n')
    return subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext"], cwd=tree, env=os.environ | environment, capture_output=True, text=True, timeout=60
    )


def test_every_place_names_the_same_version() -> None:
    version = _version.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert vnic.__version__ == version
    assert metadata.version("vnic") == version


def test_every_package_in_the_tree_is_shipped() -> None:
    found = {path.parent.relative_to(TREE) for top in ("vnic", "miniport", "protocol") for path in (TREE / top).rglob("__init__.py")}
    assert found == set(PACKAGES)


def test_every_top_level_package_is_marked_as_typed() -> None:
    assert all((TREE / package / "py.typed").exists() for package in PACKAGES if len(package.parts) == 1)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_every_shipped_module_has_a_docstring(module: Path) -> None:
    assert ast.get_docstring(ast.parse((TREE / module).read_text()))


def test_what_is_compiled_has_its_c_types_beside_it() -> None:
    assert {path.stem for path in (TREE / "vnic").glob("*.pxd")} == CORE
    build = (TREE / "setup.py").read_text()
    assert all(f'"{name}"' in build for name in CORE)


def test_the_core_names_what_is_compiled() -> None:
    assert {name for name in CORE if f"{name}.py " in str(core.__doc__)} == CORE


def test_only_the_core_uses_the_stand_in_for_cython() -> None:
    users = set()
    for module in MODULES:
        for node in ast.walk(ast.parse((TREE / module).read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom) and re.search(r"\b_?cython\b", ast.unparse(node)):
                users.add(str(module))
    assert users == {f"vnic/{name}.py" for name in CORE}


def test_the_core_runs_without_cython() -> None:
    program = "import sys, vnic.core; print(*{'cython', 'Cython'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-P", "-c", program], text=True, timeout=60).strip() == ""


def test_nothing_was_built_in_the_tree() -> None:
    assert [path for package in PACKAGES for pattern in ("*.so", "*.c") for path in (TREE / package).glob(pattern)] == []


def test_the_mode_of_the_core_is_that_of_its_file() -> None:
    for name in CORE:
        file = str(importlib.import_module(f"vnic.{name}").__file__)
        assert Path(file).suffix == (".so" if core.COMPILED else ".py"), file


def test_a_build_without_a_compiler_names_the_package_to_install(tmp_path: Path) -> None:
    done = build(tmp_path, VNIC_BUILD="require", CC="no-such-compiler")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("vnic: no C compiler (no-such-compiler): apt install build-essential")


def test_an_unknown_build_mode_is_refused(tmp_path: Path) -> None:
    done = build(tmp_path, VNIC_BUILD="maybe")
    assert (done.returncode, done.stderr.strip()) == (1, "vnic: VNIC_BUILD='maybe': must be 'pure' or 'require'")


def test_a_pure_build_needs_no_compiler_and_builds_nothing(tmp_path: Path) -> None:
    done = build(tmp_path, VNIC_BUILD="pure", CC="no-such-compiler")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "build").exists()


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """An instance of the unit, with a command that exists here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: install systemd to check the unit file")
    path = tmp_path / "vnic@vnic0.service"
    path.write_text(UNIT.read_text().replace("/usr/bin/vnic ", f"{sys.executable} -m miniport "))
    return path


def test_systemd_accepts_the_unit(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_finds_the_unit_hardened(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
