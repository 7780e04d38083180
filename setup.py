"""
Compile the data path, the modules that `vnic/core.py` names; all other settings are in `pyproject.toml`.

An editable install is pure, any other build compiles or fails. `VNIC_BUILD=pure` makes a wheel for every machine, which needs
no compiler; `VNIC_BUILD=require` says aloud what is the default.
"""

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CORE = (
    *("lane", "context", "steps", "virtio", "segment", "buffer", "chain", "packet", "typed", "large", "facts", "guard", "pool"),
    *("ledger", "asking", "binding", "wire", "completion", "backlog", "send", "replies", "lifecycle", "batch", "receive", "superframes"),
    *("indicate", "lookahead", "uring", "queue", "adapter", "waiting"),
)
COMPILED = [f"vnic/{name}.py" for name in CORE]
DIRECTIVES = {"binding": True, "boundscheck": False, "wraparound": False, "cdivision": True, "initializedcheck": False}
# an object made without its __init__, or copied by pickle, must raise and not crash; this costs 1 % of a frame's instructions
DIRECTIVES |= {"auto_pickle": False, "nonecheck": True}
# what threads share is changed in critical sections, which are locks where there is no GIL: docs/adr/0014-queues.md
DIRECTIVES |= {"freethreading_compatible": True}
# functions that are declared inline are inlined, however long they are: a frame takes 7 % fewer instructions; -O3 takes no fewer
FLAGS = ["-O2", "--param=max-inline-insns-single=2000", "--param=large-function-growth=2000", "--param=inline-unit-growth=300"]


class CompileCore(build_ext):
    """Translate into build/, never beside the source: a stale C file or library there would win over an edited module."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extension(self, ext: Extension) -> None:
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
        if shutil.which(compiler) is None:
            raise SystemExit(f"vnic: no C compiler ({compiler}): apt install build-essential, or build uncompiled with VNIC_BUILD=pure")
        if not Path(sysconfig.get_path("include"), "Python.h").exists():
            package = "python{}.{}-dev".format(*sys.version_info)
            raise SystemExit(f"vnic: no Python.h for {sys.executable}: apt install {package}, or build uncompiled with VNIC_BUILD=pure")
        from Cython.Build import cythonize  # not needed by a pure build

        # without a GIL, and with one, it is another translation: see `leave_sections_out`
        folder = "build/cython-free" if sysconfig.get_config_var("Py_GIL_DISABLED") else "build/cython"
        leave_sections_out()
        # it compares an older translation with the module only, and not with the directives here
        older = Path(folder, ext.sources[0]).with_suffix(".c")
        stale = older.exists() and older.stat().st_mtime < Path(__file__).stat().st_mtime
        options = {"build_dir": folder, "language_level": 3, "compiler_directives": DIRECTIVES, "force": stale}
        ext.sources = cythonize([ext], **options)[0].sources
        super().build_extension(ext)


def leave_sections_out() -> None:
    """
    Under the GIL a critical section is what stands in it, and nothing else.

    Cython would still take a reference to what the section guards, and drop it: 60 instructions for a frame that is kept and returned.
    """
    from Cython.Compiler.Nodes import CriticalSectionStatNode

    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        CriticalSectionStatNode.generate_execution_code = lambda self, code: self.body.generate_execution_code(code)


editable = "editable_wheel" in sys.argv or "develop" in sys.argv or "--inplace" in sys.argv
mode = os.environ.get("VNIC_BUILD") or ("pure" if editable else "require")
if mode not in ("pure", "require"):
    raise SystemExit(f"vnic: VNIC_BUILD={mode!r}: must be 'pure' or 'require'")
if editable and mode == "require":
    raise SystemExit("vnic: VNIC_BUILD=require: an editable install is always pure, a compiled core in the tree goes stale; leave -e out")

modules = COMPILED if mode == "require" else []
extensions = [Extension(path.removesuffix(".py").replace("/", "."), [path], extra_compile_args=FLAGS) for path in modules]
setup(ext_modules=extensions, cmdclass={"build_ext": CompileCore})
