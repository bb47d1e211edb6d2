"""Kernels that are compiled once, and kept where any process may find them.

**Compiling.** Numba makes of a function machine code, with wrappers for Python and for C, and does so again of all
that other functions inline. In a chain of ten kernels nine are never called from Python, and machine code and wrappers
of theirs, and files to keep them, are for nothing. So a `Kernel` is compiled in two ways: what Python calls, as usual;
what another kernel calls, only as far as it is linked there, once for all numbers that are written as its arguments
(to Numba, each is a type of its own).

**Keeping.** One file is kept for each kernel and each type of arguments, and written in one step. So any number of
processes, or of machines that share a disk, may begin at once. (Numba's own index is overwritten by the last of them,
and may then lead to code for other types, or for another processor.) A file says what it was made from: the sources of
the kernel's module and of all that it imports from here, and the versions of Python and Numba. It is read wherever it
is found, as a container's image may be read-only but warm.
"""

import functools
import gc
import hashlib
import inspect
import os
import pickle
import re
import sys
import tempfile
from importlib.metadata import version

from numba import __version__ as numba_version
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompileResult
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature
from numba.core.types import unliteral
from numba.core.typing.templates import make_concrete_template

from sstricks.ops.kernels.places import directories, warn_once, writable_directory

_DIGEST = hashlib.sha256().digest_size


@functools.cache
def _imported(module):
    """A module of this package and those that it imports, by name."""
    found = {module}
    for name in re.findall(r"^from (sstricks\.[\w.]+) import", inspect.getsource(sys.modules[module]), re.MULTILINE):
        found |= _imported(name) if name in sys.modules else set()
    return frozenset(found)


@functools.cache
def _stamp(module):
    """A digest of all that a module's kernels are made from."""
    try:
        sources = [inspect.getsource(sys.modules[name]) for name in sorted(_imported(module))]
    except OSError:  # an installation without sources, in which nobody edits
        sources = [version("sstricks")]
    return hashlib.sha256("\0".join([numba_version, sys.version, *sources]).encode()).digest()


class _Files:
    """The files of one kernel, as Numba's dispatchers ask for them."""

    def __init__(self, function):
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._stamp = _stamp(function.__module__)  # now: the sources may be edited before the kernel is called

    @property
    def cache_path(self):
        return str(writable_directory())

    def _file(self, signature, codegen):
        key = hashlib.sha256(repr((signature, codegen.magic_tuple())).encode()).hexdigest()
        return f"{self._name}-{key[:16]}.nbc"

    def load_overload(self, sig, target_context):
        target_context.refresh()
        for directory in directories():
            try:
                content = (directory / self._file(sig, target_context.codegen())).read_bytes()
            except OSError:
                continue
            stamp, digest, payload = content[:_DIGEST], content[_DIGEST : 2 * _DIGEST], content[2 * _DIGEST :]
            if stamp == self._stamp and digest == hashlib.sha256(payload).digest():
                return CompileResult._rebuild(target_context, *pickle.loads(payload))
        return None

    def save_overload(self, sig, data):
        directory = writable_directory()
        payload = dumps(CompileResult._reduce(data))
        try:
            if directory is None:
                raise OSError
            with tempfile.NamedTemporaryFile(dir=directory, delete=False) as file:
                file.write(self._stamp + hashlib.sha256(payload).digest() + payload)
            os.chmod(file.name, 0o644)  # temporary files are private
            os.replace(file.name, directory / self._file(sig, data.library.codegen))
        except OSError:
            warn_once()


class _Linked(JITCodeLibrary):
    """Code that is only ever a part of other libraries, and becomes no machine code of its own."""

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._finalized = True


class _Whole(Compiler):
    """Compiles what Python calls."""

    separate = False

    def define_pipelines(self):
        self.state.flags.noalias = self.separate
        self.state.flags.no_cfunc_wrapper = True
        return super().define_pipelines()


class _Part(_Whole):
    """Compiles what other kernels call."""

    def define_pipelines(self):
        self.state.flags.no_cpython_wrapper = self.state.flags.no_compile = True
        self.state.library = _Linked(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return super().define_pipelines()


class _WholeSeparate(_Whole):
    separate = True


class _PartSeparate(_Part):
    separate = True


class Kernel(CPUDispatcher):
    """A compiled function, for Python and for other kernels."""

    def __init__(self, function, separate, options):
        whole, part = (_WholeSeparate, _PartSeparate) if separate else (_Whole, _Part)
        super().__init__(function, targetoptions=options, pipeline_class=whole)  # pyright: ignore[reportArgumentType]
        self._cache = _Files(function)
        compiler = type(self._compiler)  # pyright: ignore[reportAttributeAccessIssue]
        self._part_compiler = compiler(function, self.targetdescr, options, {}, part)
        self._parts = {}

    def compile(self, sig):
        """Numba makes so many objects that Python's search for garbage takes a sixth of the time."""
        enabled = gc.isenabled()
        gc.disable()
        try:
            return super().compile(sig)
        finally:
            if enabled:
                gc.enable()

    def add_overload(self, cres):
        for environment in CompileResult._find_referenced_environments(cres):  # its own, and those of its parts
            cres.library.codegen.set_env(environment.env_name, environment)
        super().add_overload(cres)

    def get_call_template(self, args, kws):
        """What another kernel calls; a number that is written there is no type of its own."""
        pysig, args = self._part_compiler.fold_argument_types(args, kws)
        args = tuple(map(unliteral, args))
        if args not in self._parts:
            part = self._part_compiler.compile(args, None)
            self.targetctx.insert_user_function(part.library, part.fndesc, [part.library])
            self._parts[args] = part
        name, signatures = self.py_func.__name__, [part.signature for part in self._parts.values()]
        return make_concrete_template(f"CallTemplate({name})", name, signatures), pysig, args, {}

    def get_overload(self, sig):
        args, _ = normalize_signature(sig)
        return self._parts[tuple(args)].library
