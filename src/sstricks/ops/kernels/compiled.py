"""How kernels are compiled and kept.

Numba optimises a function, turns it into machine code, and then optimises it again inside every function that calls it.
In a chain of ten kernels the innermost one is optimised ten times, which took most of the time of a first call. So a
`Kernel` is compiled in two ways. One that Python calls is optimised and kept on disk, as usual. Inside of another
kernel stands its plain translation, which is optimised there, once.

What is kept depends on the sources of a kernel and of all modules that it imports from here, on the types of the
arguments, the processor, and the versions of Python and Numba. There is one file for each, written in one step, so that
any number of processes, and machines that share a disk, may begin at once. It is read from wherever it is found, as a
container's image may be read-only but warm.
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
import warnings
from pathlib import Path

import numba
from numba.core.caching import _Cache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompileResult
from numba.core.dispatcher import _FunctionCompiler
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature
from numba.core.types import unliteral
from numba.core.typing.templates import make_concrete_template
from numba.misc.appdirs import AppDirs

_HERE = Path(__file__).parent


def directories():
    """Where compiled kernels may lie, the first choice first: only in $NUMBA_CACHE_DIR if that is set."""
    own = f"sstricks_{hashlib.sha256(str(_HERE).encode()).hexdigest()[:16]}"
    if numba.config.CACHE_DIR:
        return [Path(numba.config.CACHE_DIR, own)]
    return [_HERE / "__pycache__", Path(AppDirs("numba", False).user_cache_dir, own)]


@functools.cache
def writable_directory():
    """The first directory that can be written, None if there is none."""
    for directory in directories():
        try:
            directory.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=directory).close()
        except OSError:
            continue
        return directory
    return None


@functools.cache
def warn_of_no_directory():
    places = ", ".join(map(str, directories()))
    warnings.warn(
        f"sstricks keeps its compiled kernels in none of {places}: they cannot be written, so that every process "
        "compiles for some seconds. Set the environment variable NUMBA_CACHE_DIR to a directory that can be written, "
        "or run `python -m sstricks.warmup` with it when you build the image.",
        stacklevel=2,
    )


@functools.cache
def _imported(module):
    """The names of a module and of those of this package that it imports."""
    found = {module}
    for name in re.findall(r"^from (sstricks\.[\w.]+) import", inspect.getsource(sys.modules[module]), re.MULTILINE):
        found |= _imported(name)
    return frozenset(found)


@functools.cache
def _stamp(module):
    """A digest of all that a module's kernels are made of."""
    sources = [inspect.getsource(sys.modules[name]) for name in sorted(_imported(module))]
    return hashlib.sha256("".join([numba.__version__, sys.version, *sources]).encode()).digest()


class _Kept(_Cache):
    """The files of one kernel."""

    def __init__(self, function):
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._stamp = _stamp(function.__module__)  # now, before somebody edits the sources

    @property
    def cache_path(self):
        return str(writable_directory())

    def _file(self, signature, codegen):
        key = hashlib.sha256(repr((signature, codegen.magic_tuple())).encode()).hexdigest()[:16]
        return f"{self._name}-{key}.nbc"

    def load_overload(self, sig, target_context):
        target_context.refresh()
        name = self._file(sig, target_context.codegen())
        for directory in directories():
            try:
                content = (directory / name).read_bytes()
            except OSError:
                continue
            if content.startswith(self._stamp):
                return CompileResult._rebuild(target_context, *pickle.loads(content[len(self._stamp) :]))
        return None

    def save_overload(self, sig, data):
        directory = writable_directory()
        try:
            if directory is None:
                raise OSError
            with tempfile.NamedTemporaryFile(dir=directory, delete=False) as file:
                file.write(self._stamp + dumps(data._reduce()))
            os.replace(file.name, directory / self._file(sig, data.library.codegen))
        except OSError:
            warn_of_no_directory()

    def enable(self):
        pass

    def disable(self):
        pass

    def flush(self):
        pass


class _Plain(JITCodeLibrary):
    """Code that is only ever part of another library, which optimises it."""

    def _optimize_functions(self, ll_module):
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._finalized = True


class _Vectorised(_Plain):
    _optimize_functions = JITCodeLibrary._optimize_functions
    _optimize_final_module = JITCodeLibrary._optimize_final_module


class _Whole(Compiler):
    separate = False

    def define_pipelines(self):
        self.state.flags.noalias = self.separate
        self.state.flags.no_cfunc_wrapper = True
        return super().define_pipelines()


class _Part(_Whole):
    library = _Plain

    def define_pipelines(self):
        flags = self.state.flags
        flags.no_cpython_wrapper = flags.no_compile = True
        self.state.library = self.library(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return super().define_pipelines()


class _WholeSeparate(_Whole):
    separate = True


class _PartSeparate(_Part):
    separate = True
    library = _Vectorised if not os.environ.get("SEPPLAIN") else _Plain


class Kernel(CPUDispatcher):
    """A compiled function, for Python and for other kernels."""

    def __init__(self, function, options, whole, part):
        super().__init__(function, targetoptions=options, pipeline_class=whole)
        self._part_compiler = _FunctionCompiler(function, self.targetdescr, options, {}, part)
        self._parts = {}
        self._cache = _Kept(function)

    def compile(self, sig):
        collects = gc.isenabled()
        gc.disable()
        try:
            return super().compile(sig)
        finally:
            if collects:
                gc.enable()

    def add_overload(self, cres):
        for env in cres._find_referenced_environments():
            cres.library.codegen.set_env(env.env_name, env)
        super().add_overload(cres)

    def get_call_template(self, args, kws):
        pysig, args = self._part_compiler.fold_argument_types(args, kws)
        args = tuple(map(unliteral, args))
        if args not in self._parts:
            part = self._part_compiler.compile(args, None)
            self.targetctx.insert_user_function(part.library, part.fndesc, [part.library])
            self._parts[args] = part
        name = self.py_func.__name__
        signatures = [part.signature for part in self._parts.values()]
        return make_concrete_template(f"CallTemplate({name})", key=name, signatures=signatures), pysig, args, {}

    def get_overload(self, sig):
        args, _ = normalize_signature(sig)
        return self._parts[tuple(args)].library


def compiled(function=None, *, fastmath=False, separate=False):
    if function is None:
        return functools.partial(compiled, fastmath=fastmath, separate=separate)
    options = {"nopython": True, "nogil": True, "error_model": "numpy", "fastmath": fastmath, "boundscheck": None}
    return Kernel(function, options, *((_WholeSeparate, _PartSeparate) if separate else (_Whole, _Part)))
